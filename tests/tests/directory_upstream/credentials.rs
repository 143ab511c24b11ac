//! Who the host is to the directory, whose passwords are right, and with whom TLS is spoken.

use std::fs;

use claimsmith_tests::slapd::{ADA, ADA_PASSWORD, BASE, SERVICE, SERVICE_PASSWORD};
use claimsmith_tests::{Authority, Slapd, eventually};
use serde_json::{Value, json};

use super::{SECRETS, assert_untold, corp, probe, result, start, upstream};

#[tokio::test(flavor = "multi_thread")]
async fn the_directory_says_whether_a_password_is_right() {
    let slapd = Slapd::start();
    let platform = start(&corp(&slapd, "allow_authenticate = true"), SECRETS).await;
    let ask = |dn: &str, password: &str| json!({ "dn": dn, "password": password });
    for (dn, password, expected) in [
        (ADA, ADA_PASSWORD, "true"),
        (ADA, "wrong", "false"),
        ("UID=Ada, ou=people,dc=contoso,dc=example", ADA_PASSWORD, "true"),
        // slapd takes a bind without a password for anonymous, and says that it succeeded.
        (ADA, "", "false"),
        (ADA, &"x".repeat(1_025), "invalid"),
        ("uid=nobody,ou=people,dc=contoso,dc=example", ADA_PASSWORD, "false"),
        // Without a password at all.
        ("uid=twin-1,ou=people,dc=contoso,dc=example", ADA_PASSWORD, "false"),
        ("", ADA_PASSWORD, "invalid"),
        ("ada", ADA_PASSWORD, "invalid"),
        ("cn=admin,dc=other,dc=example", ADA_PASSWORD, "not-allowed"),
    ] {
        let claims = probe(&platform, &ask(dn, password)).await;
        assert_eq!(claims["results"][0], expected, "{dn} {claims}");
    }
    assert_eq!(slapd.log().matches("BIND dn=\"\"").count(), 0, "{}", slapd.log());
    // Whoever was authenticated is nobody on the connections that searches use.
    let search = json!({ "filter": "(uid=grace)" });
    assert_eq!(result(&platform, &search).await, "1");
    let told = probe(&platform, &ask(ADA, ADA_PASSWORD)).await;
    // Nor does its digest tell a password: digests of the same name are the same.
    let digest = |line: &Value| (line["function"] == "directory.authenticate").then(|| line["arguments"].clone());
    let log = platform.host.log();
    let mut digests: Vec<_> = log.iter().filter_map(digest).take(2).collect();
    digests.dedup();
    assert_eq!(digests.len(), 1, "{digests:?}");
    assert_untold(&platform, &told, &[SERVICE_PASSWORD]);
    // The callout's body holds this one, as a test asks for it; the log does not.
    assert_untold(&platform, &Value::Null, &[ADA_PASSWORD]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hosts_password_follows_its_file() {
    let slapd = Slapd::start();
    let platform = start(&corp(&slapd, ""), &[("service", "wrong-2f7a")]).await;
    let search = json!({ "filter": "(uid=ada)" });
    let claims = probe(&platform, &search).await;
    assert_eq!(claims["results"][0], "unavailable", "{claims}");
    let warned = |line: &Value| line["message"] == "upstream does not take the credentials of `bind`";
    let line = platform.host.log_line("the operator is told", warned).await;
    assert_eq!(line["result"], "rc=49 (invalidCredentials)", "{line}");
    assert_untold(&platform, &claims, &["wrong-2f7a"]);
    fs::write(platform.tenant_file("secrets/service"), format!("{SERVICE_PASSWORD}\n")).unwrap();
    eventually("the new password is used", async || {
        result(&platform, &search).await == "1"
    })
    .await;
    assert_untold(&platform, &Value::Null, &[SERVICE_PASSWORD]);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_are_not_tried_until_the_account_is_locked() {
    let slapd = Slapd::start();
    let platform = start(&corp(&slapd, ""), &[("service", "wrong")]).await;
    for _ in 0..14 {
        assert_eq!(
            result(&platform, &json!({ "filter": "(uid=ada)" })).await,
            "unavailable"
        );
    }
    assert_eq!(slapd.log().matches(" BIND dn=\"cn=claimsmith").count(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_credentials_the_host_is_nobody() {
    let slapd = Slapd::start();
    let platform = start(&upstream("corp", slapd.ldap, ""), &[]).await;
    let claims = probe(&platform, &json!({ "filter": "(uid=ada)" })).await;
    // slapd lets nobody read, and does not say that there is something.
    assert_eq!(claims["results"][0], "failed", "{claims}");
    assert!(
        claims["error"].as_str().unwrap().contains("rc=32 (noSuchObject)"),
        "{claims}"
    );
    assert!(!slapd.log().contains(" BIND "), "{}", slapd.log());
}

/// An upstream that is encrypted.
fn encrypted(name: &str, url: &str, more: &str) -> String {
    format!(
        "[upstreams.{name}]\nkind = \"directory\"\nurl = \"{url}\"\nbase = \"{BASE}\"\nattributes = [\"*\"]
networks = [\"127.0.0.0/8\", \"::1/128\"]\nbind = {{ dn = \"{SERVICE}\", password = \"file:service\" }}\n{more}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_with_whom_it_should_be() {
    let (authority, other) = (Authority::new(), Authority::new());
    let good = Slapd::start_with(&authority, "localhost");
    let misnamed = Slapd::start_with(&authority, "elsewhere.example");
    let foreign = Slapd::start_with(&other, "localhost");
    let mut upstreams = String::new();
    for (name, slapd) in [("good", &good), ("misnamed", &misnamed), ("foreign", &foreign)] {
        let ldaps = format!("ldaps://localhost:{}", slapd.ldaps.port());
        let ldap = format!("ldap://localhost:{}", slapd.ldap.port());
        upstreams += &encrypted(&format!("{name}-ldaps"), &ldaps, "ca = \"file:ca\"");
        upstreams += &encrypted(&format!("{name}-starttls"), &ldap, "ca = \"file:ca\"\nstart_tls = true");
    }
    let ldaps = format!("ldaps://localhost:{}", good.ldaps.port());
    upstreams += &encrypted("public", &ldaps, "");
    // The address is the right one, and not what the certificate is for.
    upstreams += &encrypted("address", &format!("ldaps://{}", good.ldaps), "ca = \"file:ca\"");
    // No LDAP is spoken on this port before TLS, nor TLS on the other.
    let wrong_port = format!("ldap://localhost:{}", good.ldaps.port());
    upstreams += &encrypted("starttls-at-ldaps", &wrong_port, "ca = \"file:ca\"\nstart_tls = true");
    let wrong_port = format!("ldaps://localhost:{}", good.ldap.port());
    upstreams += &encrypted("ldaps-at-ldap", &wrong_port, "ca = \"file:ca\"");
    let pem = authority.pem();
    let platform = start(&upstreams, &[("ca", &pem), ("service", SERVICE_PASSWORD)]).await;
    for (name, expected) in [
        ("good-ldaps", "1"),
        ("good-starttls", "1"),
        ("misnamed-ldaps", "unavailable"),
        ("misnamed-starttls", "unavailable"),
        ("foreign-ldaps", "unavailable"),
        ("foreign-starttls", "unavailable"),
        ("public", "unavailable"),
        ("address", "unavailable"),
        ("starttls-at-ldaps", "unavailable"),
        ("ldaps-at-ldap", "unavailable"),
    ] {
        let claims = probe(&platform, &json!({ "upstream": name, "filter": "(uid=ada)" })).await;
        assert_eq!(claims["results"][0], expected, "{name} {claims}");
    }
    for slapd in [&misnamed, &foreign] {
        assert!(
            !slapd.log().contains(" BIND "),
            "nobody else gets the password: {}",
            slapd.log()
        );
    }
    assert_eq!(good.log().matches(" TLS established").count(), 2, "{}", good.log());
    assert_untold(&platform, &Value::Null, &[SERVICE_PASSWORD]);
}
