//! A tenant that trusts keys runs nothing that is not signed with one of them: `tests/cases/admin/signatures.json`.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use claimsmith_tests::{Platform, cases, eventually, misbehaving};
use serde_json::{Value, json};

use crate::minisign::KeyPair;
use crate::setup::{
    activate, admin_url, assert_last_refused, build, command, json_of, push, refused, start, status, tenant_toml,
    token_of,
};

const COMMENT: &str = "timestamp:1700000000\tfile:misbehaving.wasm";

fn sign(key: &KeyPair, file: &Path) -> String {
    key.sign(&fs::read(file).unwrap(), COMMENT)
}

/// A signature's second line, changed.
fn with_changed_head(signature: &str, change: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut lines: Vec<_> = signature.lines().map(str::to_owned).collect();
    let mut bytes = STANDARD.decode(&lines[1]).unwrap();
    change(&mut bytes);
    lines[1] = STANDARD.encode(bytes);
    lines.join("\n") + "\n"
}

/// The signature of build `a` that a case wants; none when it wants none.
fn signature(case: &Value, trusted: &KeyPair) -> Option<String> {
    let good = sign(trusted, &misbehaving("a"));
    let other = KeyPair::generate();
    Some(match case["signature"].as_str().unwrap() {
        "none" => return None,
        "another key" => sign(&other, &misbehaving("a")),
        "the trusted key's id" => with_changed_head(&sign(&other, &misbehaving("a")), |bytes| {
            let id = STANDARD.decode(good.lines().nth(1).unwrap()).unwrap();
            bytes[2..10].copy_from_slice(&id[2..10]);
        }),
        "another file" => sign(trusted, &misbehaving("b")),
        "altered comment" => {
            let altered = good.replace("1700000000", "1800000000");
            assert_ne!(altered, good);
            altered
        }
        "legacy" => with_changed_head(&good, |bytes| bytes[..2].copy_from_slice(b"Ed")),
        "garbage" => "signed, honestly\n".to_owned(),
        "empty" => String::new(),
        "cut off" => good.lines().take(2).collect::<Vec<_>>().join("\n"),
        other => panic!("{other}"),
    })
}

fn plugins(managed: &str, keys: &[&KeyPair]) -> String {
    let keys: Vec<_> = keys.iter().map(|key| key.public()).collect();
    format!("managed = \"{managed}\"\ntrusted_keys = {keys:?}")
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_loaded_only_if_they_are_signed() {
    let trusted = KeyPair::generate();
    let spare = KeyPair::generate();
    let platform = start("", &[("contoso", &plugins("files", &[&spare, &trusted]), "")]).await;
    let file = platform.tenant_file("plugins/misbehaving.wasm");
    fs::copy(misbehaving("a"), &file).unwrap();
    let signed = file.with_extension("wasm.minisig");
    for case in cases("admin/signatures.json") {
        match signature(&case, &trusted) {
            Some(signature) => fs::write(&signed, signature).unwrap(),
            None => assert!(!signed.exists()),
        }
        let expected = case["error"].as_str().unwrap();
        eventually(case["case"].as_str().unwrap(), async || {
            let mistakes = status(&platform).await["mistakes"].clone();
            let mistake = mistakes[0].as_str().unwrap_or_default();
            // The line of the binding that names the plugin.
            mistake.contains(expected) && mistake.contains("tenant.toml:15:10: ")
        })
        .await;
        assert_eq!(platform.callout().await.0, 503, "{case}");
    }
    fs::write(&signed, sign(&trusted, &misbehaving("a"))).unwrap();
    eventually("the signed one serves", async || platform.callout().await.0 == 200).await;
    let status_of_binding = status(&platform).await["extensions"]["claims"]["bindings"][0].clone();
    let expected = json!({ "key": trusted.public(), "trusted_comment": COMMENT });
    assert_eq!(status_of_binding["signed"], expected);

    // Whoever can write the plugin but has no key changes nothing.
    fs::copy(misbehaving("b"), &file).unwrap();
    eventually("the unsigned change is seen", async || {
        status(&platform).await["mistakes"][0].is_string()
    })
    .await;
    assert_eq!(build(&platform).await, "a");
    fs::write(&signed, sign(&spare, &misbehaving("b"))).unwrap();
    eventually("the signed change serves", async || build(&platform).await == "b").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_are_activated_only_if_they_are_signed() {
    let trusted = KeyPair::generate();
    let platform = start("", &[("contoso", &plugins("api", &[&trusted]), "")]).await;
    let file = platform.directory.path().join("build.wasm");
    fs::copy(misbehaving("a"), &file).unwrap();
    let signed = file.with_extension("wasm.minisig");
    let activate_it = ["activate", "--tenant", "contoso", "misbehaving@1.0.0", "--reason", "r"];
    for case in cases("admin/signatures.json") {
        if let Some(signature) = signature(&case, &trusted) {
            fs::write(&signed, signature).unwrap();
            let arguments = push_arguments(&file, "1.0.0");
            let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
            refused(&platform, &arguments, "signature", case["error"].as_str().unwrap()).await;
            assert_last_refused(&platform, "sign", case["error"].as_str().unwrap()).await;
        } else {
            let arguments = push_arguments(&file, "1.0.0");
            let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
            let pushed = command(&platform, &arguments).await.output;
            assert!(
                pushed.contains("warning: the tenant runs nothing that is not signed"),
                "{pushed}"
            );
        }
        refused(&platform, &activate_it, "invalid", "it is not signed").await;
        assert_eq!(platform.callout().await.0, 503, "{case}");
    }
    fs::write(&signed, sign(&trusted, &file)).unwrap();
    let pushed = push(&platform, &file, "1.0.0").await;
    assert_eq!(pushed["signed"]["trusted_comment"], COMMENT);
    let arguments = push_arguments(&file, "1.0.0");
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let pushed = command(&platform, &arguments).await.output;
    assert!(!pushed.contains("warning"), "{pushed}");
    let activated = activate(&platform, "1.0.0").await;
    assert_eq!(activated["plan"]["plugins"][0]["to"]["signed"]["key"], trusted.public());
    assert_eq!(build(&platform).await, "a");
    assert_keys_are_taken_back(&platform, &trusted).await;
}

fn push_arguments(file: &Path, version: &str) -> Vec<String> {
    let arguments = [
        "push",
        file.to_str().unwrap(),
        "--tenant",
        "contoso",
        "--plugin",
        "misbehaving",
        "--version",
        version,
    ];
    arguments
        .into_iter()
        .chain(["--reason", "r"])
        .map(str::to_owned)
        .collect()
}

/// A signature that somebody puts into the store, or one by a key that is trusted no more, activates nothing.
async fn assert_keys_are_taken_back(platform: &Platform, trusted: &KeyPair) {
    let unsigned = platform.directory.path().join("unsigned.wasm");
    fs::copy(misbehaving("b"), &unsigned).unwrap();
    let pushed = push(platform, &unsigned, "1.1.0").await;
    let digest = pushed["digest"].as_str().unwrap();
    let stolen = format!("state/versions/contoso/misbehaving/{digest}.wasm.minisig");
    fs::write(platform.directory.path().join(stolen), sign(trusted, &misbehaving("a"))).unwrap();
    let activate_it = ["activate", "--tenant", "contoso", "misbehaving@1.1.0", "--reason", "r"];
    refused(platform, &activate_it, "invalid", "its signature is wrong").await;

    let next = KeyPair::generate();
    let toml = tenant_toml(&platform.entra, &plugins("api", &[&next]), "");
    fs::write(platform.tenant_file("tenant.toml"), toml).unwrap();
    eventually("the key is trusted no more", async || {
        let mistakes = status(platform).await["mistakes"].clone();
        mistakes[0]
            .as_str()
            .is_some_and(|mistake| mistake.contains("does not trust"))
    })
    .await;
    assert_eq!(build(platform).await, "a");
    fs::write(unsigned.with_extension("wasm.minisig"), sign(&next, &unsigned)).unwrap();
    push(platform, &unsigned, "1.1.0").await;
    activate(platform, "1.1.0").await;
    assert_eq!(build(platform).await, "b");
    let log = json_of(platform, &["admin-log", "--limit", "1000"]).await;
    let signs = log["lines"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|line| line["action"] == "sign" && line["result"] == "done");
    assert_eq!(signs.count(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_none_is_a_mistake_with_its_line() {
    let key = KeyPair::generate();
    let keys = format!("trusted_keys = [\"{}\", \"RWnone\"]", key.public());
    let platform = start("", &[("contoso", &keys, ""), ("fabrikam", "", "")]).await;
    let mistakes = status(&platform).await["mistakes"].clone();
    let mistake = mistakes[0].as_str().unwrap();
    assert!(
        mistake.contains("tenant.toml:8:77: expected a public key of minisign"),
        "{mistake}"
    );
    let ended = command(&platform, &["status", "--tenant", "fabrikam"]).await;
    assert!(!ended.output.contains("mistake"), "{}", ended.output);
}

/// A callout of a user whose name tells the plugin what to do: the status, and which build answered.
async fn told(platform: &Platform, name: &str) -> (u16, Value) {
    let mut body = platform.body();
    body["data"]["authenticationContext"]["user"]["displayName"] = json!(name);
    let response = platform.call(&platform.token(), &body).await;
    let status = response.status().as_u16();
    let answer: Value = response.json().await.unwrap();
    (status, Platform::claims(&answer)["build"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_version_before_is_invoked_only_if_its_key_is_trusted_now() {
    const HOST: &str = "runtime.breaker.consecutive_failures = 3\nruntime.breaker.open_for = \"1m\"";
    const BINDING: &str = "fallback_to_previous = true\nsettings = { mode = \"as_named\" }";
    let (stolen, next) = (KeyPair::generate(), KeyPair::generate());
    for (before, now, expected) in [
        (vec![], vec![&next], (503, Value::Null)),
        (vec![&stolen], vec![&next], (503, Value::Null)),
        (vec![&stolen], vec![&stolen, &next], (200, json!("a"))),
    ] {
        let platform = start(HOST, &[("contoso", &plugins("files", &before), BINDING)]).await;
        let file = platform.tenant_file("plugins/misbehaving.wasm");
        let signed = file.with_extension("wasm.minisig");
        if let Some(key) = before.first() {
            fs::write(&signed, sign(key, &misbehaving("a"))).unwrap();
        }
        fs::copy(misbehaving("a"), &file).unwrap();
        eventually("the first serves", async || told(&platform, "Ada").await.1 == "a").await;

        fs::write(&signed, sign(&next, &misbehaving("b"))).unwrap();
        fs::copy(misbehaving("b"), &file).unwrap();
        let toml = tenant_toml(&platform.entra, &plugins("files", &now), BINDING);
        fs::write(platform.tenant_file("tenant.toml"), toml).unwrap();
        eventually("the second serves, with the keys of now", async || {
            let binding = status(&platform).await["extensions"]["claims"]["bindings"][0].clone();
            binding["signed"]["key"] == next.public() && told(&platform, "Ada").await.1 == "b"
        })
        .await;
        for _ in 0..3 {
            assert_eq!(told(&platform, "panic").await.0, 500);
        }
        assert_eq!(told(&platform, "Ada").await, expected);
    }
}

/// A signature that the log could not take is not there, and one that could not be written is told as undone.
#[tokio::test(flavor = "multi_thread")]
async fn no_signature_is_kept_without_its_line() {
    let platform = start("", &[("contoso", "managed = \"api\"", "")]).await;
    let digest = push(&platform, &misbehaving("a"), "1.0.0").await["digest"].clone();
    let signature = platform.directory.path().join("a.minisig");
    fs::write(&signature, sign(&KeyPair::generate(), &misbehaving("a"))).unwrap();
    let file = misbehaving("a");
    let arguments = [
        "push",
        file.to_str().unwrap(),
        "--tenant",
        "contoso",
        "--plugin",
        "misbehaving",
    ];
    let signed = [
        "--version",
        "1.0.0",
        "--reason",
        "r",
        "--signature",
        signature.to_str().unwrap(),
    ];
    let arguments = [&arguments[..], &signed].concat();
    let kept = format!(
        "state/versions/contoso/misbehaving/{}.wasm.minisig",
        digest.as_str().unwrap()
    );
    let kept = platform.directory.path().join(kept);

    let database = format!("sqlite:{}", platform.directory.path().join("state/admin.db").display());
    let pool = sqlx::SqlitePool::connect(&database).await.unwrap();
    let full = "CREATE TRIGGER full BEFORE INSERT ON log BEGIN SELECT RAISE(ABORT, 'full'); END";
    sqlx::query(full).execute(&pool).await.unwrap();
    refused(&platform, &arguments, "store_unavailable", "log says why").await;
    assert!(!kept.exists(), "the log does not know of it");
    sqlx::query("DROP TRIGGER full").execute(&pool).await.unwrap();

    // A disk that takes no file.
    let incoming = platform.directory.path().join("state/incoming");
    fs::remove_dir(&incoming).unwrap();
    let url = admin_url(&platform).await;
    let path = "/tenants/contoso/plugins/misbehaving/versions/1.0.0/signature?reason=r";
    let token = token_of(&platform, "Claimsmith.Operator", &[]);
    let text = fs::read_to_string(&signature).unwrap();
    let put = platform.http.put(format!("{url}{path}")).bearer_auth(token).body(text);
    assert_eq!(put.send().await.unwrap().status(), 503);
    assert!(!kept.exists());
    fs::create_dir(&incoming).unwrap();
    json_of(&platform, &arguments).await;
    assert!(kept.is_file());
    let log = json_of(&platform, &["admin-log", "--limit", "3"]).await;
    let lines = log["lines"].as_array().unwrap().iter();
    let told: Vec<_> = lines.map(|line| (&line["action"], &line["result"])).collect();
    let (sign, done, undone) = (json!("sign"), json!("done"), json!("undone"));
    assert_eq!(told, [(&sign, &done), (&sign, &undone), (&sign, &done)]);
}
