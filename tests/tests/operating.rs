//! What operators do before and around a running service: begin, check, have a service manager watch it, and shut it in.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::allow_attributes,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use claimsmith_tests::world::DIRECTORY;
use claimsmith_tests::{Host, Platform, Stage, eventually, plugin, run, world};
use serde_json::Value;
use tempfile::TempDir;
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

    // As it says: rename the example, put the plugin beside it, fill it in.
    let tenant = new.join("tenants/contoso");
    fs::rename(new.join("tenants/.example"), &tenant).unwrap();
    fs::create_dir(tenant.join("plugins")).unwrap();
    fs::copy(plugin("attribute-map"), tenant.join("plugins/attribute-map.wasm")).unwrap();
    let ended = run(&new, &["check"], "").await;
    assert!(
        ended.code == 1 && ended.output.contains("id must not be all zeros"),
        "{ended:?}"
    );
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
