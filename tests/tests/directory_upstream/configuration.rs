//! What is wrong with a directory is found when the tenant is loaded, and told with its line.

use claimsmith_tests::Stage;
use serde_json::Value;

use super::{add_files, tenant};

const GOOD: &str = "[upstreams.corp]
kind = \"directory\"
url = \"ldaps://dc.contoso.example\"
base = \"dc=contoso,dc=example\"
attributes = [\"uid\"]
";

/// The errors of a tenant with these upstreams.
async fn errors(upstreams: &str, secrets: &[(&str, &str)]) -> (String, String) {
    let stage = Stage::new().await;
    let toml = tenant(&stage, upstreams, "upstreams = [\"corp\"]");
    let stage = stage.tenant("contoso", &toml);
    add_files(&stage, secrets);
    let platform = stage.listen("json").await;
    let is_error = |line: &Value| line["level"] == "ERROR" && line["message"].to_string().contains("tenant.toml");
    platform.host.log_line("an error", is_error).await;
    let log = platform.host.log();
    let errors = log.iter().filter(|line| is_error(line));
    let errors = errors.map(|line| line["message"].as_str().unwrap().to_owned() + "\n");
    (errors.collect(), toml)
}

/// Upstreams, the line that is wrong, and what is told.
fn mistakes() -> Vec<(String, &'static str, &'static str)> {
    let with = |more: &str| format!("{GOOD}{more}\n");
    let instead = |from: &str, to: &str| GOOD.replace(from, to);
    vec![
        (
            instead("ldaps", "ldap"),
            "url = \"ldap://dc.contoso.example\"",
            "start_tls = true",
        ),
        (instead("ldaps", "https"), "url = \"https://", "`https` is no LDAP"),
        (
            instead("example\"\nbase", "example/dc=x\"\nbase"),
            "url = ",
            "belongs into `base`",
        ),
        (instead("ldaps://", "ldaps://ada:x@"), "url = ", "belong into `bind`"),
        (instead("dc.contoso.example", "10.1.2.3"), "url = ", "a private network"),
        (instead("dc.contoso.example", "[::1]"), "url = ", "this machine"),
        (
            instead("dc.contoso.example", "d_c!"),
            "url = ",
            "neither a name nor an address",
        ),
        (
            with("start_tls = true"),
            "start_tls = true",
            "encrypted from the first byte",
        ),
        (
            instead("ldaps", "ldap") + "start_tls = true\nplain_ldap = true\n",
            "plain_ldap = true",
            "contradicts `start_tls`",
        ),
        (
            instead("dc=contoso,dc=example", "contoso"),
            "base = \"contoso\"",
            "expected a distinguished name",
        ),
        (instead("[\"uid\"]", "[]"), "attributes = []", "expected 1 to 256 names"),
        (
            instead("[\"uid\"]", "[\"uid\", \"*\"]"),
            "attributes = [\"uid\", \"*\"]",
            "[\"*\"] alone",
        ),
        (
            instead("attributes = [\"uid\"]\n", ""),
            "[upstreams.corp]",
            "missing field `attributes`",
        ),
        (with("max_entry = 1"), "max_entry = 1", "did you mean `max_entries`?"),
        (with("max_entries = 0"), "max_entries = 0", "expected 1 to 10000"),
        (
            with("max_bytes = 9000000"),
            "max_bytes = 9000000",
            "expected 1 to 8388608",
        ),
        (with("page_size = 1001"), "page_size = 1001", "expected 1 to 1000"),
        (with("connections = 65"), "connections = 65", "expected 1 to 64"),
        (with("timeout = \"11s\""), "timeout = \"11s\"", "at most 10s"),
        (
            with("networks = [\"10.1.0.0/16\"]"),
            "networks = ",
            "claimsmith.toml needs: [egress.networks]",
        ),
        (
            with("bind = { dn = \"cn=x\", password = \"hunter2\" }"),
            "bind = ",
            "the secret itself does not belong here",
        ),
        (
            with("bind = { dn = \"cn=x\", password = \"file:none\" }"),
            "bind = ",
            "file:none cannot be read",
        ),
        (
            with("bind = { dn = \"cn=x\", password = \"file:empty\" }"),
            "bind = ",
            "the secret is empty",
        ),
        (
            with("bind = { dn = \"\", password = \"file:empty\" }"),
            "bind = ",
            "leave `bind` out",
        ),
        (with("ca = \"file:none\""), "ca = \"file:none\"", "cannot be read"),
        (
            with("ca = \"file:empty\""),
            "ca = \"file:empty\"",
            "holds no certificate in PEM",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_are_told_with_their_line() {
    for (upstreams, line, expected) in mistakes() {
        let (errors, toml) = errors(&upstreams, &[("empty", "\n")]).await;
        let number = toml.lines().position(|found| found.starts_with(line)).unwrap() + 1;
        let place = format!("tenant.toml:{number}:");
        assert!(errors.contains(expected), "{line}: {errors}");
        assert!(
            errors
                .lines()
                .any(|error| error.contains(&place) && error.contains(expected)),
            "{line}: line {number}: {errors}"
        );
        assert!(
            errors.contains("upstream `corp`") && !errors.contains("hunter2"),
            "{errors}"
        );
    }
}
