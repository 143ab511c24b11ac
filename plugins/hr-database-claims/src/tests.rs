use claimsmith_plugin::settings::{check, read};
use claimsmith_plugin::sql::test::{Answering, answer};
use claimsmith_plugin::sql::{self, Rows, Statement, Value};
use claimsmith_plugin::{Callout, Claims, ErrorKind, User};
use serde_json::{Value as Json, json};

use super::{provide_claims, settings::Settings};

fn settings(more: &Json) -> Settings {
    let mut settings = json!({
        "statement": "roles_by_mail",
        "claims": {
            "department": { "column": "department" },
            "roles": { "column": "role", "all_rows": true, "map": { "HR-ADM": "hr.admin", "HR-RD": "hr.reader" } },
        },
    });
    for (name, value) in more.as_object().unwrap() {
        settings[name] = value.clone();
    }
    read(&settings.to_string()).unwrap()
}

fn callout() -> Callout {
    Callout {
        user: Some(User {
            id: Some("a1b2c3d4-0000-4000-8000-0000000000f1".into()),
            mail: Some("ada@example.org".into()),
            ..User::default()
        }),
        ..Callout::default()
    }
}

/// A database that has these rows of roles and departments.
fn database(rows: &[(Value, Value)]) -> Answering {
    let known = Rows::new(["role", "department"]);
    let known = rows.iter().fold(known, |known, (role, department)| {
        known.with([role.clone(), department.clone()])
    });
    answer(move |request| {
        assert_eq!(request.database, "hr");
        assert_eq!(request.statement, Statement::from("roles_by_mail"));
        assert_eq!(request.parameters, ["ada@example.org".into()]);
        Ok(known.clone().into())
    })
}

#[test]
fn columns_become_claims() {
    let _hr = database(&[
        ("HR-RD".into(), "People".into()),
        ("HR-ADM".into(), "Finance".into()),
        ("HR-RD".into(), "People".into()),
        ("UNKNOWN".into(), "People".into()),
        (Value::Null, Value::Null),
    ]);
    let claims = provide_claims(&callout(), &settings(&json!({}))).unwrap();
    let expected = Claims::new()
        .with("department", "People")
        .with("roles", ["hr.reader", "hr.admin"]);
    assert_eq!(claims, expected);
}

#[test]
fn what_has_no_other_name_can_stay() {
    let _hr = database(&[("HR-RD".into(), 7.into()), ("OTHER".into(), Value::Null)]);
    let claims = json!({
        "roles": { "column": "role", "all_rows": true, "map": { "HR-RD": "hr.reader" }, "unmapped": "keep" },
        "cost_centre": { "column": "department" },
        "plain": { "column": "role" },
    });
    let claims = provide_claims(&callout(), &settings(&json!({ "claims": claims }))).unwrap();
    let expected = Claims::new()
        .with("cost_centre", "7")
        .with("plain", "HR-RD")
        .with("roles", ["hr.reader", "OTHER"]);
    assert_eq!(claims, expected);
}

#[test]
fn a_user_without_rows_gets_the_defaults_or_none() {
    let nobody = Callout {
        user: Some(User::default()),
        ..Callout::default()
    };
    let _hr = database(&[]);
    for callout in [callout(), nobody] {
        let claims = provide_claims(&callout, &settings(&json!({}))).unwrap();
        assert_eq!(claims, Claims::new());
        let claims = provide_claims(&callout, &settings(&json!({ "defaults": { "department": "none" } }))).unwrap();
        assert_eq!(claims, Claims::new().with("department", "none"));
        let error = provide_claims(&callout, &settings(&json!({ "missing": "reject" }))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Rejected);
    }
}

#[test]
fn any_member_of_the_callout_is_a_parameter() {
    let _hr = answer(|request| {
        let id = "a1b2c3d4-0000-4000-8000-0000000000f1";
        assert_eq!(request.parameters, [id.into(), "ada@example.org".into()]);
        Ok(Rows::new(["role", "department"]).into())
    });
    let settings = settings(&json!({ "parameters": ["user.id", "user.mail"] }));
    assert!(provide_claims(&callout(), &settings).unwrap().is_empty());
}

#[test]
fn a_database_that_does_not_answer_is_unavailable_and_one_that_is_wrong_a_defect() {
    let kind = |error: sql::Error| {
        let _hr = answer(move |_| Err(error.clone()));
        provide_claims(&callout(), &settings(&json!({}))).unwrap_err().kind()
    };
    assert_eq!(kind(sql::Error::Unavailable("x".into())), ErrorKind::Unavailable);
    assert_eq!(kind(sql::Error::DeadlineExceeded), ErrorKind::Unavailable);
    assert_eq!(kind(sql::Error::NotAllowed("x".into())), ErrorKind::Internal);

    let _hr = answer(|_| Ok(Rows::new(["role"]).with(["a".into()]).into()));
    let error = provide_claims(&callout(), &settings(&json!({}))).unwrap_err();
    assert_eq!(
        error.to_string(),
        "claim `department`: the statement gives no column `department`"
    );
    let _hr = database(&[(vec![1].into(), "a".into())]);
    let error = provide_claims(&callout(), &settings(&json!({}))).unwrap_err();
    assert!(error.to_string().contains("`role` holds bytes"), "{error}");
}

#[test]
fn mistakes_are_told_with_their_place() {
    for (settings, path, message) in [
        (
            json!({ "claims": { "a": { "column": "b" } } }),
            "",
            "missing field `statement`",
        ),
        (
            json!({ "statement": "a", "claims": {} }),
            "claims",
            "expected at least one claim, each by its id",
        ),
        (
            json!({ "statement": "", "claims": { "a": { "column": "b" } } }),
            "statement",
            "expected a name, which is not empty",
        ),
        (
            json!({ "statement": "a", "claims": { "a": { "column": "b", "unmapped": "keep" } } }),
            "claims.a",
            "`unmapped` without a `map`",
        ),
        (
            json!({ "statement": "a", "claims": { "a": { "column": "b", "all": true } } }),
            "claims.a.all",
            "unknown field `all`, expected one of `column`, `all_rows`, `map`, `unmapped`",
        ),
        (
            json!({ "statement": "a", "claims": { "a": { "column": "b" } }, "missing": "ignore" }),
            "missing",
            "unknown variant `ignore`, expected `omit` or `reject`",
        ),
    ] {
        let problems = check::<Settings>(&settings.to_string());
        let found: Vec<_> = problems
            .iter()
            .map(|problem| (problem.path.as_str(), problem.message.as_str()))
            .collect();
        assert_eq!(found, [(path, message)], "{settings}");
    }
}

/// The settings of the README's example.
fn example() -> Json {
    let readme = include_str!("../README.md");
    let example = readme.split("```").find_map(|block| block.strip_prefix("toml\n"));
    let tenant: toml::Table = example.unwrap().parse().unwrap();
    serde_json::to_value(&tenant["extensions"]["employee-claims"]["bindings"][0]["settings"]).unwrap()
}

#[test]
fn the_schema_accepts_what_the_plugin_does() {
    let schema: Json = serde_json::from_str(include_str!("../settings.schema.json")).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    let claim = json!({ "a": { "column": "b" } });
    for (settings, accepted) in [
        (example(), true),
        (json!({ "statement": "a", "claims": claim }), true),
        (json!({ "claims": claim }), false),
        (json!({ "statement": "a", "claims": {} }), false),
        (
            json!({ "statement": "a", "claims": { "a": { "column": "b", "unmapped": "keep" } } }),
            false,
        ),
        (json!({ "statement": "a", "claims": claim, "missing": "ignore" }), false),
        (json!({ "statement": "a", "claims": claim, "parameter": [] }), false),
    ] {
        assert_eq!(schema.is_valid(&settings), accepted, "{settings}");
        assert_eq!(
            check::<Settings>(&settings.to_string()).is_empty(),
            accepted,
            "{settings}"
        );
    }
}
