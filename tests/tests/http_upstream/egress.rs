//! No plugin and no tenant brings the host to connect where it may not: every try, and no connection there.

use std::net::IpAddr;
use std::str::FromStr as _;
use std::time::Duration;

use claimsmith_runtime::interface::http::{Error, Method, Request};
use claimsmith_runtime::{CallContext, HttpUpstream as _};
use claimsmith_tests::{ScriptedNames, Stage, Trap, Upstream, cases, eventually};
use claimsmith_upstreams::http::{HttpConfig, HttpUpstream};
use claimsmith_upstreams::secret::SecretScope;
use claimsmith_upstreams::{Egress, Network};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::{LOOPBACK, add_plugin, probe, probing, result, tenant, upstream};

/// A text of a case, with the forbidden target's address in it.
fn fill(text: &str, trap: &str) -> String {
    let port = trap.rsplit(':').next().unwrap();
    text.replace("{port}", port).replace("{trap}", trap)
}

fn address(trap: &Trap) -> String {
    trap.url("").replace("http://", "")
}

/// An upstream that opens no network.
fn unopened(index: usize, url: &str) -> String {
    format!("[upstreams.u{index}]\nkind = \"http\"\nurl = \"{url}\"\nplain_http = true\nallow = [\"GET /**\"]\n")
}

/// The address that a case's URL means, however it is written; none where it names none.
fn meant(case: &Value) -> Option<IpAddr> {
    let means = case
        .get("means")
        .unwrap_or_else(|| panic!("{case} does not say what it means"));
    means.as_str().map(|means| means.parse().unwrap())
}

/// Traps at the addresses of this machine that cases mean, at one port.
///
/// What is meant elsewhere cannot be listened at, and nobody can see there that it was not asked.
async fn traps(cases: &[Value]) -> Vec<Trap> {
    let mut meant: Vec<_> = cases.iter().filter_map(meant).filter(IpAddr::is_loopback).collect();
    meant.sort_unstable();
    meant.dedup();
    assert!(meant.len() > 1, "{meant:?}");
    let first = Trap::set().await;
    meant.retain(|address| *address != first.address().ip());
    let port = first.address().port();
    let mut traps = vec![first];
    for address in meant {
        traps.push(Trap::set_on((address, port).into()).await);
    }
    traps
}

/// That nobody was in a trap, and that each would have told.
async fn assert_unsprung(traps: &[Trap]) {
    for trap in traps {
        assert_eq!(trap.connections(), 0, "{trap:?}");
        let _there = TcpStream::connect(trap.address()).await.unwrap();
        eventually("the trap counts", async || trap.connections() == 1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_outside_the_public_internet_are_no_upstreams() {
    let cases = cases("egress/urls.json");
    assert!(cases.len() >= 40);
    let traps = traps(&cases).await;
    let trap = &traps[0];
    let stage = Stage::new().await;
    let mut upstreams = String::new();
    for (index, case) in cases.iter().enumerate() {
        let url = fill(case["url"].as_str().unwrap(), &address(trap));
        upstreams.push_str(&unopened(index, &url));
    }
    let toml = tenant(&stage, &upstreams, "");
    let stage = stage.tenant("contoso", &toml);
    add_plugin(&stage);
    let platform = stage.listen("json").await;
    let lines: Vec<_> = toml.lines().collect();
    for (index, case) in cases.iter().enumerate() {
        let refused = case["refused"].as_str().unwrap();
        let section = format!("[upstreams.u{index}]");
        let line = lines.iter().position(|line| *line == section).unwrap() + 3;
        let tells = |found: &Value| {
            let message = found["message"].as_str().unwrap_or_default();
            message.contains(&format!("tenant.toml:{line}:"))
                && message.contains(&format!("upstream `u{index}`"))
                && message.contains(refused)
        };
        platform.host.log_line(&format!("{case} refused"), tells).await;
    }
    assert_unsprung(&traps).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_such_addresses_lead_nowhere() {
    let cases = cases("egress/names.json");
    let traps = traps(&cases).await;
    let trap = &traps[0];
    let mut upstreams = String::new();
    for (index, case) in cases.iter().enumerate() {
        let url = fill(case["url"].as_str().unwrap(), &address(trap));
        upstreams.push_str(&unopened(index, &url));
    }
    let names: Vec<_> = (0..cases.len()).map(|index| format!("u{index}")).collect();
    let platform = probing("", &upstreams, &format!("{names:?}")).await;
    for (name, case) in names.iter().zip(&cases) {
        let request = serde_json::json!({ "upstream": name, "path": "/x" });
        let claims = probe(&platform, &request).await;
        assert_eq!(claims["results"][0], "unavailable", "{case} {claims}");
        let told = claims.to_string();
        assert!(!told.contains("127.0.0.1") && !told.contains("localhost"), "{told}");
    }
    let tells = |line: &Value| line["message"] == "egress refused" && line["refused"].to_string().contains("127.0.0.1");
    platform.host.log_line("the operator is told", tells).await;
    assert_unsprung(&traps).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_goes_where_the_upstream_is_open_or_nowhere() {
    let (trap, server) = (Trap::set().await, Upstream::start().await);
    let open = upstream("crm", &server.url(""), "").replace("\"GET /**\", \"POST /**\"", "\"GET /open/{name}\"");
    let closed = upstream("other", &server.url(""), "");
    let platform = probing(LOOPBACK, &format!("{open}{closed}"), "[\"crm\"]").await;
    let cases = cases("egress/requests.json");
    assert!(cases.len() >= 40);
    for mut case in cases {
        let expected = case.as_object_mut().unwrap().remove("expected").unwrap();
        let request: Value = serde_json::from_str(&fill(&case.to_string(), &address(&trap))).unwrap();
        let before = server.received().len();
        assert_eq!(result(&platform, &request).await, expected, "{request}");
        let sent = server.received().len() - before;
        assert_eq!(sent, usize::from(expected == "200"), "{request}");
    }
    assert_eq!(trap.connections(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_are_answers() {
    let (trap, server) = (Trap::set().await, Upstream::start().await);
    let platform = probing(LOOPBACK, &upstream("crm", &server.url(""), ""), "[\"crm\"]").await;
    let to = trap.url("/next");
    let request = serde_json::json!({ "path": "/redirect", "query": format!("to={to}") });
    let claims = probe(&platform, &request).await;
    assert_eq!(claims["results"][0], "302");
    let headers = claims["headers"].to_string();
    assert!(headers.contains(&format!("location: {to}")), "{headers}");
    assert_eq!(trap.connections(), 0);
}

/// An upstream `crm.example` with one network open and a resolver that answers so.
fn resolving(port: u16, answers: &[&[&str]]) -> HttpUpstream {
    let open = [Network::from_str("127.0.0.1").unwrap()];
    let egress = Egress::new(&open).with_lookup(ScriptedNames::answering(answers));
    let toml = format!("url = \"http://crm.example:{port}\"\nplain_http = true\nallow = [\"GET /**\"]\nretries = 0");
    let config: HttpConfig = toml::from_str(&toml).unwrap();
    let directory = std::path::Path::new(".");
    let tenant = "contoso";
    HttpUpstream::load(
        "crm",
        &config,
        SecretScope {
            tenant,
            directory,
            vault: None,
        },
        egress,
    )
    .unwrap()
}

async fn fetch(upstream: &HttpUpstream, path: &str) -> Result<u16, Error> {
    let request = Request {
        upstream: "crm".to_owned(),
        method: Method::Get,
        path: path.to_owned(),
        query: None,
        headers: Vec::new(),
        body: None,
        timeout_milliseconds: None,
    };
    let until = Instant::now() + Duration::from_secs(5);
    let fetched = upstream
        .fetch(
            request,
            CallContext {
                until,
                trace: 1,
                span: 1,
                is_sampled: false,
            },
        )
        .await;
    fetched.map(|response| response.status)
}

#[tokio::test]
async fn an_answer_that_changes_is_checked_each_time() {
    let server = Upstream::start().await;
    let port = server.address.port();
    // The same port of another address of this machine: what the name leads to later.
    let trap = Trap::set_on(([127, 0, 0, 2], port).into()).await;
    let changing = resolving(port, &[&["127.0.0.1"], &["127.0.0.2"]]);
    assert_eq!(fetch(&changing, "/x").await.unwrap(), 200);
    // Its connection is kept, and is to the address that was checked.
    assert_eq!(fetch(&changing, "/x").await.unwrap(), 200);
    assert!(matches!(fetch(&changing, "/close").await, Err(Error::Unavailable(_))));
    for _ in 0..3 {
        assert!(matches!(fetch(&changing, "/x").await, Err(Error::Unavailable(_))));
    }
    assert_eq!((server.connections(), trap.connections()), (1, 0));

    let mixed = resolving(port, &[&["127.0.0.2", "::1", "169.254.169.254", "127.0.0.1"]]);
    assert_eq!(fetch(&mixed, "/x").await.unwrap(), 200);
    let refused = resolving(port, &[&["127.0.0.2", "::ffff:127.0.0.1", "10.0.0.1"]]);
    assert!(matches!(fetch(&refused, "/x").await, Err(Error::Unavailable(_))));
    let none = resolving(port, &[&[]]);
    assert!(matches!(fetch(&none, "/x").await, Err(Error::Unavailable(_))));
    assert_eq!((server.connections(), trap.connections()), (2, 0));
}
