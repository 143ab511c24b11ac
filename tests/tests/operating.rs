//! What operators do before and around a running service: begin, check, have a service manager watch it, and shut it in.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::allow_attributes,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

use claimsmith_tests::world::DIRECTORY;
use claimsmith_tests::{Authority, Host, Platform, Stage, eventually, plugin, run, world};
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::timeout;
use uuid::Uuid;

#[tokio::test(flavor = "multi_thread")]
async fn what_init_writes_is_accepted_and_serves() {
    let directory = TempDir::new().unwrap();
    let ended = run(directory.path(), &["init", "new"], "").await;
    assert_eq!(ended.code, 0, "{ended:?}");
    let new = directory.path().join("new");
    let ended = run(&new, &["check"], "").await;
    assert_eq!(
        (ended.code, ended.output.as_str()),
        (0, "0 tenants would be served, with 0 extensions and 0 bindings\n")
    );

    // As it says: rename the example, put the plugin into plugins/, fill it in.
    let tenant = new.join("tenants/contoso");
    fs::rename(new.join("tenants/.example"), &tenant).unwrap();
    fs::create_dir(tenant.join("plugins")).unwrap();
    fs::copy(plugin("attribute-map"), tenant.join("plugins/attribute-map.wasm")).unwrap();
    let ended = run(&new, &["check"], "").await;
    assert!(
        ended.code == 1 && ended.output.contains("id must not be all zeros"),
        "{ended:?}"
    );
    assert!(ended.output.contains("the audience must not be all zeros"), "{ended:?}");
    let text = fs::read_to_string(tenant.join("tenant.toml")).unwrap();
    let filled_in = text.replace(&Uuid::nil().to_string(), &DIRECTORY.to_string());
    fs::write(tenant.join("tenant.toml"), filled_in).unwrap();
    let ended = run(&new, &["check"], "").await;
    let served = "1 tenant would be served, with 1 extension and 1 binding\n";
    assert_eq!((ended.code, ended.output.as_str()), (0, served), "{ended:?}");

    let config = fs::read_to_string(new.join("claimsmith.toml")).unwrap();
    fs::write(
        new.join("claimsmith.toml"),
        config.replace("127.0.0.1:8080", "127.0.0.1:0"),
    )
    .unwrap();
    let host = Host::start(&new, "json").await;
    let status = reqwest::get(format!("http://{}/status", host.address)).await.unwrap();
    let status: Value = status.json().await.unwrap();
    assert_eq!(
        status["tenants"]["contoso"]["extensions"]["profile"]["bindings"][0]["plugin"],
        "attribute-map"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_init_writes_for_a_state_directory_leaves_the_configuration_as_it_is() {
    let directory = TempDir::new().unwrap();
    let ended = run(directory.path(), &["init", "etc", "--state", "state \"of\" it"], "").await;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.output.contains("put the plugin into plugins/"), "{ended:?}");
    let (etc, state) = (directory.path().join("etc"), directory.path().join("state \"of\" it"));
    let config = fs::read_to_string(etc.join("claimsmith.toml")).unwrap();
    let config = config.replace("127.0.0.1:8080", "127.0.0.1:0");
    let config = config.replace("# [admin]", "[admin]").replace("# state =", "state =");
    fs::write(etc.join("claimsmith.toml"), config).unwrap();
    let names = |of: &std::path::Path| {
        let entries = fs::read_dir(of).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = names(&etc);

    let mut host = Host::start(&etc, "json").await;
    host.terminate();
    host.ended().await;
    assert_eq!(names(&etc), before);
    assert_eq!(names(&state), ["admin", "audit", "cache", "cache.key"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_cannot_be_written_is_told_with_its_key_and_once() {
    let directory = TempDir::new().unwrap();
    fs::create_dir(directory.path().join("tenants")).unwrap();
    fs::write(directory.path().join("file"), "").unwrap();
    let config = "server.listen = \"127.0.0.1:0\"\naudit.path = \"file/audit/audit.db\"\n";
    fs::write(directory.path().join("claimsmith.toml"), config).unwrap();
    let (status, printed) = Host::fail_to_start(directory.path()).await;
    let told = printed.lines().last().unwrap();
    assert_eq!(status.code(), Some(1), "{printed}");
    assert!(told.starts_with("error: audit.path: "), "{told}");
    assert_eq!(told.matches("(os error 20)").count(), 1, "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn init_changes_nothing_that_is_there() {
    let directory = TempDir::new().unwrap();
    fs::write(directory.path().join("claimsmith.toml"), "mine").unwrap();
    let ended = run(directory.path(), &["init"], "").await;
    assert!(
        ended.code == 1 && ended.errors.contains("claimsmith.toml is there already"),
        "{ended:?}"
    );
    assert_eq!(
        fs::read_to_string(directory.path().join("claimsmith.toml")).unwrap(),
        "mine"
    );
    assert!(!directory.path().join("tenants").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn check_finds_what_a_start_would_in_all_tenants() {
    let stage = Stage::new().await;
    let directories = world::directories_toml(&stage.entra);
    let good = directories.clone() + &world::extension_toml("claims", "", "misbehaving", "");
    let wrong =
        directories + &world::extension_toml("claims", "", "attribute-map", "settings.rules = [{ claim = \"a\" }]");
    let line = wrong
        .lines()
        .position(|line| line.starts_with("settings.rules"))
        .unwrap()
        + 1;
    let stage = stage
        .tenant("good", &good)
        .tenant("settings", &wrong)
        .tenant("key", "extension = 1");
    let directory = stage.directory.path();

    let ended = run(directory, &["check", "--json"], "").await;
    assert_eq!(ended.code, 1, "{ended:?}");
    let report: Value = serde_json::from_str(&ended.output).unwrap();
    assert_eq!(
        (&report["valid"], &report["tenants"]),
        (&false.into(), &1.into()),
        "{report}"
    );
    let problems = report["problems"].as_array().unwrap();
    let of = |tenant: &str| problems.iter().find(|problem| problem["tenant"] == tenant).unwrap();
    assert_eq!(of("settings")["line"], line, "{report}");
    assert!(
        of("settings")["message"]
            .as_str()
            .unwrap()
            .contains("neither `from` nor `value`")
    );
    assert!(
        of("key")["message"]
            .as_str()
            .unwrap()
            .contains("did you mean `extensions`?"),
        "{report}"
    );

    let ended = run(directory, &["check"], "").await;
    assert!(
        ended.code == 1 && ended.output.contains(&format!("tenants/settings/tenant.toml:{line}:")),
        "{ended:?}"
    );
    assert!(!directory.join("audit").exists(), "it has written a record");

    fs::write(directory.join("claimsmith.toml"), "[server]\nlisten = 1").unwrap();
    let ended = run(directory, &["check"], "").await;
    assert!(
        ended.code == 1 && ended.output.contains("claimsmith.toml:2:"),
        "{ended:?}"
    );
}

/// What `check` says of a configuration: its problems and its warnings, each as `key: what is wrong`.
async fn checked(directory: &Path) -> (i32, Vec<String>, Vec<String>) {
    let ended = run(directory, &["check", "--json"], "").await;
    let report: Value = serde_json::from_str(&ended.output).unwrap();
    let messages = |member: &str| {
        let found = report[member].as_array().unwrap().iter();
        found
            .map(|found| found["message"].as_str().unwrap().to_owned())
            .collect()
    };
    (ended.code, messages("problems"), messages("warnings"))
}

#[tokio::test(flavor = "multi_thread")]
async fn check_finds_in_the_hosts_own_files_what_a_start_would_refuse() {
    let directory = TempDir::new().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::create_dir(at("tenants")).unwrap();
    fs::create_dir(at("cache")).unwrap();
    fs::write(at("cache.key"), "0123456789abcdef0123456789abcdef").unwrap();
    fs::write(at("file"), "").unwrap();
    let allow = |name: &str, mode: u32| fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).unwrap();
    let long = "s".repeat(120);
    let cases = [
        ("log.filter = \"info,foo=bar=baz\"", "log.filter: ", 0o600, 0o700),
        (
            "log.filter = \"loud\"",
            "log.filter: `loud` is no log filter",
            0o600,
            0o700,
        ),
        (
            "[telemetry.traces]\notlp_endpoint = \"http://127.0.0.1:4318/v1/traces\"\nheaders = { authorization = \"file:/run/nosuch\" }",
            "telemetry.traces: telemetry.traces.headers.authorization: ",
            0o600,
            0o700,
        ),
        (&format!("admin.socket = \"{long}\""), "admin.socket: ", 0o600, 0o700),
        ("audit.path = \"file/audit/audit.db\"", "audit.path: ", 0o600, 0o700),
        ("admin.state = \"file/state\"", "admin.state: ", 0o600, 0o700),
        ("", "runtime.cache: ", 0o644, 0o700),
        ("", "runtime.cache: ", 0o600, 0o777),
    ];
    for (config, expected, key, cache) in cases {
        allow("cache.key", key);
        allow("cache", cache);
        let whole = format!(
            "{config}\n[server]\nlisten = \"127.0.0.1:0\"\n[runtime.cache]\ndirectory = \"cache\"\nkey = \"cache.key\"\n"
        );
        fs::write(at("claimsmith.toml"), whole).unwrap();
        let (code, problems, _) = checked(directory.path()).await;
        assert_eq!(code, 1, "{config} {key:o} {cache:o}");
        assert!(
            problems.iter().any(|problem| problem.starts_with(expected)),
            "{config}: {problems:?}"
        );
        let refused = timeout(Duration::from_secs(30), run(directory.path(), &["serve"], "")).await;
        let refused = refused.unwrap_or_else(|_| panic!("{config} {key:o} {cache:o}: it serves"));
        assert_eq!(refused.code, 1, "{config} {key:o} {cache:o}: {refused:?}");
    }

    // A start goes on without a store, and would refuse every callout.
    fs::write(at("claimsmith.toml"), "audit.path = \"tenants\"").unwrap();
    let (code, problems, _) = checked(directory.path()).await;
    assert!(code == 1 && problems[0].contains("is a directory"), "{problems:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn check_warns_of_a_certificate_that_has_expired() {
    let stage = Stage::new().await;
    let pair = Authority::new().issue_expired("127.0.0.1");
    fs::write(stage.file("cert.pem"), pair.certificate).unwrap();
    fs::write(stage.file("key.pem"), pair.key).unwrap();
    let stage = stage.host_config("server.tls.certificate = \"cert.pem\"\nserver.tls.key = \"key.pem\"");
    let (code, problems, warnings) = checked(stage.directory.path()).await;
    assert_eq!((code, problems), (0, Vec::new()));
    assert!(
        warnings[0].starts_with("server.tls: ") && warnings[0].contains("has expired"),
        "{warnings:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn check_warns_of_what_a_start_would_warn_of() {
    let stage = Stage::new().await;
    let mapping = "claims = [\"Marker\"]\nmapping = { marker = \"upn\" }";
    let toml = world::directories_toml(&stage.entra) + &world::extension_toml("claims", mapping, "misbehaving", "");
    let toml = toml
        .replacen("openid-configuration", "openid-configuration.json", 1)
        .replacen("audiences = [", "audiences = [\"shop\", ", 1);
    let stage = stage.tenant("contoso", &toml);
    let (code, problems, warnings) = checked(stage.directory.path()).await;
    assert_eq!((code, problems), (0, Vec::new()));
    for expected in [
        "the metadata document's URL does not end with /.well-known/openid-configuration",
        "extension `claims`: audience `shop` is neither an application id (a GUID) nor an identifier URI (api://…)",
        "extension `claims`: claim `marker` is mapped to `upn`, which is in Entra's restricted claim set",
        "extension `claims`: claim `Marker` is not in the mapping",
    ] {
        let found = warnings.iter().filter(|warning| warning.starts_with(expected)).count();
        assert_eq!(found, 1, "{expected}: {warnings:?}");
    }
    let text = run(stage.directory.path(), &["check"], "").await.output;
    let line = "tenant.toml:9:13: extension `claims`: audience `shop`";
    assert!(
        text.lines()
            .any(|told| told.starts_with("warning: ") && told.contains(line)),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_sent_to_a_host_that_knows_no_directorys_keys() {
    let stage = Stage::new().await;
    let tenant = world::directories_toml(&stage.entra) + &world::extension_toml("claims", "", "misbehaving", "");
    // Nothing listens on the port of a listener that is gone.
    let gone = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let unreachable = tenant.replace(&stage.entra.address().to_string(), &gone.to_string());
    let platform = stage.tenant("contoso", &unreachable).listen("json").await;
    let tried = "uses of metadata documents wait";
    eventually("each document has been tried", async || {
        !readiness(&platform).await.1.to_string().contains(tried)
    })
    .await;
    let (status, readiness) = readiness(&platform).await;
    assert_eq!(status, 503, "{readiness}");
    assert!(
        readiness["reasons"][0].as_str().unwrap().contains("no keys"),
        "{readiness}"
    );
}

async fn readiness(platform: &Platform) -> (u16, Value) {
    let url = format!("http://{}/readyz", platform.host.address);
    let response = platform.http.get(url).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_serves_and_is_taken_away_is_warned_of() {
    let platform = Platform::start("[[extensions.claims.bindings]]\nplugin = \"misbehaving\"\n").await;
    let tenants = platform.directory.path().join("tenants");
    fs::rename(tenants.join("contoso"), platform.directory.path().join("elsewhere")).unwrap();
    let removed = |line: &Value| {
        line["message"]
            .as_str()
            .is_some_and(|text| text.starts_with("tenant removed"))
    };
    let line = platform.host.log_line("the tenant is removed", removed).await;
    assert_eq!(
        (&line["level"], &line["tenant"]),
        (&"WARN".into(), &"contoso".into()),
        "{line}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_strangers_send_is_told_now_and_then_and_with_their_address() {
    let platform = Platform::start("[[extensions.claims.bindings]]\nplugin = \"misbehaving\"\n").await;
    let mark = platform.host.log_mark();
    let got = platform.http.get(platform.url()).send().await.unwrap();
    assert_eq!(got.status(), 405);
    let line = platform.host.callout_line(mark).await;
    assert_eq!(
        (&line["client"], &line["level"]),
        (&"127.0.0.1".into(), &"WARN".into()),
        "{line}"
    );

    let mark = platform.host.log_mark();
    for _ in 0..200 {
        let refused = platform
            .http
            .post(platform.url())
            .json(&platform.body())
            .send()
            .await
            .unwrap();
        assert_eq!(refused.status(), 401);
    }
    let lines = || {
        let log = platform.host.log_after(mark);
        let told = log.into_iter().filter(|line| line["message"] == "callout refused");
        told.collect::<Vec<_>>()
    };
    eventually("all of them have lines", async || lines().len() == 200).await;
    let warnings = lines().iter().filter(|line| line["level"] == "WARN").count();
    assert!((99..150).contains(&warnings), "{warnings}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_manager_is_told_what_becomes_of_the_service() {
    let stage = Stage::new().await;
    let socket = stage.file("notify");
    let manager = UnixDatagram::bind(&socket).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let environment = [("NOTIFY_SOCKET", socket.to_str().unwrap()), ("WATCHDOG_USEC", "100000")];
    let mut host = Host::start_in_environment(stage.directory.path(), &environment).await;
    let told = || {
        let mut message = [0; 256];
        let bytes = manager.recv(&mut message).unwrap();
        String::from_utf8(message[..bytes].to_vec()).unwrap()
    };
    assert_eq!(told(), format!("READY=1\nSTATUS=listening on {}\n", host.address));
    for _ in 0..3 {
        assert_eq!(told(), "WATCHDOG=1\n");
    }
    host.terminate();
    while told() != "STOPPING=1\n" {}
    host.ended().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_root_without_a_shell_and_a_user_without_rights_suffice() {
    let stage = Stage::new().await.host_config(
        "audit.mode = \"required\"
audit.path = \"/var/lib/claimsmith/audit/audit.db\"
runtime.cache.directory = \"/var/lib/claimsmith/cache\"
runtime.cache.key = \"/var/lib/claimsmith/cache.key\"",
    );
    let directories = world::directories_toml(&stage.entra);
    let tenant = |marker: &str| {
        let settings = format!("settings = {{ marker = \"{marker}\" }}");
        directories.clone() + &world::extension_toml("claims", "", "misbehaving", &settings)
    };
    let Stage { entra, directory } = stage.tenant("contoso", &tenant("first"));
    let (written, root) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let host = Host::start_in_container(directory.path(), written.path(), root.path()).await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut platform = Platform {
        entra,
        host,
        http,
        directory,
    };
    let status = fs::read_to_string(format!("/proc/{}/status", platform.host.pid())).unwrap();
    assert!(status.contains("CapEff:\t0000000000000000\n"), "{status}");
    let answers = async |platform: &Platform, marker: &str| {
        let (status, answer) = platform.callout_to(&platform.url()).await;
        status == 200 && Platform::claims(&answer)["marker"] == marker
    };
    eventually("it answers", async || answers(&platform, "first").await).await;
    fs::write(platform.tenant_file("tenant.toml"), tenant("second")).unwrap();
    eventually("it answers as it is told now", async || {
        answers(&platform, "second").await
    })
    .await;
    // The child that compiled found its executable, and what it compiled is kept.
    assert!(fs::read_dir(written.path().join("cache")).unwrap().count() > 0);
    platform.host.terminate();
    assert!(platform.host.ended().await.success());
    assert!(written.path().join("audit/audit.db").is_file());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_health_check_needs_no_other_program() {
    let binding = "[[extensions.claims.bindings]]\nplugin = \"misbehaving\"";
    let mut platform = Platform::start_with("server.drain_delay = \"1m\"", "", binding).await;
    let (directory, address) = (platform.directory.path().to_owned(), platform.host.address.to_string());
    let check = async |more: &[&str]| {
        run(
            &directory,
            &[&["healthcheck", "--address", &address], more].concat(),
            "",
        )
        .await
    };
    for more in [&[][..], &["--ready"]] {
        let ended = check(more).await;
        assert_eq!((ended.code, &*ended.output, &*ended.errors), (0, "", ""), "{ended:?}");
    }
    platform.host.terminate();
    eventually("it is not ready", async || {
        let ended = check(&["--ready"]).await;
        ended.code == 1 && ended.errors.contains("shutting down")
    })
    .await;
    assert_eq!(check(&[]).await.code, 0, "it lives");
    platform.host.kill();
    let ended = check(&[]).await;
    assert!(ended.code == 1 && ended.errors.contains("does not answer"), "{ended:?}");
    let ended = run(&directory, &["healthcheck"], "").await;
    assert!(ended.code == 1 && ended.errors.contains("--address"), "{ended:?}");
}
