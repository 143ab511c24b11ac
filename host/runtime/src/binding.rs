//! A binding: a plugin with settings it has accepted and limits, ready to be invoked.

use std::fmt;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout_at};

use crate::bindings::callout::{Context, Failure};
use crate::bindings::sign_up::SignUp;
use crate::bindings::{
    attribute_collection_start, attribute_collection_submit, email_otp_send, lifecycle, password_submit,
    token_issuance_start, verified_id_claim_validation,
};
use crate::capability::Grants;
use crate::error::{BindError, InvocationError, ReuseNotAllowed, SettingsProblem};
use crate::guest_text::clean;
use crate::kept_out::failure;
use crate::limits::Limits;
use crate::plugin::Plugin;
use crate::recording::{Recording, Taping};
use crate::reuse::{Isolation, Kept};
use crate::run::{CutShort, Report, Run};
use crate::runtime::{Host, LIFECYCLE_TIME};
use crate::share::{BindingPlaces, TenantShare};
use crate::trace::{Terms, UpstreamUse};

/// Further problems of settings are left out: their reader begins with the first ones.
const MAX_PROBLEMS: usize = 100;

/// A plugin with settings it has accepted and limits; made by [`crate::Runtime::bind`].
pub struct Binding {
    pub(crate) host: Arc<Host>,
    pub(crate) plugin: Arc<Plugin>,
    /// The version that it serves as.
    pub(crate) version: Arc<str>,
    /// The plugin's name in the configuration and that version, for log records.
    pub(crate) label: Arc<str>,
    pub(crate) settings: Arc<str>,
    pub(crate) limits: Limits,
    /// Shared with the bindings of other settings that were made of this one.
    pub(crate) permits: Arc<Semaphore>,
    pub(crate) tenant: Arc<TenantShare>,
    /// The upstreams it may use.
    pub(crate) grants: Arc<Grants>,
    /// Its idle instances, if it uses instances again.
    pub(crate) kept: Option<Arc<Kept>>,
    pub(crate) taping: Taping,
}

/// What a plugin is called where it is bound: in log records, and wherever else it is told of.
#[derive(Clone, Debug)]
pub struct PluginName<'n> {
    /// Its name in the configuration.
    pub name: &'n str,
    /// The version that it was pushed as; what the component says of itself where it was not.
    pub version: Option<Arc<str>>,
}

impl<'n> From<&'n str> for PluginName<'n> {
    fn from(name: &'n str) -> Self {
        Self { name, version: None }
    }
}

impl Binding {
    /// The bound plugin.
    #[must_use]
    pub fn plugin(&self) -> &Arc<Plugin> {
        &self.plugin
    }

    /// The version that it serves as: the one that it was pushed as, or else what the plugin says of itself.
    #[must_use]
    pub fn version(&self) -> &Arc<str> {
        &self.version
    }

    /// The binding's settings, as JSON text.
    #[must_use]
    pub fn settings(&self) -> &str {
        &self.settings
    }

    /// The binding's limits.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The names of the upstreams that it may use.
    pub fn upstreams(&self) -> impl Iterator<Item = &str> {
        self.grants.names()
    }

    /// The same plugin with the same limits and places, and with other settings (one JSON object) and grants, whose cache is
    /// one for these settings.
    ///
    /// # Errors
    /// [`BindError`] when the plugin refuses the settings or fails to check them.
    pub async fn with_settings(&self, settings: String, grants: Arc<Grants>) -> Result<Self, BindError> {
        let binding = Self {
            settings: settings.into(),
            grants,
            // Instances of its own: what one application's users leave, no other's may see.
            kept: self.kept.as_ref().map(|_| self.host.keep()),
            ..self.sharing()
        };
        binding.checked().await
    }

    /// The same binding, as its plugin has accepted it, with the upstreams of these grants in place of its own. Its cache is
    /// its own, because that is one version's with one set of settings.
    #[must_use]
    pub fn with_upstreams(&self, mut grants: Grants) -> Self {
        grants.grant_cache_of(&self.grants);
        Self {
            grants: Arc::new(grants),
            // Idle instances know the upstreams from before.
            kept: self.kept.as_ref().map(|_| self.host.keep()),
            ..self.sharing()
        }
    }

    /// The same binding with another isolation.
    ///
    /// # Errors
    /// [`ReuseNotAllowed`] when the operator does not allow instances to be used again.
    pub fn with_isolation(self, isolation: Isolation) -> Result<Self, ReuseNotAllowed> {
        let kept = match isolation {
            Isolation::Fresh => None,
            Isolation::Reuse if self.host.instance_reuse.allowed => Some(self.host.keep()),
            Isolation::Reuse => return Err(ReuseNotAllowed),
        };
        Ok(Self { kept, ..self })
    }

    /// The same binding, each of whose invocations is recorded: its report's journal has the [`Recording`]. Costs memory for
    /// all that the plugin is given, which is as sensitive as where it came from. Instances are fresh.
    #[must_use]
    pub fn recording(&self) -> Self {
        Self {
            taping: Taping::Record,
            ..self.sharing()
        }
    }

    /// The same binding, each of whose invocations is given what was recorded, and reaches no upstream. It ends with
    /// [`InvocationError::Diverged`] where it goes another way: with another callout, or a plugin that asks for other things.
    #[must_use]
    pub fn replaying(&self, recording: Arc<Recording>) -> Self {
        Self {
            taping: Taping::Replay(recording),
            grants: Arc::default(),
            ..self.sharing()
        }
    }

    /// A binding that shares everything with this one but its idle instances.
    fn sharing(&self) -> Self {
        Self {
            host: Arc::clone(&self.host),
            plugin: Arc::clone(&self.plugin),
            version: Arc::clone(&self.version),
            label: Arc::clone(&self.label),
            settings: Arc::clone(&self.settings),
            limits: self.limits,
            permits: Arc::clone(&self.permits),
            tenant: Arc::clone(&self.tenant),
            grants: Arc::clone(&self.grants),
            kept: None,
            taping: self.taping.clone(),
        }
    }

    /// This binding, once its plugin has accepted its settings.
    pub(crate) async fn checked(self) -> Result<Self, BindError> {
        let problems = check_settings(&self).await?;
        if problems.is_empty() {
            return Ok(self);
        }
        Err(BindError::Settings { problems })
    }

    /// The limits that hold now: the binding's, or the operator's where those have been lowered since.
    fn limits_now(&self) -> Limits {
        self.limits.at_most(&self.host.most.load())
    }

    /// The binding's places, of which there may be fewer now than it was made with.
    fn places(&self, limits: &Limits) -> BindingPlaces<'_> {
        BindingPlaces {
            places: &self.permits,
            all: self.limits.concurrency,
            most: limits.concurrency,
        }
    }

    /// An invocation: in an idle instance of the binding's own, or in a new one.
    fn begin<'a>(&'a self, limits: Limits, terms: Terms<'_>) -> Run<'a> {
        let grants = match terms.upstreams {
            UpstreamUse::Granted => Arc::clone(&self.grants),
            UpstreamUse::Withheld => return self.run(Arc::default(), limits, terms.deadline),
        };
        let idle = self.kept.as_ref().and_then(|kept| kept.take(&limits));
        let mut run = match idle {
            Some(used) => Run::again(used, &self.plugin.exports, terms.deadline),
            None => self.run(grants, limits, terms.deadline),
        };
        run.store.data_mut().tape = self.taping.begin(self.plugin.digest);
        run
    }

    /// Ends an invocation. Its instance is dropped, unless it has answered well and instances of this binding are kept.
    fn end<A: Answer>(
        &self,
        begun: &mut Begun<'_, '_>,
        ended: Result<wasmtime::Result<Result<A, Failure>>, Elapsed>,
        terms: Terms<'_>,
    ) -> Report<A> {
        let Some(mut run) = begun.run.take() else {
            return Report::refused(InvocationError::Instantiation(ALREADY_ENDED.to_owned()));
        };
        let Report {
            result,
            usage,
            words,
            journal,
            log,
        } = run.finish(ended);
        let secret = run.store.data().log.secret();
        let answer = result.and_then(|answer| answer.map_err(|failed| failure(failed, secret)));
        let result = answer.and_then(|answer| bounded(answer, run.limits().answer_items));
        // An instance without grants is for no other invocation.
        let is_usual = terms.upstreams == UpstreamUse::Granted;
        if let Some(kept) = self.kept.as_ref().filter(|_| result.is_ok() && is_usual)
            && let Some(used) = run.into_used()
        {
            kept.keep(used);
        }
        Report {
            result,
            usage,
            words,
            journal,
            log,
        }
    }

    pub(crate) fn run(&self, grants: Arc<Grants>, limits: Limits, deadline: Instant) -> Run<'_> {
        Run::new(
            &self.host.engine,
            &self.plugin.exports,
            Arc::clone(&self.label),
            Arc::clone(&self.settings),
            grants,
            limits,
            deadline,
        )
    }
}

/// No invocation ends twice: only to have no panic in its place.
const ALREADY_ENDED: &str = "the invocation has ended already";

/// An invocation that has begun and, until it is taken out of here, not ended. Dropped with it, it leaves what is known.
struct Begun<'r, 't> {
    run: Option<Run<'r>>,
    cut_short: Option<&'t CutShort>,
}

impl<'r> Begun<'r, '_> {
    fn get(&mut self) -> wasmtime::Result<&mut Run<'r>> {
        self.run.as_mut().ok_or_else(|| wasmtime::Error::msg(ALREADY_ENDED))
    }
}

impl Drop for Begun<'_, '_> {
    fn drop(&mut self) {
        if let (Some(run), Some(cut_short)) = (&mut self.run, self.cut_short) {
            let (usage, journal) = run.so_far();
            cut_short.leave(usage, journal);
        }
    }
}

/// Declares the invocation of each event: its interface, its function there, what it is given and what it answers.
macro_rules! invocations {
    ($($(#[$doc:meta])* $event:ident: $call:ident($($argument:ident: $given:ty),*) -> $answer:ty;)*) => {
        impl Binding {$(
            $(#[$doc])*
            pub async fn $event<'t>(
                &self,
                context: Context<'_>,
                $($argument: $given,)*
                terms: impl Into<Terms<'t>>,
            ) -> Report<$answer> {
                let terms = terms.into();
                let deadline = terms.deadline;
                let Some(indices) = &self.plugin.exports.$event else {
                    let error = concat!("the plugin does not export ", stringify!($event));
                    return Report::refused(InvocationError::Instantiation(error.to_owned()));
                };
                let limits = self.limits_now();
                let places = self.places(&limits);
                let _permits = match self.host.shared.admit(&self.tenant, places, deadline).await {
                    Ok(permits) => permits,
                    Err(error) => return Report::refused(error),
                };
                #[cfg(feature = "native-plugins")]
                if let Some(native) = <$answer as crate::native::Native>::of(&self.plugin) {
                    return self.invoke_natively(native, &context, &limits, deadline).await;
                }
                let mut begun = Begun {
                    run: Some(self.begin(limits, terms)),
                    cut_short: terms.cut_short,
                };
                if let Some(run) = begun.run.as_mut() {
                    run.store.data_mut().belongs_to(context.correlation_id, terms.trace);
                }
                $(if let (Some(run), Some(secret)) = (begun.run.as_mut(), $argument.secret()) {
                    run.store.data_mut().log.keep_out(secret);
                })*
                let call = async {
                    let run = begun.get()?;
                    let callout = (&context, $(&$argument,)*);
                    run.store.data_mut().tape.given(stringify!($event), &callout)?;
                    let instance = run.instantiate().await?;
                    let guest = indices.load(&mut run.store, &instance)?;
                    let answer = guest.$call(&mut run.store, context, $($argument),*).await?;
                    // In the same turn: the end of an invocation that has answered takes short.
                    Ok(self.end(&mut begun, Ok(Ok(answer)), terms))
                };
                let mut turns = self.host.shared.turns(&self.tenant);
                let ended = match timeout_at(deadline, turns.run(call)).await {
                    Ok(Ok(report)) => return report,
                    Ok(Err(failed)) => Ok(Err(failed)),
                    Err(elapsed) => Err(elapsed),
                };
                turns.be_long();
                turns.run(async { self.end(&mut begun, ended, terms) }).await
            }
        )*}
    };
}

// Each in an instance of its own, unless instances of this binding are used again, until the terms' deadline at most.
invocations! {
    /// Invokes the plugin for tokenIssuanceStart.
    token_issuance_start: call_provide_claims() -> Vec<token_issuance_start::Claim>;
    /// Invokes the plugin for attributeCollectionStart.
    attribute_collection_start: call_attribute_collection_start(sign_up: SignUp<'_>)
        -> attribute_collection_start::Action;
    /// Invokes the plugin for attributeCollectionSubmit.
    attribute_collection_submit: call_attribute_collection_submit(sign_up: SignUp<'_>)
        -> attribute_collection_submit::Action;
    /// Invokes the plugin for emailOtpSend.
    email_otp_send: call_send(code: email_otp_send::OneTimeCode<'_>) -> ();
    /// Invokes the plugin for passwordSubmit.
    password_submit: call_password_submit(credentials: password_submit::Credentials<'_>) -> password_submit::Action;
    /// Invokes the plugin for verifiedIdClaimValidation.
    verified_id_claim_validation: call_validate(verified_id: verified_id_claim_validation::VerifiedId<'_>)
        -> verified_id_claim_validation::Verdict;
}

async fn check_settings(binding: &Binding) -> Result<Vec<SettingsProblem>, BindError> {
    // Never closed: then there would be no limit, and the pool has one all the same.
    let _place = binding.host.lifecycle.acquire().await.ok();
    let deadline = Instant::now() + LIFECYCLE_TIME;
    let indices = &binding.plugin.exports.lifecycle;
    let grants = Arc::new(binding.grants.only_named());
    let mut run = binding.run(grants, binding.limits_now(), deadline);
    let call = async {
        let instance = run.instantiate().await?;
        let guest = indices.load(&mut run.store, &instance)?;
        guest.call_check_settings(&mut run.store, &binding.settings).await
    };
    let mut turns = binding.host.shared.turns(&binding.tenant);
    let ended = timeout_at(deadline, turns.run(call)).await;
    let Report { result, words, .. } = turns.run(async move { run.finish(ended) }).await;
    let problems = result.map_err(|error| BindError::Failed {
        error,
        words: Box::new(words),
    })?;
    let problem = |problem: lifecycle::Problem| SettingsProblem {
        path: clean(&problem.path),
        message: clean(&problem.message),
    };
    Ok(problems.into_iter().take(MAX_PROBLEMS).map(problem).collect())
}

/// What an event gives a plugin.
trait Given {
    /// What of it must not be logged.
    fn secret(&self) -> Option<&str> {
        None
    }
}

impl Given for SignUp<'_> {}

impl Given for verified_id_claim_validation::VerifiedId<'_> {}

impl Given for email_otp_send::OneTimeCode<'_> {
    fn secret(&self) -> Option<&str> {
        Some(self.code)
    }
}

impl Given for password_submit::Credentials<'_> {
    fn secret(&self) -> Option<&str> {
        Some(self.password)
    }
}

/// An answer, of which there can be too much.
pub(crate) trait Answer {
    /// How many claims, values or messages it has.
    fn items(&self) -> usize;
}

impl Answer for () {
    fn items(&self) -> usize {
        0
    }
}

impl Answer for Vec<token_issuance_start::Claim> {
    fn items(&self) -> usize {
        let values = |claim: &token_issuance_start::Claim| match &claim.value {
            token_issuance_start::ClaimValue::Text(_) => 1,
            token_issuance_start::ClaimValue::Texts(texts) => texts.len().max(1),
        };
        self.iter().map(values).sum()
    }
}

impl Answer for attribute_collection_start::Action {
    fn items(&self) -> usize {
        match self {
            Self::Prefill(values) => values.len(),
            Self::Proceed | Self::Block(_) => 1,
        }
    }
}

impl Answer for attribute_collection_submit::Action {
    fn items(&self) -> usize {
        match self {
            Self::Modify(values) => values.len(),
            Self::ValidationError(error) => error.attribute_errors.len(),
            Self::Proceed | Self::Block(_) => 1,
        }
    }
}

impl Answer for password_submit::Action {
    fn items(&self) -> usize {
        1
    }
}

impl Answer for verified_id_claim_validation::Verdict {
    fn items(&self) -> usize {
        match self {
            Self::Pass => 1,
            Self::Failed(claims) => claims.len(),
        }
    }
}

pub(crate) fn bounded<A: Answer>(answer: A, most: usize) -> Result<A, InvocationError> {
    let items = answer.items();
    if items > most {
        return Err(InvocationError::AnswerLimit { items, most });
    }
    Ok(answer)
}

impl fmt::Debug for Binding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Settings can be personal (user ids, mail domains): they are left out.
        formatter
            .debug_struct("Binding")
            .field("plugin", &self.plugin)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
