//! Access tokens by OAuth 2.0 client credentials (RFC 6749, section 4.4).
//!
//! A token is asked for once, whoever needs it, and kept until shortly before it expires; then it is asked for anew while
//! the old one is still used. Asking goes on when the call that began it has run out of time: the next one finds the token.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use serde::Deserialize;
use tokio::time::{Instant, timeout};
use url::Url;
use url::form_urlencoded::Serializer;
use zeroize::Zeroizing;

use super::client::describe;
use super::config::{ClientAuthentication, OAuthConfig};
use super::headers;
use crate::problem::Problem;
use crate::secret::SecretScope;

/// How long asking for a token may take, whatever the callouts' deadlines are.
const ASKING: Duration = Duration::from_secs(5);
/// How long after a failure nobody asks again.
const PAUSE: Duration = Duration::from_secs(1);
/// Larger answers are no tokens.
const MAX_ANSWER_BYTES: usize = 64 << 10;
/// Of a token that does not say; and the most that is believed.
const USUAL_LIFE: Duration = Duration::from_mins(5);
const MAX_LIFE: Duration = Duration::from_hours(24);
/// A token is asked for anew when a fifth of its life is left, but not earlier than this before its end.
const EARLIEST: Duration = Duration::from_mins(5);

/// A token and its times.
pub(super) struct Token {
    pub(super) authorization: Zeroizing<String>,
    refresh: Instant,
    end: Instant,
}

/// Why there is no token; told the operator. Nothing of the answer but its status.
type Failed = Arc<str>;
type Asking = Shared<BoxFuture<'static, Result<Arc<Token>, Failed>>>;

/// Asks for tokens and keeps the last one.
pub(super) struct TokenSource {
    asker: Arc<Asker>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    token: Option<Arc<Token>>,
    asking: Option<Asking>,
    failed: Option<(Instant, Failed)>,
}

/// What is asked of the token endpoint.
struct Asker {
    client: reqwest::Client,
    url: Url,
    authorization: Option<Zeroizing<String>>,
    form: Zeroizing<String>,
}

#[derive(Deserialize)]
struct Answer {
    access_token: Zeroizing<String>,
    token_type: String,
    expires_in: Option<u64>,
}

impl TokenSource {
    /// Reads the client's secret.
    ///
    /// # Errors
    /// What is wrong, and nothing of the secret.
    pub(super) fn load(
        config: &OAuthConfig,
        scope: SecretScope<'_>,
        client: &reqwest::Client,
    ) -> Result<Self, Problem> {
        let secret = config
            .client_secret
            .read_text(scope)
            .map_err(|message| Problem::at("authentication.oauth2_client_credentials.client_secret", message))?;
        let mut form = Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials");
        if let Some(scope) = &config.scope {
            form.append_pair("scope", scope);
        }
        form.extend_pairs(&config.parameters);
        let mut authorization = None;
        match config.client_authentication {
            ClientAuthentication::Basic => {
                // RFC 6749, section 2.3.1: each is encoded before they are put together.
                let encode = |text: &str| {
                    Zeroizing::new(url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>())
                };
                let pair = Zeroizing::new(format!("{}:{}", *encode(&config.client_id), *encode(&secret)));
                let encoded = Zeroizing::new(STANDARD.encode(pair.as_bytes()));
                authorization = Some(Zeroizing::new(format!("Basic {}", *encoded)));
            }
            ClientAuthentication::Body => {
                form.append_pair("client_id", &config.client_id);
                form.append_pair("client_secret", &secret);
            }
        }
        Ok(Self {
            asker: Arc::new(Asker {
                client: client.clone(),
                url: config.token_url.clone(),
                authorization,
                form: Zeroizing::new(form.finish()),
            }),
            state: Arc::default(),
        })
    }

    /// A token that is valid, as far as is known.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) async fn token(&self) -> Result<Arc<Token>, Failed> {
        let asking = {
            let mut state = lock(&self.state);
            let now = Instant::now();
            let valid = state.token.clone().filter(|token| now < token.end);
            match valid {
                Some(token) if now < token.refresh => return Ok(token),
                Some(token) => {
                    if !state.has_just_failed(now) {
                        let _goes_on = self.ask(&mut state);
                    }
                    return Ok(token);
                }
                None => {}
            }
            if let Some((_, failed)) = state.failed.as_ref().filter(|(until, _)| now < *until) {
                return Err(Arc::clone(failed));
            }
            self.ask(&mut state)
        };
        asking.await
    }

    /// Forgets a token that the upstream does not take.
    pub(super) fn forget(&self, refused: &Arc<Token>) {
        let mut state = lock(&self.state);
        if state.token.as_ref().is_some_and(|token| Arc::ptr_eq(token, refused)) {
            state.token = None;
        }
    }

    /// The asking that is under way, or one that begins.
    fn ask(&self, state: &mut State) -> Asking {
        if let Some(asking) = &state.asking {
            return asking.clone();
        }
        let (asker, shared) = (Arc::clone(&self.asker), Arc::clone(&self.state));
        let task = tokio::spawn(async move {
            let answered = timeout(ASKING, asker.ask()).await;
            let answered = answered.unwrap_or_else(|_| Err("the token endpoint did not answer in time".into()));
            let mut state = lock(&shared);
            state.asking = None;
            match &answered {
                Ok(token) => {
                    state.token = Some(Arc::clone(token));
                    state.failed = None;
                }
                Err(failed) => state.failed = Some((Instant::now() + PAUSE, Arc::clone(failed))),
            }
            answered
        });
        let stopped = |_| Err("the service is stopping".into());
        let asking = task.map(move |ended| ended.unwrap_or_else(stopped)).boxed().shared();
        state.asking = Some(asking.clone());
        asking
    }
}

impl State {
    fn has_just_failed(&self, now: Instant) -> bool {
        self.failed.as_ref().is_some_and(|(until, _)| now < *until)
    }
}

impl Asker {
    async fn ask(&self) -> Result<Arc<Token>, Failed> {
        let asked = Instant::now();
        let mut request = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(ACCEPT, "application/json")
            .body(self.form.as_str().to_owned());
        if let Some(authorization) = self.authorization.as_ref().and_then(|text| headers::value(text)) {
            request = request.header(AUTHORIZATION, sensitive(authorization));
        }
        let broken = |error: reqwest::Error| Failed::from(format!("the token endpoint failed: {}", describe(&error)));
        let mut response = request.send().await.map_err(broken)?;
        let status = response.status();
        if !status.is_success() {
            return Err(format!("the token endpoint answered {}", status.as_u16()).into());
        }
        let mut body = Zeroizing::new(Vec::with_capacity(MAX_ANSWER_BYTES));
        while let Some(chunk) = response.chunk().await.map_err(broken)? {
            if body.len() + chunk.len() > MAX_ANSWER_BYTES {
                return Err("the token endpoint's answer is too large".into());
            }
            body.extend_from_slice(&chunk);
        }
        // The error's text may quote the token.
        let answer: Answer =
            serde_json::from_slice(&body).map_err(|_| "the token endpoint did not answer with a token")?;
        let authorization = Zeroizing::new(format!("Bearer {}", *answer.access_token));
        if !answer.token_type.eq_ignore_ascii_case("bearer") || headers::value(&authorization).is_none() {
            return Err("the token endpoint did not answer with a bearer token".into());
        }
        let life = answer.expires_in.map_or(USUAL_LIFE, Duration::from_secs).min(MAX_LIFE);
        Ok(Arc::new(Token {
            authorization,
            refresh: asked + life - EARLIEST.min(life / 5),
            end: asked + life,
        }))
    }
}

/// A header's value that is kept out of logs.
pub(crate) fn sensitive(mut value: HeaderValue) -> HeaderValue {
    value.set_sensitive(true);
    value
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("TokenSource(..)")
    }
}
