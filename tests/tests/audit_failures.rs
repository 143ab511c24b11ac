//! What happens to callouts and their records when the store or the process fails: killed under load, a full disk, a
//! locked, a damaged and a shortened store.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::allow_attributes,
    reason = "a test fails by panicking"
)]

use std::collections::HashSet;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use claimsmith_tests::audit::{REQUIRED, audit, records, store};
use claimsmith_tests::{Host, Platform, Stage, eventually, world};
use serde_json::Value;
use sqlx::{Connection as _, SqliteConnection};
use uuid::Uuid;

async fn stage(host_config: &str) -> Stage {
    let cache = "runtime.cache.directory = \"cache\"\nruntime.cache.key = \"cache.key\"";
    let stage = Stage::new().await.host_config(&format!("{cache}\n{host_config}"));
    let rules = "settings.rules = [{ claim = \"region\", from = \"user.preferredDataLocation\" }]";
    let toml = [
        world::directories_toml(&stage.entra),
        world::extension_toml("claims", "", "attribute-map", rules),
    ]
    .concat();
    stage.tenant("contoso", &toml)
}

async fn metric(platform: &Platform, name: &str) -> f64 {
    let url = format!("http://{}/metrics", platform.host.address);
    let text = platform.http.get(url).send().await.unwrap().text().await.unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
        .unwrap_or("0");
    line.parse().unwrap()
}

/// Sends callouts until `stop`, and notes the correlation ids of those that were answered.
async fn load(url: String, token: String, mut body: Value, stop: Arc<AtomicBool>, answered: Arc<Mutex<Vec<Uuid>>>) {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    while !stop.load(Ordering::Relaxed) {
        let id = Uuid::new_v4();
        body["data"]["authenticationContext"]["correlationId"] = id.to_string().into();
        let Ok(response) = http.post(&url).bearer_auth(&token).json(&body).send().await else {
            return;
        };
        if response.status() == 200 && response.bytes().await.is_ok() {
            answered.lock().unwrap().push(id);
        }
    }
}

/// How often the host is killed.
const KILLS: usize = 200;

#[tokio::test(flavor = "multi_thread")]
async fn every_callout_that_was_answered_has_its_record_however_the_host_is_killed() {
    let mut platform = stage(REQUIRED).await.start().await;
    let answered = Arc::new(Mutex::new(Vec::new()));
    for round in 0..KILLS {
        let stop = Arc::new(AtomicBool::new(false));
        let before = answered.lock().unwrap().len();
        let senders: Vec<_> = (0..8)
            .map(|_| {
                let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
                tokio::spawn(load(platform.url(), platform.token(), platform.body(), stop, answered))
            })
            .collect();
        eventually("callouts are answered", async || {
            answered.lock().unwrap().len() > before
        })
        .await;
        // Different moments of batches, from run to run.
        let moment = u64::from(Uuid::new_v4().as_bytes()[0]);
        tokio::time::sleep(Duration::from_micros(moment * 500)).await;
        platform.host.kill();
        stop.store(true, Ordering::Relaxed);
        for sender in senders {
            sender.await.unwrap();
        }
        platform.restart(&[]).await;
        let url = format!("http://{}/readyz", platform.host.address);
        eventually("the host is ready again", async || {
            platform.http.get(&url).send().await.unwrap().status() == 200
        })
        .await;
        assert!(
            !store(platform.directory.path()).with_extension("damaged").exists(),
            "round {round}"
        );
    }
    let recorded = records(&platform, &["--outcome", "answered"]).await;
    let id = |record: &Value| record["correlation_id"].as_str().unwrap().parse::<Uuid>().unwrap();
    let recorded: HashSet<_> = recorded.iter().map(id).collect();
    let answered = answered.lock().unwrap().clone();
    let missing: Vec<_> = answered.iter().filter(|id| !recorded.contains(id)).collect();
    assert!(
        missing.is_empty(),
        "{} of {} have no record: {missing:?}",
        missing.len(),
        answered.len()
    );
    let verified = audit(&platform, &["verify"]).await;
    assert_eq!(verified.code, 0, "{}{}", verified.output, verified.errors);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_callouts_until_there_is_room() {
    let mut platform = stage(REQUIRED).await.start().await;
    let directory = platform.directory.path().to_owned();
    platform.host.kill();
    platform.host = Host::start_with_small_disk(&directory, store(&directory).parent().unwrap()).await;
    eventually("a callout is answered", async || platform.callout().await.0 == 200).await;

    let filler = platform.host.seen_at(&store(&directory)).with_file_name("filler");
    let mut file = fs::File::create(&filler).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    let mut refused = None;
    eventually("a callout is refused", async || {
        let (status, answer) = platform.callout().await;
        refused = Some((status, answer["code"].clone()));
        status != 200
    })
    .await;
    assert_eq!(refused, Some((503, "audit_unavailable".into())));
    assert!(metric(&platform, "claimsmith_audit_lost_total").await > 0.0);
    let ready = format!("http://{}/readyz", platform.host.address);
    let readiness = async || platform.http.get(&ready).send().await.unwrap();
    eventually("nobody is sent here", async || readiness().await.status() == 503).await;
    let told = readiness().await.text().await.unwrap();
    assert!(told.contains("the audit store cannot be written"), "{told}");
    fs::remove_file(filler).unwrap();
    drop(file);
    eventually("somebody is sent here again", async || {
        readiness().await.status() == 200
    })
    .await;
    eventually("callouts are answered again", async || {
        platform.callout().await.0 == 200
    })
    .await;
    eventually("what was lost is told", async || {
        let arguments = ["export", "--outcome", "records_lost"];
        !platform.host.audit(&directory, &arguments).await.stdout.is_empty()
    })
    .await;
    let verified = platform.host.audit(&directory, &["verify"]).await;
    assert!(verified.status.success(), "{verified:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callout_whose_client_goes_away_has_its_record() {
    let stage = Stage::new().await.host_config(REQUIRED);
    let toml = [
        world::directories_toml(&stage.entra),
        world::extension_toml(
            "claims",
            "deadline = \"2s\"",
            "misbehaving",
            "settings = { mode = \"sleep\" }",
        ),
    ]
    .concat();
    let platform = stage.tenant("contoso", &toml).start().await;
    let request = platform.http.post(platform.url()).bearer_auth(platform.token());
    let sent = request
        .json(&platform.body())
        .timeout(Duration::from_millis(500))
        .send();
    assert!(sent.await.unwrap_err().is_timeout());
    eventually("the record is written", async || {
        records(&platform, &["--outcome", "client_gone"]).await.len() == 1
    })
    .await;
    let all = records(&platform, &[]).await;
    assert_eq!(all.len(), 1);
    assert_eq!(all[0]["plugins"][0]["plugin"], "misbehaving", "{all:?}");
    assert_eq!(all[0]["invocations"][0]["outcome"], "plugin_cut_short", "{all:?}");
    let gone = "claimsmith_callouts_total{tenant=\"contoso\",extension=\"claims\",outcome=\"client_gone\"}";
    assert!((metric(&platform, gone).await - 1.0).abs() < 0.1);
}

async fn lock(path: &Path) -> SqliteConnection {
    let mut connection = SqliteConnection::connect(&format!("sqlite:{}", path.display()))
        .await
        .unwrap();
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut connection).await.unwrap();
    connection
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_store_refuses_callouts_until_it_is_free() {
    let platform = stage(REQUIRED).await.start().await;
    assert_eq!(platform.callout().await.0, 200);
    let locked = lock(&store(platform.directory.path())).await;
    let (status, answer) = platform.callout().await;
    assert_eq!((status, &answer["code"]), (503, &"audit_unavailable".into()));
    locked.close().await.unwrap();
    eventually("callouts are answered again", async || {
        platform.callout().await.0 == 200
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callout_whose_client_goes_away_while_its_record_waits_has_its_record() {
    let platform = stage(REQUIRED).await.start().await;
    assert_eq!(platform.callout().await.0, 200);
    let locked = lock(&store(platform.directory.path())).await;
    let request = platform.http.post(platform.url()).bearer_auth(platform.token());
    let sent = request.json(&platform.body()).timeout(Duration::from_millis(100));
    assert!(sent.send().await.unwrap_err().is_timeout());
    eventually("the store cannot be written", async || {
        metric(&platform, "claimsmith_audit_available").await < 0.5
    })
    .await;
    locked.close().await.unwrap();
    eventually("callouts are answered again", async || {
        platform.callout().await.0 == 200
    })
    .await;
    let gone = records(&platform, &["--outcome", "client_gone"]).await;
    let [record] = gone.as_slice() else { panic!("{gone:?}") };
    assert_eq!(record["status"], 499, "{record}");
    assert_eq!(record["invocations"][0]["outcome"], "answered", "{record}");
    for absent in ["action", "claims", "claim_values"] {
        assert!(record.get(absent).is_none(), "{record}");
    }
    let gone = "claimsmith_callouts_total{tenant=\"contoso\",extension=\"claims\",outcome=\"client_gone\"}";
    assert!((metric(&platform, gone).await - 1.0).abs() < 0.1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_whose_callout_was_refused_while_it_was_written_is_corrected() {
    let stage = Stage::new().await.host_config(REQUIRED);
    let rules = "settings.rules = [{ claim = \"region\", from = \"user.preferredDataLocation\" }]";
    let toml = [
        world::directories_toml(&stage.entra),
        world::extension_toml("claims", "deadline = \"120ms\"", "attribute-map", rules),
    ]
    .concat();
    let platform = stage.tenant("contoso", &toml).start().await;
    eventually("a callout is answered", async || platform.callout().await.0 == 200).await;
    // The writer waits 250 ms for the lock, and the callout 120 ms for the writer.
    eventually("a record is written after its callout's deadline", async || {
        let locked = lock(&store(platform.directory.path())).await;
        let (status, answer) = platform.callout().await;
        locked.close().await.unwrap();
        eventually("the store can be written", async || platform.callout().await.0 == 200).await;
        let told = !records(&platform, &["--outcome", "answer_withheld"]).await.is_empty();
        assert!(!told || (status, &answer["code"]) == (503, &"audit_unavailable".into()));
        told
    })
    .await;
    let all = records(&platform, &["--tenant", "contoso"]).await;
    let withheld = all.iter().find(|one| one["outcome"] == "answer_withheld").unwrap();
    assert_eq!(withheld["extension"], "claims");
    let named = &withheld["seqs"][0];
    let corrected = all.iter().find(|one| one["seq"] == *named).unwrap();
    assert_eq!(corrected["outcome"], "answered", "{all:?}");
    assert!(withheld["seq"].as_u64() > named.as_u64(), "{all:?}");
    let verified = audit(&platform, &["verify"]).await;
    assert_eq!(verified.code, 0, "{}{}", verified.output, verified.errors);
}

#[tokio::test(flavor = "multi_thread")]
async fn best_effort_answers_whatever_becomes_of_the_store_and_counts_what_is_lost() {
    let platform = stage("audit.mode = \"best_effort\"\naudit.queue_length = 16")
        .await
        .start()
        .await;
    assert_eq!(platform.callout().await.0, 200);
    eventually("the record is written", async || {
        records(&platform, &["--outcome", "answered"]).await.len() == 1
    })
    .await;
    let locked = lock(&store(platform.directory.path())).await;
    eventually("records are lost", async || {
        assert_eq!(platform.callout().await.0, 200);
        metric(&platform, "claimsmith_audit_lost_total").await > 0.0
    })
    .await;
    locked.close().await.unwrap();
    eventually("what was lost is told", async || {
        !records(&platform, &["--outcome", "records_lost"]).await.is_empty()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_store_is_set_aside_at_the_next_start() {
    let mut platform = stage(REQUIRED).await.start().await;
    assert_eq!(platform.callout().await.0, 200);
    platform.host.terminate();
    assert!(platform.host.ended().await.success());
    let path = store(platform.directory.path());
    let damaged = b"this is no database any more".repeat(1000);
    fs::write(&path, &damaged).unwrap();
    let shown = audit(&platform, &["query"]).await.errors;
    assert!(shown.contains("sets the store aside"), "{shown}");
    let shown = audit(&platform, &["query", "--store", path.to_str().unwrap()])
        .await
        .errors;
    assert!(
        shown.contains("is damaged, or is none") && !shown.contains("aside"),
        "{shown}"
    );

    platform.host = Host::start(platform.directory.path(), "json").await;
    let told = |line: &Value| line["message"].as_str().is_some_and(|text| text.contains("set aside"));
    platform.host.log_line("the damaged store is told of", told).await;
    eventually("callouts are answered", async || platform.callout().await.0 == 200).await;
    let files: Vec<_> = fs::read_dir(path.parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    let aside = files
        .iter()
        .find(|file| file.to_string_lossy().contains("audit.db.damaged-"))
        .unwrap();
    assert_eq!(fs::read(aside).unwrap(), damaged);
    assert_eq!(records(&platform, &[]).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_was_set_aside_can_be_verified_searched_and_erased() {
    const USER_ID: &str = "0d1e0001-0000-4000-8000-0000000000f1";
    let mut platform = stage(REQUIRED).await.start().await;
    assert_eq!(platform.callout().await.0, 200);
    stop_and_change(&mut platform, "").await;
    let path = store(platform.directory.path());
    // What a service leaves that found damage while it ran.
    fs::write(path.with_extension("damaged"), b"").unwrap();
    platform.restart(&[]).await;
    eventually("callouts are answered", async || platform.callout().await.0 == 200).await;
    let files = fs::read_dir(path.parent().unwrap()).unwrap();
    let mut files = files.map(|entry| entry.unwrap().path().to_str().unwrap().to_owned());
    let aside = files
        .find(|file| file.contains("audit.db.damaged-") && !file.ends_with("-wal") && !file.ends_with("-shm"))
        .unwrap();

    let verified = audit(&platform, &["verify", "--store", &aside]).await;
    assert_eq!(verified.code, 0, "{}{}", verified.output, verified.errors);
    let of_user = ["--store", &aside, "--user", USER_ID];
    assert_eq!(records(&platform, &of_user).await.len(), 1);
    let erased = audit(&platform, &[&["erase", "--tenant", "contoso"], &of_user[..]].concat()).await;
    assert_eq!(
        erased.output, "erased the personal data of 1 records\n",
        "{}",
        erased.errors
    );
    assert_eq!(records(&platform, &of_user).await.len(), 0);
    let verified = audit(&platform, &["verify", "--store", &aside]).await;
    assert_eq!(verified.code, 0, "{}{}", verified.output, verified.errors);
    // The service's own is another one.
    assert_eq!(records(&platform, &["--user", USER_ID]).await.len(), 1);
}

/// Stops the host, and changes its store.
async fn stop_and_change(platform: &mut Platform, sql: &'static str) {
    platform.host.terminate();
    assert!(platform.host.ended().await.success());
    let path = store(platform.directory.path());
    let url = format!("sqlite:{}", path.display());
    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

async fn assert_broken(platform: &Platform, expected: &str) {
    let verified = audit(platform, &["verify"]).await;
    assert_eq!(verified.code, 1, "{expected}: {}", verified.output);
    assert!(verified.output.contains(expected), "{expected}: {}", verified.output);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_done_to_a_stopped_services_store_is_not_hidden_by_its_next_starts() {
    for (sql, expected) in [
        (
            "DELETE FROM record WHERE seq > 2",
            "the end was cut off: there was a record 4",
        ),
        (
            "DELETE FROM record WHERE seq > 2; DELETE FROM mark",
            "the mark `sealed` is missing",
        ),
        (
            "UPDATE record SET hash = zeroblob(32) WHERE seq = 4",
            "the chain up to record 4 is not the one that was there",
        ),
    ] {
        let mut platform = stage(REQUIRED).await.start().await;
        for _ in 0..4 {
            assert_eq!(platform.callout().await.0, 200);
        }
        stop_and_change(&mut platform, sql).await;
        platform.restart(&[]).await;
        let told = |line: &Value| {
            let message = line["message"].as_str().unwrap_or_default();
            line["level"] == "ERROR" && message.contains("not as it was written")
        };
        platform.host.log_line(expected, told).await;
        assert!(metric(&platform, "claimsmith_audit_chain_broken").await > 0.5, "{sql}");
        for _ in 0..4 {
            assert_eq!(platform.callout().await.0, 200);
        }
        assert_broken(&platform, expected).await;
        assert_eq!(records(&platform, &["--outcome", "chain_broken"]).await.len(), 1);

        // Told once: the start after has nothing new to tell, and what was found stays found.
        stop_and_change(&mut platform, "").await;
        platform.restart(&[]).await;
        assert_eq!(platform.callout().await.0, 200);
        assert!(metric(&platform, "claimsmith_audit_chain_broken").await < 0.5, "{sql}");
        assert_broken(&platform, expected).await;
        assert_eq!(records(&platform, &["--outcome", "chain_broken"]).await.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_somebody_made_old_are_not_deleted() {
    let platform = stage(REQUIRED).await.start().await;
    for _ in 0..4 {
        assert_eq!(platform.callout().await.0, 200);
    }
    let path = store(platform.directory.path());
    let url = format!("sqlite:{}", path.display());
    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    let made_old = sqlx::query("UPDATE record SET time = 0 WHERE seq <= 3");
    made_old.execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();

    let refused = audit(&platform, &["retain"]).await;
    assert_eq!(refused.code, 1, "{}", refused.output);
    assert!(refused.errors.contains("so that none is"), "{}", refused.errors);
    eventually("the service finds it when it looks for old records", async || {
        metric(&platform, "claimsmith_audit_chain_broken").await > 0.5
    })
    .await;
    let told = |line: &Value| {
        let message = line["message"].as_str().unwrap_or_default();
        line["level"] == "ERROR" && message.contains("not as it was written")
    };
    platform.host.log_line("it is in the log", told).await;
    // Once, however often the service looks.
    tokio::time::sleep(Duration::from_secs(12)).await;
    assert_eq!(platform.callout().await.0, 200);
    assert_eq!(records(&platform, &["--outcome", "chain_broken"]).await.len(), 1);
    assert_eq!(records(&platform, &["--outcome", "answered"]).await.len(), 5);
    assert_broken(&platform, "record 1, its context or its place was changed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_or_wrong_key_is_not_replaced() {
    let mut platform = stage(REQUIRED).await.start().await;
    assert_eq!(platform.callout().await.0, 200);
    stop_and_change(&mut platform, "").await;
    let key = store(platform.directory.path()).with_extension("key");
    let right = fs::read(&key).unwrap();

    fs::remove_file(&key).unwrap();
    let (status, errors) = Host::fail_to_start(platform.directory.path()).await;
    assert!(!status.success());
    assert!(errors.contains("audit.key is missing: put it back"), "{errors}");
    assert!(!key.exists(), "no other key is made");

    fs::write(&key, "5".repeat(64)).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let (status, errors) = Host::fail_to_start(platform.directory.path()).await;
    assert!(!status.success());
    assert!(errors.contains("audit.key is not the key"), "{errors}");
    for arguments in [
        &["query", "--user", "somebody"][..],
        &["erase", "--tenant", "contoso", "--user", "somebody"],
        &["retain", "--keep", "0s"],
    ] {
        let ended = audit(&platform, arguments).await;
        assert_eq!(ended.code, 1, "{arguments:?}: {}", ended.output);
        assert!(ended.errors.contains("audit.key is not the key"), "{}", ended.errors);
    }

    fs::write(&key, right).unwrap();
    platform.restart(&[]).await;
    assert_eq!(platform.callout().await.0, 200);
    let verified = audit(&platform, &["verify"]).await;
    assert_eq!(verified.code, 0, "{}{}", verified.output, verified.errors);
    assert_eq!(records(&platform, &["--outcome", "answered"]).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_can_read_a_new_store_and_a_key_that_others_can_read_is_refused() {
    let open = fs::Permissions::from_mode(0o755);
    let prepared = stage(REQUIRED).await;
    let path = store(prepared.directory.path());
    let directory = path.parent().unwrap();
    fs::create_dir(directory).unwrap();
    fs::set_permissions(directory, open).unwrap();
    let mut platform = prepared.start().await;
    assert_eq!(platform.callout().await.0, 200);
    for name in ["audit.db", "audit.db-wal", "audit.key"] {
        let mode = fs::metadata(directory.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }

    stop_and_change(&mut platform, "").await;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    platform.restart(&[]).await;
    let told = |line: &Value| {
        line["message"]
            .as_str()
            .is_some_and(|text| text.contains("can read the audit store"))
    };
    platform.host.log_line("the store is told of", told).await;

    stop_and_change(&mut platform, "").await;
    fs::set_permissions(directory.join("audit.key"), fs::Permissions::from_mode(0o644)).unwrap();
    let (status, errors) = Host::fail_to_start(platform.directory.path()).await;
    assert!(!status.success());
    assert!(errors.contains("has the mode 0644, so others can read it"), "{errors}");
}
