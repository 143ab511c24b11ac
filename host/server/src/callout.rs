//! The callout pipeline: one request from Entra and its answer.
//!
//! [`answer()`] is the whole of it, one call a step. Each step either hands on what the next one needs or ends the
//! callout with a [`Refusal`]. The catalog is taken once, so a callout ends on the configuration it began with.

use std::borrow::Cow;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{self, Path, State};
use axum::http::header::{AUTHORIZATION, EXPECT};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Request};
use claimsmith_audit::Auditor;
use claimsmith_catalog::{Catalog, Extension, Lookup, Stage};
use claimsmith_contract::{Callout, EntraError, Outcome, ParseError};
use claimsmith_token::{Caller, ValidToken, bearer_token};
use futures::FutureExt as _;
use http_body_util::Either;
use hyper::body::Incoming;
use tokio::time::Instant;
use tracing::{Instrument as _, Level, Span, field};

use crate::answer::{self, Answer, Refusal, status_and_title};
use crate::audit;
use crate::client;
use crate::course::ProbeRun;
use crate::facts::{Facts, Unanswered, tell};
use crate::invoke::{guard, invoke};
use crate::password;
use crate::request::{RequestBody, admit, discard, read_body};
use crate::server::App;
use crate::service::Peer;
use crate::telemetry;

/// The path of callouts, for the router.
pub(crate) const PATH: &str = "/tenants/{tenant}/extensions/{extension}";

/// The tenant and the extension of a path that says them as they are; other paths are the router's to read.
pub(crate) fn plain_names(path: &str) -> Option<(&str, &str)> {
    let (tenant, rest) = path.strip_prefix("/tenants/")?.split_once('/')?;
    let extension = rest.strip_prefix("extensions/")?;
    let plain = |name: &str| !name.is_empty() && !name.contains(['%', '/']);
    (plain(tenant) && plain(extension)).then_some((tenant, extension))
}

/// Answers a callout whose path has [`plain_names`].
pub(crate) async fn handle(app: Arc<App>, request: Request<Incoming>, peer: IpAddr) -> Answer {
    let (head, body) = request.into_parts();
    let (tenant, extension) = plain_names(head.uri.path()).unwrap_or_default();
    answer_named(&app, (tenant, extension), &head, Either::Left(body), Some(peer), None).await
}

/// Makes a callout of the service's own take the same way.
pub(crate) async fn probe(app: &App, names: (&str, &str), request: extract::Request, run: ProbeRun) -> Answer {
    let (head, body) = request.into_parts();
    answer_named(app, names, &head, Either::Right(body), None, Some(run)).await
}

/// The handler of [`PATH`], for all that are not as Entra sends them: other methods, names with escapes.
pub(crate) async fn handle_unusual(
    State(app): State<Arc<App>>,
    path: Result<Path<(String, String)>, PathRejection>,
    request: extract::Request,
) -> Answer {
    // A path whose bytes are no text names nobody.
    let (tenant, extension) = path.map_or_else(|_| Default::default(), |Path(names)| names);
    let (head, body) = request.into_parts();
    // Absent where there is no connection.
    let peer = head.extensions.get::<Peer>().map(|Peer(peer)| *peer);
    answer_named(&app, (&tenant, &extension), &head, Either::Right(body), peer, None).await
}

async fn answer_named(
    app: &App,
    (tenant, extension): (&str, &str),
    head: &Parts,
    mut body: RequestBody,
    peer: Option<IpAddr>,
    probe: Option<ProbeRun>,
) -> Answer {
    let arrived = Instant::now();
    // Of the most important level, so that a line of any level has it.
    let span = tracing::error_span!(
        "callout",
        tenant = %label(tenant),
        extension = %label(extension),
        correlation_id = field::Empty,
        trace_id = field::Empty,
        probe = probe.as_ref().map(|_| true),
    );
    let whole = async {
        let mut callout = Unanswered::new(app, arrived);
        callout.facts.invocations.course.probe = probe;
        let facts = &mut callout.facts;
        // Boxed before anything is put around it: it has room for all that an invocation may need, 10 KB, which each layer
        // would move, and some keep twice.
        let answered = Box::pin(answer(app, tenant, extension, head, &mut body, arrived, facts));
        let answered = or_panicked(answered).await;
        // What had not come by the deadline is not waited for any longer; and a client that waits for `100 Continue` has
        // not sent its body, which reading would ask for.
        let discarded = matches!(&answered, Err(refusal) if refusal.outcome != Outcome::DeadlineExceeded)
            && !head.headers.contains_key(EXPECT);
        callout.facts.stages.begin(Stage::Audit);
        callout.is_recorded = true;
        let answered = audit::record(&app.audit, answered, &mut callout.facts, arrived).await;
        callout.facts.stages.end();
        let client = || peer.map(|peer| client::address(peer, &head.headers, &app.trusted_proxies));
        let response = finish(app, answered, &callout.facts, arrived, client);
        callout.is_answered = true;
        if discarded {
            discard(body).await;
        }
        response
    };
    whole.instrument(span).await
}

/// What a step of the pipeline says, or that it panicked: a defect of the host ends one callout with an answer, instead of
/// a connection without one.
pub(crate) async fn or_panicked<T>(step: Pin<Box<impl Future<Output = Result<T, Refusal>>>>) -> Result<T, Refusal> {
    // What a panic leaves half done is the callout's own, and dropped with it.
    let ended = AssertUnwindSafe(step).catch_unwind().await;
    ended.unwrap_or_else(|panic| {
        let message = panic.downcast_ref::<String>().map(String::as_str);
        let message = message.or_else(|| panic.downcast_ref::<&str>().copied());
        let message = message.unwrap_or("no message");
        tracing::error!(panic = message, "a defect of the host: the callout's handler panicked");
        Err(Refusal::new(
            Outcome::InternalError,
            format!("the host panicked: {message}"),
        ))
    })
}

/// How many characters of a path segment are logged: as many as a name may have.
const MAX_LABEL: usize = 63;

async fn answer(
    app: &App,
    tenant: &str,
    extension: &str,
    head: &Parts,
    body: &mut RequestBody,
    arrived: Instant,
    facts: &mut Facts,
) -> Result<Vec<u8>, Refusal> {
    let catalog = app.catalog.get();
    facts.generation = catalog.generation();

    let extension = route(&catalog, tenant, extension).inspect_err(|refusal| {
        if refusal.outcome == Outcome::TenantUnavailable {
            facts.unavailable_tenant = Some(tenant.into());
        }
    })?;
    facts.extension = Some(Arc::clone(&extension));
    let deadline = arrived + extension.deadline.saturating_sub(Auditor::reserve(extension.deadline));
    admit(&head.method, &head.headers, app.max_body_bytes)?;
    facts.stages.begin(Stage::Token);
    let token = authenticate(&extension, facts, head, deadline).await?;
    facts.audit.token(&token);
    // What Entra may send is not used up by the service's own callouts.
    if !facts.invocations.course.is_probe() {
        within_rate(&extension)?;
    }
    // Only now: without a valid token nobody takes a place from those who have one.
    let place = app.place()?;
    facts.stages.begin(Stage::Body);
    let body = read_body(body, app.max_body_bytes, deadline).await?;
    facts.stages.begin(Stage::Parse);
    let callout = parse(&body, &extension, facts)?;
    facts.audit.callout(&callout, &extension);
    cross_check(&callout, &token)?;
    facts.begin_trace(app.tracer.as_ref(), head);
    let course = &facts.invocations.course;
    if extension.composition.joins_repeats && !course.is_probe() {
        // Of a callout that joins another's run, it is the time that it waited.
        facts.stages.begin(Stage::Invoke);
        return Box::pin(
            app.repeats
                .answer(&app.audit, &extension, &body, place, deadline, facts),
        )
        .await;
    }
    run(&extension, &callout, deadline, facts).await
}

/// What the extension's plugins answer to a callout, as Entra is sent it.
pub(crate) async fn run(
    extension: &Extension,
    callout: &Callout<'_>,
    deadline: Instant,
    facts: &mut Facts,
) -> Result<Vec<u8>, Refusal> {
    if extension.passwords.is_some() {
        facts.stages.begin(Stage::Password);
    }
    let password = password::open(extension, callout, deadline).await?;
    facts.stages.begin(Stage::Invoke);
    let invoked = invoke(extension, callout, password.as_ref(), &facts.invocations, deadline).await?;
    facts.stages.begin(Stage::Guard);
    facts.audit.action(&invoked.action, extension);
    guard(invoked, callout, password.as_ref(), extension)
}

/// The extension that the path names.
fn route(catalog: &Catalog, tenant: &str, extension: &str) -> Result<Arc<Extension>, Refusal> {
    let (outcome, detail) = match catalog.find(tenant, extension) {
        Lookup::Found(extension) => return Ok(extension),
        Lookup::UnknownTenant => (Outcome::UnknownTenant, "no tenant of that name is configured"),
        Lookup::UnknownExtension => (Outcome::UnknownExtension, "the tenant has no extension of that name"),
        Lookup::TenantUnavailable => (
            Outcome::TenantUnavailable,
            "the tenant's configuration has not been valid since the start; its errors are in the log",
        ),
    };
    Err(Refusal::new(outcome, detail))
}

/// Validates the bearer token. A diagnostic caller is loud: it must not be left on by accident.
async fn authenticate(
    extension: &Extension,
    facts: &mut Facts,
    head: &Parts,
    deadline: Instant,
) -> Result<ValidToken, Refusal> {
    let probe = facts.invocations.course.probe.as_ref();
    let policy = probe.map_or(&extension.token_policy, |probe| &probe.policy);
    let values = head.headers.get_all(AUTHORIZATION).iter();
    let validated = match bearer_token(values.map(HeaderValue::as_bytes)) {
        Ok(token) => policy.validate(token, deadline).await,
        Err(error) => Err(error),
    };
    let token = validated.map_err(|error| Refusal::new(error.outcome(), error.to_string()))?;
    facts.is_of_known_caller = true;
    facts.is_by_entra = token.caller == Caller::Entra;
    if let Caller::Diagnostic(application) = token.caller {
        tracing::warn!(%application, "called by an application of accept_callers instead of Entra");
    }
    Ok(token)
}

/// Lets a callout through that the extension and its tenant may still be sent. Only those of known callers count, or
/// anybody could use up what Entra may send.
fn within_rate(extension: &Extension) -> Result<(), Refusal> {
    let limits = &extension.rate_limits;
    for (limit, of) in [(&limits.extension, "extension"), (&limits.tenant, "tenant")] {
        let Some(limit) = limit else { continue };
        if let Err(wait) = limit.admit() {
            extension.meters.count_rate_limited(of);
            let detail = format!(
                "more than {} callouts a second, the rate limit of the {of}",
                limit.per_second()
            );
            return Err(Refusal {
                retry_after: Some(wait),
                ..Refusal::new(Outcome::RateLimited, detail)
            });
        }
    }
    Ok(())
}

/// Reads the body as the extension's event.
fn parse<'b>(body: &'b [u8], extension: &Extension, facts: &mut Facts) -> Result<Callout<'b>, Refusal> {
    let parsed = Callout::parse(body, extension.event);
    let correlation_id = match &parsed {
        Ok(callout) => Some(callout.correlation_id.as_ref()),
        Err(ParseError::Invalid { correlation_id, .. } | ParseError::EventMismatch { correlation_id, .. }) => {
            correlation_id.as_deref()
        }
        Err(ParseError::MalformedJson(_)) => None,
    };
    if let Some(correlation_id) = correlation_id {
        Span::current().record("correlation_id", correlation_id);
        facts.correlation_id = Some(correlation_id.to_owned());
    }
    parsed.map_err(|error| match error {
        ParseError::MalformedJson(error) => Refusal::with_errors(Outcome::MalformedJson, vec![error.to_string()]),
        ParseError::EventMismatch { .. } => Refusal::with_errors(Outcome::EventMismatch, vec![error.to_string()]),
        ParseError::Invalid { problems, .. } => {
            let errors = problems.iter().map(ToString::to_string).collect();
            Refusal::with_errors(Outcome::InvalidRequest, errors)
        }
    })
}

/// The body must speak for the directory that the token was issued by: otherwise a caller with one directory's token
/// could have claims made for another's users.
fn cross_check(callout: &Callout<'_>, token: &ValidToken) -> Result<(), Refusal> {
    if callout.tenant_id == token.directory {
        return Ok(());
    }
    let error = "/data/tenantId: is not the directory that issued the token".to_owned();
    Err(Refusal::with_errors(Outcome::TenantMismatch, vec![error]))
}

/// The answer, and the line that tells of the callout.
fn finish(
    app: &App,
    answered: Result<Vec<u8>, Refusal>,
    facts: &Facts,
    arrived: Instant,
    client: impl Fn() -> Option<IpAddr>,
) -> Answer {
    let took = arrived.elapsed();
    let outcome = answered
        .as_ref()
        .map_or_else(|refusal| refusal.outcome, |_| Outcome::Answered);
    telemetry::count_callout(facts, outcome, took);
    if let Some(tracer) = &app.tracer {
        tell(tracer, facts, outcome, (arrived, took));
    }
    // Rounded to microseconds: more digits would only pretend.
    let duration_ms = (took.as_secs_f64() * 1e6).round() / 1e3;
    match answered {
        Ok(body) => {
            // Not at `info`: at thousands a second the lines cost more than the callouts' own checks.
            tracing::debug!(
                outcome = Outcome::Answered.code(),
                status = 200,
                duration_ms,
                client = client().map(tracing::field::display),
                response_bytes = body.len(),
                generation = facts.generation,
                "callout answered"
            );
            answer::action(body)
        }
        Err(refusal) => {
            macro_rules! tell_refusal {
                ($level:expr, $untold:expr) => {
                    tracing::event!(
                        $level,
                        outcome = refusal.outcome.code(),
                        status = status_and_title(refusal.outcome).0.as_u16(),
                        duration_ms,
                        client = client().map(tracing::field::display),
                        generation = facts.generation,
                        entra_error = refusal.entra_error.map(EntraError::code),
                        reason = refusal.detail,
                        guest_backtrace = refusal.guest_backtrace(),
                        guest_stderr = refusal.guest_stderr(),
                        guest_stdout = refusal.guest_stdout(),
                        untold = $untold,
                        "callout refused"
                    )
                };
            }
            let told = if facts.is_of_known_caller {
                Some(0)
            } else {
                app.strangers.tell(&facts.tenant())
            };
            if let Some(untold) = told {
                tell_refusal!(Level::WARN, Some(untold).filter(|untold| *untold > 0));
            } else {
                tell_refusal!(Level::DEBUG, None::<u64>);
            }
            answer::refusal(&refusal, facts.correlation_id.as_deref())
        }
    }
}

/// A path segment for the log: anybody can send any, so it is cut and without control characters.
fn label(segment: &str) -> Cow<'_, str> {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if segment.len() <= MAX_LABEL && segment.bytes().all(is_name) {
        return Cow::Borrowed(segment);
    }
    segment.chars().take(MAX_LABEL).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::allow_attributes,
    reason = "a test fails by panicking, and tests panics"
)]
mod tests {
    use axum::http::StatusCode;
    use claimsmith_contract::Outcome;

    use http_body_util::BodyExt as _;

    use super::{or_panicked, plain_names};
    use crate::answer::{self, Refusal};

    #[tokio::test]
    async fn a_panic_is_answered_as_a_defect_of_the_host() {
        let step = async { panic!("a secret {}", 1 + 1) };
        let refusal = or_panicked::<()>(Box::pin(step)).await.unwrap_err();
        assert_eq!(refusal.outcome, Outcome::InternalError);
        assert_eq!(refusal.detail, "the host panicked: a secret 2");
        let response = answer::refusal(&refusal, None);
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let text = String::from_utf8(body.to_vec()).unwrap();
        assert!(text.contains("internal_error") && !text.contains("secret"), "{text}");
    }

    #[test]
    fn only_plain_names_take_the_short_way() {
        assert_eq!(plain_names("/tenants/a/extensions/b"), Some(("a", "b")));
        for path in [
            "/tenants/a/extensions/b/",
            "/tenants/a/extensions/b/c",
            "/tenants/a/extensions/",
            "/tenants//extensions/b",
            "/tenants/a/b/extensions/c",
            "/tenants/%61/extensions/b",
            "/tenants/a/extensions/%62",
            "/tenants/a/extension/b",
            "//tenants/a/extensions/b",
            "/healthz",
            "*",
            "",
        ] {
            assert_eq!(plain_names(path), None, "{path}");
        }
    }

    #[tokio::test]
    async fn what_does_not_panic_is_handed_on() {
        assert_eq!(or_panicked(Box::pin(async { Ok(1) })).await.unwrap(), 1);
        let refused = or_panicked::<()>(Box::pin(async { Err(Refusal::new(Outcome::Overloaded, "")) })).await;
        assert_eq!(refused.unwrap_err().outcome, Outcome::Overloaded);
    }
}
