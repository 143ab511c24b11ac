//! The plugin `otp-mailer`: Entra wants a code to reach somebody, and it does, by the team's mail server or a mail
//! service, or else Entra sends it.

use std::fs;
use std::path::Path;

use claimsmith_local_entra::{CodeDelivered, Config, LocalEntra, SendOtpRequest};
use claimsmith_tests::smtp::{MailSecurity, MailServer};
use claimsmith_tests::{Authority, Platform, Stage, Upstream, audit, eventually, plugin, world};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{CODE, LOOPBACK, assert_untold, plain, upstream};

/// The directory of customers and the extension for codes of the local Entra's example.
const CUSTOMERS: Uuid = Uuid::from_u128(0xa1b2_c3d4_0000_4000_8000_0000_0000_0001);
const EXTENSION: Uuid = Uuid::from_u128(0xa1b2_c3d4_0000_4000_8000_0000_0000_00c4);

/// A host whose plugin sends codes with these settings (TOML).
async fn start(host: &str, upstreams: &str, settings: &str, secrets: &[(&str, &str)]) -> Platform {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../host/local-entra/example.toml");
    let config = Config::load(&example).unwrap();
    let listen = ([127, 0, 0, 1], 0).into();
    let entra = LocalEntra::start(Config { listen, ..config }).await.unwrap();
    let stage = Stage::with(entra).host_config(host);
    let toml = format!(
        "{}\n{upstreams}
[extensions.codes]
event = \"emailOtpSend\"
audiences = [\"a1b2c3d4-0000-4000-8000-0000000000d1\"]
[[extensions.codes.bindings]]
plugin = \"otp-mailer\"
upstreams = [\"post\"]
[extensions.codes.bindings.settings]
brand = \"Contoso\"
{settings}",
        world::directories_toml(&stage.entra)
    );
    let tenant = stage.file("tenants/contoso");
    for directory in ["plugins", "secrets"] {
        fs::create_dir_all(tenant.join(directory)).unwrap();
    }
    fs::copy(plugin("otp-mailer"), tenant.join("plugins/otp-mailer.wasm")).unwrap();
    for (name, secret) in secrets {
        fs::write(tenant.join("secrets").join(name), secret).unwrap();
    }
    fs::write(tenant.join("tenant.toml"), toml).unwrap();
    let platform = stage.start().await;
    let url = platform.url_of("contoso", "codes");
    platform.entra.set_target_url(EXTENSION, &url).unwrap();
    platform
}

fn request(identifier: &str, locale: &str) -> SendOtpRequest {
    let mut request = SendOtpRequest {
        one_time_code: Some(CODE.to_owned()),
        ..SendOtpRequest::new(CUSTOMERS, identifier, "Shop")
    };
    locale.clone_into(&mut request.circumstances.client.locale);
    request
}

async fn send(platform: &Platform, identifier: &str, locale: &str) -> CodeDelivered {
    let outcome = platform.entra.send_otp(&request(identifier, locale)).await.unwrap();
    outcome.result.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_reaches_its_user_in_the_users_language_and_nobody_else() {
    let ca = Authority::new();
    let security = MailSecurity::StartTls(&ca, "localhost");
    let server = MailServer::start_with(security, Some(("claimsmith", "planted-password"))).await;
    let more = "ca = \"file:ca\"\nauthentication = { username = \"claimsmith\", password = \"file:smtp\" }";
    let upstreams = upstream(&format!("smtp://localhost:{}", server.port), more);
    // Records are in the store when answers come, so that it can be searched for the code.
    let host = format!("egress.networks.contoso = [\"127.0.0.0/8\"]\n{}", audit::REQUIRED);
    let settings = "mail = { upstream = \"post\" }";
    let secrets = [("ca", ca.pem()), ("smtp", "planted-password".to_owned())];
    let secrets = secrets.each_ref().map(|(name, secret)| (*name, secret.as_str()));
    let platform = start(&host, &upstreams, settings, &secrets).await;
    for (locale, language, subject) in [
        ("de-at", "de", "Ihr Code für Contoso"),
        ("fr-fr", "fr", "Votre code Contoso"),
        ("fi-fi", "en", "Your Contoso code"),
    ] {
        let before = server.messages().len();
        let sent = send(&platform, "ada@example.org", locale).await;
        assert_eq!(sent, CodeDelivered::ByExtension, "{locale}");
        let messages = server.delivered(before + 1).await;
        let got = messages.last().unwrap();
        let header = |name: &str| {
            let headers = got["headers"].as_array().unwrap();
            headers.iter().find(|header| header[0] == name).unwrap()[1].clone()
        };
        assert_eq!(
            (header("Subject"), header("Content-Language")),
            (json!(subject), json!(language))
        );
        assert_eq!(
            (&got["to"], &got["encrypted"]),
            (&json!(["ada@example.org"]), &json!(true))
        );
        for part in ["text", "html"] {
            let text = got[part].as_str().unwrap();
            assert!(text.contains(CODE) && text.contains("Shop"), "{text}");
        }
    }
    for secret in [CODE, "planted-password"] {
        assert_untold(&platform, secret).await;
        audit::assert_nowhere_in_store(platform.directory.path(), secret);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_sent_is_sent_by_microsoft() {
    let mut server = MailServer::start(MailSecurity::None).await;
    let upstreams = plain(server.port, "recipients = [\"example.org\"]");
    let platform = start(LOOPBACK, &upstreams, "mail = { upstream = \"post\" }", &[]).await;
    for (identifier, code) in [
        ("nobody@example.org", "plugin_rejected"),
        ("grey@example.org", "plugin_unavailable"),
        ("slow@example.org", "plugin_unavailable"),
        ("ada@fabrikam.example", "plugin_rejected"),
        ("crash@example.org", "plugin_unavailable"),
        // It is down since then.
        ("ada@example.org", "plugin_unavailable"),
    ] {
        let mark = platform.host.log_mark();
        let sent = send(&platform, identifier, "en-us").await;
        assert_eq!(sent, CodeDelivered::ByMicrosoftAfterFailure, "{identifier}");
        let line = platform.host.callout_line(mark).await;
        assert_eq!(line["outcome"], code, "{identifier}: {line}");
    }
    server.restart().await;
    assert_eq!(
        send(&platform, "ada@example.org", "en-us").await,
        CodeDelivered::ByExtension
    );
    assert_untold(&platform, CODE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_is_sent_by_a_mail_services_interface() {
    let service = Upstream::start().await;
    let upstreams = format!(
        "[upstreams.post]\nkind = \"http\"\nurl = \"{}\"\nplain_http = true\nallow = [\"POST /send\", \"POST /status/{{code}}\"]
networks = [\"127.0.0.0/8\"]\nauthentication.bearer = {{ token = \"file:key\" }}\n",
        service.url("")
    );
    let settings = |path: &str| {
        format!(
            "http.upstream = \"post\"\nhttp.path = \"{path}\"\nhttp.body = {{ to = [\"{{to}}\"], subject = \"{{subject}}\", \
             text = \"{{text}}\", html = \"{{html}}\" }}"
        )
    };
    let secrets = [("key", "planted-key")];
    let platform = start(LOOPBACK, &upstreams, &settings("/send"), &secrets).await;
    assert_eq!(
        send(&platform, "ada@example.org", "nl").await,
        CodeDelivered::ByExtension
    );
    let requests = service.requests("/send");
    assert_eq!(requests.len(), 1);
    let head = requests[0].head.to_ascii_lowercase();
    assert!(head.contains("authorization: bearer planted-key"), "{head}");
    let body: Value = serde_json::from_slice(&requests[0].body).unwrap();
    assert_eq!(
        (&body["to"], &body["subject"]),
        (&json!(["ada@example.org"]), &json!("Uw code voor Contoso"))
    );
    assert!(body["text"].as_str().unwrap().contains(CODE) && body["html"].as_str().unwrap().contains(CODE));
    assert_untold(&platform, CODE).await;

    for (status, code) in [
        (422, "plugin_rejected"),
        (401, "plugin_internal"),
        (503, "plugin_unavailable"),
    ] {
        let toml = fs::read_to_string(platform.tenant_file("tenant.toml")).unwrap();
        let path = toml.lines().find(|line| line.starts_with("http.path")).unwrap();
        let changed = toml.replace(path, &format!("http.path = \"/status/{status}\""));
        fs::write(platform.tenant_file("tenant.toml"), changed).unwrap();
        eventually("the settings are another", async || {
            let mark = platform.host.log_mark();
            let sent = send(&platform, "ada@example.org", "nl").await;
            platform.host.callout_line(mark).await["outcome"] == code && sent == CodeDelivered::ByMicrosoftAfterFailure
        })
        .await;
    }
    assert_untold(&platform, CODE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_and_grants_that_cannot_be_used_are_told_with_their_line() {
    let server = MailServer::start(MailSecurity::None).await;
    let platform = start(LOOPBACK, &plain(server.port, ""), "mail = { upstream = \"post\" }", &[]).await;
    let toml = fs::read_to_string(platform.tenant_file("tenant.toml")).unwrap();
    let wrong = toml.replace("mail = { upstream = \"post\" }", "mail = { upstream = \"pots\" }");
    fs::write(platform.tenant_file("tenant.toml"), wrong).unwrap();
    let told = |line: &Value| {
        let message = line["message"].to_string();
        line["level"] == "ERROR" && message.contains("upstream `pots` is not among the binding's `upstreams` (post)")
    };
    let line = platform.host.log_line("the operator is told", told).await;
    assert!(line["message"].as_str().unwrap().contains("tenant.toml:"), "{line}");
    let wrong = "templates.en = { subject = \"Code\", text = \"{cdoe}\" }";
    fs::write(platform.tenant_file("tenant.toml"), format!("{toml}\n{wrong}\n")).unwrap();
    let told = |line: &Value| {
        line["level"] == "ERROR"
            && line["message"]
                .to_string()
                .contains("there is no `{cdoe}`; expected one of: code")
    };
    let line = platform.host.log_line("the operator is told", told).await;
    assert!(line["message"].as_str().unwrap().contains("tenant.toml:"), "{line}");
    assert_eq!(
        send(&platform, "ada@example.org", "en").await,
        CodeDelivered::ByExtension,
        "the last good state"
    );
}
