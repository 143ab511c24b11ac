//! What is found, what is not, and what limits there are.

use claimsmith_tests::slapd::{ADA, BASE, BULK};
use claimsmith_tests::{Slapd, Trap};
use serde_json::{Value, json};

use super::{SECRETS, corp, probe, result, start};

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_reads_what_a_directory_knows() {
    let slapd = Slapd::start();
    let platform = start(&corp(&slapd, ""), SECRETS).await;
    let asked = json!({
        "filter": "(&(objectClass=person)(mail={mail}))", "arguments": { "mail": "ada@contoso.example" },
        "attributes": ["memberOf", "employeetype", "jpegPhoto"],
    });
    let claims = probe(&platform, &asked).await;
    assert_eq!(claims["names"], json!([ADA]), "{claims}");
    let mut values: Vec<_> = claims["values"]
        .as_array()
        .unwrap()
        .iter()
        .map(|value| value.as_str().unwrap())
        .collect();
    values.sort_unstable();
    let expected = [
        "employeeType: staff",
        "jpegPhoto: 6 bytes",
        "memberOf: cn=admins,ou=groups,dc=contoso,dc=example",
        "memberOf: cn=readers,ou=groups,dc=contoso,dc=example",
    ];
    // The directory may name an attribute as it was asked for.
    assert_eq!(values.len(), expected.len(), "{values:?}");
    for (value, expected) in values.iter().zip(expected) {
        assert!(value.eq_ignore_ascii_case(expected), "{value} {expected}");
    }
    for (asked, expected) in [
        // No attributes are none, and not all.
        (json!({ "filter": "(uid=ada)" }), "1"),
        (
            json!({ "base": "ou=people,dc=contoso,dc=example", "scope": "base" }),
            "1",
        ),
        (
            json!({ "base": "ou={ou},dc=contoso,dc=example", "scope": "one-level", "arguments": { "ou": "groups" } }),
            "3",
        ),
        (json!({ "filter": "(uid=nobody)" }), "0"),
        // What does not exist has no entries.
        (json!({ "base": "ou=nowhere,dc=contoso,dc=example" }), "0"),
    ] {
        let claims = probe(&platform, &asked).await;
        assert_eq!(claims["results"][0], expected, "{asked} {claims}");
        assert_eq!(claims["values"], json!([]), "{asked}");
    }
    let binds = slapd.log().matches(" BIND dn=\"cn=claimsmith").count();
    assert!(
        slapd.connections() == 1 && binds > 0,
        "connections are used again:\n{}",
        slapd.log()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_somebody_types_finds_nobody_else() {
    let slapd = Slapd::start();
    let platform = start(&corp(&slapd, ""), SECRETS).await;
    let search = |value: &str| json!({ "filter": "(&(objectClass=person)(uid={uid}))", "arguments": { "uid": value } });
    assert_eq!(result(&platform, &search("ada")).await, "1");
    for hostile in [
        "*",
        "a*",
        "*)(uid=*",
        "ada)(|(uid=*",
        "*)(objectClass=*",
        "ada)(userPassword=*)",
        "nobody)(!(uid=nobody)",
        "*))(|(uid=*",
        r"\2a",
        r"\61da",
        "ada\0",
        "ada)\0(",
        "{uid}",
        "(uid=ada)",
        "&(uid=ada)",
        "=ada",
        "ada=",
        "ada,ou=people",
        "\u{ff0a}",
        "x)(cn={uid}",
    ] {
        let claims = probe(&platform, &search(hostile)).await;
        assert_eq!(claims["results"][0], "0", "{hostile:?} {claims}");
        let named = json!({
            "base": "uid={uid},ou=people,dc=contoso,dc=example", "scope": "base", "arguments": { "uid": hostile },
        });
        let claims = probe(&platform, &named).await;
        assert_eq!(claims["results"][0], "0", "{hostile:?} {claims}");
    }
    // What looks hostile and is somebody's name finds this one.
    let odd = json!({ "filter": "(cn={cn})", "arguments": { "cn": "Murray, (Grace) *" } });
    assert_eq!(result(&platform, &odd).await, "1");
    let odd = json!({ "base": "cn={cn},ou=people,dc=contoso,dc=example", "scope": "base", "arguments": { "cn": "Murray, (Grace) *" } });
    assert_eq!(result(&platform, &odd).await, "1");
    let member = json!({ "filter": "(member={dn})", "arguments": { "dn": r"cn=Murray\, (Grace) \2A,ou=people,dc=contoso,dc=example" } });
    assert_eq!(result(&platform, &member).await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_malformed_or_not_allowed_does_not_reach_the_directory() {
    let slapd = Slapd::start();
    let upstreams = corp(&slapd, "attributes = [\"uid\", \"mail\"]");
    let platform = start(&upstreams, SECRETS).await;
    for (asked, expected) in [
        (json!({ "filter": "(uid=ada" }), "invalid"),
        (json!({ "filter": "(uid={uid})" }), "invalid"),
        (
            json!({ "filter": "(uid={uid})", "arguments": { "uid": "" } }),
            "invalid",
        ),
        (
            json!({ "filter": "(uid=ada)", "arguments": { "uid": "ada" } }),
            "invalid",
        ),
        (
            json!({ "filter": "(!".repeat(40) + "(uid=a)" + &")".repeat(40) }),
            "invalid",
        ),
        (json!({ "filter": "(".repeat(7_000) }), "invalid"),
        (json!({ "filter": format!("(uid={})", "a".repeat(9_000)) }), "invalid"),
        (json!({ "base": "people" }), "invalid"),
        (json!({ "base": "dc=example" }), "not-allowed"),
        (json!({ "base": "cn=config" }), "not-allowed"),
        (json!({ "attributes": ["userPassword"] }), "not-allowed"),
        (json!({ "attributes": ["*"] }), "not-allowed"),
        (json!({ "filter": "(userPassword=*)" }), "not-allowed"),
        (json!({ "filter": "(uid=ada)", "upstream": "other" }), "not-granted"),
        (json!({ "dn": ADA, "password": "x" }), "not-allowed"),
    ] {
        let claims = probe(&platform, &asked).await;
        assert_eq!(claims["results"][0], expected, "{asked} {claims}");
    }
    assert_eq!(slapd.connections(), 0);
    assert_eq!(
        result(&platform, &json!({ "filter": "(uid=ada)", "attributes": ["mail"] })).await,
        "1"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_bytes_and_calls_have_limits() {
    let slapd = Slapd::start();
    let more = |name: &str, more: &str| corp(&slapd, more).replace("[upstreams.corp]", &format!("[upstreams.{name}]"));
    let upstreams = more("paged", "max_entries = 250\npage_size = 60")
        + &more("exact", "max_entries = 250\npage_size = 250")
        + &more("few", "max_entries = 249\npage_size = 50")
        + &more("fewer", "max_entries = 10")
        + &more("small", "max_entries = 250\nmax_bytes = 20000");
    let platform = start(&upstreams, SECRETS).await;
    let bulk = |upstream: &str| json!({ "upstream": upstream, "filter": "(cn=Bulk)", "attributes": ["sn"] });
    let all = BULK.to_string();
    for (upstream, expected) in [
        ("paged", all.as_str()),
        ("exact", &all),
        ("few", "too-large"),
        ("fewer", "too-large"),
        ("small", "too-large"),
    ] {
        let claims = probe(&platform, &bulk(upstream)).await;
        assert_eq!(claims["results"][0], expected, "{upstream} {claims}");
    }
    // Too much is the search's fault, not the directory's: it is asked on.
    for _ in 0..12 {
        assert_eq!(result(&platform, &bulk("fewer")).await, "too-large");
    }
    assert_eq!(
        result(&platform, &json!({ "upstream": "fewer", "filter": "(uid=ada)" })).await,
        "1"
    );
    let claims = probe(
        &platform,
        &json!({ "upstream": "paged", "filter": "(uid=ada)", "times": 18 }),
    )
    .await;
    let results: Vec<_> = claims["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|found| found.as_str().unwrap())
        .collect();
    assert_eq!(results[..16], ["1"; 16]);
    assert_eq!(results[16..], ["quota-exceeded"; 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_referral_is_not_followed() {
    let trap = Trap::set().await;
    let slapd = Slapd::start_with_entries(&format!(
        "\ndn: ou=elsewhere,{BASE}\nobjectClass: referral\nobjectClass: extensibleObject\nou: elsewhere\nref: {}/{BASE}\n",
        trap.url("").replace("http:", "ldap:")
    ));
    let platform = start(&corp(&slapd, ""), SECRETS).await;
    let below = json!({ "filter": "(uid=ada)" });
    assert_eq!(result(&platform, &below).await, "1", "what the directory has itself");
    let at = json!({ "base": format!("ou=elsewhere,{BASE}") });
    let claims = probe(&platform, &at).await;
    assert_eq!(claims["results"][0], "failed", "{claims}");
    assert!(
        claims["error"].as_str().unwrap().contains("rc=10 (referral)"),
        "{claims}"
    );
    assert!(!Value::from(platform.host.log()).to_string().contains("panicked"));
    assert_eq!(trap.connections(), 0);
}
