//! The admin API: from a request to an answer. Who asks and whether they may is settled before a body is read.

mod body;

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Extension, Path, Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{delete, get, post, put};
use axum::{Json, Router};
use claimsmith_catalog::{Catalog, check_name};
use metrics::counter;
use serde::Deserialize;
use tokio::sync::{OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use self::body::{MAX_SMALL_BODY_BYTES, or_discard, read, read_json};
use crate::authenticate::Door;
use crate::identity::{Identity, Operation};
use crate::manager::{Asked, Manager, Manner};
use crate::problem::{Code, Refusal};
use crate::store::{LogFilter, MAX_PLUGINS};
use crate::view::{
    ActivationAnswer, ActivationRequest, Forgotten, Log, PushAnswer, RollbackRequest, SignAnswer, Status, TenantStatus,
    Version, Versions,
};

/// Components that are received at once: each is in memory.
const MAX_UPLOADS: usize = 4;
/// How long a push may wait for its place.
const PLACE_TIME: Duration = Duration::from_mins(2);
/// Characters of a reason.
const MAX_REASON: usize = 500;
/// Longer watching is what alerts are for.
const MAX_VERIFY: Duration = Duration::from_mins(1);
/// Lines of the log in one answer.
const MAX_LINES: u32 = 1000;
const DEFAULT_LINES: u32 = 100;
/// Bytes of a version's label.
const MAX_VERSION_BYTES: usize = 64;

/// What every request can see.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) manager: Arc<Manager>,
    pub(crate) max_component_bytes: usize,
    pub(crate) openapi: Bytes,
    uploads: Arc<Semaphore>,
}

/// A place among the components that are received and compiled.
struct UploadPlace {
    _turn: OwnedMutexGuard<()>,
    _place: Option<OwnedSemaphorePermit>,
}

type Answer<T> = Result<Json<T>, Refusal>;

impl Api {
    pub(crate) fn new(manager: Arc<Manager>, max_component_bytes: usize, openapi: Bytes) -> Self {
        Self {
            manager,
            max_component_bytes,
            openapi,
            uploads: Arc::new(Semaphore::new(MAX_UPLOADS)),
        }
    }

    /// Waits until a component of this tenant may be received: one at a time of each, so that none takes all places. Kept
    /// until the push has ended: a client that has gone away leaves its component behind.
    async fn upload_place(&self, tenant: &str) -> Result<UploadPlace, Refusal> {
        let wait = async {
            let turn = self.manager.turn_to_push(tenant).await;
            let place = Arc::clone(&self.uploads).acquire_owned().await;
            UploadPlace {
                _turn: turn,
                _place: place.ok(),
            }
        };
        let late = |_| {
            let message = "other components are being pushed, one of each tenant at a time; try again later";
            Refusal::new(Code::Busy, message)
        };
        timeout(PLACE_TIME, wait).await.map_err(late)
    }
}

/// Everything that the admin listener answers. Whoever serves it adds the [`Door`] as an extension.
pub(crate) fn router(api: Arc<Api>) -> Router {
    Router::new()
        .route("/openapi.json", get(openapi))
        .route("/status", get(status))
        .route("/log", get(log))
        .route("/tenants/{tenant}/status", get(tenant_status))
        .route("/tenants/{tenant}/log", get(tenant_log))
        .route("/tenants/{tenant}/versions", get(versions))
        .route("/tenants/{tenant}/plugins/{plugin}/versions/{version}", put(push))
        .route(
            "/tenants/{tenant}/plugins/{plugin}/versions/{version}/signature",
            put(sign),
        )
        .route("/tenants/{tenant}/activations", post(activate))
        .route("/tenants/{tenant}/rollbacks", post(roll_back))
        .route("/tenants/{tenant}", delete(forget))
        .fallback(async || Refusal::new(Code::NotFound, "GET /openapi.json describes what there is"))
        .layer(from_fn(count))
        .with_state(api)
}

/// Counts a request by what was asked and answered. Methods are the client's words, labels are not.
async fn count(request: Request, next: Next) -> Response {
    let method = match *request.method() {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        _ => "other",
    };
    let response = next.run(request).await;
    let status = response.status().as_u16().to_string();
    counter!("claimsmith_admin_requests_total", "method" => method, "status" => status).increment(1);
    response
}

async fn openapi(State(api): State<Arc<Api>>) -> Response {
    let content_type = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, content_type)], api.openapi.clone()).into_response()
}

async fn status(State(api): State<Arc<Api>>, Extension(door): Extension<Door>, headers: HeaderMap) -> Answer<Status> {
    let identity = identify(&door, &headers).await?;
    let catalog = api.manager.activator.catalog();
    let mut status = Status {
        generation: catalog.generation(),
        tenants: std::collections::BTreeMap::new(),
    };
    for name in catalog.tenants().filter(|name| identity.may(Operation::Read, name)) {
        let tenant = status_of(&api, &catalog, name).await?;
        status.tenants.insert(name.to_owned(), tenant);
    }
    Ok(Json(status))
}

async fn tenant_status(
    State(api): State<Arc<Api>>,
    Extension(door): Extension<Door>,
    Path(tenant): Path<String>,
    headers: HeaderMap,
) -> Answer<TenantStatus> {
    authorise(&api, &door, &headers, Operation::Read, &tenant).await?;
    let catalog = api.manager.activator.catalog();
    Ok(Json(status_of(&api, &catalog, &tenant).await?))
}

async fn status_of(api: &Api, catalog: &Catalog, tenant: &str) -> Result<TenantStatus, Refusal> {
    let active = api.manager.store.active(tenant).await?;
    let says = match catalog.tenant(tenant) {
        Some(_) => None,
        None => api.manager.managed(tenant).await,
    };
    Ok(TenantStatus::of(catalog, tenant, active, says))
}

async fn versions(
    State(api): State<Arc<Api>>,
    Extension(door): Extension<Door>,
    Path(tenant): Path<String>,
    headers: HeaderMap,
) -> Answer<Versions> {
    authorise(&api, &door, &headers, Operation::Read, &tenant).await?;
    let store = &api.manager.store;
    let (rows, active) = (store.versions(&tenant).await?, store.active(&tenant).await?);
    let rows = store.with_files(&tenant, rows).await?;
    let version = |(row, files)| Version::of(row, files, &active);
    Ok(Json(Versions {
        versions: rows.into_iter().map(version).collect(),
    }))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LogQuery {
    before: Option<i64>,
    limit: Option<u32>,
}

async fn log(
    State(api): State<Arc<Api>>,
    Extension(door): Extension<Door>,
    headers: HeaderMap,
    query: Result<Query<LogQuery>, axum::extract::rejection::QueryRejection>,
) -> Answer<Log> {
    let identity = identify(&door, &headers).await?;
    if !identity.sees_all() {
        let message = "the log of all tenants is for operators and auditors; ask for one tenant's: `claimsmith admin-log \
                       --tenant TENANT`, GET /tenants/{tenant}/log";
        return Err(Refusal::new(Code::Forbidden, message));
    }
    lines(&api, None, true, query).await
}

async fn tenant_log(
    State(api): State<Arc<Api>>,
    Extension(door): Extension<Door>,
    Path(tenant): Path<String>,
    headers: HeaderMap,
    query: Result<Query<LogQuery>, axum::extract::rejection::QueryRejection>,
) -> Answer<Log> {
    let identity = authorise(&api, &door, &headers, Operation::Read, &tenant).await?;
    lines(&api, Some(&tenant), identity.sees_all(), query).await
}

async fn lines(
    api: &Api,
    tenant: Option<&str>,
    forgotten: bool,
    query: Result<Query<LogQuery>, axum::extract::rejection::QueryRejection>,
) -> Answer<Log> {
    let Query(query) = query.map_err(|error| Refusal::new(Code::BadRequest, error.body_text()))?;
    let limit = query.limit.unwrap_or(DEFAULT_LINES);
    if !(1..=MAX_LINES).contains(&limit) {
        let message = format!("limit: expected 1 to {MAX_LINES}; `before` reads on from the last line's number");
        return Err(Refusal::new(Code::BadRequest, message));
    }
    let filter = LogFilter {
        tenant,
        forgotten,
        before: query.before,
        limit,
    };
    let lines = api.manager.store.log(filter).await?;
    Ok(Json(Log { lines }))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReasonQuery {
    reason: String,
}

type ReasonGiven = Result<Query<ReasonQuery>, axum::extract::rejection::QueryRejection>;

async fn push(
    State(api): State<Arc<Api>>,
    Extension(door): Extension<Door>,
    Path((tenant, plugin, version)): Path<(String, String, String)>,
    reason: ReasonGiven,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let checked = async {
        let identity = authorise(&api, &door, &headers, Operation::Push, &tenant).await?;
        check_version(&plugin, &version)?;
        asked(identity, &tenant, &given(reason)?)
    };
    let (asked, body) = or_discard(checked.await, body, api.max_component_bytes).await?;
    let place = api.upload_place(&tenant).await?;
    let component = read(body, api.max_component_bytes).await?;
    let manager = Arc::clone(&api.manager);
    let (plugin_name, label) = (plugin.clone(), version.clone());
    let pushed = to_the_end(async move {
        let _place = place;
        manager.push(&asked, &plugin_name, &label, component.into()).await
    });
    let pushed = pushed.await?;
    let store = &api.manager.store;
    let active = store.active(&tenant).await?;
    let mut rows = store.with_files(&tenant, vec![pushed.row]).await?;
    let (row, files) = rows
        .pop()
        .ok_or_else(|| Refusal::new(Code::UnknownVersion, "it was deleted meanwhile"))?;
    let answer = PushAnswer {
        version: Version::of(row, files, &active),
        describes_itself_as: format!("{} {}", pushed.plugin.name(), pushed.plugin.version()),
        needs_signature: pushed.needs_signature,
        imports: pushed.plugin.imports().to_vec(),
    };
    let status = if pushed.is_new {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok((status, Json(answer)).into_response())
}

async fn sign(
    State(api): State<Arc<Api>>,
    Extension(door): Extension<Door>,
    Path((tenant, plugin, version)): Path<(String, String, String)>,
    reason: ReasonGiven,
    headers: HeaderMap,
    body: Body,
) -> Answer<SignAnswer> {
    let checked = async {
        let identity = authorise(&api, &door, &headers, Operation::Sign, &tenant).await?;
        check_version(&plugin, &version)?;
        asked(identity, &tenant, &given(reason)?)
    };
    let (asked, body) = or_discard(checked.await, body, MAX_SMALL_BODY_BYTES).await?;
    let signature = read(body, MAX_SMALL_BODY_BYTES).await?;
    let manager = Arc::clone(&api.manager);
    let signed = to_the_end(async move { manager.sign(&asked, &plugin, &version, signature.into()).await }).await?;
    Ok(Json(SignAnswer { signed }))
}

async fn activate(
    State(api): State<Arc<Api>>,
    Extension(door): Extension<Door>,
    Path(tenant): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer<ActivationAnswer> {
    // Whoever may push may ask for a plan; what is asked for is in the body.
    let identity = authorise(&api, &door, &headers, Operation::Plan, &tenant).await;
    let (identity, body) = or_discard(identity, body, MAX_SMALL_BODY_BYTES).await?;
    let request: ActivationRequest = read_json(body).await?;
    may_change(&identity, request.plan, &tenant)?;
    if request.versions.is_empty() {
        let message = "expected `versions` with at least one plugin and its version";
        return Err(Refusal::new(Code::BadRequest, message));
    }
    if request.versions.len() > MAX_PLUGINS {
        let found = request.versions.len();
        let message = format!(
            "versions: expected those of at most {MAX_PLUGINS} plugins, as many as a tenant has; found {found}"
        );
        return Err(Refusal::new(Code::BadRequest, message));
    }
    for (plugin, version) in &request.versions {
        check_version(plugin, version)?;
    }
    if request.verify_for > MAX_VERIFY {
        return Err(Refusal::new(Code::BadRequest, "verify_for: expected at most 1m"));
    }
    let asked = asked_to(request.plan, identity, &tenant, &request.reason)?;
    let manner = Manner {
        plan: request.plan,
        verify_for: request.verify_for,
    };
    let manager = Arc::clone(&api.manager);
    let activated = to_the_end(async move { manager.activate(&asked, &request.versions, manner).await }).await?;
    Ok(Json(activated.into()))
}

async fn roll_back(
    State(api): State<Arc<Api>>,
    Extension(door): Extension<Door>,
    Path(tenant): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer<ActivationAnswer> {
    let identity = authorise(&api, &door, &headers, Operation::Plan, &tenant).await;
    let (identity, body) = or_discard(identity, body, MAX_SMALL_BODY_BYTES).await?;
    let request: RollbackRequest = read_json(body).await?;
    may_change(&identity, request.plan, &tenant)?;
    check_name("plugin", &request.plugin).map_err(|message| Refusal::new(Code::BadRequest, message))?;
    let asked = asked_to(request.plan, identity, &tenant, &request.reason)?;
    let manager = Arc::clone(&api.manager);
    let rolled_back = to_the_end(async move { manager.roll_back(&asked, &request.plugin, request.plan).await }).await?;
    Ok(Json(rolled_back.into()))
}

/// The tenant need not exist: it must not.
async fn forget(
    State(api): State<Arc<Api>>,
    Extension(door): Extension<Door>,
    Path(tenant): Path<String>,
    reason: ReasonGiven,
    headers: HeaderMap,
) -> Answer<Forgotten> {
    let identity = permitted(&door, &headers, Operation::Forget, &tenant).await?;
    check_name("tenant", &tenant).map_err(|message| Refusal::new(Code::BadRequest, message))?;
    let asked = asked(identity, &tenant, &given(reason)?)?;
    let manager = Arc::clone(&api.manager);
    let versions = to_the_end(async move { manager.forget(&asked).await }).await?;
    Ok(Json(Forgotten { versions }))
}

/// Whether whoever asks may do more than plan, if more is asked for.
fn may_change(identity: &Identity, plan: bool, tenant: &str) -> Result<(), Refusal> {
    if plan || identity.may(Operation::Activate, tenant) {
        return Ok(());
    }
    Err(forbidden(identity, Operation::Activate, tenant))
}

fn forbidden(identity: &Identity, operation: Operation, tenant: &str) -> Refusal {
    let (actor, asked) = (identity.actor.as_str(), operation.name());
    tracing::warn!(actor, operation = asked, tenant, "not allowed by the admin API");
    let who = match operation {
        Operation::Read => "operators, auditors, and owners and developers of the tenant",
        Operation::Push | Operation::Sign => "operators, and owners and developers of the tenant",
        Operation::Plan | Operation::Activate => {
            "operators and owners of the tenant; its developers may ask for a plan"
        }
        Operation::Forget => "operators",
    };
    Refusal::new(Code::Forbidden, format!("this is for {who}"))
}

async fn identify(door: &Door, headers: &HeaderMap) -> Result<Identity, Refusal> {
    match door {
        Door::Owner { uid } => Ok(Identity::owner(*uid)),
        Door::Tokens(tokens) => tokens.identity(headers).await.map_err(|error| {
            let (outcome, error) = (error.outcome().code(), tokens.why_refused(&error));
            tracing::warn!(error, outcome, "a token was refused by the admin API");
            Refusal::new(
                Code::Unauthenticated,
                "show an access token for the admin API; the service's log says why not",
            )
        }),
    }
}

/// Who asks, if they may do this for a tenant, whether there is one or not.
async fn permitted(door: &Door, headers: &HeaderMap, operation: Operation, tenant: &str) -> Result<Identity, Refusal> {
    let identity = identify(door, headers).await?;
    if !identity.may(operation, tenant) {
        return Err(forbidden(&identity, operation, tenant));
    }
    Ok(identity)
}

/// Who asks, if they may do this for a tenant that there is.
async fn authorise(
    api: &Api,
    door: &Door,
    headers: &HeaderMap,
    operation: Operation,
    tenant: &str,
) -> Result<Identity, Refusal> {
    let identity = permitted(door, headers, operation, tenant).await?;
    let catalog = api.manager.activator.catalog();
    if !catalog.tenants().any(|name| name == tenant) {
        return Err(Refusal::new(
            Code::UnknownTenant,
            format!("there is no tenant `{}`", tenant.escape_debug()),
        ));
    }
    Ok(identity)
}

fn given(reason: ReasonGiven) -> Result<String, Refusal> {
    let Query(ReasonQuery { reason }) = reason.map_err(|error| Refusal::new(Code::BadRequest, error.body_text()))?;
    Ok(reason)
}

fn asked(identity: Identity, tenant: &str, reason: &str) -> Result<Asked, Refusal> {
    let reason = reason.trim();
    if reason.is_empty() || reason.chars().count() > MAX_REASON || reason.chars().any(char::is_control) {
        let message = format!("reason: expected 1 to {MAX_REASON} characters on one line; the admin log keeps them");
        return Err(Refusal::new(Code::BadRequest, message));
    }
    Ok(Asked {
        actor: identity.actor,
        tenant: tenant.to_owned(),
        reason: reason.to_owned(),
    })
}

/// The same of what may be a plan alone, which needs no reason: nobody keeps it.
fn asked_to(plan: bool, identity: Identity, tenant: &str, reason: &str) -> Result<Asked, Refusal> {
    let reason = if plan && reason.is_empty() { "a plan" } else { reason };
    asked(identity, tenant, reason)
}

/// Both become parts of paths and of the log.
fn check_version(plugin: &str, version: &str) -> Result<(), Refusal> {
    check_name("plugin", plugin).map_err(|message| Refusal::new(Code::BadRequest, message))?;
    let parsed = semver::Version::parse(version)
        .ok()
        .filter(|_| version.len() <= MAX_VERSION_BYTES);
    if parsed.is_some() {
        return Ok(());
    }
    let message = format!(
        "`{}` is no version: expected a semantic version such as 1.4.0, of {MAX_VERSION_BYTES} bytes at most",
        version.escape_debug()
    );
    Err(Refusal::new(Code::BadRequest, message))
}

/// Runs a change to its end, also when the client goes away.
async fn to_the_end<T: Send + 'static>(
    change: impl Future<Output = Result<T, Refusal>> + Send + 'static,
) -> Result<T, Refusal> {
    let ended = tokio::spawn(change).await;
    ended.unwrap_or_else(|error| {
        tracing::error!(%error, "a change through the admin API has ended too early: a defect of the service");
        Err(Refusal::new(Code::StoreUnavailable, "the service's log says why"))
    })
}
