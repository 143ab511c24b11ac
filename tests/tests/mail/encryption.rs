//! Who reads along, and who the server and the host are to each other.

use claimsmith_tests::smtp::{MailSecurity, MailServer};
use claimsmith_tests::{Authority, Platform};
use serde_json::{Value, json};

use super::{assert_untold, result, upstream, with_secrets};

const PASSWORD: &str = "planted-open-sesame";
const LOGIN: &str = "ca = \"file:ca\"\nauthentication = { username = \"claimsmith\", password = \"file:smtp\" }";

async fn start(scheme: &str, server: &MailServer, ca: &Authority, password: &str) -> Platform {
    let url = format!("{scheme}://localhost:{}", server.port);
    with_secrets(&upstream(&url, LOGIN), &[("ca", &ca.pem()), ("smtp", password)]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_go_over_tls_to_a_server_that_knows_the_host() {
    let ca = Authority::new();
    for (scheme, security) in [
        ("smtps", MailSecurity::Tls(&ca, "localhost")),
        ("smtp", MailSecurity::StartTls(&ca, "localhost")),
    ] {
        let server = MailServer::start_with(security, Some(("claimsmith", PASSWORD))).await;
        let platform = start(scheme, &server, &ca, PASSWORD).await;
        assert_eq!(
            result(&platform, &json!({})).await,
            ("ok".into(), String::new()),
            "{scheme}"
        );
        let got = server.delivered(1).await.remove(0);
        assert_eq!(
            (&got["encrypted"], &got["user"]),
            (&json!(true), &json!("claimsmith")),
            "{scheme}"
        );
        assert_untold(&platform, PASSWORD).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_said_to_a_server_that_is_somebody_else() {
    let (ca, other) = (Authority::new(), Authority::new());
    for (scheme, security) in [
        ("smtps", MailSecurity::Tls(&other, "localhost")),
        ("smtps", MailSecurity::Tls(&ca, "mail.example")),
        ("smtp", MailSecurity::StartTls(&other, "localhost")),
        ("smtp", MailSecurity::StartTls(&ca, "mail.example")),
        // Speaks without TLS where it is spoken from the start.
        ("smtps", MailSecurity::None),
        // Offers none, as somebody on the way would have it.
        ("smtp", MailSecurity::None),
    ] {
        let server = MailServer::start(security).await;
        let platform = start(scheme, &server, &ca, PASSWORD).await;
        let (found, error) = result(&platform, &json!({})).await;
        assert_eq!(found, "unavailable", "{scheme} {security:?} {error}");
        assert_eq!(server.messages(), [] as [Value; 0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_are_not_taken_are_the_operators_to_mend() {
    let ca = Authority::new();
    let security = MailSecurity::StartTls(&ca, "localhost");
    let server = MailServer::start_with(security, Some(("claimsmith", PASSWORD))).await;
    let platform = start("smtp", &server, &ca, "planted-wrong").await;
    let (found, error) = result(&platform, &json!({})).await;
    assert_eq!(found, "unavailable");
    assert!(error.contains("credentials") && !error.contains("planted"), "{error}");
    let told = |line: &Value| line["message"] == "upstream cannot be authenticated to" && line["level"] == "WARN";
    let line = platform.host.log_line("the operator is told", told).await;
    assert!(line["why"].as_str().unwrap().contains("535"), "{line}");
    assert_untold(&platform, "planted").await;
    assert_eq!(server.messages(), [] as [Value; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn replies_from_before_tls_are_not_taken_for_encrypted_ones() {
    let ca = Authority::new();
    let security = MailSecurity::InjectedStartTls(&ca, "localhost");
    let server = MailServer::start_with(security, Some(("claimsmith", PASSWORD))).await;
    let platform = start("smtp", &server, &ca, PASSWORD).await;
    let (found, error) = result(&platform, &json!({})).await;
    assert_eq!(found, "unavailable", "{error}");
    let failed = |line: &Value| line["upstream"] == "post" && line["cause"].to_string().contains("corrupt");
    platform.host.log_line("TLS does not take them", failed).await;
    assert_eq!(server.messages(), [] as [Value; 0]);
}
