//! What may be executed, and what comes back.

use claimsmith_tests::{Platform, eventually, world};
use serde_json::{Value, json};

use super::{DEADLINE, LOOPBACK, SECRET, asking, assert_untold, hr, people, probe, result, rows, send, send_to, stage};

#[tokio::test(flavor = "multi_thread")]
async fn values_have_the_types_of_the_interface() {
    let (server, authority) = people();
    let platform = asking(&hr(&server, ""), &authority).await;
    let text = "select true as b, 1::int2 as i2, 2::int4 as i4, 3::int8 as i8, 0.5::float4 as f4, 0.25::float8 as f8, \
                'x'::text as t, 'y'::varchar(3) as v, 'n'::name as n, '\\x01ff'::bytea as y, \
                '0d1e0001-0000-4000-8000-0000000000f1'::uuid as u, date '2026-02-03' as d, time '04:05:06' as ti, \
                timestamp '2026-02-03 04:05:06.5' as ts, timestamptz '2026-02-03 04:05:06+02' as tz, \
                1234567890.0123::numeric as nu, '{\"a\": [1]}'::json as j, '{\"a\":1}'::jsonb as jb, \
                'senior'::grade as e, null::int as nothing";
    let expected = json!([{
        "b": ["boolean", true], "i2": ["integer", 1], "i4": ["integer", 2], "i8": ["integer", 3],
        "f4": ["real", 0.5], "f8": ["real", 0.25], "t": ["text", "x"], "v": ["text", "y"], "n": ["text", "n"],
        "y": ["bytes", [1, 255]], "u": ["text", "0d1e0001-0000-4000-8000-0000000000f1"],
        "d": ["text", "2026-02-03"], "ti": ["text", "04:05:06"], "ts": ["text", "2026-02-03T04:05:06.500"],
        "tz": ["text", "2026-02-03T02:05:06Z"], "nu": ["text", "1234567890.0123"], "j": ["text", "{\"a\": [1]}"],
        "jb": ["text", "{\"a\": 1}"], "e": ["text", "senior"], "nothing": "null",
    }]);
    assert_eq!(rows(&platform, &json!({ "text": text })).await, expected);

    // Parameters are given in the type that the statement takes.
    let uuid = "0d1e0001-0000-4000-8000-0000000000f1";
    for (parameter, kind) in [
        (json!(true), "bool"),
        (json!(7), "int2"),
        (json!(7), "int4"),
        (json!(7), "int8"),
        (json!(7), "numeric"),
        (json!("7.50"), "numeric"),
        (json!(7), "float8"),
        (json!(7.5), "float4"),
        (json!("x"), "text"),
        (json!("x"), "varchar"),
        (json!([1, 255]), "bytea"),
        (json!(uuid), "uuid"),
        (json!("2026-02-03"), "date"),
        (json!("04:05:06"), "time"),
        (json!("2026-02-03T04:05:06"), "timestamp"),
        (json!("2026-02-03T04:05:06Z"), "timestamptz"),
        (json!("{\"a\":1}"), "jsonb"),
        (json!("senior"), "grade"),
        (Value::Null, "uuid"),
    ] {
        let request = json!({ "text": format!("select $1::{kind} is not distinct from $2::{kind} as same"), "parameters": [parameter, parameter] });
        assert_eq!(
            rows(&platform, &request).await,
            json!([{ "same": ["boolean", true] }]),
            "{request}"
        );
    }
    for (text, parameters, tells) in [
        (
            "select array['a'] as roles",
            json!([]),
            "column `roles` is of the type TEXT[]",
        ),
        (
            "select interval '1 day' as age",
            json!([]),
            "column `age` is of the type INTERVAL",
        ),
        (
            "select 'NaN'::numeric as n",
            json!([]),
            "column `n` has a value of the type NUMERIC",
        ),
        (
            "select $1::int4",
            json!(["seven"]),
            "parameter $1: expected a value of the type INT4",
        ),
        (
            "select $1::int2",
            json!([70000]),
            "parameter $1: expected a value of the type INT2",
        ),
        (
            "select $1::uuid",
            json!(["x"]),
            "parameter $1: expected a value of the type UUID",
        ),
        (
            "select $1::text[]",
            json!(["x"]),
            "parameter $1: the type TEXT[] has no form here",
        ),
        (
            "select $1::text",
            json!([]),
            "the statement takes 1 parameters: 0 are given",
        ),
        (
            "select 1",
            json!(["x"]),
            "the statement takes 0 parameters: 1 are given",
        ),
    ] {
        let claims = probe(&platform, &json!({ "text": text, "parameters": parameters })).await;
        assert_eq!(claims["results"][0], "invalid", "{text}");
        let error = claims["error"].as_str().unwrap();
        assert!(error.contains(tells) && !error.contains("seven"), "{text}: {error}");
    }
    assert_untold(&platform, &Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn dates_that_no_calendar_has_are_texts_or_errors() {
    let (server, authority) = people();
    let platform = asking(&hr(&server, ""), &authority).await;
    let text = "select date 'infinity' as d, date '-infinity' as md, timestamp 'infinity' as ts, timestamp '-infinity' as mts, \
                timestamptz 'infinity' as tz, timestamptz '-infinity' as mtz, null::date as nd, null::timestamptz as ntz, \
                date '0044-03-15 BC' as bc, date '12026-01-02' as far, timestamp '1999-12-31 23:59:59.999999' as old";
    let expected = json!([{
        "d": ["text", "infinity"], "md": ["text", "-infinity"], "ts": ["text", "infinity"],
        "mts": ["text", "-infinity"], "tz": ["text", "infinity"], "mtz": ["text", "-infinity"], "nd": "null",
        "ntz": "null", "bc": ["text", "-0043-03-15"], "far": ["text", "+12026-01-02"],
        "old": ["text", "1999-12-31T23:59:59.999999"],
    }]);
    assert_eq!(rows(&platform, &json!({ "text": text })).await, expected);
    for (text, tells) in [
        (
            "select date '5874897-12-31' as d",
            "column `d` has a value of the type DATE",
        ),
        (
            "select timestamp '294276-12-31 23:59:59' as ts",
            "column `ts` has a value of the type TIMESTAMP",
        ),
        (
            "select timestamptz '262144-01-01' as tz",
            "column `tz` has a value of the type TIMESTAMPTZ",
        ),
    ] {
        let claims = probe(&platform, &json!({ "text": text })).await;
        assert_eq!(claims["results"][0], "invalid", "{text}");
        assert!(claims["error"].as_str().unwrap().contains(tells), "{claims}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_binding_executes_its_statements_and_no_others() {
    let (server, authority) = people();
    let binding = "upstreams = [\"hr\"]
statements.hr.by_mail = \"select department, level from people where mail = $1\"
statements.hr.write = \"with w as (update people set level = 0 returning 1) select count(*) from w\"";
    let (stage, _) = stage(LOOPBACK, &hr(&server, ""), binding, &authority).await;
    let platform = stage.start().await;
    let by_mail = |mail: &str| json!({ "statement": "by_mail", "parameters": [mail] });
    assert_eq!(
        rows(&platform, &by_mail("ada@contoso.example")).await,
        json!([{ "department": ["text", "Finance"], "level": ["integer", 7] }])
    );
    // Whatever a parameter is, it is a value.
    for mail in [
        "' or '1'='1",
        "'; drop table people; --",
        "ada@contoso.example' --",
        "$1",
        "\\' or 1=1 --",
        "%",
        "\u{2019} or 1=1",
        "ada@contoso.example;",
        "(select mail from people limit 1)",
        "\0",
    ] {
        let found = result(&platform, &by_mail(mail)).await;
        // Text in this database cannot hold NUL.
        assert_eq!(found, if mail == "\0" { "failed 22021" } else { "rows 0" }, "{mail:?}");
    }
    for (request, expected) in [
        (json!({ "statement": "by_id" }), "not-allowed"),
        (json!({ "statement": "BY_MAIL" }), "not-allowed"),
        (json!({ "statement": "select 1" }), "not-allowed"),
        (json!({ "text": "select 1" }), "not-allowed"),
        (
            json!({ "statement": "by_mail", "parameters": ["x"], "execute": true }),
            "not-allowed",
        ),
        // It is named, but it writes.
        (json!({ "statement": "write" }), "not-allowed"),
        (json!({ "database": "crm", "statement": "by_mail" }), "not-granted"),
    ] {
        assert_eq!(result(&platform, &request).await, expected, "{request}");
    }
    assert_eq!(server.ask("people", "select count(*) from people where level = 7"), "1");
    let claims = probe(
        &platform,
        &json!({ "statement": "by_mail", "parameters": ["x"], "times": 18 }),
    )
    .await;
    assert_eq!(claims["results"][15], "rows 0");
    assert_eq!(claims["results"][16], "quota-exceeded");
    // What the plugin does not catch is its failure.
    let (status, answer) = send(&platform, &json!({ "statement": "by_id", "fail": true })).await;
    assert_eq!((status, &answer["code"]), (500, &json!("plugin_internal")), "{answer}");
    assert_untold(&platform, &answer);
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_is_all_that_a_read_only_upstream_does() {
    let (server, authority) = people();
    let platform = asking(&hr(&server, "connections = 1"), &authority).await;
    for (text, expected) in [
        ("select 1", "rows 1"),
        (
            "insert into people (id, mail) values (gen_random_uuid(), 'x') returning id",
            "not-allowed",
        ),
        ("create table other ()", "not-allowed"),
        ("set transaction read write", "rows 0"),
        (
            "insert into people (id, mail) values (gen_random_uuid(), 'x') returning id",
            "not-allowed",
        ),
        (
            "select set_config('transaction_read_only', 'off', false)",
            "failed 25001",
        ),
        ("set default_transaction_read_only = off", "rows 0"),
        ("commit", "rows 0"),
        (
            "insert into people (id, mail) values (gen_random_uuid(), 'x') returning id",
            "not-allowed",
        ),
        (
            "select 1; insert into people (id, mail) values (gen_random_uuid(), 'x')",
            "failed 42601",
        ),
        ("selekt", "failed 42601"),
        ("select * from secrets", "failed 42P01"),
    ] {
        assert_eq!(result(&platform, &json!({ "text": text })).await, expected, "{text}");
    }
    assert_eq!(server.ask("people", "select count(*) from people"), "2");
    // Nothing of a session is left for whoever has the next connection, and there is one at once.
    for text in [
        "set statement_timeout = 1",
        "select set_config('search_path', 'pg_catalog', false), set_config('application_name', 'mine', false)",
        "select pg_advisory_lock(7)",
        "listen news",
        "commit",
        "create temporary table people (mail text)",
        "begin",
    ] {
        let _any = result(&platform, &json!({ "text": text })).await;
        let text = "select (select count(*) from people) as people, current_setting('application_name') as name, \
                    (select count(*) from pg_locks where locktype = 'advisory') as locks, \
                    (select count(*) from pg_listening_channels()) as channels";
        let expected = json!([{
            "people": ["integer", 2], "name": ["text", "claimsmith"], "locks": ["integer", 0], "channels": ["integer", 0],
        }]);
        assert_eq!(rows(&platform, &json!({ "text": text })).await, expected, "{text}");
    }
    eventually("sessions end with their statements", async || {
        server.sessions("claims") == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_plugin_executes_changes_nothing_for_another_binding() {
    let (server, authority) = people();
    let attacker = world::extension_toml("attacker", DEADLINE, "sql-caller", "upstreams = [\"hr\"]");
    let bindings = format!("upstreams = [\"hr\"]\nstatements.hr.role = \"select 'user' as role\"\n\n{attacker}");
    let upstream = hr(&server, "connections = 1\nany_statement = true");
    let (stage, _) = stage(LOOPBACK, &upstream, &bindings, &authority).await;
    let platform = stage.start().await;
    let attack = async |text: String| send_to(&platform, "attacker", &json!({ "text": text })).await.1;
    let role = json!({ "statement": "role" });
    let expected = json!([{ "role": ["text", "user"] }]);
    assert_eq!(rows(&platform, &role).await, expected);
    // It looks for what the driver has prepared for the other, and puts its own in its place.
    let found = attack("select name from pg_prepared_statements where statement like '%user%role'".to_owned()).await;
    let found = Platform::claims(&found)["rows"].as_str().unwrap().to_owned();
    let found: Value = serde_json::from_str(&found).unwrap();
    let name = found[0]["name"][1].as_str().unwrap().to_owned();
    for text in [
        format!("deallocate {name}"),
        format!("prepare {name} as select 'global admin' as role"),
    ] {
        attack(text).await;
        assert_eq!(rows(&platform, &role).await, expected);
    }
    // Also at once.
    let forged = format!("prepare {name} as select 'global admin' as role");
    attack(format!("deallocate {name}")).await;
    attack(forged).await;
    assert_eq!(rows(&platform, &role).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_may_be_written_to_is() {
    let (server, authority) = people();
    let platform = asking(&hr(&server, "access = \"read-write\""), &authority).await;
    let update = json!({ "text": "update people set level = $1", "parameters": [9], "execute": true });
    assert_eq!(result(&platform, &update).await, "executed 2");
    assert_eq!(server.ask("people", "select sum(level) from people"), "18");
    let insert = json!({ "text": "insert into people (id, mail) values (gen_random_uuid(), 'x') returning mail" });
    assert_eq!(rows(&platform, &insert).await, json!([{ "mail": ["text", "x"] }]));
    // The same again violates a constraint, which rolls it back and spoils nothing.
    assert_eq!(result(&platform, &insert).await, "failed 23505");
    assert_eq!(result(&platform, &update).await, "executed 3");
    // The message tells the value, and the log must not.
    let insert = json!({ "text": "insert into people (id, mail) values ($1, 'x')", "parameters": ["planted-value"], "execute": true, "fail": true });
    assert_eq!(send(&platform, &insert).await.0, 500);
    assert_untold(&platform, &json!(server.ask("people", "select 1")));
    assert_ne!(SECRET, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn results_have_limits() {
    let (server, authority) = people();
    let limits = "max_rows = 10\nmax_bytes = 10000\nmax_request_bytes = 1000\nconnections = 1\ntimeout = \"5s\"";
    let platform = asking(&hr(&server, limits), &authority).await;
    for (request, expected) in [
        (json!({ "text": "select n from generate_series(1, 10) n" }), "rows 10"),
        (json!({ "text": "select n from generate_series(1, 11) n" }), "too-large"),
        (
            json!({ "text": "select a from generate_series(1, 1000) a, generate_series(1, 100000) b" }),
            "too-large",
        ),
        (json!({ "text": "select repeat('x', 9900)" }), "rows 1"),
        (json!({ "text": "select repeat('x', 10001)" }), "too-large"),
        (
            json!({ "text": "select repeat('x', 2000) from generate_series(1, 6)" }),
            "too-large",
        ),
        (json!({ "text": "select length($1)", "parameter_bytes": 990 }), "rows 1"),
        (
            json!({ "text": "select length($1)", "parameter_bytes": 1001 }),
            "too-large",
        ),
        (
            json!({ "text": format!("select {}", "1 + ".repeat(6_000) + "1") }),
            "too-large",
        ),
        (json!({ "text": "select 1" }), "rows 1"),
    ] {
        let shown: String = request.to_string().chars().take(100).collect();
        assert_eq!(result(&platform, &request).await, expected, "{shown}");
    }
    let most_memory = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", platform.host.pid())).unwrap();
        let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        most.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    };
    let before = most_memory();
    let huge = json!({ "text": "select repeat('x', 20000000)" });
    assert_eq!(result(&platform, &huge).await, "too-large");
    let more = most_memory() - before;
    assert!(more < 10 << 10, "a row of 20 MB was in memory: {more} KiB more");
    assert_eq!(result(&platform, &json!({ "text": "select 1" })).await, "rows 1");
}
