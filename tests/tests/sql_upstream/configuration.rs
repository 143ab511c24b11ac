//! What is wrong with databases and statements is found when the tenant is loaded, and told with its line.

use std::fs;

use claimsmith_tests::{Authority, Stage, eventually};
use serde_json::Value;

use super::{LOOPBACK, hr, people, stage, tenant, upstream};

/// The errors of a tenant, and those lines of the log that are errors of its file.
async fn errors(stage: Stage) -> String {
    let platform = stage.listen("json").await;
    let is_error = |line: &Value| line["level"] == "ERROR" && line["message"].to_string().contains("tenant.toml");
    platform.host.log_line("an error", is_error).await;
    let log = platform.host.log();
    let errors = log.iter().filter(|line| is_error(line));
    errors
        .map(|line| line["message"].as_str().unwrap().to_owned() + "\n")
        .collect()
}

/// Whether an error is told with the number of the first line after `section` that begins so.
fn assert_told(errors: &str, toml: &str, section: &str, line: &str, expected: &str) {
    let lines: Vec<_> = toml.lines().collect();
    let section = lines.iter().position(|found| found.starts_with(section)).unwrap();
    let number = lines[section..]
        .iter()
        .position(|found| found.starts_with(line))
        .unwrap()
        + section
        + 1;
    let told = errors
        .lines()
        .any(|error| error.contains(&format!("tenant.toml:{number}:")) && error.contains(expected));
    assert!(told, "line {number}, {expected}: {errors}");
}

/// Of a database: what is wrong with it, the line that it is told at, and what is told.
type Mistake = (String, &'static str, &'static str);

fn mistakes_of_places() -> Vec<Mistake> {
    let at = |url: &str| upstream(url, "");
    let good = at("postgres://db.example/people");
    vec![
        (
            at("mysql://db.example/people"),
            "url",
            "`mysql` is no database known here",
        ),
        (
            at("postgres://claims:planted@db.example/people"),
            "url",
            "belong into `authentication`",
        ),
        (at("postgres://db.example"), "url", "names no database"),
        (at("postgres:///people"), "url", "has no host"),
        (
            at("postgres://db.example/people?sslmode=disable"),
            "url",
            "must not have a query",
        ),
        (at("postgres://10.1.2.3/people"), "url", "does not connect to 10.1.2.3"),
        (at("postgres://[fd00::1]/people"), "url", "does not connect to fd00::1"),
        (at("postgres://169.254.169.254/people"), "url", "cannot be opened"),
        (at("people"), "url", "relative URL without a base"),
        (
            good.replace("authentication = ", "authentikation = "),
            "authentikation",
            "did you mean `authentication`?",
        ),
        (
            good.replace("authentication = ", "#"),
            "[upstreams",
            "`authentication` is missing",
        ),
        (
            good.replace("file:db", "file:missing"),
            "authentication",
            "file:missing cannot be read",
        ),
        (
            good.replace("file:db", "planted"),
            "authentication",
            "expected a reference to a secret",
        ),
        (
            good.replace("file:ca", "file:db"),
            "ca = ",
            "file:db holds no certificate",
        ),
        (
            good.replace("127.0.0.0/8", "10.0.0.0/8"),
            "networks",
            "[egress.networks] contoso = [\"10.0.0.0/8\"]",
        ),
    ]
}

fn mistakes_of_sizes_and_files() -> Vec<Mistake> {
    let good = upstream("postgres://db.example/people", "");
    let sqlite = |path: &str| format!("[upstreams.hr]\nkind = \"sql\"\nurl = \"sqlite:{path}\"\n");
    vec![
        (
            format!("{good}access = \"write\""),
            "access",
            "expected `read-only` or `read-write`",
        ),
        (format!("{good}connections = 0"), "connections", "expected 1 to 64"),
        (format!("{good}connections = 65"), "connections", "expected 1 to 64"),
        (format!("{good}max_rows = 0"), "max_rows", "expected 1 to 100000"),
        (
            format!("{good}max_bytes = 9000000"),
            "max_bytes",
            "expected 1 to 8388608",
        ),
        (
            format!("{good}max_request_bytes = 9000000"),
            "max_request_bytes",
            "expected at most 8388608",
        ),
        (
            upstream("postgres://db.example/people", "timeout = \"1h\""),
            "timeout",
            "at most 10s",
        ),
        (
            format!("{good}connect_timeout = \"0s\""),
            "connect_timeout",
            "at most 10s",
        ),
        (sqlite("missing.db"), "url", "missing.db cannot be opened"),
        (
            sqlite("../../claimsmith.toml"),
            "url",
            "is not in the tenant's directory",
        ),
        (sqlite("/etc/hostname"), "url", "is not in the tenant's directory"),
        (sqlite("link.db"), "url", "is not in the tenant's directory"),
        (sqlite("people.db?mode=rwc"), "url", "with nothing that a URL encodes"),
        (sqlite("secrets"), "url", "is no file"),
        (
            sqlite("people.db") + "tls = true",
            "tls",
            "a file is not reached over the network",
        ),
        (
            sqlite("people.db") + "access = \"read-write\"",
            "access",
            "a SQLite file is only read",
        ),
        (
            sqlite("people.db") + "max_bytes = 1048577",
            "max_bytes",
            "expected at most 1048576 of a SQLite file",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_of_upstreams_are_told_with_their_line() {
    let cases = [mistakes_of_places(), mistakes_of_sizes_and_files()].concat();
    let numbered = cases.iter().enumerate();
    let upstreams =
        numbered.map(|(index, (text, ..))| text.replace("upstreams.hr", &format!("upstreams.u{index}")) + "\n");
    let upstreams: String = upstreams.collect();
    let (stage, toml) = stage(LOOPBACK, &upstreams, "", &Authority::new()).await;
    let tenant = stage.file("tenants/contoso");
    fs::write(tenant.join("people.db"), "").unwrap();
    std::os::unix::fs::symlink("/etc/hostname", tenant.join("link.db")).unwrap();
    let errors = errors(stage).await;
    for (index, (_, line, expected)) in cases.iter().enumerate() {
        assert_told(&errors, &toml, &format!("[upstreams.u{index}]"), line, expected);
    }
    assert!(!errors.contains("planted"), "{errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_of_statements_are_told_with_their_line() {
    let (server, authority) = people();
    let file = "[upstreams.file]\nkind = \"sql\"\nurl = \"sqlite:people.db\"\n[upstreams.other]\nkind = \"sql\"\nurl = \"sqlite:people.db\"\n";
    let cases = [
        (
            "hr.syntax",
            "selekt 1",
            "statement `syntax` of `hr`: the database refuses it: 42601",
        ),
        ("hr.column", "select mial from people", "column \"mial\" does not exist"),
        ("hr.two", "select 1; select 2", "multiple commands"),
        (
            "hr.array",
            "select array['a'] as roles",
            "column `roles` is of the type TEXT[]",
        ),
        (
            "hr.parameter",
            "select $1::inet is null",
            "parameter $1 is of the type INET",
        ),
        ("hr.write", "delete from people", "access = \"read-write\""),
        ("hr.empty", " ", "expected a statement of 1 to 16384 bytes"),
        ("file.table", "select * from people", "no such table: people"),
        (
            "file.write",
            "create table people (mail text)",
            "a statement reads its file and does nothing else",
        ),
        (
            "file.pragma",
            "pragma hard_heap_limit = 1",
            "no PRAGMA, ATTACH or DETACH",
        ),
        (
            "other.ungranted",
            "select 1",
            "`other` is no database among the binding's `upstreams`",
        ),
        (
            "crm.unknown",
            "select 1",
            "`crm` is no database among the binding's `upstreams`",
        ),
        (
            "hr.\"by mail\"",
            "select 1",
            "`by mail` cannot be the name of a statement",
        ),
    ];
    let statements = cases
        .map(|(name, text, _)| format!("statements.{name} = \"{text}\""))
        .join("\n");
    let binding = format!("upstreams = [\"hr\", \"file\"]\n{statements}");
    let (stage, toml) = stage(LOOPBACK, &(hr(&server, "") + file), &binding, &authority).await;
    fs::write(stage.file("tenants/contoso/people.db"), "").unwrap();
    let errors = errors(stage).await;
    for (name, _, expected) in cases {
        // What is wrong with a name is told at the first line of its table.
        let line = match name.split_once('.').unwrap() {
            (table, _) if expected.contains(" is no database ") || expected.contains(" cannot be ") => {
                format!("statements.{table}")
            }
            _ => format!("statements.{name} "),
        };
        assert_told(&errors, &toml, "[extensions.claims]", &line, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_allows_any_statement_or_nobody_does() {
    let (server, authority) = people();
    let upstream = hr(&server, "any_statement = true");
    let host = "egress.networks.contoso = [\"127.0.0.0/8\", \"::1/128\"]\negress.any_statement = [\"other\"]";
    let (stage, _) = stage(host, &upstream, "upstreams = [\"hr\"]", &authority).await;
    let errors = errors(stage).await;
    assert!(errors.contains("[egress] any_statement = [\"contoso\"]"), "{errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_allows_sqlite_or_nobody_has_it() {
    let upstreams = "[upstreams.hr]\nkind = \"sql\"\nurl = \"sqlite:people.db\"\n";
    let host = "egress.sqlite = [\"other\"]";
    let (stage, toml) = stage(host, upstreams, "upstreams = [\"hr\"]", &Authority::new()).await;
    fs::write(stage.file("tenants/contoso/people.db"), "").unwrap();
    let errors = errors(stage).await;
    assert_told(
        &errors,
        &toml,
        "[upstreams.hr]",
        "url",
        "[egress] sqlite = [\"contoso\"]",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_statement_leaves_the_last_good_state_serving() {
    let (server, authority) = people();
    let binding = |text: &str| format!("upstreams = [\"hr\"]\nstatements.hr.by_mail = \"{text}\"");
    let (stage, good) = stage(LOOPBACK, &hr(&server, ""), &binding("select 1"), &authority).await;
    let bad = tenant(&stage, &hr(&server, ""), &binding("select nothing"));
    assert_ne!(good, bad);
    let platform = stage.start().await;
    let ask = serde_json::json!({ "statement": "by_mail" });
    assert_eq!(super::result(&platform, &ask).await, "rows 1");
    let before = server.sessions("claims");
    fs::write(platform.tenant_file("tenant.toml"), bad).unwrap();
    let refused = |line: &Value| {
        line.to_string()
            .contains("column \\\\\\\"nothing\\\\\\\" does not exist")
            || line["message"].to_string().contains("nothing")
    };
    platform.host.log_line("it is refused", refused).await;
    assert_eq!(super::result(&platform, &ask).await, "rows 1");
    // What was connected for the state that was refused is not connected any more.
    eventually("it is as before", async || server.sessions("claims") == before).await;
}
