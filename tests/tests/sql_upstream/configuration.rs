//! What is wrong with databases and statements is found when the tenant is loaded, and told with its line.

use std::fs;

use claimsmith_tests::Stage;
use serde_json::Value;

use super::{LOOPBACK, hr, people, stage, tenant};

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

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_are_told_with_their_line() {
    let (server, authority) = people();
    let good = hr(&server, "");
    let sqlite = "[upstreams.hr]\nkind = \"sql\"\nurl = \"sqlite:people.db\"\n";
    let granted = "upstreams = [\"hr\"]\n";
    let statement = |text: &str| format!("{granted}statements.hr.by_mail = \"{text}\"");
    let url = format!("url = \"postgres://localhost:{}/people\"", server.port);
    let cases = [
        // The database says so.
        (
            good.clone(),
            statement("selekt 1"),
            "statements.hr.by_mail",
            "statement `by_mail` of `hr`: the database refuses it: 42601",
        ),
        (
            good.clone(),
            statement("select mial from people"),
            "statements.hr.by_mail",
            "column \"mial\" does not exist",
        ),
        (
            good.clone(),
            statement("select 1; select 2"),
            "statements.hr.by_mail",
            "multiple commands",
        ),
        (
            good.clone(),
            statement("select array['a'] as roles"),
            "statements.hr.by_mail",
            "column `roles` is of the type TEXT[]",
        ),
        (
            good.clone(),
            statement("select $1::inet is null"),
            "statements.hr.by_mail",
            "parameter $1 is of the type INET",
        ),
        (
            good.clone(),
            statement("delete from people"),
            "statements.hr.by_mail",
            "access = \"read-write\"",
        ),
        (
            good.clone(),
            statement(" "),
            "statements.hr.by_mail",
            "expected a statement of 1 to 16384 bytes",
        ),
        (
            good.clone(),
            format!("{granted}statements.hr.\"by mail\" = \"select 1\""),
            "statements.hr",
            "`by mail` cannot be the name of a statement",
        ),
        // The configuration does.
        (
            good.clone(),
            "statements.hr.by_mail = \"select 1\"".to_owned(),
            "statements.hr",
            "`hr` is no database among the binding's `upstreams`",
        ),
        (
            good.clone(),
            format!("{granted}statements.crm.by_mail = \"select 1\""),
            "statements.crm",
            "`crm` is no database",
        ),
        (
            good.replace(&url, "url = \"mysql://localhost/people\""),
            granted.to_owned(),
            "url = \"mysql",
            "`mysql` is no database known here",
        ),
        (
            good.replace(&url, "url = \"postgres://claims:planted@localhost/people\""),
            granted.to_owned(),
            "url = ",
            "belong into `authentication`",
        ),
        (
            good.replace(&url, "url = \"postgres://localhost\""),
            granted.to_owned(),
            "url = ",
            "names no database",
        ),
        (
            good.replace(&url, "url = \"postgres:///people\""),
            granted.to_owned(),
            "url = ",
            "has no host",
        ),
        (
            good.replace(&url, "url = \"postgres://localhost/people?sslmode=disable\""),
            granted.to_owned(),
            "url = ",
            "must not have a query",
        ),
        (
            good.replace(&url, "url = \"postgres://10.1.2.3/people\""),
            granted.to_owned(),
            "url = ",
            "does not connect to 10.1.2.3",
        ),
        (
            good.replace(&url, "url = \"postgres://169.254.169.254/people\""),
            granted.to_owned(),
            "url = ",
            "cannot be opened",
        ),
        (
            good.replace("authentication = ", "authentikation = "),
            granted.to_owned(),
            "authentikation",
            "did you mean `authentication`?",
        ),
        (
            good.replace("file:db", "file:missing"),
            granted.to_owned(),
            "authentication = ",
            "file:missing cannot be read",
        ),
        (
            good.replace("file:db", "planted"),
            granted.to_owned(),
            "authentication = ",
            "expected a reference to a secret",
        ),
        (
            good.replace("file:ca", "file:db"),
            granted.to_owned(),
            "ca = ",
            "file:db holds no certificate in PEM",
        ),
        (
            good.replace("127.0.0.0/8", "10.0.0.0/8"),
            granted.to_owned(),
            "networks = ",
            "[egress.networks] contoso = [\"10.0.0.0/8\"]",
        ),
        (
            format!("{good}access = \"write\""),
            granted.to_owned(),
            "access = ",
            "expected `read-only` or `read-write`",
        ),
        (
            format!("{good}connections = 0"),
            granted.to_owned(),
            "connections = 0",
            "expected 1 to 64",
        ),
        (
            format!("{good}max_rows = 0"),
            granted.to_owned(),
            "max_rows = 0",
            "expected 1 to 100000",
        ),
        (
            format!("{good}max_bytes = 9000000"),
            granted.to_owned(),
            "max_bytes = ",
            "expected 1 to 8388608",
        ),
        (
            format!("{good}timeout = \"1h\""),
            granted.to_owned(),
            "timeout = ",
            "at most 10s",
        ),
        // Files.
        (
            sqlite.replace("people.db", "missing.db"),
            granted.to_owned(),
            "url = ",
            "missing.db cannot be opened",
        ),
        (
            sqlite.replace("people.db", "../../claimsmith.toml"),
            granted.to_owned(),
            "url = ",
            "is not in the tenant's directory",
        ),
        (
            sqlite.replace("people.db", "/etc/hostname"),
            granted.to_owned(),
            "url = ",
            "is not in the tenant's directory",
        ),
        (
            sqlite.replace("people.db", "link.db"),
            granted.to_owned(),
            "url = ",
            "is not in the tenant's directory",
        ),
        (
            sqlite.replace("people.db", "people.db?mode=rwc"),
            granted.to_owned(),
            "url = ",
            "with nothing that a URL encodes",
        ),
        (
            sqlite.replace("people.db", "secrets"),
            granted.to_owned(),
            "url = ",
            "is no file",
        ),
        (
            format!("{sqlite}tls = true"),
            granted.to_owned(),
            "tls = true",
            "a file is not reached over the network",
        ),
        (
            sqlite.to_owned(),
            statement("select * from people"),
            "statements.hr.by_mail",
            "no such table: people",
        ),
    ];
    for (upstream, binding, line, expected) in cases {
        let (stage, toml) = stage(LOOPBACK, &upstream, &binding, &authority).await;
        let tenant = stage.file("tenants/contoso");
        fs::write(tenant.join("people.db"), "").unwrap();
        std::os::unix::fs::symlink("/etc/hostname", tenant.join("link.db")).unwrap();
        let errors = errors(stage).await;
        let number = toml.lines().position(|found| found.starts_with(line)).unwrap() + 1;
        assert!(errors.contains(expected), "{expected}: {errors}");
        assert!(
            errors.contains(&format!("tenant.toml:{number}:")),
            "line {number}: {errors}"
        );
        assert!(!errors.contains("planted"), "{errors}");
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
async fn a_bad_statement_leaves_the_last_good_state_serving() {
    let (server, authority) = people();
    let binding = |text: &str| format!("upstreams = [\"hr\"]\nstatements.hr.by_mail = \"{text}\"");
    let (stage, good) = stage(LOOPBACK, &hr(&server, ""), &binding("select 1"), &authority).await;
    let bad = tenant(&stage, &hr(&server, ""), &binding("select nothing"));
    assert_ne!(good, bad);
    let platform = stage.start().await;
    let ask = serde_json::json!({ "statement": "by_mail" });
    assert_eq!(super::result(&platform, &ask).await, "rows 1");
    fs::write(platform.tenant_file("tenant.toml"), bad).unwrap();
    let refused = |line: &Value| {
        line.to_string()
            .contains("column \\\\\\\"nothing\\\\\\\" does not exist")
            || line["message"].to_string().contains("nothing")
    };
    platform.host.log_line("it is refused", refused).await;
    assert_eq!(super::result(&platform, &ask).await, "rows 1");
}
