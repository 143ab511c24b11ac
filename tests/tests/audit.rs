//! The records of callouts, as `claimsmith audit` shows them: what they hold, what privacy policies leave of it, how they
//! are erased and retired, and that a change of the store is found.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::allow_attributes,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::process::Command;

use claimsmith_tests::audit::{REQUIRED, assert_nowhere_in_store, audit, records, store};
use claimsmith_tests::world::{self, APPLICATION, DIRECTORY, USER};
use claimsmith_tests::{Platform, Stage, eventually};
use serde_json::{Value, json};
use sqlx::{Connection as _, SqliteConnection};

/// The user's object id in the tests' directory.
const USER_ID: &str = "0d1e0001-0000-4000-8000-0000000000f1";
const RULES: &str = "[[extensions.claims.bindings]]
plugin = \"attribute-map\"
settings.rules = [{ claim = \"region\", from = \"user.preferredDataLocation\" }]
";

/// A platform whose tenant has this privacy policy.
async fn platform(privacy: &str) -> Platform {
    let stage = Stage::new().await.host_config(REQUIRED);
    let toml = format!(
        "{}\n[audit]\n{privacy}\n[extensions.claims]\nevent = \"tokenIssuanceStart\"\naudiences = {}\n{RULES}",
        world::directories_toml(&stage.entra),
        world::audiences_toml(),
    );
    stage.tenant("contoso", &toml).start().await
}

fn correlation_id(body: &Value) -> String {
    body["data"]["authenticationContext"]["correlationId"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// Changes the store behind everybody's back.
async fn tamper(platform: &Platform, sql: &str) {
    let path = store(platform.directory.path());
    let mut connection = SqliteConnection::connect(&format!("sqlite:{}", path.display()))
        .await
        .unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned()))
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answered_callout_has_a_record_and_no_secret_is_in_the_store() {
    let platform = platform("").await;
    let (token, body) = (platform.token(), platform.body());
    assert_eq!(platform.call(&token, &body).await.status(), 200);

    let found = records(&platform, &["--correlation-id", &correlation_id(&body)]).await;
    let [record] = found.as_slice() else {
        panic!("{found:?}")
    };
    for (member, expected) in [
        ("tenant", json!("contoso")),
        ("extension", json!("claims")),
        ("event", json!("tokenIssuanceStart")),
        ("outcome", json!("answered")),
        ("status", json!(200)),
        ("action", json!("provideClaimsForToken")),
        ("directory", json!(DIRECTORY)),
        ("custom_extension", json!(world::EXTENSION)),
        ("caller", json!("99045fe1-7639-4a75-9d4a-577b6ca3810f")),
        (
            "application",
            body["data"]["authenticationContext"]["clientServicePrincipal"]["appId"].clone(),
        ),
        ("claims", json!(["region"])),
    ] {
        assert_eq!(record[member], expected, "{member}: {record}");
    }
    assert!(record["duration_us"].as_u64().unwrap() > 0, "{record}");
    let plugin = &record["plugins"][0];
    assert_eq!(plugin["plugin"], "attribute-map", "{record}");
    assert_eq!(plugin["digest"].as_str().unwrap().len(), 64, "{record}");
    let used = &record["invocations"][0];
    assert_eq!(used["outcome"], "answered", "{record}");
    assert!(used["memory_bytes"].as_u64().unwrap() > 0, "{record}");
    // By default the user is a pseudonym and values of claims are not recorded.
    assert_eq!(record["user_pseudonym"].as_str().unwrap().len(), 32, "{record}");
    assert!(
        record.get("user").is_none() && record.get("claim_values").is_none(),
        "{record}"
    );
    for secret in [&*token, token.rsplit('.').next().unwrap(), USER_ID, USER, "EUR"] {
        assert_nowhere_in_store(platform.directory.path(), secret);
    }
    let _ = APPLICATION;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_callout_has_a_record_and_a_flood_of_them_is_counted() {
    let platform = platform("").await;
    let mut other = platform.body();
    other["data"]["tenantId"] = json!(world::EXTERNAL_DIRECTORY);
    other["source"] = json!(format!(
        "/tenants/{}/applications/{}",
        world::EXTERNAL_DIRECTORY,
        world::RESOURCE
    ));
    assert_eq!(platform.call(&platform.token(), &other).await.status(), 400);
    for _ in 0..300 {
        assert_eq!(platform.call("no.valid.token", &platform.body()).await.status(), 401);
    }

    let refused = records(&platform, &["--outcome", "tenant_mismatch"]).await;
    assert_eq!(refused.len(), 1);
    assert_eq!(
        refused[0]["correlation_id"],
        other["data"]["authenticationContext"]["correlationId"]
    );
    eventually("refusals are recorded, up to a limit", async || {
        records(&platform, &["--outcome", "token_malformed"]).await.len() >= 100
    })
    .await;
    platform.host.terminate();
    let counted = async || -> u64 {
        let counted = records(&platform, &["--outcome", "refusals_counted"]).await;
        counted.iter().map(|record| record["refusals"].as_u64().unwrap()).sum()
    };
    let alone = records(&platform, &["--outcome", "token_malformed"]).await.len() as u64;
    assert!(alone < 150, "{alone}");
    eventually("the others are counted", async || alone + counted().await == 300).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_decides_what_is_recorded_of_people() {
    for (privacy, user, value) in [
        ("users = \"plain\"\nclaims = \"plain\"", Some(USER_ID), Some("EUR")),
        ("users = \"none\"\nclaims = \"none\"", None, None),
        ("users = \"hashed\"\nclaims = \"hashed\"", None, None),
    ] {
        let platform = platform(privacy).await;
        assert_eq!(platform.callout().await.0, 200);
        let record = records(&platform, &["--outcome", "answered"]).await.remove(0);
        assert_eq!(record["user"].as_str(), user, "{record}");
        if privacy.contains("hashed") {
            assert_eq!(record["claim_values"]["region"].as_str().unwrap().len(), 32, "{record}");
        } else {
            assert_eq!(record["claim_values"]["region"].as_str(), value, "{record}");
        }
        let of_user = records(&platform, &["--user", USER_ID]).await.len();
        assert_eq!(of_user, usize::from(!privacy.contains("none")), "{privacy}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_persons_records_are_found_and_erased_and_the_chain_holds() {
    let platform = platform("users = \"plain\"\nclaims = \"plain\"").await;
    for _ in 0..3 {
        assert_eq!(platform.callout().await.0, 200);
    }
    assert_eq!(records(&platform, &["--user", USER_ID]).await.len(), 3);
    let erase = ["erase", "--tenant", "contoso", "--user", USER_ID];
    let erased = audit(&platform, &erase).await;
    assert_eq!(
        (erased.code, erased.output.as_str()),
        (0, "erased the personal data of 3 records\n"),
        "{}",
        erased.errors
    );
    // While the service runs on, whose next record follows the command's.
    assert_eq!(platform.callout().await.0, 200);

    assert_eq!(records(&platform, &["--user", USER_ID]).await.len(), 1);
    let all = records(&platform, &[]).await;
    let outcomes: Vec<_> = all.iter().map(|record| record["outcome"].as_str().unwrap()).collect();
    assert_eq!(
        outcomes,
        ["answered", "answered", "answered", "records_erased", "answered"]
    );
    assert!(all[0].get("user").is_none() && all[0]["erased"] == true, "{}", all[0]);
    let exported = audit(&platform, &["export", "--outcome", "records_erased"])
        .await
        .output;
    assert_eq!(exported.matches("\"tenant\":").count(), 1, "{exported}");
    let verified = audit(&platform, &["verify"]).await;
    assert_eq!(verified.code, 0, "{}{}", verified.output, verified.errors);
    // Nothing is left, which is told: it looks as a typing error would.
    let again = audit(&platform, &erase).await;
    assert_eq!(again.code, 0);
    assert_eq!(again.output, "erased the personal data of 1 records\n");
    let nobody =
        |name: &str| format!("note: nothing was found of the user `{name}`; records have a person by the object id");
    let again = audit(&platform, &erase).await;
    assert_eq!(
        (again.code, again.output.as_str()),
        (0, "erased the personal data of 0 records\n")
    );
    assert!(again.errors.contains(&nobody(USER_ID)), "{}", again.errors);
    let elsewhere = audit(&platform, &["erase", "--tenant", "contso", "--user", USER_ID]).await;
    let no_tenant = "note: no record is of the tenant `contso`; there are records of: contoso";
    assert!(
        elsewhere.code == 0 && elsewhere.errors.contains(no_tenant),
        "{}",
        elsewhere.errors
    );
    for command in [
        &["query", "--user", "ada"][..],
        &["query", "--json", "--user", "ada"],
        &["export", "--user", "ada"],
    ] {
        let searched = audit(&platform, command).await;
        assert!(
            searched.code == 0 && searched.errors.contains(&nobody("ada")),
            "{command:?}: {}",
            searched.errors
        );
    }
    platform.host.terminate();
    eventually("nothing of the person is left", async || {
        let directory = store(platform.directory.path());
        let files = fs::read_dir(directory.parent().unwrap()).unwrap();
        let holds = |bytes: &[u8]| bytes.windows(USER_ID.len()).any(|window| window == USER_ID.as_bytes());
        !files
            .flatten()
            .any(|file| holds(&fs::read(file.path()).unwrap_or_default()))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_erased_or_put_back_without_the_key_is_found() {
    let platform = platform("users = \"plain\"").await;
    for _ in 0..2 {
        assert_eq!(platform.callout().await.0, 200);
    }
    tamper(&platform, "CREATE TABLE before AS SELECT * FROM record").await;
    let erased = audit(&platform, &["erase", "--tenant", "contoso", "--user", USER_ID]).await;
    assert_eq!(erased.code, 0, "{}", erased.errors);
    tamper(&platform, "CREATE TABLE after AS SELECT * FROM record").await;
    for sql in [
        // The commitment alone: whoever reads the data can compute it, and versions before wrote no more.
        "UPDATE record SET erased = substr(erased, 1, 32) WHERE seq = 1",
        "UPDATE record SET erased = unhex(hex(substr(erased, 1, 32)) || hex(zeroblob(32))) WHERE seq = 1",
        "UPDATE record SET erased = unhex(hex(substr(erased, 1, 32)) ||
         (SELECT hex(substr(erased, 33)) FROM after WHERE seq = 2)) WHERE seq = 1",
        "UPDATE record SET (subject, salt, personal) = (SELECT subject, salt, personal FROM before WHERE seq = 1) WHERE seq = 1",
    ] {
        let sound = audit(&platform, &["verify"]).await;
        assert_eq!(sound.code, 0, "{}{}", sound.output, sound.errors);
        tamper(&platform, sql).await;
        let verified = audit(&platform, &["verify"]).await;
        assert_eq!(verified.code, 1, "{sql}: {}", verified.output);
        let expected = "record 1 was erased, or its data put back, without the store's key";
        assert!(verified.output.contains(expected), "{sql}: {}", verified.output);
        let undo = "UPDATE record SET (erased, subject, salt, personal) =
            (SELECT erased, subject, salt, personal FROM after WHERE after.seq = record.seq) WHERE seq = 1";
        tamper(&platform, undo).await;
    }
    // What else the record says is as it was written, so that it is deleted in its time.
    tamper(
        &platform,
        "UPDATE record SET erased = substr(erased, 1, 32) WHERE seq = 1",
    )
    .await;
    let deleted = audit(&platform, &["retain", "--keep", "0s"]).await;
    assert_eq!(deleted.output, "deleted 3 records\n", "{}", deleted.errors);
}

#[tokio::test(flavor = "multi_thread")]
async fn removed_changed_reordered_and_cut_off_records_are_found() {
    for (sql, expected) in [
        ("DELETE FROM record WHERE seq = 2", "records 2 to 2 were removed"),
        ("UPDATE record SET outcome = 'throttled' WHERE seq = 2", "record 2, its"),
        ("UPDATE record SET time = time + 1 WHERE seq = 3", "record 3, its"),
        (
            "UPDATE record SET detail = replace(detail, '200', '500') WHERE seq = 2",
            "record 2, its",
        ),
        (
            "UPDATE record SET subject = zeroblob(16) WHERE seq = 2",
            "record 2, its",
        ),
        (
            "UPDATE context SET text = replace(text, 'contoso', 'fabrikam')",
            "record 1, its",
        ),
        (
            "UPDATE record SET seq = -1 WHERE seq = 2; UPDATE record SET seq = 2 WHERE seq = 3;
             UPDATE record SET seq = 3 WHERE seq = -1",
            "record 2, its",
        ),
        (
            "DELETE FROM record WHERE seq > 2",
            "the end was cut off: there was a record 4",
        ),
        ("DELETE FROM record WHERE seq < 2", "records 1 to 1 were removed"),
        (
            "INSERT INTO mark SELECT 'begin', seq, hash, tag FROM mark; DELETE FROM record WHERE seq < 5",
            "the mark `begin` was not made",
        ),
    ] {
        let mut platform = platform("").await;
        for _ in 0..4 {
            assert_eq!(platform.callout().await.0, 200);
        }
        platform.host.terminate();
        assert!(platform.host.ended().await.success());
        let before = audit(&platform, &["verify"]).await;
        assert_eq!(before.code, 0, "{}{}", before.output, before.errors);
        tamper(&platform, sql).await;
        let after = audit(&platform, &["verify"]).await;
        assert_eq!(after.code, 1, "{sql}: {}", after.output);
        assert!(after.output.contains(expected), "{sql}: {}", after.output);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_deleted_at_the_end_of_their_time_and_the_chain_holds() {
    let platform = platform("").await;
    for _ in 0..3 {
        assert_eq!(platform.callout().await.0, 200);
    }
    let deleted = audit(&platform, &["retain", "--keep", "0s"]).await;
    assert_eq!(deleted.output, "deleted 3 records\n", "{}", deleted.errors);
    assert_eq!(platform.callout().await.0, 200);
    let shown = audit(&platform, &["query", "--outcome", "records_retired"])
        .await
        .output;
    assert!(shown.contains("-/- records_retired records 3, up_to 3\n"), "{shown}");
    let left = records(&platform, &[]).await;
    let outcomes: Vec<_> = left.iter().map(|record| record["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["records_retired", "answered"]);
    let verified = audit(&platform, &["verify"]).await;
    assert_eq!(verified.code, 0, "{}{}", verified.output, verified.errors);

    let last_retired = records(&platform, &["--outcome", "records_retired"]).await[0]["up_to"].clone();
    for (place, expected) in [
        ("2".to_owned(), "record 2 has been retired"),
        (
            last_retired.to_string(),
            "record 3 is not the one that was there: it was rewritten",
        ),
    ] {
        let expectation = format!("{place}:{}", "0".repeat(64));
        let verified = audit(&platform, &["verify", "--expect", &expectation]).await;
        assert_eq!(verified.code, 1, "{}", verified.output);
        assert!(verified.output.contains(expected), "{expected}: {}", verified.output);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_and_csv_show_what_was_asked_for() {
    let platform = platform("").await;
    assert_eq!(platform.callout().await.0, 200);
    let record = records(&platform, &[]).await.remove(0);
    let text = |member: &str| record[member].as_str().unwrap().to_owned();
    let version = format!("attribute-map@{}", record["plugins"][0]["version"].as_str().unwrap());
    for (filter, hit, miss) in [
        ("--tenant", "contoso", "fabrikam"),
        ("--extension", "claims", "mail"),
        ("--application", &*text("application"), USER_ID),
        ("--outcome", "answered", "throttled"),
        ("--plugin-version", &*version, "attribute-map@9.9.9"),
        ("--since", "1h", "2999-01-01T00:00:00Z"),
        ("--until", "2999-01-01T00:00:00Z", "1h"),
        ("--user", USER_ID, "somebody"),
        ("--correlation-id", &*text("correlation_id"), USER_ID),
    ] {
        assert_eq!(records(&platform, &[filter, hit]).await.len(), 1, "{filter} {hit}");
        assert_eq!(records(&platform, &[filter, miss]).await.len(), 0, "{filter} {miss}");
    }
    for (filter, mistake, told) in [
        (
            "--tenant",
            "contosso",
            "no record is of the tenant `contosso`; there are records of: contoso",
        ),
        (
            "--extension",
            "claim",
            "no record is of the extension `claim`; there are records of: claims",
        ),
        ("--outcome", "answerd", "there is no such outcome; there are answered, "),
        ("--plugin-version", "abc", "at least 8 digits"),
        ("--plugin-version", "attribute-map", "name@1.2.3"),
    ] {
        let ended = audit(&platform, &["query", filter, mistake]).await;
        assert!(ended.errors.contains(told), "{filter} {mistake}: {}", ended.errors);
        assert_eq!(ended.output, "", "{filter} {mistake}");
    }
    let csv = audit(&platform, &["export", "--format", "csv"]).await.output;
    let lines: Vec<_> = csv.lines().collect();
    assert_eq!(lines.len(), 2, "{csv}");
    assert!(lines[0].starts_with("seq,time,outcome,status,"), "{csv}");
    assert!(lines[1].contains(&text("correlation_id")), "{csv}");
    let shown = audit(&platform, &["query"]).await.output;
    assert!(shown.contains("contoso/claims answered 200"), "{shown}");

    // Whose reader goes away ends without a word.
    for command in ["query", "query --json", "export", "export --format csv", "verify"] {
        let to_nobody = format!("(sleep 0.2; \"$0\" audit {command}) | true");
        let ended = Command::new("bash")
            .args(["-c", &format!("{to_nobody}; exit ${{PIPESTATUS[0]}}")])
            .arg(claimsmith_tests::host_program())
            .current_dir(platform.directory.path())
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&ended.stderr);
        assert_eq!((ended.status.code(), &*errors), (Some(141), ""), "{command}");
    }

    // The newest, in order.
    for _ in 0..3 {
        assert_eq!(platform.callout().await.0, 200);
    }
    for (limit, expected) in [("2", vec![3, 4]), ("0", vec![]), ("9", vec![1, 2, 3, 4])] {
        let newest = records(&platform, &["--outcome", "answered", "--limit", limit]).await;
        let numbers: Vec<_> = newest.iter().map(|record| record["seq"].as_u64().unwrap()).collect();
        assert_eq!(numbers, expected);
    }
}

/// How many transactions are in the store's write-ahead log: the last frame of each says how large the store is then
/// (<https://www.sqlite.org/fileformat2.html#the_write_ahead_log>).
fn transactions(platform: &Platform) -> usize {
    let log = fs::read(store(platform.directory.path()).with_extension("db-wal")).unwrap();
    let page = u32::from_be_bytes(log[8..12].try_into().unwrap()) as usize;
    let frames = log[32..].chunks_exact(24 + page);
    frames.filter(|frame| frame[4..8] != [0; 4]).count()
}

async fn contexts(platform: &Platform) -> i64 {
    let path = store(platform.directory.path());
    let mut connection = SqliteConnection::connect(&format!("sqlite:{}", path.display()))
        .await
        .unwrap();
    let count = sqlx::query_scalar("SELECT count(*) FROM context");
    count.fetch_one(&mut connection).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_callouts_have_in_common_costs_no_transaction_and_no_reload_makes_it_anew() {
    let platform = platform("").await;
    assert_eq!(platform.callout().await.0, 200);
    let before = transactions(&platform);
    for _ in 0..8 {
        let mut body = platform.body();
        body["data"]["authenticationEventListenerId"] = json!(uuid::Uuid::new_v4().to_string());
        assert_eq!(platform.call(&platform.token(), &body).await.status(), 200);
    }
    // One a callout, and a seal now and then.
    let made = transactions(&platform) - before;
    assert!((8..12).contains(&made), "{made} transactions");

    assert_eq!(platform.callout().await.0, 200);
    let known = contexts(&platform).await;
    let ready = format!("http://{}/readyz", platform.host.address);
    let generation = async || -> Value {
        let answer = platform.http.get(&ready).send().await.unwrap();
        answer.json::<Value>().await.unwrap()["generation"].clone()
    };
    let first = generation().await;
    let tenant = fs::read_to_string(platform.tenant_file("tenant.toml")).unwrap();
    claimsmith_tests::write_tenant(&platform.directory.path().join("tenants/fabrikam"), &tenant, "default");
    eventually("another tenant is loaded", async || generation().await != first).await;
    assert_eq!(platform.callout().await.0, 200);
    assert_eq!(contexts(&platform).await, known);
    let all = records(&platform, &[]).await;
    assert_eq!(all[0]["generation"], first);
    assert!(all.last().unwrap()["generation"].as_u64() > first.as_u64(), "{all:?}");
    let verified = audit(&platform, &["verify"]).await;
    assert_eq!(verified.code, 0, "{}{}", verified.output, verified.errors);
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_that_were_not_answered_are_not_in_the_record() {
    let stage = Stage::new().await.host_config(REQUIRED);
    let toml = [
        world::directories_toml(&stage.entra),
        world::extension_toml("claims", "", "misbehaving", "settings.mode = \"too_many_bytes\""),
    ]
    .concat();
    let platform = stage.tenant("contoso", &toml).start().await;
    assert_eq!(platform.callout().await.0, 500);
    let found = records(&platform, &["--outcome", "claims_too_large"]).await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0]["claims"].as_array().is_none_or(Vec::is_empty), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_answers_at_the_deadline_leaves_time_for_its_record() {
    let stage = Stage::new().await.host_config(REQUIRED);
    let toml = [
        world::directories_toml(&stage.entra),
        world::extension_toml(
            "claims",
            "deadline = \"1s\"",
            "misbehaving",
            "on_failure = \"omit\"\nsettings.mode = \"sleep\"",
        ),
    ]
    .concat();
    let platform = stage.tenant("contoso", &toml).start().await;
    assert_eq!(platform.callout().await.0, 200);
    let found = records(&platform, &["--outcome", "answered"]).await;
    assert_eq!(found.len(), 1, "{found:?}");
    let shown = audit(&platform, &["query"]).await.output;
    assert!(shown.contains(", answered by its failure policy omit\n"), "{shown}");
}
