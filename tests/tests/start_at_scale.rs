//! How long a start takes with a thousand bindings over a hundred components, without and with the cache of compiled
//! components. A measurement, which asserts no time: `cargo test --workspace --test start_at_scale -- --ignored --nocapture`.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::allow_attributes,
    reason = "a test fails by panicking, and this one prints what it measured"
)]

use std::fs;
use std::time::Instant;

use claimsmith_tests::{Platform, Stage, eventually, plugin, run, world};

const TENANTS: usize = 100;
const BINDINGS_PER_TENANT: usize = 10;
const COMPONENTS: usize = 100;

/// A plugin with a digest of its own: the same code with a custom section that holds a number.
fn numbered(wasm: &[u8], number: usize) -> Vec<u8> {
    let number = u8::try_from(number).unwrap();
    [wasm, &[0, 3, 1, b'n', number]].concat()
}

/// Writes the tenants. Each binding has a file of its own; the files of one component are links to one.
fn write_tenants(stage: &Stage) {
    let wasm = fs::read(plugin("attribute-map")).unwrap();
    let components = stage.file("components");
    fs::create_dir(&components).unwrap();
    for number in 0..COMPONENTS {
        fs::write(components.join(number.to_string()), numbered(&wasm, number)).unwrap();
    }
    for tenant in 0..TENANTS {
        let directory = stage.file(&format!("tenants/tenant-{tenant}"));
        fs::create_dir_all(directory.join("plugins")).unwrap();
        let mut toml = world::directories_toml(&stage.entra);
        for binding in 0..BINDINGS_PER_TENANT {
            let name = format!("plugin-{binding}");
            let component = (tenant * BINDINGS_PER_TENANT + binding) % COMPONENTS;
            let file = directory.join("plugins").join(format!("{name}.wasm"));
            fs::hard_link(components.join(component.to_string()), file).unwrap();
            let rules = "settings.rules = [{ claim = \"name\", from = \"user.displayName\" }]";
            toml += &world::extension_toml(&name, "", &name, rules);
        }
        fs::write(directory.join("tenant.toml"), toml).unwrap();
    }
}

/// Waits until the host, which was started then, is ready; says how long that took and what was done.
async fn report(platform: &Platform, started: Instant, what: &str) {
    let listens = started.elapsed();
    let url = format!("http://{}/readyz", platform.host.address);
    eventually("the host is ready", async || {
        let answer = platform.http.get(&url).send().await;
        answer.is_ok_and(|response| response.status() == 200)
    })
    .await;
    let ready = started.elapsed();
    let log = platform.host.log();
    let lines = |message: &str| log.iter().filter(|line| line["message"] == message).count();
    let (bound, compiled) = (lines("binding loaded"), lines("component compiled"));
    println!(
        "{what}: listening after {listens:.1?}, ready after {ready:.1?}; {bound} bindings, {compiled} compilations"
    );
    assert_eq!((bound, compiled), (TENANTS * BINDINGS_PER_TENANT, 0));
    let (status, _) = platform.callout_to(&platform.url_of("tenant-99", "plugin-9")).await;
    assert_eq!(status, 200);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement, which takes minutes"]
async fn a_start_with_a_thousand_bindings_over_a_hundred_components() {
    let cache = "runtime.cache.directory = \"cache\"\nruntime.cache.key = \"cache.key\"";
    let stage = Stage::new().await.host_config(cache);
    write_tenants(&stage);
    // What a cold start does besides; a host would not listen before.
    let started = Instant::now();
    let filled = run(stage.directory.path(), &["compile", "--all", "--json"], "").await;
    assert_eq!(filled.code, 0, "{}", filled.errors);
    println!("claimsmith compile --all: {:.1?}", started.elapsed());

    let started = Instant::now();
    let mut platform = stage.listen("json").await;
    report(&platform, started, "warm start").await;
    let started = Instant::now();
    platform.restart(&[]).await;
    report(&platform, started, "warm start again").await;
}
