//! The life of versions: pushed, planned, activated, rolled back; refused and taken back; and what is left of it in the log.

use std::fs;
use std::time::Duration;

use claimsmith_tests::{Platform, eventually, misbehaving, plugin};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::setup::{
    BY_API, ROLLBACK, activate, admin_url, assert_last_refused, build, command, json_of, push, refused, start, status,
    tenant_toml, token_of,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_configuration_is_checked_with_what_is_active() {
    let platform = start("", &[("contoso", BY_API, "settings = { marker = \"m\" }")]).await;
    let ended = command(&platform, &["check"]).await;
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(
        ended.output.contains("no version of plugin `misbehaving` is active"),
        "{ended:?}"
    );
    push(&platform, &misbehaving("a"), "1.0.0").await;
    activate(&platform, "1.0.0").await;
    // Beside the service, which has the store.
    let ended = command(&platform, &["check"]).await;
    let served = "1 tenant would be served, with 1 extension and 1 binding\n";
    assert_eq!((ended.code, ended.output.as_str()), (0, served), "{ended:?}");

    let state = platform.directory.path().join("state");
    fs::rename(&state, state.with_extension("moved")).unwrap();
    let ended = command(&platform, &["check"]).await;
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(!state.exists(), "it writes nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_is_pushed_planned_activated_and_rolled_back() {
    let mut platform = start("", &[("contoso", BY_API, "settings = { marker = \"m\" }")]).await;
    let (status_code, answer) = platform.callout().await;
    assert_eq!((status_code, &answer["code"]), (503, &json!("tenant_unavailable")));
    assert_eq!(status(&platform).await["managed"], "api", "it has never served");
    let all = command(&platform, &["status"]).await.output;
    assert!(all.starts_with("contoso (plugins managed by api)\n"), "{all}");
    let pushed = push(&platform, &misbehaving("a"), "1.0.0").await;
    assert_eq!(pushed["has_signature"], false);
    assert!(
        pushed["imports"]
            .as_array()
            .unwrap()
            .iter()
            .any(|import| import.as_str().unwrap().starts_with("claimsmith:plugin/log"))
    );
    push(&platform, &misbehaving("b"), "1.1.0").await;

    let plan = json_of(
        &platform,
        &[
            "activate",
            "--tenant",
            "contoso",
            "misbehaving@1.0.0",
            "--reason",
            "r",
            "--plan",
        ],
    )
    .await;
    assert_eq!(plan["plan"]["plugins"][0]["to"]["digest"], pushed["digest"]);
    assert_eq!(plan["plan"]["bindings"][0]["settings_changed"], json!(["marker"]));
    assert_eq!((plan.get("generation"), platform.callout().await.0), (None, 503));

    activate(&platform, "1.0.0").await;
    assert_eq!(build(&platform).await, "a");
    let second = activate(&platform, "1.1.0").await;
    assert_eq!(build(&platform).await, "b");
    let plan = &second["plan"]["plugins"][0];
    assert_eq!(
        (&plan["from"]["version"], &plan["to"]["version"]),
        (&json!("1.0.0"), &json!("1.1.0"))
    );
    assert_eq!(second["plan"]["bindings"], json!([]));

    // What is active already can be asked for again, and changes nothing.
    let compiled = compilations(&platform).await;
    assert_eq!(activate(&platform, "1.1.0").await.get("generation"), None);

    let rolled_back = json_of(&platform, &ROLLBACK).await;
    assert!(rolled_back["generation"].as_u64() > second["generation"].as_u64());
    assert_eq!(build(&platform).await, "a");
    // A rollback can be rolled back.
    json_of(&platform, &ROLLBACK).await;
    assert_eq!(build(&platform).await, "b");
    let active = &status(&platform).await["active"][0];
    assert_eq!(
        (&active["version"], &active["previous"]),
        (&json!("1.1.0"), &json!("1.0.0"))
    );

    assert_eq!(compilations(&platform).await, compiled, "going back compiles nothing");

    platform.host.kill();
    platform.restart(&[]).await;
    eventually("the active version serves again", async || {
        platform.callout().await.0 == 200
    })
    .await;
    assert_eq!(build(&platform).await, "b");
    assert_log(&platform).await;
}

/// Components say a version of themselves, which is another thing: several that are pushed may say the same.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_of_a_plugin_has_the_version_that_it_was_pushed_as() {
    let platform = start("", &[("contoso", BY_API, "settings = { marker = \"m\" }")]).await;
    // The same bytes, so that nothing but the version differs.
    for version in ["7.1.0", "7.2.0-rc.1"] {
        push(&platform, &misbehaving("a"), version).await;
        activate(&platform, version).await;
        assert_eq!(build(&platform).await, "a");
        let bindings = &status(&platform).await["extensions"]["claims"]["bindings"];
        assert_eq!(bindings[0]["version"], version);
        assert_eq!(platform.status().await["bindings"][0]["version"], version);
        let label = format!("version=\"{version}\"");
        let counted = platform.metric("claimsmith_invocations_total", &[&label]).await;
        assert!((counted - 1.0).abs() < f64::EPSILON, "{counted}");
        let asked = format!("misbehaving@{version}");
        let found = ["audit", "query", "--plugin-version", &asked, "--since", "1h", "--json"];
        eventually("its record is found", async || {
            command(&platform, &found).await.output.lines().count() == 1
        })
        .await;
    }
}

/// How many components the host has compiled.
async fn compilations(platform: &Platform) -> u64 {
    let url = format!("http://{}/metrics", platform.host.address);
    let metrics = platform.http.get(url).send().await.unwrap().text().await.unwrap();
    let count = metrics
        .lines()
        .find_map(|line| line.strip_prefix("claimsmith_compile_seconds_count "));
    count.unwrap().parse().unwrap()
}

/// Each step has its line, with who, when and why; and nobody changes or deletes one.
async fn assert_log(platform: &Platform) {
    let log = json_of(platform, &["admin-log", "--tenant", "contoso"]).await;
    let lines: Vec<_> = log["lines"].as_array().unwrap().iter().rev().collect();
    let steps: Vec<_> = lines
        .iter()
        .map(|line| (line["action"].as_str().unwrap(), line["version"].as_str().unwrap()))
        .collect();
    let expected = [
        ("push", "1.0.0"),
        ("push", "1.1.0"),
        ("activate", "1.0.0"),
        ("activate", "1.1.0"),
        ("rollback", "1.0.0"),
        ("rollback", "1.1.0"),
    ];
    assert_eq!(steps, expected);
    for line in lines {
        assert!(line["actor"].as_str().unwrap().starts_with("uid:"), "{line}");
        assert_eq!((&line["reason"], &line["result"]), (&json!("a test"), &json!("done")));
    }
    let people = command(platform, &["admin-log"]).await.output;
    assert_eq!(people.lines().count(), expected.len(), "{people}");
    let database = format!("sqlite:{}", platform.directory.path().join("state/admin.db").display());
    let pool = sqlx::SqlitePool::connect(&database).await.unwrap();
    for change in [
        "UPDATE log SET actor = 'nobody'",
        "DELETE FROM log WHERE seq = 1",
        "REPLACE INTO log SELECT * FROM log",
    ] {
        let error = sqlx::query(change).execute(&pool).await.unwrap_err().to_string();
        assert!(error.contains("append-only"), "{change}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_serve_is_refused_and_what_serves_goes_on() {
    let platform = start("", &[("contoso", BY_API, "settings = { marker = \"m\" }")]).await;
    push(&platform, &misbehaving("a"), "1.0.0").await;
    activate(&platform, "1.0.0").await;
    let to = |file: &str, version: &'static str| {
        let file = file.to_owned();
        vec![
            "push".to_owned(),
            file,
            "--tenant".to_owned(),
            "contoso".to_owned(),
            "--plugin".to_owned(),
            "misbehaving".to_owned(),
            "--reason".to_owned(),
            "r".to_owned(),
            "--version".to_owned(),
            version.to_owned(),
        ]
    };
    let file = |name: &str, bytes: &[u8]| {
        let path = platform.directory.path().join(name);
        fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    for (arguments, code, error) in [
        (
            to(misbehaving("b").to_str().unwrap(), "1.0.0"),
            "409, version_exists",
            "versions do not change",
        ),
        (to(&file("text.wasm", b"text"), "2.0.0"), "422, not_a_plugin", ""),
        (
            to(misbehaving("reads-files").to_str().unwrap(), "2.0.0"),
            "422, not_a_plugin",
            "plugins have no file system",
        ),
        (
            to(misbehaving("b").to_str().unwrap(), "two"),
            "400, bad_request",
            "semantic version",
        ),
    ] {
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        refused(&platform, &arguments, code.split_once(", ").unwrap().1, error).await;
        if !code.starts_with("400") {
            let line = assert_last_refused(&platform, "push", error).await;
            assert_eq!(line["digest"], digest_of(arguments[1]), "{line}");
        }
    }
    // What it does not accept of the settings is told with the line.
    push(&platform, &plugin("loyalty-claims"), "2.0.0").await;
    let activate_it = [
        "activate",
        "--tenant",
        "contoso",
        "misbehaving@2.0.0",
        "--reason",
        "the wrong plugin",
    ];
    refused(&platform, &activate_it, "invalid", "tenant.toml:").await;
    let line = assert_last_refused(&platform, "activate", "does not accept the settings").await;
    assert_eq!(line["reason"], "the wrong plugin");
    refused(
        &platform,
        &["activate", "--tenant", "contoso", "misbehaving@3.0.0", "--reason", "r"],
        "unknown_version",
        "no version 3.0.0",
    )
    .await;
    refused(
        &platform,
        &["activate", "--tenant", "contoso", "absent@1.0.0", "--reason", "r"],
        "unknown_version",
        "",
    )
    .await;
    assert_last_refused(&platform, "activate", "no version 1.0.0 of plugin `absent`").await;
    refused(
        &platform,
        &ROLLBACK,
        "nothing_before",
        "1.0.0 of plugin `misbehaving` is the first",
    )
    .await;
    assert_last_refused(&platform, "rollback", "is the first that is active").await;
    let absent = ROLLBACK.map(|argument| if argument == "misbehaving" { "absent" } else { argument });
    refused(
        &platform,
        &absent,
        "nothing_before",
        "no version of plugin `absent` is active",
    )
    .await;
    refused(&platform, &["versions", "--tenant", "absent"], "unknown_tenant", "").await;
    assert_eq!(build(&platform).await, "a");
}

/// Whoever mistypes a plugin's name is told so by the push and by the plan: no binding has it.
#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_no_binding_names_is_told_to_serve_nothing() {
    let platform = start("", &[("contoso", BY_API, "")]).await;
    let file = misbehaving("a");
    let push_it = async |plugin: &str| {
        let arguments = [
            "push",
            file.to_str().unwrap(),
            "--plugin",
            plugin,
            "--tenant",
            "contoso",
        ];
        let ended = command(
            &platform,
            &[&arguments[..], &["--version", "1.0.0", "--reason", "r"]].concat(),
        )
        .await;
        assert_eq!(ended.code, 0, "{}", ended.errors);
        ended.output
    };
    let pushed = push_it("misbehavior").await;
    assert!(pushed.contains("warning: it calls itself misbehaving "), "{pushed}");
    let pushed = push_it("misbehaving").await;
    assert!(!pushed.contains("warning"), "{pushed}");
    let plan = async |versions: &[&str]| {
        // Nobody keeps a plan's reason.
        let arguments = ["activate", "--tenant", "contoso", "--plan"];
        let ended = command(&platform, &[&arguments[..], versions].concat()).await;
        assert_eq!(ended.code, 0, "{}", ended.errors);
        ended.output
    };
    let planned = plan(&["misbehaving@1.0.0", "misbehavior@1.0.0"]).await;
    assert_eq!(
        planned.matches("warning: no binding names this plugin").count(),
        1,
        "{planned}"
    );
    let bytes = format!(", {} bytes)", fs::metadata(&file).unwrap().len());
    assert_eq!(planned.matches(&bytes).count(), 2, "{planned}");
    let planned = plan(&["misbehaving@1.0.0"]).await;
    assert!(!planned.contains("warning"), "{planned}");
    let without_a_reason = ["activate", "--tenant", "contoso", "misbehaving@1.0.0"];
    let ended = command(&platform, &without_a_reason).await;
    assert!(ended.code == 2 && ended.errors.contains("--reason"), "{}", ended.errors);
    let ended = command(&platform, &["admin-log", "--limit", "5000"]).await;
    assert!(ended.code == 2 && ended.errors.contains("1..=1000"), "{}", ended.errors);
}

/// The SHA-256 of a file, as the admin log has it.
fn digest_of(file: &str) -> String {
    claimsmith_runtime::Digest::of(&fs::read(file).unwrap()).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_of_files_is_only_looked_at() {
    let platform = start("", &[("contoso", "", "settings = { marker = \"m\" }")]).await;
    let file = misbehaving("a");
    let push = [
        "push",
        file.to_str().unwrap(),
        "--tenant",
        "contoso",
        "--plugin",
        "misbehaving",
        "--version",
        "1.0.0",
        "--reason",
        "r",
    ];
    let message = "plugins.managed = \"api\"";
    refused(&platform, &push, "managed_by_files", message).await;
    refused(
        &platform,
        &["activate", "--tenant", "contoso", "misbehaving@1.0.0", "--reason", "r"],
        "managed_by_files",
        message,
    )
    .await;
    refused(&platform, &ROLLBACK, "managed_by_files", message).await;
    assert_eq!(build(&platform).await, "default");
    let status = status(&platform).await;
    assert_eq!((&status["managed"], &status["active"]), (&json!("files"), &json!([])));

    // Its owner hands it over: what serves goes on until a version is activated, and files count no more.
    let toml = tenant_toml(&platform.entra, BY_API, "settings = { marker = \"m\" }");
    fs::write(platform.tenant_file("tenant.toml"), toml).unwrap();
    eventually("the handover is seen", async || {
        let status = crate::setup::status(&platform).await;
        status["mistakes"][0]
            .as_str()
            .is_some_and(|mistake| mistake.contains("claimsmith push"))
    })
    .await;
    assert_eq!(build(&platform).await, "default");
    json_of(&platform, &push).await;
    activate(&platform, "1.0.0").await;
    fs::copy(misbehaving("b"), platform.tenant_file("plugins/misbehaving.wasm")).unwrap();
    sleep(Duration::from_millis(300)).await;
    assert_eq!(build(&platform).await, "a");
    assert_eq!(crate::setup::status(&platform).await["mistakes"], json!([]));
}

/// Settings change with the file, and with the version that needs them: whichever comes last makes both valid.
#[tokio::test(flavor = "multi_thread")]
async fn a_version_and_its_settings_change_together() {
    let platform = start("", &[("contoso", BY_API, "settings = { marker = \"m\" }")]).await;
    push(&platform, &misbehaving("a"), "1.0.0").await;
    push(&platform, &plugin("attribute-map"), "2.0.0").await;
    activate(&platform, "1.0.0").await;
    let rules = "settings.rules = [{ claim = \"name\", from = \"user.displayName\" }]";
    fs::write(
        platform.tenant_file("tenant.toml"),
        tenant_toml(&platform.entra, BY_API, rules),
    )
    .unwrap();
    eventually("the old version does not accept the new settings", async || {
        status(&platform).await["mistakes"][0].is_string()
    })
    .await;
    assert_eq!(build(&platform).await, "a");
    let plan = activate(&platform, "2.0.0").await;
    assert_eq!(
        plan["plan"]["bindings"][0]["settings_changed"],
        json!(["marker", "rules"])
    );
    let (_, answer) = platform.callout().await;
    assert_eq!(Platform::claims(&answer), &json!({ "name": "Ada Byron" }));
    assert_eq!(status(&platform).await["mistakes"], json!([]));
}

/// Several plugins of a tenant become active together, so that none has to be valid without the others.
#[tokio::test(flavor = "multi_thread")]
async fn versions_of_several_plugins_are_activated_together() {
    let binding = "[[extensions.claims.bindings]]\nplugin = \"second\"\nsettings.rules = [{ claim = \"name\", from = \"user.displayName\" }]";
    let platform = start("", &[("contoso", BY_API, binding)]).await;
    push(&platform, &misbehaving("a"), "1.0.0").await;
    let second = plugin("attribute-map");
    let arguments = [
        "push",
        second.to_str().unwrap(),
        "--tenant",
        "contoso",
        "--plugin",
        "second",
        "--version",
        "1.0.0",
        "--reason",
        "r",
    ];
    json_of(&platform, &arguments).await;
    refused(
        &platform,
        &["activate", "--tenant", "contoso", "misbehaving@1.0.0", "--reason", "r"],
        "invalid",
        "no version of plugin `second`",
    )
    .await;
    let both = [
        "activate",
        "--tenant",
        "contoso",
        "misbehaving@1.0.0",
        "second@1.0.0",
        "--reason",
        "r",
    ];
    json_of(&platform, &both).await;
    assert_eq!(build(&platform).await, "a");
}

/// A version that fails while it is watched is taken back by itself.
#[tokio::test(flavor = "multi_thread")]
async fn an_activation_that_opens_a_circuit_breaker_is_taken_back() {
    let config = "runtime.breaker.consecutive_failures = 3\nruntime.breaker.open_for = \"1m\"";
    let platform = start(config, &[("contoso", BY_API, "settings = { mode = \"panic\" }")]).await;
    push(&platform, &misbehaving("a"), "1.0.0").await;
    push(&platform, &misbehaving("b"), "1.1.0").await;
    activate(&platform, "1.0.0").await;
    let url = admin_url(&platform).await;
    let token = token_of(&platform, "Claimsmith.TenantOwner", &["contoso"]);
    let request = json!({ "versions": { "misbehaving": "1.1.0" }, "reason": "watched", "verify_for": "30s" });
    let watched = platform
        .http
        .post(format!("{url}/tenants/contoso/activations"))
        .bearer_auth(token)
        .json(&request);
    let watched = tokio::spawn(watched.send());
    let active = async |version: &str| status(&platform).await["active"][0]["version"] == version;
    eventually("it is active while it is watched", async || active("1.1.0").await).await;
    for _ in 0..3 {
        assert_eq!(platform.callout().await.0, 500);
    }
    let answer = watched.await.unwrap().unwrap();
    assert_eq!(answer.status(), 409);
    let problem: Value = answer.json().await.unwrap();
    assert_eq!(problem["code"], "rolled_back");
    assert!(
        problem["errors"][0].as_str().unwrap().contains("circuit breaker"),
        "{problem}"
    );
    assert!(active("1.0.0").await);
    let binding = &status(&platform).await["extensions"]["claims"]["bindings"][0];
    assert_eq!(binding["breaker"], "closed", "{binding}");
    let log = json_of(&platform, &["admin-log", "--limit", "2"]).await;
    let results: Vec<_> = log["lines"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| line["result"].clone())
        .collect();
    assert_eq!(results, ["undone", "done"]);
    assert!(log["lines"][0]["actor"].as_str().unwrap().starts_with("app:"), "{log}");
}

/// Old versions are deleted, and those that are needed are not.
#[tokio::test(flavor = "multi_thread")]
async fn versions_beyond_those_to_keep_are_deleted() {
    let platform = start("admin.keep_versions = 2", &[("contoso", BY_API, "")]).await;
    push(&platform, &misbehaving("a"), "1.0.0").await;
    activate(&platform, "1.0.0").await;
    for (build, version) in [("b", "1.1.0"), ("b", "1.2.0"), ("b", "1.3.0"), ("default", "1.4.0")] {
        push(&platform, &misbehaving(build), version).await;
    }
    let versions = json_of(&platform, &["versions", "--tenant", "contoso"]).await;
    let listed = |versions: &Value| -> Vec<String> {
        let versions = versions["versions"].as_array().unwrap().iter();
        versions
            .map(|version| version["version"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(listed(&versions), ["1.4.0", "1.3.0", "1.0.0"]);
    activate(&platform, "1.3.0").await;
    push(&platform, &misbehaving("default"), "1.5.0").await;
    let versions = json_of(&platform, &["versions", "--tenant", "contoso"]).await;
    assert_eq!(listed(&versions), ["1.5.0", "1.4.0", "1.3.0", "1.0.0"]);
    json_of(&platform, &ROLLBACK).await;
    assert_eq!(build(&platform).await, "a");
    let files = fs::read_dir(platform.directory.path().join("state/versions/contoso/misbehaving")).unwrap();
    assert_eq!(files.count(), 3, "one file a build that is listed");
    let log = json_of(&platform, &["admin-log"]).await;
    let deleted = log["lines"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|line| line["action"] == "delete");
    assert_eq!(deleted.count(), 2);
}

/// What was changed on disk is not what was pushed, and is not loaded.
#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_was_changed_on_disk_is_not_loaded() {
    let mut platform = start("", &[("contoso", BY_API, "")]).await;
    push(&platform, &misbehaving("a"), "1.0.0").await;
    push(&platform, &misbehaving("b"), "1.1.0").await;
    activate(&platform, "1.0.0").await;
    platform.host.kill();
    let versions = platform.directory.path().join("state/versions/contoso/misbehaving");
    let digest = claimsmith_runtime::Digest::of(&fs::read(misbehaving("a")).unwrap());
    fs::copy(misbehaving("b"), versions.join(format!("{digest}.wasm"))).unwrap();
    platform.restart(&[]).await;
    let mistakes = status(&platform).await["mistakes"].clone();
    assert!(
        mistakes[0].as_str().unwrap().contains("is not what was pushed"),
        "{mistakes}"
    );
    assert_eq!(platform.callout().await.0, 503);
    fs::remove_file(versions.join(format!("{digest}.wasm"))).unwrap();
    eventually("it is told that the file is gone", async || {
        let mistakes = status(&platform).await["mistakes"].clone();
        mistakes[0]
            .as_str()
            .is_some_and(|mistake| mistake.contains("cannot be read") && mistake.contains("push that version again"))
    })
    .await;
    let listed = command(&platform, &["versions", "--tenant", "contoso"]).await.output;
    let missing: Vec<_> = listed
        .lines()
        .filter(|line| line.contains("its file is missing"))
        .collect();
    assert!(
        missing.len() == 1 && missing[0].contains("misbehaving@1.0.0"),
        "{listed}"
    );
    // Pushing it again mends it.
    let pushed = push(&platform, &misbehaving("a"), "1.0.0").await;
    assert_eq!(pushed["is_missing"], false);
    eventually("it serves again", async || platform.callout().await.0 == 200).await;
    assert_eq!(build(&platform).await, "a");
}
