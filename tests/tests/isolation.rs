//! Nothing of an invocation is left for the next one: an instance fills all its memory with a marker, and the next, another
//! tenant's, looks for it in all of its own, ten thousand times, with plugins that are loaded anew in between, with both
//! ways to reset memory, and while other threads allocate and free.
//!
//! Linear memory is looked at as a whole: static memory, stack, heap and what is grown. Tables and globals, which a Rust
//! plugin cannot write as it likes, are looked at by a plugin that is written by hand. Not looked at are swapped pages,
//! because a test does not switch on swap, and the engine's own stack, which no plugin can read.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::allow_attributes,
    reason = "a test fails by panicking"
)]

#[path = "hostile/component.rs"]
mod component;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use claimsmith_runtime::interface::token_issuance_start::{Claim, ClaimValue};
use claimsmith_runtime::{Binding, Limits, PagemapScan, Plugin, Runtime, RuntimeOptions, TenantShare};
use claimsmith_tests::{Platform, Stage, canary, no_context, world};
use component::Skeleton;
use serde_json::Value;
use tokio::time::Instant;

/// What one instance may have, all of which is written and read: small, so that a round is short.
const MEMORY: usize = 1 << 20;
/// Rounds with each setting, with and without memory pressure: ten thousand in all.
const ROUNDS: usize = 2_500;
/// How often the plugin is loaded anew.
const RELOAD_EVERY: usize = 250;
const WRITE: &str = "{ \"mode\": \"write\", \"key\": 81985529216486895 }";
const SEARCH: &str = "{ \"mode\": \"search\", \"key\": 81985529216486895 }";
const BOTH: &str = "{ \"mode\": \"both\", \"key\": 81985529216486895 }";

/// A runtime whose pool has few slots, so that they are used again and again.
struct Sandbox {
    runtime: Runtime,
    tenants: [Arc<TenantShare>; 2],
}

impl Sandbox {
    fn new(pagemap_scan: PagemapScan) -> Self {
        let options = RuntimeOptions {
            max_concurrent_invocations: 2,
            pagemap_scan,
            ..RuntimeOptions::default()
        };
        Self {
            runtime: Runtime::new(options).unwrap(),
            tenants: [(); 2].map(|()| Arc::new(TenantShare::new(1))),
        }
    }

    /// The canary as a version of its own: the same component with a custom section that nothing else has.
    async fn load(&self, version: usize) -> Arc<Plugin> {
        self.load_as(std::fs::read(canary()).unwrap(), version).await
    }

    async fn load_as(&self, mut bytes: Vec<u8>, version: usize) -> Arc<Plugin> {
        let section = [&[1, b'v'][..], &version.to_le_bytes()].concat();
        bytes.extend([0, u8::try_from(section.len()).unwrap()]);
        bytes.extend(section);
        self.runtime.load(bytes, &limits()).await.unwrap()
    }

    async fn bind(&self, plugin: &Arc<Plugin>, tenant: usize, settings: &str) -> Binding {
        let tenant = Arc::clone(&self.tenants[tenant]);
        let bound = self.runtime.bind(
            Arc::clone(plugin),
            "canary",
            settings.to_owned(),
            limits(),
            tenant,
            Arc::default(),
        );
        bound.await.unwrap()
    }
}

fn limits() -> Limits {
    Limits {
        memory_bytes: MEMORY,
        ..Limits::default()
    }
}

/// A number among a binding's claims.
async fn invoke(binding: &Binding) -> impl Fn(&str) -> usize {
    let deadline = Instant::now() + Duration::from_secs(10);
    let claims = binding
        .token_issuance_start(no_context(), deadline)
        .await
        .result
        .unwrap();
    move |name| number(&claims, name)
}

fn number(claims: &[Claim], name: &str) -> usize {
    let claim = claims.iter().find(|claim| claim.id == name).unwrap();
    match &claim.value {
        ClaimValue::Text(text) => text.parse().unwrap(),
        ClaimValue::Texts(_) => panic!("{name} is a list"),
    }
}

/// Threads that allocate, write and free, so that the kernel's pages change hands all the time.
struct Pressure {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Pressure {
    fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let allocate = |stop: Arc<AtomicBool>| {
            move || {
                while !stop.load(Ordering::Relaxed) {
                    drop(std::hint::black_box(vec![0xa5_u8; 16 << 20]));
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        };
        let threads = [(); 2].map(|()| std::thread::spawn(allocate(Arc::clone(&stop))));
        Self {
            stop,
            threads: threads.into(),
        }
    }
}

impl Drop for Pressure {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
    }
}

async fn rounds(sandbox: &Sandbox, first_version: usize) {
    let mut bindings = None;
    for round in 0..ROUNDS {
        if round % RELOAD_EVERY == 0 {
            let plugin = sandbox.load(first_version + round / RELOAD_EVERY).await;
            // The tenants change places.
            let (writer, searcher) = (round / RELOAD_EVERY % 2, (round / RELOAD_EVERY + 1) % 2);
            bindings = Some((
                sandbox.bind(&plugin, writer, WRITE).await,
                sandbox.bind(&plugin, searcher, SEARCH).await,
            ));
        }
        let (writer, searcher) = bindings.as_ref().unwrap();
        assert_eq!(invoke(writer).await("bytes"), MEMORY);
        let seen = invoke(searcher).await;
        let seen = ["bytes", "found", "dirty"].map(seen);
        assert_eq!(
            seen,
            [MEMORY, 0, 0],
            "round {round}: bytes, markers found, words not zero"
        );
    }
}

async fn isolates(pagemap_scan: PagemapScan) {
    let sandbox = Sandbox::new(pagemap_scan);
    rounds(&sandbox, 0).await;
    let _pressure = Pressure::start();
    rounds(&sandbox, ROUNDS).await;
}

#[tokio::test]
async fn an_instance_finds_nothing_of_the_one_before() {
    isolates(PagemapScan::Off).await;
}

#[tokio::test]
async fn an_instance_finds_nothing_of_the_one_before_with_pagemap_scan() {
    isolates(PagemapScan::On).await;
}

/// What is looked for is found where it is: the same search, in the instance that wrote.
#[tokio::test]
async fn an_instance_finds_what_it_wrote_itself() {
    let sandbox = Sandbox::new(PagemapScan::Off);
    let plugin = sandbox.load(0).await;
    let both = sandbox.bind(&plugin, 0, BOTH).await;
    let seen = invoke(&both).await;
    // Everything but the first stack frames, the program's data and the heap of a plugin that has done little.
    let (found, words) = (seen("found"), MEMORY / 8);
    assert!(found > words * 8 / 10, "{found} of {words} words");
    assert_eq!(seen("dirty"), 0);
}

/// A plugin with a table and globals, which does `work` and answers what `$found` is then: 0 or 1.
fn with_tables(work: &str) -> Vec<u8> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("hostile");
    let corpus = std::fs::read_to_string(directory.join("corpus.toml")).unwrap();
    let corpus: toml::Table = corpus.parse().unwrap();
    let usual: BTreeMap<String, String> = corpus["usual"].clone().try_into().unwrap();
    let items = "(table $t 9000 19000 funcref)
        (func $f)
        (elem declare func $f)
        (global $number (mut i64) (i64.const 0))
        (global $reference (mut funcref) (ref.null func))";
    let claims = format!(
        "(local $at i32) (local $found i32)
        (if (i32.ne (table.grow $t (ref.null func) (i32.const 10000)) (i32.const 9000)) (then (unreachable)))
        {work}
        (i32.store8 (i32.const 2096) (i32.add (i32.const 48) (local.get $found)))
        (i32.const 1300)"
    );
    let parts = [("items", items.to_owned()), ("claims", claims)].map(|(part, text)| (part.to_owned(), text));
    Skeleton::read(&directory, usual).component("tables", &BTreeMap::from(parts), "plugin")
}

const WRITE_TABLES: &str = "(table.fill $t (i32.const 0) (ref.func $f) (i32.const 19000))
    (global.set $number (i64.const -1))
    (global.set $reference (ref.func $f))";
const SEARCH_TABLES: &str = "(local.set $found (i64.ne (global.get $number) (i64.const 0)))
    (local.set $found (i32.or (local.get $found) (i32.eqz (ref.is_null (global.get $reference)))))
    (loop $next
      (local.set $found
        (i32.or (local.get $found) (i32.eqz (ref.is_null (table.get $t (local.get $at))))))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $at) (i32.const 19000))))";

async fn finds_nothing_in_tables(pagemap_scan: PagemapScan) {
    let sandbox = Sandbox::new(pagemap_scan);
    let (writer, searcher) = (with_tables(WRITE_TABLES), with_tables(SEARCH_TABLES));
    for version in 0..2 * ROUNDS / RELOAD_EVERY {
        let writer = sandbox.load_as(writer.clone(), version).await;
        let searcher = sandbox.load_as(searcher.clone(), version).await;
        let writer = sandbox.bind(&writer, version % 2, "{}").await;
        let searcher = sandbox.bind(&searcher, (version + 1) % 2, "{}").await;
        for round in 0..RELOAD_EVERY {
            invoke(&writer).await("id");
            assert_eq!(invoke(&searcher).await("id"), 0, "version {version}, round {round}");
        }
    }
}

#[tokio::test]
async fn an_instance_finds_nothing_in_its_tables_and_globals() {
    finds_nothing_in_tables(PagemapScan::Off).await;
}

#[tokio::test]
async fn an_instance_finds_nothing_in_its_tables_and_globals_with_pagemap_scan() {
    finds_nothing_in_tables(PagemapScan::On).await;
}

#[tokio::test]
async fn an_instance_finds_what_it_wrote_to_its_tables_itself() {
    let sandbox = Sandbox::new(PagemapScan::Off);
    let plugin = sandbox
        .load_as(with_tables(&format!("{WRITE_TABLES} {SEARCH_TABLES}")), 0)
        .await;
    let binding = sandbox.bind(&plugin, 0, "{}").await;
    assert_eq!(invoke(&binding).await("id"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_of_one_host_find_nothing_of_each_other() {
    let stage = Stage::new().await.host_config(&format!(
        "runtime.max_concurrent_invocations = 2\nruntime.pagemap_scan = \"auto\"\nruntime.limits.memory_bytes = {MEMORY}"
    ));
    let directories = world::directories_toml(&stage.entra);
    let tenant = |mode: &str| {
        let settings = format!("settings = {{ mode = \"{mode}\", key = 81985529216486895 }}");
        directories.clone() + &world::extension_toml("claims", "", "canary", &settings)
    };
    let stage = stage
        .tenant("writer", &tenant("write"))
        .tenant("searcher", &tenant("search"));
    for name in ["writer", "searcher"] {
        let plugins = stage.file("tenants").join(name).join("plugins");
        std::fs::copy(canary(), plugins.join("canary.wasm")).unwrap();
    }
    let platform = stage.start().await;
    for round in 0..100 {
        let written = claims(&platform, "writer").await;
        assert_eq!(written["bytes"], MEMORY.to_string(), "{written}");
        let seen = claims(&platform, "searcher").await;
        let seen = ["bytes", "found", "dirty"].map(|name| seen[name].as_str().unwrap().to_owned());
        assert_eq!(
            seen,
            [MEMORY.to_string(), "0".to_owned(), "0".to_owned()],
            "round {round}"
        );
    }
}

async fn claims(platform: &Platform, tenant: &str) -> Value {
    let (status, answer) = platform.callout_to(&platform.url_of(tenant, "claims")).await;
    assert_eq!(status, 200, "{tenant}: {answer}");
    Platform::claims(&answer).clone()
}
