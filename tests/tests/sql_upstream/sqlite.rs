//! SQLite: a file of the tenant, and nothing but it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use claimsmith_tests::audit::REQUIRED;
use claimsmith_tests::{Authority, LogLine, Platform};
use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, Executor as _};

use super::{LOOPBACK, result, rows, send, stage};

const PEOPLE: &str = "create table people (mail text primary key, level integer, active boolean, share real, picture blob);
insert into people values ('ada@contoso.example', 7, true, 0.5, x'01ff'), ('grace@fabrikam.example', null, false, 2, null)";

/// Makes a database of what is executed.
async fn make(path: &Path, sql: &'static str) {
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
    let mut connection = options.connect().await.unwrap();
    connection.execute(sql).await.unwrap();
    connection.close().await.unwrap();
}

/// A host with an upstream of the file `data/people.db`, with more of its members.
pub(super) async fn asking(more: &str) -> Platform {
    asking_of("select 1", more).await
}

/// The same of a file to which this was done.
pub(super) async fn asking_of(sql: &'static str, more: &str) -> Platform {
    let upstream =
        format!("[upstreams.hr]\nkind = \"sql\"\nurl = \"sqlite:data/people.db\"\nany_statement = true\n{more}\n");
    let binding = "upstreams = [\"hr\"]\nstatements.hr.by_mail = \"select * from people where mail = ?1\"";
    let host = format!("{LOOPBACK}\n{REQUIRED}");
    let (stage, _) = stage(&host, &upstream, binding, &Authority::new()).await;
    let file = stage.file("tenants/contoso/data/people.db");
    fs::create_dir(stage.file("tenants/contoso/data")).unwrap();
    make(&file, PEOPLE).await;
    make(&file, sql).await;
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
        (format!("vacuum into '{made}'"), "not-allowed"),
        ("create temporary table people (other text)".to_owned(), "not-allowed"),
        ("begin immediate".to_owned(), "not-allowed"),
        ("explain attach 'x' as y".to_owned(), "not-allowed"),
        ("select 1; select 2".to_owned(), "failed "),
        ("-- nothing".to_owned(), "failed "),
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

/// SQLite's own tables, which ask for more than a statement may.
const SEARCHED: &str = "create virtual table notes using fts5(text); insert into notes values ('hello');
create virtual table old using fts4(text); insert into old values ('hello');
create virtual table places using rtree(id, x, y); insert into places values (1, 2, 3)";

#[tokio::test(flavor = "multi_thread")]
async fn no_statement_changes_the_process() {
    let platform = asking_of(SEARCHED, "").await;
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
    let text = "select x from notes, old, places where notes match 'hello' and old match 'hello' and y > 2";
    assert_eq!(result(&platform, &json!({ "text": text })).await, "rows 1");
    let insert = json!({ "text": "insert into notes values ('x') returning 1" });
    assert_eq!(result(&platform, &insert).await, "not-allowed");
}

/// A journal that was left by somebody who wrote, of a transaction over several files, which another one is to tell of. Who
/// takes the transaction back deletes that one.
fn hot_journal(database: &Path, other: &Path) -> Vec<u8> {
    let bytes = fs::read(database).unwrap();
    let page = u32::from(u16::from_be_bytes([bytes[16], bytes[17]]));
    let pages = u32::try_from(bytes.len()).unwrap() / page;
    let magic = vec![0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];
    let numbers = |numbers: &[u32]| {
        let bytes = numbers.iter().flat_map(|number| number.to_be_bytes());
        bytes.collect::<Vec<_>>()
    };
    let mut journal = [magic.clone(), numbers(&[0, 12345, pages, 512, page])].concat();
    journal.resize(512, 0);
    let name = other.to_str().unwrap().as_bytes().to_vec();
    let sum = name.iter().map(|byte| u32::from(*byte)).sum();
    let length = u32::try_from(name.len()).unwrap();
    [journal, numbers(&[1]), name, numbers(&[length, sum]), magic].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_beside_a_file_is_left_alone_and_told() {
    let platform = asking("").await;
    let file = platform.tenant_file("data/people.db");
    let other = platform.directory.path().join("audit/audit.key");
    assert!(other.is_file());
    let people = json!({ "text": "select * from people" });
    assert_eq!(result(&platform, &people).await, "rows 2");
    for (suffix, bytes) in [("-journal", hot_journal(&file, &other)), ("-wal", vec![1; 4096])] {
        let beside = platform.tenant_file(&format!("data/people.db{suffix}"));
        fs::write(&beside, &bytes).unwrap();
        assert_eq!(result(&platform, &people).await, "unavailable", "{suffix}");
        let told = |line: &Value| {
            let cause = line["cause"].to_string();
            line["message"] == "database failed" && cause.contains(&format!("people.db{suffix} is beside it"))
        };
        platform.host.log_line("the operator is told", told).await;
        assert_eq!(fs::read(&beside).unwrap(), bytes, "{suffix}");
        fs::remove_file(beside).unwrap();
        assert_eq!(result(&platform, &people).await, "rows 2");
    }
    assert!(other.is_file());
    // A pipe to which nobody ever writes.
    fs::remove_file(&file).unwrap();
    assert!(Command::new("mkfifo").arg(&file).status().unwrap().success());
    assert_eq!(result(&platform, &people).await, "unavailable");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_made_beside_a_file_or_shared_with_who_writes_it() {
    // Written in a mode in which readers share the memory of a file beside it.
    let platform = asking_of(
        "pragma journal_mode = wal; update people set level = 8 where level = 7",
        "",
    )
    .await;
    let names = || {
        let entries = fs::read_dir(platform.tenant_file("data")).unwrap();
        entries.map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>()
    };
    assert_eq!(names(), ["people.db"]);
    let level = json!({ "text": "select level from people where mail like 'ada%'" });
    assert_eq!(rows(&platform, &level).await, json!([{ "level": ["integer", 8] }]));
    assert_eq!(names(), ["people.db"]);
    let maps = fs::read_to_string(format!("/proc/{}/maps", platform.host.pid())).unwrap();
    assert!(!maps.contains("people.db"), "{maps}");
    // One that is put in its place is read at once.
    let next = platform.tenant_file("data/next.db");
    make(
        &next,
        "create table people (level); insert into people values (1), (2), (3)",
    )
    .await;
    fs::rename(next, platform.tenant_file("data/people.db")).unwrap();
    let levels = json!({ "text": "select level from people" });
    assert_eq!(result(&platform, &levels).await, "rows 3");
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
