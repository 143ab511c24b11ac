//! Every role, every operation, every tenant: `tests/cases/admin/roles.json` says what comes of it.

use std::collections::BTreeMap;

use claimsmith_local_entra::{ApplicationConfig, LocalEntra, Secret};
use claimsmith_tests::{Platform, Stage, world};
use reqwest::Method;
use serde_json::{Map, Value, json};

use crate::document::assert_is_described;
use crate::setup::{
    AUDIENCE, BY_API, CLIENT, admin_toml, admin_url, command, refused, start, tenant_toml, token, token_of,
};

fn matrix() -> Value {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("cases/admin/roles.json");
    serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_may_do_what_the_matrix_says_and_nothing_else() {
    let platform = start("", &[("contoso", BY_API, ""), ("fabrikam", BY_API, "")]).await;
    let (url, matrix) = (admin_url(&platform).await, matrix());
    let mut asked = 0;
    for caller in matrix["callers"].as_array().unwrap() {
        let shown = caller["token"] != false;
        let claims = caller["claims"].as_object().cloned().unwrap_or_default();
        let token = shown.then(|| token(&platform, &claims));
        for operation in matrix["operations"].as_array().unwrap() {
            let letters = caller[operation["name"].as_str().unwrap()].as_str().unwrap();
            for (tenant, letter) in matrix["tenants"].as_array().unwrap().iter().zip(letters.chars()) {
                let expected = match letter {
                    'a' => &operation["allowed"],
                    letter => &matrix["letters"][letter.to_string()],
                };
                let found = ask(&platform, &url, token.as_deref(), operation, tenant.as_str().unwrap()).await;
                let what = format!("{} {} {tenant}", caller["who"], operation["name"]);
                assert_eq!(&found, expected, "{what}");
                asked += 1;
            }
        }
        assert_lists(&platform, &url, token.as_deref(), caller).await;
    }
    assert!(asked >= 400, "{asked}");
}

/// Asks for an operation: status and code.
async fn ask(platform: &Platform, url: &str, token: Option<&str>, operation: &Value, tenant: &str) -> Value {
    let template = operation["path"].as_str().unwrap();
    let path = template
        .replace("{tenant}", tenant)
        .replace("{plugin}", "misbehaving")
        .replace("{version}", "1.0.0");
    let query = operation["query"].as_str().unwrap_or_default();
    let method = operation["method"].as_str().unwrap();
    let request = platform
        .http
        .request(
            Method::from_bytes(method.as_bytes()).unwrap(),
            format!("{url}{path}?{query}"),
        )
        .body(operation["body"].as_str().unwrap_or_default().to_owned());
    answer_of(request, token, method, template).await.0
}

async fn answer_of(
    mut request: reqwest::RequestBuilder,
    token: Option<&str>,
    method: &str,
    template: &str,
) -> (Value, Value) {
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    assert_eq!(response.headers().contains_key("www-authenticate"), status == 401);
    let media_type = response.headers()["content-type"].to_str().unwrap().to_owned();
    let body: Value = response.json().await.unwrap();
    assert_is_described(method, template, status, &media_type, &body);
    (json!([status, body.get("code")]), body)
}

/// What is asked for without a tenant has nothing of the tenants that are nobody's business.
async fn assert_lists(platform: &Platform, url: &str, token: Option<&str>, caller: &Value) {
    let get = |path: &'static str| answer_of(platform.http.get(format!("{url}{path}")), token, "GET", path);
    let (status, body) = get("/status").await;
    if caller["sees"].is_null() {
        assert_eq!(status, json!([401, "unauthenticated"]), "{caller}");
    } else {
        let seen: Vec<_> = body["tenants"].as_object().unwrap().keys().cloned().collect();
        assert_eq!(json!(seen), caller["sees"], "{caller}");
    }
    let expected = match caller["all logs"].as_str().unwrap() {
        "a" => json!([200, null]),
        "f" => json!([403, "forbidden"]),
        _ => json!([401, "unauthenticated"]),
    };
    assert_eq!(get("/log").await.0, expected, "{caller}");
}

/// Who may not activate is told who may, and the service's log says what was asked for: of an auditor, who may do nothing of
/// it, before the body is read; of a developer, who may plan.
#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_activate_is_told_who_may() {
    let platform = start("", &[("contoso", BY_API, "")]).await;
    let url = admin_url(&platform).await;
    for (role, operation) in [
        ("Claimsmith.Auditor", "plan or activate"),
        ("Claimsmith.TenantDeveloper", "activate"),
    ] {
        let file = platform.directory.path().join("token");
        std::fs::write(&file, token_of(&platform, role, &["contoso"])).unwrap();
        let connection = ["--url", &url, "--token-file", file.to_str().unwrap()];
        let mark = platform.host.log_mark();
        let activate = ["activate", "--tenant", "contoso", "misbehaving@1.0.0", "--reason", "r"];
        let message = "this is for operators and owners of the tenant; its developers may ask for a plan";
        refused(&platform, &[&activate[..], &connection].concat(), "forbidden", message).await;
        let not_allowed = |line: &Value| line["message"] == "not allowed by the admin API";
        let line = platform.host.log_line_after(mark, role, not_allowed).await;
        assert_eq!(line["operation"], operation, "{line}");
    }
}

/// Whoever has no role is not left with an empty answer.
#[tokio::test(flavor = "multi_thread")]
async fn who_may_look_at_nothing_is_told_so() {
    let platform = start("", &[("contoso", BY_API, "")]).await;
    let file = platform.directory.path().join("token");
    std::fs::write(&file, token_of(&platform, "Another.Role", &["contoso"])).unwrap();
    let url = admin_url(&platform).await;
    let ended = command(
        &platform,
        &["status", "--url", &url, "--token-file", file.to_str().unwrap()],
    )
    .await;
    assert_eq!((ended.code, ended.errors.as_str()), (0, ""));
    assert!(
        ended.output.contains("your roles let you look at none"),
        "{}",
        ended.output
    );
}

/// Why a token is refused is told in the words of the admin API's configuration, not of the tenants'.
#[tokio::test(flavor = "multi_thread")]
async fn the_log_says_which_setting_refuses_a_token() {
    let stage = Stage::new().await;
    let others = "0d1e0001-0000-4000-8000-00000000ad03\", \"0d1e0001-0000-4000-8000-00000000ad04";
    let (admin, tenant) = (admin_toml(&stage.entra, ""), tenant_toml(&stage.entra, BY_API, ""));
    let stage = stage.host_config(&admin.replace(CLIENT, others));
    let platform = stage.tenant("contoso", &tenant).listen("json").await;
    let url = admin_url(&platform).await;
    for (claims, expected) in [
        (
            json!({}),
            "expected one of admin.token.clients (0d1e0001-0000-4000-8000-00000000ad03, \
             0d1e0001-0000-4000-8000-00000000ad04)",
        ),
        (json!({ "aud": "x" }), "expected one of admin.token.audiences"),
    ] {
        let mark = platform.host.log_mark();
        let token = token(&platform, claims.as_object().unwrap());
        let response = platform.http.get(format!("{url}/status")).bearer_auth(token);
        assert_eq!(response.send().await.unwrap().status(), 401);
        let was_refused = |line: &Value| line["message"] == "a token was refused by the admin API";
        let line = platform.host.log_line_after(mark, expected, was_refused).await;
        let error = line["error"].as_str().unwrap();
        assert!(error.contains(expected) && !error.contains("accept_callers"), "{error}");
    }
}

/// Names of roles, and what the values of claims mean, are the operator's to choose.
#[tokio::test(flavor = "multi_thread")]
async fn claims_and_their_values_are_configured() {
    let more = "admin.token.roles_claim = \"groups\"
admin.token.roles.\"0d1e0001-0000-4000-8000-0000000000f7\" = \"tenant_owner\"
admin.token.tenants_claim = \"groups\"
admin.token.tenants.\"0d1e0001-0000-4000-8000-0000000000f8\" = \"fabrikam\"";
    let platform = start(more, &[("contoso", BY_API, ""), ("fabrikam", BY_API, "")]).await;
    let url = admin_url(&platform).await;
    let groups = |groups: Value| Map::from_iter([("groups".to_owned(), groups), ("roles".to_owned(), json!(["x"]))]);
    for (claims, expected) in [
        (
            json!([
                "0d1e0001-0000-4000-8000-0000000000f7",
                "0d1e0001-0000-4000-8000-0000000000f8"
            ]),
            json!(["fabrikam"]),
        ),
        (json!(["0d1e0001-0000-4000-8000-0000000000f7", "contoso"]), json!([])),
        (
            json!(["Claimsmith.Operator", "0d1e0001-0000-4000-8000-0000000000f8"]),
            json!([]),
        ),
    ] {
        let token = token(&platform, &groups(claims));
        let response = platform
            .http
            .get(format!("{url}/status"))
            .bearer_auth(token)
            .send()
            .await
            .unwrap();
        let status: Value = response.json().await.unwrap();
        let seen: Vec<_> = status["tenants"].as_object().unwrap().keys().cloned().collect();
        assert_eq!(json!(seen), expected);
    }
}

/// A pipeline gets its token as it gets it from Entra: with its own secret, for the admin API's application.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_the_local_entra_opens_what_its_role_allows() {
    let mut config = world::config();
    let template = config.directories[0].applications[0].clone();
    let pipeline = ApplicationConfig {
        app_id: CLIENT.parse().unwrap(),
        display_name: "pipeline".to_owned(),
        secret: Some(Secret::new("a secret of a test")),
        token_claims: BTreeMap::from([
            ("roles".to_owned(), vec!["Claimsmith.TenantOwner".to_owned()]),
            ("tenants".to_owned(), vec!["contoso".to_owned()]),
            ("aud".to_owned(), vec!["another".to_owned()]),
        ]),
        ..template.clone()
    };
    let api = ApplicationConfig {
        app_id: AUDIENCE.parse().unwrap(),
        display_name: "admin API".to_owned(),
        ..template
    };
    config.directories[0].applications.extend([pipeline, api]);
    let stage = Stage::with(LocalEntra::start(config).await.unwrap());
    let (admin, tenant) = (admin_toml(&stage.entra, ""), tenant_toml(&stage.entra, BY_API, ""));
    let stage = stage
        .host_config(&admin)
        .tenant("contoso", &tenant)
        .tenant("fabrikam", &tenant);
    let platform = stage.listen("json").await;
    let url = format!("{}/oauth2/v2.0/token", platform.directory().base_url());
    let form = format!(
        "grant_type=client_credentials&client_id={CLIENT}&client_secret=a+secret+of+a+test&scope=api://{AUDIENCE}/.default"
    );
    let answer = platform.http.post(url).body(form).send().await.unwrap();
    let answer: Value = answer.json().await.unwrap();
    let token = answer["access_token"].as_str().unwrap_or_else(|| panic!("{answer}"));
    let file = platform.directory.path().join("token");
    std::fs::write(&file, token).unwrap();
    let url = admin_url(&platform).await;
    let connection = ["--url", &url, "--token-file", file.to_str().unwrap()];
    let own = [&["versions", "--tenant", "contoso", "--json"], &connection[..]].concat();
    let ended = command(&platform, &own).await;
    assert_eq!((ended.code, ended.errors.as_str()), (0, ""));
    refused(
        &platform,
        &[&["versions", "--tenant", "fabrikam"], &connection[..]].concat(),
        "forbidden",
        "of the tenant",
    )
    .await;
    let all = [&["admin-log"], &connection[..]].concat();
    refused(&platform, &all, "forbidden", "claimsmith admin-log --tenant TENANT").await;
}
