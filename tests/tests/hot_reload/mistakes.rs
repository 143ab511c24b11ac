//! Mistakes in a tenant's files: what was good before keeps serving, and the log tells what to mend.

use std::fs;

use claimsmith_tests::cases;
use serde_json::json;

use super::*;

/// A mistake in a tenant's files, and what the log must say of it.
struct Mistake {
    name: String,
    /// The file, below the tenant's directory.
    file: &'static str,
    content: Vec<u8>,
    /// The first follows the file's name.
    error: Vec<String>,
}

impl Mistake {
    fn new(name: &str, file: &'static str, content: impl Into<Vec<u8>>, error: &[&str]) -> Self {
        Self {
            name: name.to_owned(),
            file,
            content: content.into(),
            error: error.iter().copied().map(str::to_owned).collect(),
        }
    }
}

/// A component that imports an interface.
fn component_importing(interface: &str) -> Vec<u8> {
    let name = interface.as_bytes();
    let length = u8::try_from(name.len()).unwrap();
    [
        b"\0asm\x0d\0\x01\0".as_slice(),
        // A type: an instance that exports nothing.
        &[7, 3, 1, 0x42, 0],
        // An import of it.
        &[10, length + 5, 1, 0, length],
        name,
        &[5, 0],
    ]
    .concat()
}

/// Those that a host is also started with, and some more.
fn mistakes_in_toml(platform: &Platform) -> Vec<Mistake> {
    let good = tenant(&platform.entra, "m");
    let text = |case: &Value, member: &str| case[member].as_str().unwrap().to_owned();
    // What is said very often is given by how often it is said before what is replaced.
    let instead = |case: &Value| match case["times"].as_u64() {
        Some(times) => text(case, "before").repeat(times.try_into().unwrap()) + &text(case, "replace"),
        None => text(case, "with"),
    };
    let mut mistakes: Vec<_> = cases("configuration/tenant.json")
        .iter()
        .map(|case| Mistake {
            name: text(case, "mistake"),
            file: "tenant.toml",
            content: good.replacen(&text(case, "replace"), &instead(case), 1).into_bytes(),
            error: serde_json::from_value(case["error"].clone()).unwrap(),
        })
        .collect();
    let not_utf8 = [good.as_bytes(), b"# \xff"].concat();
    let check = |how: &str| good.replace("marker", &format!("check = \"{how}\", marker"));
    for (name, content, error) in [
        ("an empty file", Vec::new(), [":1:1: ", "missing field `directories`"]),
        ("no UTF-8", not_utf8, [": cannot be read: ", "invalid utf-8"]),
        (
            "a check that panics",
            check("panic").into_bytes(),
            [":13:12: ", "panicked"],
        ),
        (
            "a check that loops",
            check("loop").into_bytes(),
            [":13:12: ", "100ms of CPU time"],
        ),
    ] {
        mistakes.push(Mistake::new(name, "tenant.toml", content, &error));
    }
    mistakes
}

fn mistakes_in_plugins() -> Vec<Mistake> {
    let component = fs::read(misbehaving("default")).unwrap();
    let too_large = [&component[..8], &vec![0; 8 << 20]].concat();
    let filesystem = component_importing("wasi:filesystem/types@0.2.0");
    let unknown = component_importing("claimsmith:plugin/telepathy@9.0.0");
    let cases: [(&str, &[u8], &[&str]); 9] = [
        ("an empty file", b"", &[": this is no WebAssembly component"]),
        ("another file", b"\x7fELF and so on", &[": this is native code"]),
        (
            "a core module",
            b"\0asm\x01\0\0\0",
            &[": this is a WebAssembly core module", "wasm32-wasip2"],
        ),
        (
            "an empty component",
            b"\0asm\x0d\0\x01\0",
            &[": ", "claimsmith:plugin/lifecycle"],
        ),
        (
            "half a component",
            &component[..component.len() / 2],
            &[": the component ends too early"],
        ),
        (
            "a truncated component",
            &component[..component.len() - 1],
            &[": the component ends too early"],
        ),
        ("too large a component", &too_large, &[": ", "8388616 bytes", "8388608"]),
        (
            "a forbidden import",
            &filesystem,
            &[
                ": the component imports `wasi:filesystem/types@0.2.0`",
                "no file system",
            ],
        ),
        (
            "an unknown import",
            &unknown,
            &[
                ": the component imports `claimsmith:plugin/telepathy@9.0.0`",
                "newer host",
            ],
        ),
    ];
    cases
        .into_iter()
        .map(|(name, content, error)| Mistake::new(name, "plugins/misbehaving.wasm", content, error))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistake_keeps_the_old_version_serving_and_is_told_once() {
    let platform = platform(OFTEN).await;
    let wasm = fs::read(misbehaving("default")).unwrap();
    let mistakes = mistakes_in_toml(&platform).into_iter().chain(mistakes_in_plugins());
    for (number, mistake) in mistakes.enumerate() {
        let (name, mark) = (mistake.name.as_str(), platform.host.log_mark());
        let before = answered(&platform, "contoso").await;
        replace(&platform.tenant_file(mistake.file), &mistake.content);
        let is_error = |line: &LogLine| line["level"] == "ERROR" && line["tenant"] == "contoso";
        let error = platform.host.log_line_after(mark, name, is_error).await;
        let message = error["message"].as_str().unwrap();
        let file = format!("tenants/contoso/{}:", mistake.file);
        for expected in std::iter::once(&file).chain(&mistake.error) {
            assert!(
                message.contains(expected.as_str()),
                "{name}: no {expected:?} in {message}"
            );
        }
        assert_eq!(
            (&error["tenant"], &error["keeps_serving"]),
            (&json!("contoso"), &json!(true)),
            "{name}"
        );
        assert_eq!(answered(&platform, "contoso").await, before, "{name}");

        if number % 10 == 0 {
            look_again(&platform).await;
            assert_eq!(answered(&platform, "contoso").await, before, "{name}");
        }
        let marker = format!("mended-{number}");
        replace(&platform.tenant_file("plugins/misbehaving.wasm"), &wasm);
        replace(&platform.tenant_file("tenant.toml"), tenant(&platform.entra, &marker));
        eventually_answered(&platform, "contoso", &marker, "default").await;
        let log = platform.host.log_after(mark);
        let errors: Vec<_> = log.iter().filter(|line| is_error(line)).collect();
        assert_eq!(errors.len(), 1, "{name}: {errors:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_mistakes_of_a_tenant_are_told_together() {
    let platform = platform("").await;
    let mark = platform.host.log_mark();
    let toml = tenant(&platform.entra, "first")
        .replace("marker", "markr")
        .replace("event =", "deadline = \"1h\"\nclock_leeway = \"1h\"\nevent =");
    replace(&platform.tenant_file("tenant.toml"), toml);
    for expected in ["expected 50ms to 2s", "expected at most 600s", "`markr`"] {
        let tells = |line: &LogLine| {
            line["level"] == "ERROR"
                && line["message"]
                    .as_str()
                    .is_some_and(|message| message.contains(expected))
        };
        platform.host.log_line_after(mark, expected, tells).await;
    }
    assert_eq!(answered(&platform, "contoso").await.0, "first");
}
