//! SQLite: a file of the tenant, and nothing but it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use claimsmith_tests::audit::REQUIRED;
use claimsmith_tests::{Authority, LogLine, Platform, eventually};
use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Executor as _};

use super::{LOOPBACK, probe, result, rows, send, stage};

const PEOPLE: &str = "create table people (mail text primary key, level integer, active boolean, share real, picture blob);
insert into people values ('ada@contoso.example', 7, true, 0.5, x'01ff'), ('grace@fabrikam.example', null, false, 2, null)";

/// Makes a database of what is executed.
async fn make(path: &Path, sql: &'static str) {
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
    let mut connection = options.connect().await.unwrap();
    connection.execute(sql).await.unwrap();
}

/// A host with an upstream of the file `data/people.db`, with more of its members.
async fn asking(more: &str) -> Platform {
    asking_at(LOOPBACK, more).await
}

/// The same with this configuration of the host.
async fn asking_at(host: &str, more: &str) -> Platform {
    let upstream = format!("[upstreams.hr]\nkind = \"sql\"\nurl = \"sqlite:data/people.db\"\n{more}\n");
    let any = if more.contains("any_statement") {
        ""
    } else {
        "any_statement = true\n"
    };
    let binding = "upstreams = [\"hr\"]\nstatements.hr.by_mail = \"select * from people where mail = ?1\"";
    let authority = Authority::new();
    let (stage, _) = stage(host, &format!("{upstream}{any}"), binding, &authority).await;
    fs::create_dir(stage.file("tenants/contoso/data")).unwrap();
    make(&stage.file("tenants/contoso/data/people.db"), PEOPLE).await;
    make(
        &stage.file("other.db"),
        "create table secrets (text text); insert into secrets values ('planted')",
    )
    .await;
    stage.start().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_a_database() {
    let platform = asking("").await;
    let by_mail = |mail: &str| json!({ "statement": "by_mail", "parameters": [mail] });
    let ada = json!([{
        "mail": ["text", "ada@contoso.example"], "level": ["integer", 7], "active": ["boolean", true],
        "share": ["real", 0.5], "picture": ["bytes", [1, 255]],
    }]);
    assert_eq!(rows(&platform, &by_mail("ada@contoso.example")).await, ada);
    assert_eq!(result(&platform, &by_mail("' or 1=1 --")).await, "rows 0");
    let typed =
        json!({ "text": "select ? as a, ? as b, ? as c, ? as d, ? as e", "parameters": [null, 7, 0.5, "x", [1]] });
    let same =
        json!([{ "a": "null", "b": ["integer", 7], "c": ["real", 0.5], "d": ["text", "x"], "e": ["bytes", [1]] }]);
    assert_eq!(rows(&platform, &typed).await, same);
    assert_eq!(result(&platform, &json!({ "statement": "by_mail" })).await, "invalid");
    assert_eq!(result(&platform, &json!({ "text": "selekt" })).await, "failed 1");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_statement_leads_out_of_the_file_or_changes_it() {
    let platform = asking("connections = 1").await;
    let other = platform.directory.path().join("other.db");
    let made = platform.directory.path().join("made.db");
    let (other, made) = (other.display(), made.display());
    for (text, expected) in [
        (format!("attach '{other}' as other"), "not-allowed"),
        (format!("select 1; attach '{other}' as other"), "not-allowed"),
        (format!("commit; attach '{other}' as other"), "not-allowed"),
        ("detach main".to_owned(), "not-allowed"),
        ("select * from other.secrets".to_owned(), "failed 1"),
        (format!("vacuum into '{made}'"), "failed 1"),
        (format!("commit; vacuum into '{made}'"), "not-allowed"),
        ("select load_extension('x')".to_owned(), "failed 1"),
        (
            "insert into people (mail) values ('x') returning mail".to_owned(),
            "not-allowed",
        ),
        ("pragma query_only = off".to_owned(), "not-allowed"),
        ("delete from people returning mail".to_owned(), "not-allowed"),
        ("select count(*) from people".to_owned(), "rows 1"),
    ] {
        assert_eq!(result(&platform, &json!({ "text": text })).await, expected, "{text}");
    }
    assert!(!platform.directory.path().join("made.db").exists());
    let log = Value::from(platform.host.log()).to_string();
    assert!(!log.contains("attach '"), "statements are in the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_statement_changes_the_process() {
    let host = format!("{LOOPBACK}\n{REQUIRED}");
    let platform = asking_at(&host, "access = \"read-write\"").await;
    for text in [
        // The process's memory, of which nothing would be left for the audit's store.
        "pragma hard_heap_limit = 1",
        "PRAGMA main.Hard_Heap_Limit(1)",
        "explain pragma hard_heap_limit = 1",
        "pragma soft_heap_limit = 1",
        "pragma cache_size = 1000000",
        "pragma page_size = 512",
        "pragma temp_store_directory = '/proc'",
        "pragma writable_schema = on",
        "pragma trusted_schema = on",
        "pragma journal_mode = off",
        "pragma user_version",
    ] {
        // The answer waits for its record.
        assert_eq!(
            result(&platform, &json!({ "text": text })).await,
            "not-allowed",
            "{text}"
        );
    }
    let as_a_table = json!({ "text": "select * from pragma_hard_heap_limit(1)" });
    assert_eq!(result(&platform, &as_a_table).await, "failed 1");
    // An address in the process, and one that the process would call.
    for parameters in [json!(["simple"]), json!(["simple", [1, 2, 3, 4, 5, 6, 7, 8]])] {
        let text = if parameters.as_array().unwrap().len() == 1 {
            "?"
        } else {
            "?, ?"
        };
        let request = json!({ "text": format!("select fts3_tokenizer({text})"), "parameters": parameters });
        assert_eq!(result(&platform, &request).await, "failed 1", "{text}");
    }
    // What SQLite's own tables ask for is theirs.
    for table in [
        "create virtual table notes using fts5(text)",
        "insert into notes values ('hello')",
        "create virtual table old using fts4(text)",
        "insert into old values ('hello')",
        "create virtual table places using rtree(id, x, y)",
    ] {
        let request = json!({ "text": table, "execute": true });
        let executed = result(&platform, &request).await;
        assert!(executed.starts_with("executed"), "{table}: {executed}");
    }
    let found = json!({ "text": "select 1 from notes, old where notes match 'hello' and old match 'hello'" });
    assert_eq!(result(&platform, &found).await, "rows 1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_becomes_a_link_is_not_followed() {
    let platform = asking("connections = 1").await;
    let root = platform.directory.path();
    let (file, aside) = (
        platform.tenant_file("data/people.db"),
        platform.tenant_file("data/aside.db"),
    );
    let planted = json!({ "text": "select * from secrets" });
    let people = json!({ "text": "select * from people" });
    // The connection that the host has is to the file that was checked, and is used for one of a plugin's statements.
    assert_eq!(result(&platform, &people).await, "rows 2");
    fs::rename(&file, &aside).unwrap();
    symlink(root.join("other.db"), &file).unwrap();
    assert_eq!(result(&platform, &planted).await, "unavailable");
    let told = |line: &Value| line["message"] == "database failed" && line["cause"].to_string().contains("link");
    platform.host.log_line("the operator is told", told).await;
    fs::rename(&aside, &file).unwrap();
    assert_eq!(result(&platform, &people).await, "rows 2");
    // The same for the directory that it is in.
    let (data, other) = (platform.tenant_file("data"), root.join("others"));
    fs::create_dir(&other).unwrap();
    fs::rename(root.join("other.db"), other.join("people.db")).unwrap();
    fs::rename(&data, platform.tenant_file("aside")).unwrap();
    symlink(&other, &data).unwrap();
    assert_eq!(result(&platform, &planted).await, "unavailable");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_be_written_to_is_and_leads_nowhere_either() {
    let platform = asking("access = \"read-write\"").await;
    let other = platform.directory.path().join("other.db");
    let made = platform.directory.path().join("made.db");
    let update = json!({ "text": "update people set level = ?", "parameters": [9], "execute": true });
    assert_eq!(result(&platform, &update).await, "executed 2");
    let sum = json!({ "text": "select sum(level) as sum from people" });
    assert_eq!(rows(&platform, &sum).await, json!([{ "sum": ["integer", 18] }]));
    let shadow = json!({ "text": "create temporary table people (other text)", "execute": true });
    assert_eq!(result(&platform, &shadow).await, "executed 0");
    assert_eq!(rows(&platform, &sum).await, json!([{ "sum": ["integer", 18] }]));
    for text in [
        format!("attach '{}' as other", other.display()),
        format!("attach '{}' as other", made.display()),
        "pragma hard_heap_limit = 1".to_owned(),
        format!("commit; vacuum into '{}'", made.display()),
    ] {
        let request = json!({ "text": text, "execute": true });
        assert_eq!(result(&platform, &request).await, "not-allowed", "{text}");
    }
    assert!(!made.exists());
    let twice = json!({ "text": "insert into people (mail) values ('x')", "execute": true });
    assert_eq!(result(&platform, &twice).await, "executed 1");
    assert_eq!(result(&platform, &twice).await, "failed 1555");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_ends_in_time_and_within_its_limits() {
    let platform = asking("connections = 1\nmax_rows = 10\nmax_bytes = 10000").await;
    let endless = "with recursive n(i) as (select 1 union all select i + 1 from n)";
    for (request, expected) in [
        (
            json!({ "text": format!("{endless} select count(*) from n"), "timeout_ms": 100 }),
            "deadline-exceeded",
        ),
        (
            json!({ "text": format!("{endless} select count(*) from n") }),
            "deadline-exceeded",
        ),
        (
            json!({ "text": format!("{endless} select i from n limit 10") }),
            "rows 10",
        ),
        (json!({ "text": format!("{endless} select i from n") }), "too-large"),
        (json!({ "text": "select zeroblob(9900)" }), "rows 1"),
        (json!({ "text": "select zeroblob(10001)" }), "too-large"),
        (json!({ "text": "select zeroblob(500000000)" }), "too-large"),
        (json!({ "text": "select 1" }), "rows 1"),
    ] {
        assert_eq!(result(&platform, &request).await, expected, "{request}");
    }
    // Nothing of what was cancelled goes on: threads that compute would.
    let ticks = || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", platform.host.pid())).unwrap();
        let fields: Vec<_> = stat
            .rsplit_once(") ")
            .unwrap()
            .1
            .split(' ')
            .map(str::to_owned)
            .collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    eventually("the host is idle", async || {
        let before = ticks();
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        ticks() - before < 10
    })
    .await;
    let claims = probe(&platform, &json!({ "text": "select 1", "times": 3 })).await;
    assert_eq!(claims["results"], json!(["rows 1", "rows 1", "rows 1"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn last_known_good_claims_end_with_the_statement_that_they_came_from() {
    let platform = asking("").await;
    let file = platform.tenant_file("tenant.toml");
    let toml = fs::read_to_string(&file).unwrap();
    let reload = async |toml: &str| {
        let mark = platform.host.log_mark();
        fs::write(&file, toml).unwrap();
        let published = |line: &LogLine| line["message"] == "catalog published";
        platform.host.log_line_after(mark, "a reload", published).await;
    };
    let toml = toml.replace(
        "upstreams = [\"hr\"]",
        "upstreams = [\"hr\"]\non_failure = \"last_known_good\"",
    );
    reload(&toml).await;
    let failing = async || send(&platform, &json!("no request")).await.0;
    let ada = json!({ "statement": "by_mail", "parameters": ["ada@contoso.example"] });
    assert_eq!(result(&platform, &ada).await, "rows 1");
    assert_eq!(failing().await, 200);
    reload(&format!("{toml}\n# a comment\n")).await;
    assert_eq!(failing().await, 200);
    reload(&toml.replace("mail = ?1", "mail = ?1 and active")).await;
    assert_eq!(failing().await, 500);
}
