//! A directory's name is resolved for each connection, and each answer is checked.

use std::fs;
use std::path::Path;
use std::str::FromStr as _;
use std::time::Duration;

use claimsmith_runtime::interface::directory::{Error, Scope, SearchRequest};
use claimsmith_runtime::{CallContext, DirectoryUpstream as _};
use claimsmith_tests::{ScriptedNames, Slapd, Trap, eventually, slapd};
use claimsmith_upstreams::directory::{DirectoryConfig, DirectoryUpstream};
use claimsmith_upstreams::secret::SecretScope;
use claimsmith_upstreams::{Egress, Network};
use tokio::time::Instant;

/// An upstream `corp.example` with these networks open and a resolver that answers so.
fn resolving(tenant: &Path, port: u16, open: &[&str], answers: &[&[&str]]) -> DirectoryUpstream {
    let open: Vec<_> = open.iter().map(|open| Network::from_str(open).unwrap()).collect();
    let egress = Egress::new(&open).with_lookup(ScriptedNames::answering(answers));
    let toml = format!(
        "url = \"ldap://corp.example:{port}\"\nplain_ldap = true\nbase = \"{}\"\nattributes = [\"*\"]\nconnections = 1
bind = {{ dn = \"{}\", password = \"file:service\" }}",
        slapd::BASE,
        slapd::SERVICE
    );
    let config: DirectoryConfig = toml::from_str(&toml).unwrap();
    let scope = SecretScope {
        tenant: "contoso",
        directory: tenant,
        vault: None,
    };
    DirectoryUpstream::load("corp", &config, scope, egress).unwrap()
}

async fn search(upstream: &DirectoryUpstream) -> Result<usize, Error> {
    let request = SearchRequest {
        upstream: "corp".to_owned(),
        base: None,
        scope: Scope::Base,
        filter: "(objectClass=*)".to_owned(),
        arguments: Vec::new(),
        attributes: Vec::new(),
        timeout_milliseconds: None,
    };
    let until = Instant::now() + Duration::from_secs(5);
    let context = CallContext {
        until,
        trace: 1,
        span: 1,
        is_sampled: false,
    };
    let found = upstream.search(request, context).await;
    found.map(|entries| entries.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_changes_is_checked_each_time() {
    let mut slapd = Slapd::start();
    let port = slapd.ldap.port();
    // The same port of another address of this machine: what the name leads to later.
    let trap = Trap::set_on(([127, 0, 0, 2], port).into()).await;
    let changing: &[&[&str]] = &[&["127.0.0.1"], &["127.0.0.2"]];
    let tenant = tempfile::tempdir().unwrap();
    fs::create_dir(tenant.path().join("secrets")).unwrap();
    fs::write(tenant.path().join("secrets/service"), slapd::SERVICE_PASSWORD).unwrap();
    let checked = resolving(tenant.path(), port, &["127.0.0.1"], changing);
    let opened = resolving(tenant.path(), port, &["127.0.0.0/8"], changing);
    for upstream in [&checked, &opened] {
        assert_eq!(search(upstream).await.unwrap(), 1);
    }
    // Connections are kept until they end.
    slapd.stop();
    slapd.start_again();
    for _ in 0..3 {
        let found = search(&checked).await;
        assert!(matches!(found, Err(Error::Unavailable(_))), "{found:?}");
    }
    assert_eq!(trap.connections(), 0);
    // Whoever has opened that address is led there: the trap counts.
    let found = search(&opened).await;
    assert!(found.is_err(), "{found:?}");
    eventually("the trap counts", async || trap.connections() > 0).await;
}
