//! Compiled plugins are kept and compiling them is bounded: a start takes them from the cache, nothing that was done to the
//! cache's files becomes code, and a plugin that is made to compile slowly or large is its own tenant's problem alone.
//!
//! Every bit of an entry is tried in `host/runtime/tests/cache_files`.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::allow_attributes,
    reason = "a test fails by panicking"
)]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use claimsmith_tests::{
    Ended, Host, LogLine, Platform, Stage, eventually, misbehaving, plugin, run, world, write_tenant,
};
use serde_json::{Value, json};

/// A host's configuration with a cache.
const CACHE: &str = "runtime.cache.directory = \"cache\"\nruntime.cache.key = \"cache.key\"";

/// A tenant whose extension `claims` has two plugins.
fn tenant(entra: &claimsmith_local_entra::LocalEntra) -> String {
    let second = "[[extensions.claims.bindings]]
plugin = \"attribute-map\"
settings.rules = [{ claim = \"name\", from = \"user.displayName\" }]
";
    let marker = "settings = { marker = \"m\" }";
    let first = world::extension_toml("claims", "", "misbehaving", marker);
    [world::directories_toml(entra), first, second.to_owned()].concat()
}

async fn stage(host_config: &str) -> Stage {
    let stage = Stage::new().await.host_config(host_config);
    let toml = tenant(&stage.entra);
    stage.tenant("contoso", &toml)
}

async fn eventually_answers(platform: &Platform, build: &str) {
    eventually(&format!("callouts are answered by the build {build}"), async || {
        let (status, answer) = platform.callout().await;
        status == 200 && Platform::claims(&answer)["build"] == build
    })
    .await;
}

/// What the host has counted of looks into the cache.
async fn counted(platform: &Platform, result: &str) -> u64 {
    let url = format!("http://{}/metrics", platform.host.address);
    let text = platform.http.get(url).send().await.unwrap().text().await.unwrap();
    let series = format!("claimsmith_aot_cache_total{{result=\"{result}\"}} ");
    let value = text.lines().find_map(|line| line.strip_prefix(&series));
    value.map_or(0, |value| value.parse().unwrap())
}

fn compiled(log: &[LogLine]) -> usize {
    log.iter()
        .filter(|line| line["message"] == "component compiled")
        .count()
}

fn has(text: &'static str) -> impl Fn(&LogLine) -> bool {
    move |line| line["message"].as_str().is_some_and(|message| message.contains(text))
}

fn entries(platform: &Platform) -> Vec<PathBuf> {
    let files = fs::read_dir(platform.directory.path().join("cache")).unwrap();
    let mut entries: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    entries.sort();
    entries
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warm_start_compiles_nothing() {
    let mut platform = stage(CACHE).await.start().await;
    eventually_answers(&platform, "default").await;
    assert_eq!(
        (counted(&platform, "miss").await, counted(&platform, "hit").await),
        (2, 0)
    );
    assert_eq!(compiled(&platform.host.log()), 2);
    assert_eq!(entries(&platform).len(), 2);

    platform.restart(&[]).await;
    eventually_answers(&platform, "default").await;
    assert_eq!(
        (counted(&platform, "miss").await, counted(&platform, "hit").await),
        (0, 2)
    );
    assert_eq!(compiled(&platform.host.log()), 0);

    // A plugin that was here before comes back without compiling.
    fs::copy(misbehaving("a"), platform.tenant_file("plugins/misbehaving.wasm")).unwrap();
    eventually_answers(&platform, "a").await;
    assert_eq!(compiled(&platform.host.log()), 1);
    platform.restart(&["--no-compile"]).await;
    eventually_answers(&platform, "a").await;
    fs::copy(misbehaving("default"), platform.tenant_file("plugins/misbehaving.wasm")).unwrap();
    eventually_answers(&platform, "default").await;
    assert_eq!(counted(&platform, "hit").await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_loaded_stays_what_was_verified_whatever_becomes_of_the_files() {
    let mut platform = stage(CACHE).await.start().await;
    platform.restart(&[]).await;
    eventually_answers(&platform, "default").await;
    let maps = fs::read_to_string(format!("/proc/{}/maps", platform.host.pid())).unwrap();
    let entry = |line: &&str| line.contains(".aot");
    assert_eq!(maps.lines().find(entry), None, "code runs from a file that has a name");
    for entry in entries(&platform) {
        // In place, so that it stays the same file.
        fs::write(entry, [0xcc; 4096]).unwrap();
    }
    for _ in 0..10 {
        let (status, answer) = platform.callout().await;
        assert_eq!((status, &Platform::claims(&answer)["build"]), (200, &json!("default")));
    }
}

/// What is done to an entry, given another plugin's, and what the host makes of it.
type Tampering = (&'static str, fn(&mut Vec<u8>, &[u8]), &'static str);

const TAMPERINGS: &[Tampering] = &[
    ("a bit of the header", |entry, _| entry[30] ^= 0x80, "corrupt"),
    (
        "a bit of the code",
        |entry, _| *entry.last_chunk_mut::<5000>().unwrap().first_mut().unwrap() ^= 1,
        "corrupt",
    ),
    (
        "a bit of the MAC",
        |entry, _| *entry.last_mut().unwrap() ^= 1,
        "corrupt",
    ),
    ("its end", |entry, _| entry.truncate(entry.len() - 1), "corrupt"),
    ("more after its end", |entry, _| entry.push(0), "corrupt"),
    ("nothing left of it", |entry, _| entry.clear(), "corrupt"),
    ("another plugin's", |entry, other| *entry = other.to_vec(), "foreign"),
];

#[tokio::test(flavor = "multi_thread")]
async fn what_was_tampered_with_is_compiled_again_and_never_loaded() {
    let mut platform = stage(CACHE).await.start().await;
    for (what, tamper, result) in TAMPERINGS {
        let files = entries(&platform);
        let [written, other] = [&files[0], &files[1]].map(|file| fs::read(file).unwrap());
        let mut changed = written.clone();
        tamper(&mut changed, &other);
        fs::write(&files[0], changed).unwrap();

        platform.restart(&[]).await;
        eventually_answers(&platform, "default").await;
        assert_eq!(counted(&platform, result).await, 1, "{what}");
        assert_eq!(counted(&platform, "hit").await, 1, "{what}");
        let line = platform
            .host
            .log_line(what, |line| {
                line["entry"].as_str().is_some_and(|entry| files[0].ends_with(entry))
            })
            .await;
        assert_eq!(
            json!([line["level"], line["result"]]),
            json!(["WARN", result]),
            "{what}: {line}"
        );
        assert_eq!(compiled(&platform.host.log()), 1, "{what}");
        assert!(
            fs::read(&files[0]).unwrap() == written,
            "{what}: the entry was not made again"
        );
    }

    // A key that was replaced: nothing that the old one authenticated is believed.
    fs::write(platform.directory.path().join("cache.key"), [7; 32]).unwrap();
    platform.restart(&[]).await;
    eventually_answers(&platform, "default").await;
    assert_eq!(
        (counted(&platform, "foreign").await, counted(&platform, "hit").await),
        (2, 0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_or_directory_that_others_reach_keeps_the_host_from_starting() {
    let stage = stage(CACHE).await;
    fs::write(stage.file("cache.key"), [7; 32]).unwrap();
    fs::create_dir(stage.file("cache")).unwrap();
    for (file, good, open, expected) in [
        ("cache.key", 0o600, 0o640, "cache.key, is refused: its mode is 0640"),
        ("cache", 0o700, 0o777, "cache, is refused: its mode is 0777"),
    ] {
        fs::set_permissions(stage.file("cache.key"), Permissions::from_mode(0o600)).unwrap();
        fs::set_permissions(stage.file(file), Permissions::from_mode(open)).unwrap();
        let (status, printed) = Host::fail_to_start(stage.directory.path()).await;
        assert_eq!(status.code(), Some(1), "{printed}");
        assert!(printed.contains(expected), "{printed}");
        fs::set_permissions(stage.file(file), Permissions::from_mode(good)).unwrap();
    }
    stage.start().await.callout().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_that_takes_no_files_costs_a_warning_and_nothing_else() {
    let mut platform = stage(CACHE).await.start().await;
    fs::remove_dir_all(platform.directory.path().join("cache")).unwrap();

    // Room for what wasmtime keeps in memory files, and for no entry.
    let directory = platform.directory.path().to_owned();
    platform.host = Host::start_on_a_full_disk(&directory, 256).await;
    eventually_answers(&platform, "default").await;
    assert_eq!(counted(&platform, "write_failed").await, 2);
    let line = platform.host.log_line("full", has("cannot be kept")).await;
    assert_eq!(line["level"], "WARN");
    assert_eq!(entries(&platform), Vec::<PathBuf>::new(), "what was begun is gone");

    // A directory that cannot be made.
    fs::remove_dir(directory.join("cache")).unwrap();
    fs::write(directory.join("cache"), "").unwrap();
    platform.restart(&[]).await;
    eventually_answers(&platform, "default").await;
    let line = platform
        .host
        .log_line("unusable", has("compiled components are not kept"))
        .await;
    assert_eq!(line["level"], "WARN");
    assert_eq!(compiled(&platform.host.log()), 2);
}

async fn claimsmith(directory: &Path, arguments: &[&str]) -> Ended {
    run(directory, arguments, "").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_does_not_compile_says_which_command_does() {
    let mut platform = Stage::new().await.host_config(CACHE).listen("json").await;
    write_tenant(&platform.tenant_file(""), &tenant(&platform.entra), "default");
    platform.restart(&["--no-compile"]).await;
    assert_eq!(platform.callout().await.1["code"], "tenant_unavailable");
    let error = platform.host.log_line("refused", has("--no-compile")).await;
    assert_eq!(
        (&error["level"], &error["tenant"]),
        (&json!("ERROR"), &json!("contoso"))
    );

    // The host takes both plugins as soon as they are there.
    for file in ["misbehaving", "attribute-map"] {
        let file = format!("plugins/{file}.wasm");
        let refused = |line: &LogLine| has("--no-compile")(line) && line["message"].as_str().unwrap().contains(&file);
        let error = platform.host.log_line(&file, refused).await;
        let command = error["message"].as_str().unwrap().split('`').nth(1).unwrap();
        let mut words = command.split(' ');
        assert_eq!(words.next(), Some("claimsmith"));
        let words: Vec<_> = words.collect();
        let ended = claimsmith(platform.directory.path(), &words).await;
        assert_eq!(ended.code, 0, "{command}: {}", ended.errors);
        assert!(ended.output.starts_with("compiled "), "{}", ended.output);
    }
    eventually_answers(&platform, "default").await;
    assert_eq!(compiled(&platform.host.log()), 0);

    // A new version that was not compiled leaves the old one serving.
    let mark = platform.host.log_mark();
    fs::copy(misbehaving("a"), platform.tenant_file("plugins/misbehaving.wasm")).unwrap();
    platform
        .host
        .log_line_after(mark, "refused", has("claimsmith compile --config"))
        .await;
    eventually_answers(&platform, "default").await;

    let without = Stage::new().await;
    let ended = claimsmith(without.directory.path(), &["serve", "--no-compile"]).await;
    assert_eq!(ended.code, 1);
    assert!(ended.errors.contains("--no-compile needs a cache"), "{}", ended.errors);
}

/// A host that does not compile, with a tenant whose two plugins it lacks, once it has told of them.
async fn lacking(watch: &str) -> Platform {
    let host_config = format!("{CACHE}\n{watch}");
    let mut platform = Stage::new().await.host_config(&host_config).listen("json").await;
    write_tenant(&platform.tenant_file(""), &tenant(&platform.entra), "default");
    platform.restart(&["--no-compile"]).await;
    platform.host.log_line("refused", has("attribute-map.wasm")).await;
    platform
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_pass_by_itself_is_tried_again_and_told_once() {
    let platform = lacking("watch.rescan = \"20ms\"").await;
    eventually("it is tried again", async || counted(&platform, "miss").await >= 20).await;
    let log = platform.host.log();
    let errors: Vec<_> = log.iter().filter(|line| line["level"] == "ERROR").collect();
    assert_eq!(errors.len(), 2, "one for each plugin: {errors:#?}");
    let published = log.iter().filter(|line| line["message"] == "catalog published");
    assert_eq!(published.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_beside_the_configuration_are_no_change_of_it() {
    let platform = lacking("watch.rescan = \"1h\"\nwatch.debounce = \"10ms\"").await;
    // The host looks once more when it begins to watch: two plugins each time.
    eventually("it has looked twice", async || counted(&platform, "miss").await >= 4).await;
    let before = counted(&platform, "miss").await;
    for line in 0..20 {
        fs::write(platform.directory.path().join("claimsmith.log"), line.to_string()).unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(30)).await;
    }
    let after = counted(&platform, "miss").await;
    assert!(after - before < 20, "{before} {after}: each line is a change");
    fs::write(platform.tenant_file("plugins/other.wasm"), "").unwrap();
    eventually("a change is seen", async || counted(&platform, "miss").await > after).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn compile_fills_the_cache_ahead_of_the_first_start() {
    let stage = stage(CACHE).await;
    let here = stage.directory.path().to_owned();
    let all = claimsmith(&here, &["compile", "--all", "--json"]).await;
    assert_eq!(all.code, 0, "{}", all.errors);
    let done: Value = serde_json::from_str(&all.output).unwrap();
    let states: Vec<_> = done
        .as_array()
        .unwrap()
        .iter()
        .map(|one| json!([one["plugin"], one["status"]]))
        .collect();
    let expected = ["attribute-map", "loyalty-claims", "misbehaving"].map(|name| json!([name, "compiled"]));
    assert_eq!(states, expected, "{done}");

    // Again, with a file that is no plugin among the others: it is told, and the others are done all the same.
    fs::write(stage.file("broken.wasm"), "broken").unwrap();
    let good = plugin("attribute-map");
    let files = [
        "compile",
        "broken.wasm",
        good.to_str().unwrap(),
        "absent.wasm",
        "--json",
    ];
    let some = claimsmith(&here, &files).await;
    assert_eq!(some.code, 1);
    let done: Value = serde_json::from_str(&some.output).unwrap();
    let states: Vec<_> = done.as_array().unwrap().iter().map(|one| &one["status"]).collect();
    assert_eq!(states, ["failed", "cached", "failed"]);
    assert!(
        done[0]["error"].as_str().unwrap().contains("no WebAssembly component"),
        "{done}"
    );
    assert!(some.errors.contains("2 of 3 plugins"), "{}", some.errors);

    // Without a configuration, into a place of its own.
    let elsewhere = [
        "compile",
        good.to_str().unwrap(),
        "--directory",
        "else",
        "--key",
        "else.key",
    ];
    let ended = claimsmith(&here, &elsewhere).await;
    assert_eq!(ended.code, 0, "{}", ended.errors);
    assert!(ended.output.contains("attribute-map@0.1.0 sha256:"), "{}", ended.output);
    assert_eq!(fs::read_dir(stage.file("else")).unwrap().count(), 1);

    let platform = stage.start().await;
    eventually_answers(&platform, "default").await;
    assert_eq!(
        (counted(&platform, "hit").await, compiled(&platform.host.log())),
        (2, 0)
    );

    let without = Stage::new().await;
    let ended = claimsmith(without.directory.path(), &["compile", "--all"]).await;
    assert_eq!(ended.code, 1);
    assert!(ended.errors.contains("names no cache"), "{}", ended.errors);
}
