//! One directory, and an extension that does what a test tells it.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use claimsmith_local_entra::{
    CalloutRecord, Config, Directory, DirectoryConfig, LocalEntra, Refusal, SignInOutcome, SignInRequest,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use uuid::Uuid;

pub(crate) const TID: Uuid = Uuid::from_u128(0xa1b2_c3d4_0000_4000_8000_0000_0000_0001);
/// The workforce directory.
pub(crate) const STAFF: Uuid = Uuid::from_u128(0xa1b2_c3d4_0000_4000_8000_0000_0000_0002);
pub(crate) const SHOP: Uuid = Uuid::from_u128(0xa1b2_c3d4_0000_4000_8000_0000_0000_00a1);
pub(crate) const DIAGNOSIS: Uuid = Uuid::from_u128(0xa1b2_c3d4_0000_4000_8000_0000_0000_00a2);
pub(crate) const EXTENSION: Uuid = Uuid::from_u128(0xa1b2_c3d4_0000_4000_8000_0000_0000_00c1);
pub(crate) const RESOURCE: Uuid = Uuid::from_u128(0xa1b2_c3d4_0000_4000_8000_0000_0000_00d1);

/// What the extension does with one request.
#[derive(Clone)]
pub(crate) enum Answer {
    /// 200 with JSON.
    Json(Value),
    /// Status, content type, body.
    Raw(u16, Option<&'static str>, String),
    /// Never answers.
    Hang,
}

/// A request as the extension saw it.
#[derive(Clone)]
pub(crate) struct Seen {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

/// A running extension.
pub(crate) struct Extension {
    pub(crate) url: String,
    shared: Arc<Shared>,
}

struct Shared {
    answers: Vec<Answer>,
    seen: Mutex<Vec<Seen>>,
}

impl Extension {
    /// Answers the first request with the first answer and so on; the last answer is for all that follow.
    pub(crate) async fn start(answers: Vec<Answer>) -> Self {
        let shared = Arc::new(Shared {
            answers,
            seen: Mutex::default(),
        });
        let router = Router::new().fallback(answer).with_state(Arc::clone(&shared));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/extension?code=key", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, shared }
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }
}

async fn answer(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let number = {
        let mut seen = shared.seen.lock().unwrap();
        seen.push(Seen {
            headers,
            body: serde_json::from_slice(&body).unwrap(),
        });
        seen.len() - 1
    };
    match shared.answers.get(number).or(shared.answers.last()).unwrap().clone() {
        Answer::Json(body) => response(200, Some("application/json"), body.to_string()),
        Answer::Raw(status, content_type, body) => response(status, content_type, body),
        Answer::Hang => std::future::pending().await,
    }
}

fn response(status: u16, content_type: Option<&str>, body: String) -> Response {
    let mut response = Response::builder().status(status);
    if let Some(content_type) = content_type {
        response = response.header("content-type", content_type);
    }
    response.body(Body::from(body)).unwrap()
}

/// The documented answer with these claims.
pub(crate) fn claims(claims: &Value) -> Value {
    json!({"data": {
        "@odata.type": "microsoft.graph.onTokenIssuanceStartResponseData",
        "actions": [{"@odata.type": "microsoft.graph.tokenIssuanceStart.provideClaimsForToken", "claims": claims}],
    }})
}

/// The example configuration on a free port, changed.
pub(crate) async fn start(change: impl FnOnce(&mut DirectoryConfig)) -> LocalEntra {
    start_config(|config| {
        config.handlers.clear();
        change(&mut config.directories[0]);
    })
    .await
}

/// The same, with all of it to change.
pub(crate) async fn start_config(change: impl FnOnce(&mut Config)) -> LocalEntra {
    let mut config = Config::parse(include_str!("../../example.toml"), "example.toml").unwrap();
    config.listen = "127.0.0.1:0".parse().unwrap();
    change(&mut config);
    LocalEntra::start(config).await.unwrap()
}

/// Every extension of every directory is at one address.
pub(crate) fn at(url: &str) -> impl FnOnce(&mut Config) {
    let url = url.to_owned();
    move |config| {
        for directory in &mut config.directories {
            for extension in &mut directory.extensions {
                extension.target_url.clone_from(&url);
            }
        }
    }
}

/// The local Entra, with the example's extension at this address.
pub(crate) async fn start_with(target_url: &str) -> LocalEntra {
    start(|directory| directory.extensions[0].target_url = target_url.to_owned()).await
}

pub(crate) fn directory(entra: &LocalEntra) -> &Directory {
    entra.directory(TID).unwrap()
}

pub(crate) fn ada() -> SignInRequest {
    SignInRequest::new(TID, "ada@example.org", "Shop")
}

/// Signs Ada in to the shop with one answer of the extension.
pub(crate) async fn sign_in_with(answer: Answer) -> SignInOutcome {
    let extension = Extension::start(vec![answer]).await;
    start_with(&extension.url).await.sign_in(&ada()).await.unwrap()
}

/// The record of a callout that failed, after checking that the sign-in failed with it.
pub(crate) fn failed(outcome: SignInOutcome) -> CalloutRecord {
    let callout = outcome.callout.unwrap();
    assert_eq!(
        outcome.result.unwrap_err(),
        Refusal::Callout(callout.error_code.unwrap())
    );
    assert_eq!(
        callout.error_name,
        callout.error_code.map(claimsmith_local_entra::CalloutErrorCode::name)
    );
    callout
}
