//! What arrives, and what is refused before or by the server.

use claimsmith_tests::smtp::{MailSecurity, MailServer};
use serde_json::{Value, json};

use super::{CODE, assert_untold, metrics, plain, probe, result, start};

fn header<'m>(message: &'m Value, name: &str) -> &'m str {
    let headers = message["headers"].as_array().unwrap();
    let found: Vec<_> = headers.iter().filter(|header| header[0] == name).collect();
    assert_eq!(found.len(), 1, "{name}: {headers:?}");
    found[0][1].as_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_arrives_as_it_was_written() {
    let server = MailServer::start(MailSecurity::None).await;
    let more = "reply_to = \"Help <help@contoso.example>\"\nheaders = { X-Stream = \"codes\" }";
    let platform = start(&plain(server.port, more)).await;
    let message = json!({
        "to": "Ada.Lovelace+otp@bücher.example", "subject": "Ihr Prüfcode für Contoso – ✓",
        "text": "Grüezi,\n\n.\n..\n40718263\n", "html": "<p>Grüezi <b>40718263</b>\n.\n</p>", "language": "de-CH",
    });
    let mut body = platform.body();
    body["data"]["authenticationContext"]["user"]["displayName"] = json!(message.to_string());
    let answer: Value = platform.call(&platform.token(), &body).await.json().await.unwrap();
    assert_eq!(
        claimsmith_tests::Platform::claims(&answer)["results"],
        json!(["ok"]),
        "{answer}"
    );

    let got = server.delivered(1).await.remove(0);
    assert_eq!(got["from"], "no-reply@contoso.example");
    assert_eq!(got["to"], json!(["Ada.Lovelace+otp@xn--bcher-kva.example"]));
    assert_eq!(got["text"], message["text"]);
    assert_eq!(got["html"], message["html"]);
    for (name, value) in [
        ("From", "Contoso <no-reply@contoso.example>"),
        ("To", "Ada.Lovelace+otp@xn--bcher-kva.example"),
        ("Reply-To", "Help <help@contoso.example>"),
        ("Subject", "Ihr Prüfcode für Contoso – ✓"),
        ("Auto-Submitted", "auto-generated"),
        ("Content-Language", "de-CH"),
        ("X-Stream", "codes"),
        ("MIME-Version", "1.0"),
    ] {
        assert_eq!(header(&got, name), value);
    }
    assert!(header(&got, "Content-Type").starts_with("multipart/alternative"));
    assert!(!header(&got, "Date").is_empty());
    // What Entra's sign-in log calls the sign-in, a mail server's log does too.
    let correlation = body["data"]["authenticationContext"]["correlationId"].as_str().unwrap();
    let id = header(&got, "Message-ID");
    assert!(id.starts_with(&format!("<{}.", correlation.replace('-', ""))), "{id}");
    assert!(id.ends_with("@contoso.example>"), "{id}");

    // Entra calls again when an answer is late: mailboxes see that it is the same message.
    platform.call(&platform.token(), &body).await;
    let messages = server.delivered(2).await;
    let ids: Vec<_> = messages.iter().map(|got| header(got, "Message-ID")).collect();
    assert_eq!(ids, [id, id]);
    assert_untold(&platform, CODE).await;
    assert_untold(&platform, "Lovelace").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_used_again_and_calls_are_counted() {
    let server = MailServer::start(MailSecurity::None).await;
    let platform = start(&plain(server.port, "")).await;
    for _ in 0..3 {
        let claims = probe(&platform, &json!({ "times": 2 })).await;
        assert_eq!(claims["results"], json!(["ok", "ok"]));
    }
    server.delivered(6).await;
    assert_eq!(server.connections(), 1);
    let counted = "claimsmith_capability_calls_total{tenant=\"contoso\",upstream=\"post\",function=\"mail.send\",result=\"ok\"} 6";
    let metrics = metrics(&platform).await;
    assert!(metrics.contains(counted), "{metrics}");
    let claims = probe(&platform, &json!({ "times": 18 })).await;
    let results = claims["results"].as_array().unwrap();
    assert_eq!(results[15..], ["ok", "quota-exceeded", "quota-exceeded"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_smuggled_into_a_message_or_past_it() {
    let server = MailServer::start(MailSecurity::None).await;
    let platform = start(&plain(server.port, "")).await;
    for to in [
        "ada@example.org\r\nRCPT TO:<eve@evil.example>",
        "ada@example.org\nBcc: eve@evil.example",
        "ada@example.org>\r\nDATA",
        "ada@example.org, eve@evil.example",
        "ada@example.org>,<eve@evil.example",
        "\"ada\r\n\"@example.org",
        "\"a>,<eve@evil.example\"@example.org",
        "Ada <ada@example.org>",
        "@evil.example:ada@example.org",
        "ada@[127.0.0.1]",
        "ada@localhost",
        "ada@example.org\u{0}",
        "",
    ] {
        let (result, error) = result(&platform, &json!({ "to": to })).await;
        assert_eq!(result, "invalid", "{to:?} {error}");
        assert!(!error.contains("ada"), "{error}");
    }
    for subject in [
        "Code\r\nBcc: eve@evil.example",
        "Code\nX: y",
        "Code\rX: y",
        "Code\u{2028}X",
        "",
        "\u{0}",
    ] {
        let (result, _) = result(&platform, &json!({ "subject": subject })).await;
        assert_eq!(result, "invalid", "{subject:?}");
    }
    for language in ["de\r\nBcc: eve@evil.example", "de_DE", ""] {
        let (result, _) = result(&platform, &json!({ "language": language })).await;
        assert_eq!(result, "invalid", "{language:?}");
    }
    assert_eq!(server.connections(), 0, "no server was asked");

    for end in ["\r\n.\r\n", "\n.\n", "\r.\r", "\n.\r\n", "\r\n.\n", "\r\n.\r"] {
        let text = format!("before{end}MAIL FROM:<eve@evil.example>\r\nRCPT TO:<ada@example.org>\r\nDATA\r\nafter");
        let before = server.messages().len();
        assert_eq!(result(&platform, &json!({ "text": text })).await.0, "ok", "{end:?}");
        let messages = server.delivered(before + 1).await;
        let got = messages.last().unwrap();
        assert_eq!(got["from"], "no-reply@contoso.example", "{end:?}");
        let lines = got["text"].as_str().unwrap().lines().collect::<Vec<_>>();
        assert_eq!(lines[..3], ["before", ".", "MAIL FROM:<eve@evil.example>"], "{end:?}");
        let content = got["content"].as_str().unwrap().replace("\r\n", "");
        assert!(!content.contains(['\r', '\n']), "{content:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_refuses_is_told_by_its_codes_alone() {
    let server = MailServer::start(MailSecurity::None).await;
    let platform = start(&plain(server.port, "")).await;
    for (local, result, code) in [
        ("nobody", "refused", "550 5.1.1"),
        ("spam", "refused", "554 5.7.1"),
        ("grey", "unavailable", "450 4.2.0"),
        ("busy", "unavailable", "451 4.3.0"),
        ("full", "unavailable", "452 4.2.2"),
        ("closing", "unavailable", "421 4.3.2"),
    ] {
        let found = super::result(&platform, &json!({ "to": format!("{local}@people.example") })).await;
        assert_eq!(found.0, result, "{local}: {}", found.1);
        assert!(found.1.contains(code), "{local}: {}", found.1);
        assert!(
            !found.1.contains("people.example") && !found.1.contains(CODE),
            "{}",
            found.1
        );
    }
    assert_eq!(server.messages().len(), 0);
    let refused = |line: &Value| line["message"] == "upstream refused a message" && line["reply"] == "550 5.1.1";
    platform.host.log_line("the operator is told the codes", refused).await;
    assert_untold(&platform, CODE).await;
    assert_untold(&platform, "nobody").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_has_its_recipients_and_its_size() {
    let server = MailServer::start(MailSecurity::None).await;
    let more = "recipients = [\"example.org\", \"*.contoso.example\", \"eve@fabrikam.example\"]\nmax_bytes = 100";
    let platform = start(&plain(server.port, more)).await;
    for (message, expected) in [
        (json!({ "to": "ada@example.org" }), "ok"),
        (json!({ "to": "ada@EXAMPLE.org" }), "ok"),
        (json!({ "to": "ada@mail.contoso.example" }), "ok"),
        (json!({ "to": "eve@fabrikam.example" }), "ok"),
        (json!({ "to": "ada@contoso.example" }), "not-allowed"),
        (json!({ "to": "ada@fabrikam.example" }), "not-allowed"),
        (json!({ "to": "ada@notexample.org" }), "not-allowed"),
        (json!({ "text_bytes": 91 }), "ok"),
        (json!({ "text_bytes": 92 }), "too-large"),
        (json!({ "upstream": "other" }), "not-granted"),
    ] {
        assert_eq!(result(&platform, &message).await.0, expected, "{message}");
    }
    server.delivered(5).await;
}
