//! What the plugin answers, without a host.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use claimsmith_plugin::http::Response;
use claimsmith_plugin::settings::{check, read};
use claimsmith_plugin::{Callout, Claims, ErrorKind, User, cache, http};
use serde_json::{Value, json};

use super::provide_claims;
use crate::settings::Settings;

const SETTINGS: &str = r#"{
    "path": "/members/{id}",
    "claims": { "tier": "/membership/tier", "points": "/points", "perks": "/perks", "vip": "/vip" }
}"#;

fn ada() -> Callout {
    let user = User {
        id: Some("ada".to_owned()),
        mail: Some("Ada@Contoso.example".to_owned()),
        ..User::default()
    };
    Callout {
        user: Some(user),
        ..Callout::default()
    }
}

fn settings() -> Settings {
    read(SETTINGS).unwrap()
}

/// An API that answers so, and how often it was asked.
fn api(answer: impl Fn() -> Response + 'static) -> (http::test::Answering, Rc<Cell<usize>>) {
    let asked = Rc::new(Cell::new(0));
    let count = Rc::clone(&asked);
    let answering = http::test::answer(move |_| {
        count.set(count.get() + 1);
        Ok(answer())
    });
    (answering, asked)
}

fn gold() -> Response {
    let answer = json!({ "membership": { "tier": "gold" }, "points": 12, "perks": ["lounge", "wifi"], "vip": null });
    Response::new(200).with_json(&answer)
}

fn gold_claims() -> Claims {
    Claims::new()
        .with("perks", ["lounge", "wifi"])
        .with("points", "12")
        .with("tier", "gold")
}

#[test]
fn the_answers_values_are_claims_and_asked_for_once() {
    let kept = cache::test::start();
    let (_api, asked) = api(gold);
    for _ in 0..3 {
        assert_eq!(provide_claims(&ada(), &settings()).unwrap(), gold_claims());
    }
    assert_eq!(asked.get(), 1);
    kept.advance(Duration::from_mins(5));
    assert_eq!(provide_claims(&ada(), &settings()).unwrap(), gold_claims());
    assert_eq!(asked.get(), 2);
}

#[test]
fn it_works_without_a_cache() {
    let (_api, asked) = api(gold);
    for _ in 0..2 {
        assert_eq!(provide_claims(&ada(), &settings()).unwrap(), gold_claims());
    }
    assert_eq!(asked.get(), 2);
}

#[test]
fn the_path_names_the_user() {
    let settings: Settings =
        read(r#"{ "path": "/search/{mail}/of/{id}/{mail}", "claims": { "tier": "/tier" } }"#).unwrap();
    let _api = http::test::answer(|request| {
        assert_eq!(
            (request.upstream.as_str(), request.path.as_str()),
            ("crm", "/search/ada%40contoso.example/of/ada/ada%40contoso.example")
        );
        Ok(Response::new(404))
    });
    assert!(provide_claims(&ada(), &settings).unwrap().is_empty());
}

#[test]
fn letters_that_look_alike_are_not_another_user() {
    let kept = cache::test::start();
    let settings: Settings =
        read(r#"{ "path": "/{mail}/{userPrincipalName}", "claims": { "tier": "/tier" } }"#).unwrap();
    let _api = http::test::answer(|request| {
        let is_kim = request.path == "/kim%40contoso.example/kim%40contoso.example";
        Ok(Response::new(200).with_json(&json!({ "tier": if is_kim { "gold" } else { "none" } })))
    });
    let of = |name: &str| {
        let mut callout = ada();
        let user = callout.user.as_mut().unwrap();
        user.mail = Some(format!("{name}@contoso.example"));
        user.user_principal_name.clone_from(&user.mail);
        provide_claims(&callout, &settings).unwrap()
    };
    assert_eq!(of("KIM"), Claims::new().with("tier", "gold"));
    // The sign of kelvin, whose lower case is `k`: neither asked for nor kept as Kim.
    assert_eq!(of("\u{212a}im"), Claims::new().with("tier", "none"));
    drop(kept);
}

#[test]
fn a_user_without_what_the_path_names_is_not_asked_for() {
    let (_api, asked) = api(gold);
    let settings: Settings = read(r#"{ "path": "/u/{userPrincipalName}", "claims": { "tier": "/tier" } }"#).unwrap();
    assert!(provide_claims(&ada(), &settings).unwrap().is_empty());
    assert_eq!(asked.get(), 0);
    let error = provide_claims(&Callout::default(), &settings).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Rejected);
}

#[test]
fn that_a_user_is_unknown_is_remembered_for_a_minute() {
    let kept = cache::test::start();
    let (_api, asked) = api(|| Response::new(404));
    for _ in 0..2 {
        assert!(provide_claims(&ada(), &settings()).unwrap().is_empty());
    }
    assert_eq!(asked.get(), 1);
    kept.advance(Duration::from_mins(1));
    assert!(provide_claims(&ada(), &settings()).unwrap().is_empty());
    assert_eq!(asked.get(), 2);
}

#[test]
fn a_stale_answer_bridges_an_outage_and_one_callout_in_five_seconds_asks() {
    let kept = cache::test::start();
    {
        let _api = api(gold);
        provide_claims(&ada(), &settings()).unwrap();
    }
    let (_api, asked) = api(|| Response::new(503));
    kept.advance(Duration::from_mins(10));
    for _ in 0..3 {
        assert_eq!(provide_claims(&ada(), &settings()).unwrap(), gold_claims());
    }
    assert_eq!(asked.get(), 1);
    kept.advance(Duration::from_secs(5));
    assert_eq!(provide_claims(&ada(), &settings()).unwrap(), gold_claims());
    assert_eq!(asked.get(), 2);
    kept.advance(Duration::from_mins(50));
    let error = provide_claims(&ada(), &settings()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[test]
fn asking_again_takes_a_third_of_the_time_at_most() {
    let kept = cache::test::start();
    {
        let _api = api(gold);
        provide_claims(&ada(), &settings()).unwrap();
    }
    kept.advance(Duration::from_mins(10));
    let _api = http::test::answer(|request| {
        assert_eq!(request.timeout, Some(Duration::from_secs(2) / 3));
        Ok(gold())
    });
    provide_claims(&ada(), &settings()).unwrap();
}

#[test]
fn an_api_that_refuses_is_a_defect_and_nothing_is_kept() {
    let kept = cache::test::start();
    for (status, kind) in [(403, ErrorKind::Internal), (500, ErrorKind::Unavailable)] {
        let _api = api(move || Response::new(status));
        let error = provide_claims(&ada(), &settings()).unwrap_err();
        assert_eq!(error.kind(), kind, "{status}");
    }
    let _api = api(|| Response::new(200).with_body("<html>"));
    let error = provide_claims(&ada(), &settings()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
    assert!(kept.keys().is_empty());
}

#[track_caller]
fn assert_problem(json: &str, path: &str, message: &str) {
    let problems = check::<Settings>(json);
    assert_eq!(problems.len(), 1, "{json}");
    assert_eq!(problems[0].path, path, "{json}");
    assert!(problems[0].message.contains(message), "{json}: {}", problems[0].message);
}

#[test]
fn mistakes_in_settings_are_told() {
    let with = |path: &str, claims: &str| format!(r#"{{ "path": "{path}", "claims": {claims} }}"#);
    let good = r#"{ "tier": "/tier" }"#;
    for (json, path, message) in [
        (with("members/{id}", good), "path", "such as \"/members/{id}\""),
        (with("/members", good), "path", "names no user"),
        (
            with("/members/{name}", good),
            "path",
            "{id}, {mail}, {userPrincipalName}",
        ),
        (with("/members/{id", good), "path", "{id}, {mail}, {userPrincipalName}"),
        (with("/members/{id}", "{}"), "claims", "at least one"),
        (
            with("/m/{id}", r#"{ "tier": "tier" }"#),
            "claims.tier",
            "/membership/tier",
        ),
        (r#"{ "claims": {} }"#.to_owned(), "claims", "at least one"),
        (
            r#"{ "path": "/{id}", "claims": { "a": "/a" }, "fresh_for": "soon" }"#.to_owned(),
            "fresh_for",
            "",
        ),
        (
            r#"{ "path": "/{id}", "claims": { "a": "/a" }, "fresh": "5m" }"#.to_owned(),
            "fresh",
            "unknown field",
        ),
    ] {
        assert_problem(&json, path, message);
    }
}

/// The settings of the README's example.
fn example() -> Value {
    let readme = include_str!("../README.md");
    let example = readme.split("```").find_map(|block| block.strip_prefix("toml\n"));
    let tenant: toml::Table = example.unwrap().parse().unwrap();
    let settings = &tenant["extensions"]["customer-claims"]["bindings"][0]["settings"];
    serde_json::to_value(settings).unwrap()
}

#[test]
fn the_readmes_example_is_accepted_by_the_plugin_and_its_schema() {
    let schema: Value = serde_json::from_str(include_str!("../settings.schema.json")).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    let example = example();
    assert_eq!(check::<Settings>(&example.to_string()), []);
    assert!(schema.is_valid(&example), "{example}");
    assert!(schema.is_valid(&serde_json::from_str(SETTINGS).unwrap()));
    for wrong in [
        json!({}),
        json!({ "path": "/members", "claims": { "tier": "/tier" } }),
        json!({ "path": "/members/{id}", "claims": {} }),
        json!({ "path": "/members/{id}", "claims": { "tier": "tier" } }),
        json!({ "path": "/members/{id}", "claims": { "tier": "/tier" }, "fresh": "5m" }),
    ] {
        assert!(!schema.is_valid(&wrong), "{wrong}");
        assert_ne!(check::<Settings>(&wrong.to_string()), [], "{wrong}");
    }
}
