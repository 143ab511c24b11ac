//! A plugin that is made to compile slowly or large: its tenant is told which limit it met, and nobody else notices.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::allow_attributes,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::path::Path;

use claimsmith_tests::{LogLine, Platform, eventually, misbehaving, plugin, world};
use serde_json::json;

/// The binding of the tenant that must not notice.
const GOOD: &str = "[[extensions.claims.bindings]]\nplugin = \"misbehaving\"\nsettings = { marker = \"good\" }\n";

/// An unsigned number in LEB128.
fn leb(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(number & 0x7f).unwrap();
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

fn section(id: u8, content: &[u8]) -> Vec<u8> {
    [&[id], leb(content.len()).as_slice(), content].concat()
}

/// A valid component with one function of one parameter that consists of `start` and so many times `part`.
fn component(start: &[u8], part: &[u8], times: usize) -> Vec<u8> {
    let body = [&[0], start, &part.repeat(times), &[0x20, 0, 0x0b]].concat();
    let code = [vec![1], leb(body.len()), body].concat();
    let module = [
        b"\0asm\x01\0\0\0".to_vec(),
        section(1, &[1, 0x60, 1, 0x7f, 1, 0x7f]),
        section(3, &[1, 0]),
        section(10, &code),
    ];
    [b"\0asm\x0d\0\x01\0".to_vec(), section(1, &module.concat())].concat()
}

/// `if x { x = x * x }`, a hundred thousand times: 1.2 MB whose blocks take the compiler minutes.
fn slow() -> Vec<u8> {
    let square_if = [0x20, 0, 0x04, 0x40, 0x20, 0, 0x20, 0, 0x6c, 0x21, 0, 0x0b];
    component(&[], &square_if, 100_000)
}

/// `x = x * x`, three hundred thousand times: 2.1 MB that take the compiler hundreds of megabytes.
fn large() -> Vec<u8> {
    component(&[], &[0x20, 0, 0x20, 0, 0x6c, 0x21, 0], 300_000)
}

/// Adds the tenant `bomber` with these plugins, each bound.
fn add_bomber(platform: &Platform, plugins: &[(&str, &[u8])]) {
    let directory = platform.directory.path().join("tenants/bomber");
    fs::create_dir_all(directory.join("plugins")).unwrap();
    let mut toml = world::directories_toml(&platform.entra);
    for (name, bytes) in plugins {
        fs::write(directory.join("plugins").join(format!("{name}.wasm")), bytes).unwrap();
        toml += &world::extension_toml(name, "", name, "");
    }
    fs::write(directory.join("tenant.toml"), toml).unwrap();
}

fn has(text: &'static str) -> impl Fn(&LogLine) -> bool {
    move |line| line["message"].as_str().is_some_and(|message| message.contains(text))
}

async fn assert_others_are_served(platform: &Platform) {
    let (status, answer) = platform.callout().await;
    assert_eq!(
        (status, &Platform::claims(&answer)["marker"]),
        (200, &json!("good")),
        "{answer}"
    );
    let health = format!("http://{}/healthz", platform.host.address);
    assert_eq!(platform.http.get(health).send().await.unwrap().status(), 200);
}

/// The line of the error of one of the bomber's plugins.
async fn error_of(platform: &Platform, plugin: &str) -> String {
    let file = format!("plugins/{plugin}.wasm: ");
    let is_it = |line: &LogLine| line["level"] == "ERROR" && line["message"].as_str().unwrap().contains(&file);
    let line = platform.host.log_line(plugin, is_it).await;
    assert_eq!(line["tenant"], "bomber", "{line}");
    line["message"].as_str().unwrap().to_owned()
}

/// What `/proc` says of a limit of a process: the soft one.
fn limit(process: u32, name: &str) -> String {
    let limits = fs::read_to_string(format!("/proc/{process}/limits")).unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.split_whitespace().next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_plugin_compiles_everybody_is_served_and_a_shutdown_ends_it() {
    let limits = "runtime.max_compile_time = \"10m\"\nruntime.max_compile_memory_bytes = 2000000000";
    let mut platform = Platform::start_with(limits, "", GOOD).await;
    let mark = platform.host.log_mark();
    add_bomber(&platform, &[("slow", &slow())]);
    platform
        .host
        .log_line_after(mark, "compiling", has("compiling a component"))
        .await;
    eventually("there is a child", async || !platform.host.children().is_empty()).await;
    for _ in 0..20 {
        assert_others_are_served(&platform).await;
    }
    let children = platform.host.children();
    assert_eq!(children.len(), 1, "it still compiles");

    // What the child can do and use.
    let process = format!("/proc/{}", children[0]);
    eventually("it has limited itself", async || {
        limit(children[0], "Max address space") == "2000000000"
    })
    .await;
    assert_eq!(limit(children[0], "Max cpu time"), "602");
    assert_eq!(limit(children[0], "Max core file size"), "0");
    assert_eq!(limit(children[0], "Max file size"), "0");
    assert_eq!(
        fs::read(format!("{process}/environ")).unwrap(),
        b"",
        "it inherits no secret"
    );
    assert_eq!(
        fs::read_to_string(format!("{process}/oom_score_adj")).unwrap().trim(),
        "1000"
    );
    let stat = fs::read_to_string(format!("{process}/stat")).unwrap();
    let nice = stat.rsplit_once(") ").unwrap().1.split(' ').nth(16).unwrap().to_owned();
    assert_eq!(nice, "5");

    platform.host.terminate();
    assert!(platform.host.ended().await.success());
    eventually("the child is gone", async || !Path::new(&process).exists()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_compiles_for_too_long_is_refused_and_its_tenant_alone() {
    let platform = Platform::start_with("runtime.max_compile_time = \"10s\"", "", GOOD).await;
    add_bomber(
        &platform,
        &[("one", &slow()), ("two", &[slow(), vec![0, 2, 1, b'x']].concat())],
    );
    let error = error_of(&platform, "one").await;
    assert!(
        error.contains("longer than 10s to compile (runtime.max_compile_time)"),
        "{error}"
    );
    // Its others are not tried: each could take as long.
    let error = error_of(&platform, "two").await;
    assert!(
        error.contains("compiling another plugin of the tenant met its limit"),
        "{error}"
    );
    eventually("the child is gone", async || platform.host.children().is_empty()).await;

    assert_others_are_served(&platform).await;
    let (status, answer) = platform.callout_to(&platform.url_of("bomber", "one")).await;
    assert_eq!((status, &answer["code"]), (503, &json!("tenant_unavailable")));
    fs::copy(misbehaving("a"), platform.tenant_file("plugins/misbehaving.wasm")).unwrap();
    eventually("the others' changes take effect", async || {
        Platform::claims(&platform.callout().await.1)["build"] == "a"
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_compiles_slowly_holds_up_no_change_of_other_tenants() {
    let limits = "runtime.max_compile_time = \"10m\"\nruntime.max_compile_memory_bytes = 2000000000";
    let platform = Platform::start_with(limits, "", GOOD).await;
    add_bomber(&platform, &[("slow", &slow())]);
    eventually("there is a child", async || !platform.host.children().is_empty()).await;
    let child = platform.host.children();
    for marker in ["other", "third"] {
        let toml = platform.tenant_toml(&GOOD.replace("good", marker));
        fs::write(platform.tenant_file("tenant.toml"), toml).unwrap();
        eventually("the change takes effect", async || {
            Platform::claims(&platform.callout().await.1)["marker"] == marker
        })
        .await;
    }
    assert_eq!(platform.host.children(), child, "it still compiles, and once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_takes_too_much_memory_or_code_to_compile_is_refused() {
    let limits = "runtime.max_compile_memory_bytes = 268435456\nruntime.max_compiled_bytes = 650000";
    let platform = Platform::start_with(limits, "", GOOD).await;
    add_bomber(&platform, &[("large", &large())]);
    let error = error_of(&platform, "large").await;
    assert!(
        error.contains("more than 268435456 bytes of memory (runtime.max_compile_memory_bytes)"),
        "{error}"
    );
    let honest = fs::read(plugin("attribute-map")).unwrap();
    add_bomber(&platform, &[("wide", &honest)]);
    let error = error_of(&platform, "wide").await;
    assert!(
        error.contains("more than 650000 bytes of machine code (runtime.max_compiled_bytes)"),
        "{error}"
    );
    // A mistake is told in the compiler's words, through the same pipe.
    add_bomber(&platform, &[("invalid", &component(&[0xff], &[], 1))]);
    let error = error_of(&platform, "invalid").await;
    assert!(
        error.contains("does not compile: ") && error.contains("0xff"),
        "{error}"
    );
    assert_others_are_served(&platform).await;
}
