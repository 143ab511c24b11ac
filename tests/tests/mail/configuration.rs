//! What is wrong with mail upstreams is found when the tenant is loaded, and told with its line.

use claimsmith_tests::{Stage, eventually};
use serde_json::Value;

use super::{prepare, tenant};

const GOOD: &str =
    "[upstreams.post]\nkind = \"mail\"\nurl = \"smtps://smtp.contoso.example\"\nfrom = \"no-reply@contoso.example\"";

/// The errors of a tenant with these upstreams, when there are so many.
async fn errors(upstreams: &str, least: usize) -> (Vec<String>, String) {
    let stage = Stage::new()
        .await
        .host_config("egress.networks.other = [\"10.0.0.0/8\"]");
    let toml = tenant(&stage, upstreams, "");
    let stage = stage.tenant("contoso", &toml);
    let secrets = [
        ("empty", ""),
        ("smtp", "planted-password"),
        ("ca", "planted, no certificate"),
    ];
    prepare(&stage, &secrets);
    let platform = stage.listen("json").await;
    let is_error = |line: &Value| line["level"] == "ERROR" && line["message"].to_string().contains("tenant.toml");
    let errors = || {
        let log = platform.host.log().into_iter().filter(is_error);
        log.map(|line| line["message"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    eventually("all are told", async || errors().len() >= least).await;
    (errors(), toml)
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_are_told_with_their_line() {
    let url = |url: &str| {
        (
            GOOD.replace("smtps://smtp.contoso.example", url),
            format!("url = \"{url}\""),
        )
    };
    let from = |from: &str| {
        (
            GOOD.replace("no-reply@contoso.example", from),
            format!("from = \"{from}\""),
        )
    };
    let with = |more: &str| (format!("{GOOD}\n{more}"), more.to_owned());
    let cases = [
        (url("https://smtp.contoso.example"), "`https` is no SMTP"),
        (
            url("smtps://ada:planted@smtp.contoso.example"),
            "belong into `authentication`",
        ),
        (
            url("smtp://smtp.contoso.example?tls=required"),
            "STARTTLS is required without",
        ),
        (url("smtps://smtp.contoso.example/path"), "must not have a path"),
        (url("smtps://127.0.0.1"), "name its network in `networks`"),
        (url("smtps://2130706433"), "name its network in `networks`"),
        (url("smtps://[::1]"), "name its network in `networks`"),
        (url("smtps://169.254.169.254"), "cannot be opened"),
        (url("smtps:///"), "the URL has no host"),
        (from("Contoso"), "expected one mail address"),
        (
            from("a@contoso.example, b@contoso.example"),
            "expected one mail address",
        ),
        (from("a@localhost"), "expected one mail address"),
        (
            from(r"Contoso\r\nBcc: eve@evil.example <a@contoso.example>"),
            "expected one mail address",
        ),
        (with("reply_to = \"nobody\""), "expected one mail address"),
        (with("plain_smtp = true"), "contradicts smtps"),
        (with("recipients = []"), "expected 1 to 1024 entries"),
        (with("recipients = [\"*@contoso.example\"]"), "expected a domain"),
        (
            with("headers = { Bcc = \"eve@evil.example\" }"),
            "the host does not write itself",
        ),
        (
            with("headers = { Content-Type = \"text/html\" }"),
            "the host does not write itself",
        ),
        (
            with(r#"headers = { X-A = "b\r\nBcc: eve@evil.example" }"#),
            "visible ASCII characters",
        ),
        (with("hello_name = \"claimsmith\""), "expected a domain's name"),
        (with("timeout = \"1m\""), "at most 10s"),
        (with("connect_timeout = \"0s\""), "at most 10s"),
        (with("concurrency = 0"), "expected 1 to 64"),
        (with("max_bytes = 2000000"), "expected 1 to 1048576"),
        (
            with("networks = [\"10.1.0.0/16\"]"),
            "[egress.networks] contoso = [\"10.1.0.0/16\"]",
        ),
        (with("ca = \"file:ca\""), "file:ca holds no certificate"),
        (with("ca = \"file:missing\""), "file:missing cannot be read"),
        (
            with("authentication = { username = \"a\", password = \"file:missing\" }"),
            "file:missing cannot be read",
        ),
        (
            with("authentication = { username = \"a\", password = \"planted\" }"),
            "expected a reference to a secret",
        ),
        (
            with("authentication = { username = \"a\", password = \"file:empty\" }"),
            "must not be empty",
        ),
        (
            with("authentication = { username = \"\", password = \"file:smtp\" }"),
            "must not be empty",
        ),
        (
            with("authentification = { username = \"a\", password = \"file:smtp\" }"),
            "did you mean `authentication`?",
        ),
        (
            (
                GOOD.replace("smtps:", "smtp:")
                    + "\nplain_smtp = true\nauthentication = { username = \"a\", password = \"file:smtp\" }",
                "authentication = { username = \"a\", password = \"file:smtp\" }".to_owned(),
            ),
            "everybody on the way would read the password",
        ),
        (
            (
                GOOD.replace("kind = \"mail\"", "kind = \"smtp\""),
                "kind = \"smtp\"".to_owned(),
            ),
            "expected one of: ",
        ),
        (
            (
                GOOD.replace("from = \"no-reply@contoso.example\"", ""),
                "[upstreams.post]".to_owned(),
            ),
            "missing field `from`",
        ),
    ];
    let name = |index: usize| format!("[upstreams.upstream-{index}]");
    let upstreams = cases.iter().enumerate().map(|(index, ((upstream, _), _))| {
        let named = upstream.replace("[upstreams.post]", &name(index));
        named + "\n"
    });
    let (errors, toml) = errors(&upstreams.collect::<String>(), cases.len()).await;
    let lines: Vec<_> = toml.lines().collect();
    for (index, ((_, line), expected)) in cases.iter().enumerate() {
        let begin = lines.iter().position(|found| *found == name(index)).unwrap();
        let line = line.replace("[upstreams.post]", &name(index));
        let number = begin + lines[begin..].iter().position(|found| *found == line).unwrap() + 1;
        let place = format!("tenant.toml:{number}:");
        let told = errors
            .iter()
            .any(|error| error.contains(&place) && error.contains(expected));
        assert!(told, "line {number}, {line}: {expected}: {errors:#?}");
    }
    assert!(!errors.concat().contains("planted"), "{errors:#?}");
}
