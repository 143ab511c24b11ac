//! Changing a running host: files take effect however they are replaced, a mistake changes nothing but the log, and one
//! tenant's changes are never another's.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::allow_attributes,
    reason = "a test fails by panicking"
)]

mod mistakes;
mod unreadable;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use claimsmith_tests::{LogLine, Platform, Stage, eventually, host_config, misbehaving, relink, world, write_tenant};
use serde_json::{Value, json};

/// How often files are compared where a test counts what a comparison may not do.
const OFTEN: &str = "watch.rescan = \"100ms\"";

/// A tenant with one extension, whose plugin answers `marker` and its own build.
fn tenant(entra: &claimsmith_local_entra::LocalEntra, marker: &str) -> String {
    let settings = format!("settings = {{ marker = \"{marker}\" }}");
    [
        world::directories_toml(entra),
        world::extension_toml("claims", "", "misbehaving", &settings),
    ]
    .concat()
}

async fn platform(host_config: &str) -> Platform {
    let stage = Stage::new().await.host_config(host_config);
    let toml = tenant(&stage.entra, "first");
    stage.tenant("contoso", &toml).start().await
}

/// The marker and the build of an answer, which must be 200.
async fn answered(platform: &Platform, tenant: &str) -> (String, String) {
    let (status, answer) = platform.callout_to(&platform.url_of(tenant, "claims")).await;
    assert_eq!(status, 200, "{tenant}: {answer}");
    let claim = |name: &str| Platform::claims(&answer)[name].as_str().unwrap().to_owned();
    (claim("marker"), claim("build"))
}

async fn eventually_answered(platform: &Platform, tenant: &str, marker: &str, build: &str) {
    let expected = (marker.to_owned(), build.to_owned());
    eventually(&format!("{tenant} answers {expected:?}"), async || {
        answered(platform, tenant).await == expected
    })
    .await;
}

async fn eventually_status(platform: &Platform, tenant: &str, extension: &str, status: u16) {
    let url = platform.url_of(tenant, extension);
    eventually(&format!("{url} answers {status}"), async || {
        platform.callout_to(&url).await.0 == status
    })
    .await;
}

/// Has the host look at all files at least twice more.
async fn look_again(platform: &Platform) {
    let other = platform.directory.path().join("tenants/other");
    write_tenant(&other, &tenant(&platform.entra, "other"), "default");
    eventually_status(platform, "other", "claims", 200).await;
    fs::remove_dir_all(other).unwrap();
    eventually_status(platform, "other", "claims", 404).await;
}

/// Replaces a file as deployments do: by renaming another one over it.
fn replace(path: &Path, bytes: impl AsRef<[u8]>) {
    let scratch = path.with_extension("new");
    fs::write(&scratch, bytes).unwrap();
    fs::rename(scratch, path).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_and_plugins_take_effect_however_they_are_replaced() {
    let platform = platform("").await;
    let (toml, wasm) = (
        platform.tenant_file("tenant.toml"),
        platform.tenant_file("plugins/misbehaving.wasm"),
    );
    assert_eq!(
        answered(&platform, "contoso").await,
        ("first".to_owned(), "default".to_owned())
    );

    fs::write(&toml, tenant(&platform.entra, "written")).unwrap();
    eventually_answered(&platform, "contoso", "written", "default").await;
    replace(&toml, tenant(&platform.entra, "renamed"));
    eventually_answered(&platform, "contoso", "renamed", "default").await;

    replace(&wasm, fs::read(misbehaving("a")).unwrap());
    eventually_answered(&platform, "contoso", "renamed", "a").await;
    fs::write(&wasm, fs::read(misbehaving("b")).unwrap()).unwrap();
    eventually_answered(&platform, "contoso", "renamed", "b").await;

    // What was loaded is told with its digest and what it took the place of.
    let loaded = |line: &LogLine| line["message"] == "binding loaded" && line["span"].is_null();
    let of_plugin: Vec<_> = platform.host.log().into_iter().filter(loaded).collect();
    let last = of_plugin.last().unwrap();
    assert_eq!(
        (&last["tenant"], &last["extension"]),
        (&json!("contoso"), &json!("claims"))
    );
    assert_eq!(
        (&last["plugin"], &last["version"]),
        (&json!("misbehaving"), &json!("0.1.0"))
    );
    assert_eq!(last["digest"].as_str().unwrap().len(), 64);
    assert_eq!(last["replaced"], of_plugin[of_plugin.len() - 2]["digest"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_linked_directory_of_plugins_takes_effect_when_the_link_is_swapped() {
    let stage = Stage::new().await;
    let toml = tenant(&stage.entra, "linked");
    let stage = stage.tenant("contoso", &toml);
    let plugins = stage.file("tenants/contoso/plugins");
    for build in ["a", "b"] {
        let release = stage.file(&format!("release-{build}"));
        fs::create_dir(&release).unwrap();
        fs::copy(misbehaving(build), release.join("misbehaving.wasm")).unwrap();
    }
    fs::remove_dir_all(&plugins).unwrap();
    symlink(stage.file("release-a"), &plugins).unwrap();
    let platform = stage.start().await;
    for build in ["a", "b", "a"] {
        relink(&platform.directory.path().join(format!("release-{build}")), &plugins);
        eventually_answered(&platform, "contoso", "linked", build).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mounted_kubernetes_volume_takes_effect_as_a_whole() {
    let stage = Stage::new().await;
    let volume = stage.file("tenants/contoso");
    // What kubelet makes of a volume: hidden directories, one of them linked as `..data`, and links through it.
    let version = |name: &str, marker: &str, build: &str| {
        let directory = volume.join(format!("..{name}"));
        write_tenant(&directory, &tenant(&stage.entra, marker), build);
        relink(Path::new(&format!("..{name}")), &volume.join("..data"));
    };
    version("2026_01", "a", "a");
    symlink("..data/tenant.toml", volume.join("tenant.toml")).unwrap();
    symlink("..data/plugins", volume.join("plugins")).unwrap();
    let Stage { entra, directory } = stage;
    let platform = Stage { entra, directory }.start().await;
    assert_eq!(answered(&platform, "contoso").await, ("a".to_owned(), "a".to_owned()));

    for (name, old, marker) in [("2026_02", "2026_01", "b"), ("2026_03", "2026_02", "a")] {
        let directory = platform.tenant_file(&format!("..{name}"));
        write_tenant(&directory, &tenant(&platform.entra, marker), marker);
        relink(Path::new(&format!("..{name}")), &platform.tenant_file("..data"));
        fs::remove_dir_all(platform.tenant_file(&format!("..{old}"))).unwrap();
        eventually_answered(&platform, "contoso", marker, marker).await;
    }
    let problems: Vec<_> = platform
        .host
        .log()
        .into_iter()
        .filter(|line| line["level"] == "ERROR")
        .collect();
    assert_eq!(problems, Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_of_many_quick_edits_is_the_one_that_serves() {
    let platform = platform(OFTEN).await;
    let toml = platform.tenant_file("tenant.toml");
    // All of one length, so that only time and content tell them apart, and at a pace that meets the comparisons.
    for round in 0..5 {
        for edit in 0..200 {
            fs::write(&toml, tenant(&platform.entra, &format!("{round}-{edit:03}"))).unwrap();
        }
        eventually_answered(&platform, "contoso", &format!("{round}-199"), "default").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_written_in_place_takes_effect_though_its_length_and_time_stay() {
    let platform = platform(OFTEN).await;
    let toml = platform.tenant_file("tenant.toml");
    let written = fs::metadata(&toml).unwrap().modified().unwrap() - Duration::from_hours(1);
    for marker in ["again", "other", "third"] {
        fs::write(&toml, tenant(&platform.entra, marker)).unwrap();
        fs::File::options()
            .write(true)
            .open(&toml)
            .unwrap()
            .set_modified(written)
            .unwrap();
        eventually_answered(&platform, "contoso", marker, "default").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_are_loaded_together_and_a_component_of_many_is_compiled_once() {
    let stage = Stage::new().await;
    let mut stage = stage;
    for number in 0..12 {
        // Every fourth has a mistake, which is its own matter.
        let settings = if number % 4 == 3 {
            "settings = 1"
        } else {
            "settings = { marker = \"m\" }"
        };
        let toml = [
            world::directories_toml(&stage.entra),
            world::extension_toml("claims", "", "misbehaving", settings),
        ]
        .concat();
        stage = stage.tenant(&format!("tenant-{number}"), &toml);
    }
    let platform = stage.start().await;
    let log = platform.host.log();
    let lines = |message: &str| {
        log.iter()
            .filter(|line| line["message"] == message)
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(lines("component compiled").len(), 1);
    // In the order of their names, whichever was first.
    let loaded: Vec<_> = lines("binding loaded")
        .iter()
        .map(|line| line["tenant"].to_string())
        .collect();
    assert_eq!(loaded.len(), 9);
    assert!(loaded.is_sorted(), "{loaded:?}");
    for number in 0..12 {
        let url = platform.url_of(&format!("tenant-{number}"), "claims");
        let expected = if number % 4 == 3 { 503 } else { 200 };
        assert_eq!(platform.callout_to(&url).await.0, expected, "{url}");
    }
}

// --- tenants ---

#[tokio::test(flavor = "multi_thread")]
async fn tenants_and_extensions_come_and_go_without_touching_others() {
    let platform = platform("").await;
    let tenants = platform.directory.path().join("tenants");
    let toml = |marker: &str| tenant(&platform.entra, marker);

    // A tenant that is written file by file, and one that is renamed into place.
    write_tenant(&tenants.join("fabrikam"), &toml("fabrikam"), "a");
    write_tenant(&tenants.join(".prepared"), &toml("northwind"), "b");
    fs::rename(tenants.join(".prepared"), tenants.join("northwind")).unwrap();
    eventually_status(&platform, "fabrikam", "claims", 200).await;
    eventually_status(&platform, "northwind", "claims", 200).await;
    eventually_answered(&platform, "fabrikam", "fabrikam", "a").await;
    eventually_answered(&platform, "northwind", "northwind", "b").await;

    // One breaks; another's change takes effect meanwhile.
    replace(&tenants.join("fabrikam/tenant.toml"), "broken");
    replace(&tenants.join("northwind/tenant.toml"), toml("changed"));
    eventually_answered(&platform, "northwind", "changed", "b").await;
    assert_eq!(answered(&platform, "fabrikam").await.0, "fabrikam");
    assert_eq!(
        answered(&platform, "contoso").await,
        ("first".to_owned(), "default".to_owned())
    );

    // An extension goes, another comes.
    replace(
        &tenants.join("northwind/tenant.toml"),
        toml("changed").replace("claims", "other"),
    );
    eventually_status(&platform, "northwind", "other", 200).await;
    let (status, problem) = platform.callout_to(&platform.url_of("northwind", "claims")).await;
    assert_eq!((status, &problem["code"]), (404, &json!("unknown_extension")));

    // A broken tenant goes too.
    for name in ["fabrikam", "northwind"] {
        fs::remove_dir_all(tenants.join(name)).unwrap();
        let url = platform.url_of(name, "claims");
        eventually("the tenant is gone", async || {
            platform.callout_to(&url).await.1["code"] == "unknown_tenant"
        })
        .await;
    }
    assert_eq!(
        answered(&platform, "contoso").await,
        ("first".to_owned(), "default".to_owned())
    );

    // Only what had changed was loaded.
    let loaded = |line: &&LogLine| line["message"] == "binding loaded" && line["tenant"] == "contoso";
    assert_eq!(platform.host.log().iter().filter(loaded).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_is_served_while_the_directory_of_tenants_is_away() {
    let platform = platform(OFTEN).await;
    let (tenants, away) = (
        platform.directory.path().join("tenants"),
        platform.directory.path().join("away"),
    );
    let mark = platform.host.log_mark();
    fs::rename(&tenants, &away).unwrap();
    let stays = |line: &LogLine| {
        line["message"]
            .as_str()
            .is_some_and(|text| text.contains("the catalog stays as it is"))
    };
    platform.host.log_line_after(mark, "the directory is away", stays).await;
    assert_eq!(answered(&platform, "contoso").await.0, "first");
    replace(&away.join("contoso/tenant.toml"), tenant(&platform.entra, "back"));
    fs::rename(&away, &tenants).unwrap();
    eventually_answered(&platform, "contoso", "back", "default").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_whose_link_leads_nowhere_for_a_while_keeps_serving() {
    let stage = Stage::new().await.host_config(OFTEN);
    let toml = tenant(&stage.entra, "linked");
    let stage = stage.tenant("real", &toml);
    let link = stage.file("tenants/contoso");
    symlink("real", &link).unwrap();
    let platform = stage.start().await;
    assert_eq!(answered(&platform, "contoso").await.0, "linked");

    let mark = platform.host.log_mark();
    relink(Path::new("nowhere"), &link);
    let told = |line: &LogLine| line["tenant"] == "contoso" && line["keeps_serving"] == true;
    platform.host.log_line_after(mark, "its files are missed", told).await;
    assert_eq!(answered(&platform, "contoso").await.0, "linked");

    replace(
        &platform.directory.path().join("tenants/real/tenant.toml"),
        tenant(&platform.entra, "mended"),
    );
    relink(Path::new("real"), &link);
    eventually_answered(&platform, "contoso", "mended", "default").await;
}

// --- the host's own file ---

#[tokio::test(flavor = "multi_thread")]
async fn limits_of_the_host_take_effect_and_other_changes_ask_for_a_restart() {
    let stage = Stage::new().await.host_config("runtime.limits.cpu = \"80ms\"");
    let toml = [
        tenant(&stage.entra, "first"),
        world::extension_toml(
            "loops",
            "deadline = \"2s\"",
            "misbehaving",
            "settings = { mode = \"loop\" }",
        ),
        world::extension_toml("own", "", "misbehaving", "limits = { cpu = \"40ms\" }"),
    ]
    .concat();
    let platform = stage.tenant("contoso", &toml).start().await;
    let file = platform.directory.path().join("claimsmith.toml");
    let log_of = |text: &'static str| {
        move |line: &LogLine| line["message"].as_str().is_some_and(|message| message.contains(text))
    };
    assert_eq!(reason_of_loop(&platform).await, "80ms");

    let mark = platform.host.log_mark();
    fs::write(&file, host_config("runtime.limits.cpu = \"60ms\"")).unwrap();
    eventually("the new limit holds", async || {
        reason_of_loop(&platform).await == "60ms"
    })
    .await;
    platform
        .host
        .log_line_after(
            mark,
            "applied",
            log_of("runtime.limits, log and telemetry.traces.sample_ratio apply from now on"),
        )
        .await;

    // What cannot change is warned about, and does not keep limits from changing.
    let mark = platform.host.log_mark();
    fs::write(
        &file,
        host_config("runtime.limits.cpu = \"50ms\"\nserver.max_body_bytes = 5"),
    )
    .unwrap();
    let warning = platform
        .host
        .log_line_after(mark, "the warning", log_of("restart the service"))
        .await;
    assert_eq!(warning["level"], "WARN");
    eventually("the new limit holds", async || {
        reason_of_loop(&platform).await == "50ms"
    })
    .await;
    assert_eq!(answered(&platform, "contoso").await.0, "first");

    // A mistake changes nothing.
    let mark = platform.host.log_mark();
    fs::write(
        &file,
        host_config("server.max_bodybytes = 5\nruntime.limits.cpu = \"1ms\""),
    )
    .unwrap();
    let error = platform
        .host
        .log_line_after(mark, "the mistake", log_of("goes on as it was configured"))
        .await;
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains("claimsmith.toml:6:8: unknown field `max_bodybytes`"),
        "{message}"
    );
    assert!(message.contains("did you mean `max_body_bytes`?"), "{message}");
    look_again(&platform).await;
    assert_eq!(reason_of_loop(&platform).await, "50ms");

    // A limit below what a binding asks for: that tenant is told where it asks, and keeps serving within the limit.
    let mark = platform.host.log_mark();
    fs::write(&file, host_config("runtime.limits.cpu = \"30ms\"")).unwrap();
    let error = platform
        .host
        .log_line_after(mark, "the tenant's mistake", log_of("larger than the operator allows"))
        .await;
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("tenants/contoso/tenant.toml:"),
        "{error}"
    );
    assert_eq!(reason_of_loop(&platform).await, "30ms");
}

/// The limit that a looping callout ran into.
async fn reason_of_loop(platform: &Platform) -> String {
    let body = platform.body();
    let request = platform.http.post(platform.url_of("contoso", "loops")).json(&body);
    assert_eq!(
        request.bearer_auth(platform.token()).send().await.unwrap().status(),
        500
    );
    let line = platform.host.line_of_callout(&body).await;
    let reason = line["reason"].as_str().unwrap();
    reason
        .split_once("used its ")
        .unwrap()
        .1
        .split_once(' ')
        .unwrap()
        .0
        .to_owned()
}
