//! The audit record of a callout: what is noted on the way, and what becomes of it.
//!
//! With `audit.mode = "required"` a callout whose caller is known waits here for its record, and is refused when it cannot
//! be kept. Refusals before a token was accepted never wait: anybody can cause them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use claimsmith_audit::{Auditor, Call, Claim, Context, Disclosure, MAX_CALLS, PluginVersion, Record, Use, Verdict};
use claimsmith_catalog::Extension;
use claimsmith_contract::{
    Callout, EntraError, EventData, Outcome, attribute_collection_start, attribute_collection_submit, password_submit,
    verified_id_claim_validation,
};
use claimsmith_runtime::{Binding, CapabilityCall, Journal, Usage};
use claimsmith_token::ValidToken;
use tokio::time::Instant;
use uuid::Uuid;

use crate::answer::{Refusal, status_and_title};
use crate::course::Course;
use crate::facts::Facts;
use crate::invoke::Action;
use crate::repeats::Told;

/// The longest user identifier that is noted, in bytes: the rest of a longer one is nobody's.
const MAX_USER_BYTES: usize = 1024;

/// What is noted of a callout on the way.
#[derive(Default)]
pub(crate) struct Notes {
    token: Option<ValidToken>,
    listener: Option<Uuid>,
    custom_extension: Option<Uuid>,
    correlation_id: Option<Uuid>,
    application: Option<Uuid>,
    user: Option<Box<str>>,
    action: Option<&'static str>,
    claims: Vec<Claim>,
    repeat: Option<&'static str>,
}

/// The invocations of a callout, also of one that fails.
#[derive(Debug, Default)]
pub(crate) struct Invocations {
    list: Mutex<Invoked>,
    /// What they are told of the callout, and what is told of them besides the record.
    pub(crate) course: Course,
}

/// What is noted of invocations.
#[derive(Clone, Debug, Default)]
pub(crate) struct Invoked {
    plugins: Vec<PluginVersion>,
    uses: Vec<Use>,
    calls: Vec<Call>,
    unlisted_calls: usize,
}

impl Invoked {
    /// Puts them into a record that was made before they had ended.
    pub(crate) fn complete(self, record: &mut Record) {
        record.context.plugins = self.plugins;
        record.uses = self.uses;
        record.calls = self.calls;
        record.unlisted_calls = self.unlisted_calls;
    }

    /// What its lists take. What they name is shared with other callouts.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&*self.plugins) + size_of_val(&*self.uses) + size_of_val(&*self.calls)
    }

    /// So many calls, for tests of what they take.
    #[cfg(test)]
    pub(crate) fn of_calls(calls: usize) -> Self {
        let call = Call {
            invocation: 0,
            function: "http.fetch",
            upstream: Arc::default(),
            result: "ok",
            status: None,
            sent_bytes: 0,
            received_bytes: 0,
            began_us: 0,
            duration_us: 0,
            arguments: [0; 32],
        };
        Self {
            calls: vec![call; calls],
            ..Self::default()
        }
    }
}

impl Invocations {
    /// Takes over the invocations of another run, whose answer the callout gets.
    pub(crate) fn take_over(&mut self, invoked: Invoked) {
        self.list = Mutex::new(invoked);
    }

    /// Notes how an invocation ended; its number among the callout's. `name` is the configuration's for the plugin.
    pub(crate) fn note(
        &self,
        name: &Arc<str>,
        binding: &Binding,
        outcome: Outcome,
        usage: &Usage,
        journal: &Journal,
    ) -> usize {
        let version = PluginVersion {
            plugin: Arc::clone(name),
            version: Arc::clone(binding.version()),
            digest: *binding.plugin().digest().as_bytes(),
        };
        let used = Use {
            outcome,
            elapsed_us: u64::try_from(usage.elapsed.as_micros()).unwrap_or(u64::MAX),
            cpu_ms: u64::try_from(usage.cpu.as_millis()).unwrap_or(u64::MAX),
            memory_bytes: usage.memory_bytes as u64,
            host_calls: usage.host_calls as u64,
            failure_policy: None,
        };
        let mut invoked = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        let invocation = invoked.uses.len();
        invoked.plugins.push(version);
        invoked.uses.push(used);
        let room = MAX_CALLS.saturating_sub(invoked.calls.len());
        let calls = journal.calls().iter();
        invoked
            .calls
            .extend(calls.take(room).map(|made| call(invocation, made)));
        invoked.unlisted_calls += journal.unlisted() + journal.calls().len().saturating_sub(room);
        invocation
    }

    /// Notes that a failure policy answered in place of an invocation, and which failure it covered.
    pub(crate) fn covered(&self, number: usize, outcome: Outcome, policy: &'static str) {
        let mut invoked = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(used) = invoked.uses.get_mut(number) {
            used.outcome = outcome;
            used.failure_policy = Some(policy);
        }
    }

    /// The invocations so far.
    pub(crate) fn so_far(&self) -> Invoked {
        self.list.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What the record lists of a call.
fn call(invocation: usize, made: &CapabilityCall) -> Call {
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    Call {
        invocation,
        function: made.function,
        upstream: if made.is_granted {
            Arc::clone(&made.upstream)
        } else {
            Arc::default()
        },
        result: made.result,
        status: made.status,
        sent_bytes: made.sent_bytes as u64,
        received_bytes: made.received_bytes as u64,
        began_us: micros(made.began),
        duration_us: micros(made.took),
        arguments: *made.arguments.as_bytes(),
    }
}

impl Notes {
    /// Notes whose token was accepted.
    pub(crate) fn token(&mut self, token: &ValidToken) {
        self.token = Some(token.clone());
    }

    /// Notes what the request says.
    pub(crate) fn callout(&mut self, callout: &Callout<'_>, extension: &Extension) {
        let id = |text: Option<&str>| text.and_then(|text| Uuid::try_parse(text).ok());
        self.correlation_id = id(Some(&callout.correlation_id));
        self.listener = id(callout.listener_id.as_deref());
        self.custom_extension = id(callout.extension_id.as_deref());
        let client = callout.client_service_principal.as_ref();
        self.application = id(client.and_then(|client| client.app_id.as_deref()));
        if extension.privacy.users != Disclosure::None {
            self.user = user(callout)
                .filter(|user| user.len() <= MAX_USER_BYTES)
                .map(Into::into);
        }
    }

    /// What is going to be answered.
    pub(crate) fn answer(self) -> (Option<&'static str>, Vec<Claim>) {
        (self.action, self.claims)
    }

    /// Notes that what a run has come to is going to be answered, and how the callout repeats another.
    pub(crate) fn answered_as(&mut self, told: &Told, repeat: Option<&'static str>) {
        self.action = told.action;
        self.claims.clone_from(&told.claims);
        self.repeat = repeat;
    }

    /// Notes what is going to be answered.
    pub(crate) fn action(&mut self, action: &Action, extension: &Extension) {
        self.action = Some(name(action));
        let Action::Claims(claims) = action else { return };
        let with_values = extension.privacy.claims != Disclosure::None;
        let claims = claims.iter().map(|claim| Claim {
            id: claim.id.as_str().into(),
            value: with_values.then(|| claim.value.clone()),
        });
        self.claims = claims.collect();
    }
}

/// Who signs in: by object id where there is one, or else by what the event says of them.
fn user<'c>(callout: &'c Callout<'_>) -> Option<&'c str> {
    let of_user = callout.user.as_ref().and_then(|user| {
        let names = [&user.id, &user.user_principal_name, &user.mail];
        names.into_iter().find_map(|name| name.as_deref())
    });
    of_user.or_else(|| match &callout.data {
        EventData::OneTimeCode(code) => Some(&*code.identifier),
        EventData::SignUp(sign_up) => assigned(&sign_up.identities),
        EventData::VerifiedId(verified_id) => assigned(&verified_id.identities),
        EventData::None | EventData::EncryptedPassword(_) => None,
    })
}

fn assigned<'c>(identities: &'c [claimsmith_contract::sign_up::Identity<'_>]) -> Option<&'c str> {
    identities
        .iter()
        .find_map(|identity| identity.issuer_assigned_id.as_deref())
}

/// An action as Entra calls it.
fn name(action: &Action) -> &'static str {
    use attribute_collection_start::Action as Start;
    use attribute_collection_submit::Action as Submit;
    use password_submit::Action as Password;
    use verified_id_claim_validation::Verdict as Verified;
    match action {
        Action::Claims(_) => "provideClaimsForToken",
        Action::AttributeCollectionStart(Start::Proceed) | Action::AttributeCollectionSubmit(Submit::Proceed) => {
            "continueWithDefaultBehavior"
        }
        Action::AttributeCollectionStart(Start::Prefill(_)) => "setPrefillValues",
        Action::AttributeCollectionStart(Start::Block(_)) | Action::AttributeCollectionSubmit(Submit::Block(_)) => {
            "showBlockPage"
        }
        Action::AttributeCollectionSubmit(Submit::Modify(_)) => "modifyAttributeValues",
        Action::AttributeCollectionSubmit(Submit::ValidationError(_)) => "showValidationError",
        Action::OtpSent => "OtpSend",
        Action::Password(Password::Migrate) => "MigratePassword",
        Action::Password(Password::Update) => "UpdatePassword",
        Action::Password(Password::Retry) => "Retry",
        Action::Password(Password::Block(_)) => "Block",
        Action::Verdict(Verified::Pass) => "pass",
        Action::Verdict(Verified::Failed(_)) => "failed",
    }
}

/// Records a callout. What comes back is what is to be answered: a refusal in place of an answer whose record cannot be
/// kept.
pub(crate) async fn record(
    auditor: &Auditor,
    answered: Result<Vec<u8>, Refusal>,
    facts: &mut Facts,
    arrived: Instant,
) -> Result<Vec<u8>, Refusal> {
    let outcome = answered
        .as_ref()
        .map_or_else(|refusal| refusal.outcome, |_| Outcome::Answered);
    let is_known = facts.audit.token.is_some();
    let deadline = facts
        .extension
        .as_ref()
        .map_or(arrived, |extension| arrived + extension.deadline);
    let record = made_of(facts, outcome, answered.as_ref().err(), arrived);
    if !is_known {
        auditor.note_refusal(record);
        return answered;
    }
    // Who is refused because the time is over has none left to wait.
    if answered.is_err() && Instant::now() >= deadline {
        auditor.note(record);
        return answered;
    }
    match auditor.record(record, deadline).await {
        Verdict::Kept => answered,
        Verdict::Unavailable => Err(Refusal::new(
            Outcome::AuditUnavailable,
            format!("it ended with {outcome}, but its audit record could not be kept in time"),
        )),
    }
}

/// Records a callout whose client has gone away before it was answered. Where a run of its own goes on, that does.
pub(crate) fn record_gone(auditor: &Auditor, facts: &mut Facts, arrived: Instant) {
    let is_known = facts.audit.token.is_some();
    let record = made_of(facts, Outcome::ClientGone, None, arrived);
    let record = match facts.run.take() {
        None => record,
        Some(run) => match run.send(record) {
            Ok(()) => return,
            Err(record) => record,
        },
    };
    if is_known {
        auditor.note(record);
    } else {
        auditor.note_refusal(record);
    }
}

fn made_of(facts: &mut Facts, outcome: Outcome, refusal: Option<&Refusal>, arrived: Instant) -> Record {
    let notes = std::mem::take(&mut facts.audit);
    let invocations = std::mem::take(&mut facts.invocations.list);
    let invoked = invocations.into_inner().unwrap_or_else(PoisonError::into_inner);
    let extension = facts.extension.as_deref();
    let (token, duration) = (notes.token, arrived.elapsed());
    let context = Context {
        tenant: facts.tenant(),
        extension: extension
            .map(|extension| Arc::clone(&extension.name))
            .unwrap_or_default(),
        event: extension.map_or("", |extension| extension.event.name()),
        directory: token.as_ref().map(|token| token.directory),
        listener: notes.listener,
        custom_extension: notes.custom_extension,
        caller: token.as_ref().and_then(|token| token.caller_id),
        key_id: token.as_ref().map(|token| Arc::clone(&token.key_id)),
        plugins: invoked.plugins,
    };
    let is_answered = outcome == Outcome::Answered;
    Record {
        time: SystemTime::now()
            .checked_sub(duration)
            .unwrap_or(SystemTime::UNIX_EPOCH),
        duration,
        context,
        generation: facts.generation,
        outcome,
        status: status_and_title(outcome).0.as_u16(),
        action: notes.action.filter(|_| is_answered),
        entra_error: refusal.and_then(|refusal| refusal.entra_error).map(EntraError::code),
        correlation_id: notes.correlation_id,
        application: notes.application,
        token_id: token.and_then(|token| token.token_id),
        uses: invoked.uses,
        calls: invoked.calls,
        unlisted_calls: invoked.unlisted_calls,
        repeat: notes.repeat,
        claims: if is_answered { notes.claims } else { Vec::new() },
        user: notes.user,
        privacy: extension.map(|extension| extension.privacy).unwrap_or_default(),
    }
}
