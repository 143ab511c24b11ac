//! Plugins that are linked in and run without the sandbox: what a benchmark compares the sandbox with.
//!
//! Compiled with the feature `native-plugins` only, with which the shipped command refuses to compile. A native plugin
//! takes the place of the store, the instance, lowering, the guest and lifting; admission, turns, the deadline, the
//! bounds of an answer and all that is counted stay as they are.

use std::sync::OnceLock;

use tokio::time::{Instant, timeout_at};

use crate::binding::{Answer, Binding, bounded};
use crate::error::InvocationError;
use crate::guest_output::GuestWords;
use crate::interface::callout::{Context, Failure};
use crate::interface::token_issuance_start::Claim;
use crate::interface::{
    attribute_collection_start, attribute_collection_submit, password_submit, verified_id_claim_validation,
};
use crate::journal::Journal;
use crate::kept_out::failure;
use crate::limits::Limits;
use crate::plugin::Plugin;
use crate::run::{Report, Usage};

/// A plugin's answer to tokenIssuanceStart, made of the callout and of the binding's settings as JSON text.
pub type ProvideClaims = fn(&Context<'_>, &str) -> Result<Vec<Claim>, Failure>;

/// What stands in for a component that is loaded.
struct NativePlugin {
    /// What the component calls itself.
    name: &'static str,
    provide_claims: ProvideClaims,
}

static INSTALLED: OnceLock<NativePlugin> = OnceLock::new();

/// From now on, tokenIssuanceStart of each plugin that calls itself `name` is answered by `provide_claims` instead of by
/// its component. The first call in a process counts.
pub fn install(name: &'static str, provide_claims: ProvideClaims) {
    let plugin = NativePlugin { name, provide_claims };
    drop(INSTALLED.set(plugin));
}

/// An answer that a native plugin may give.
pub(crate) trait Native: Answer + Sized {
    /// What answers in the place of this plugin's component.
    fn of(_: &Plugin) -> Option<Invoke<Self>> {
        None
    }
}

/// As [`ProvideClaims`], for any answer.
pub(crate) type Invoke<A> = fn(&Context<'_>, &str) -> Result<A, Failure>;

impl Native for Vec<Claim> {
    fn of(plugin: &Plugin) -> Option<Invoke<Self>> {
        let installed = INSTALLED.get().filter(|installed| installed.name == plugin.name())?;
        Some(installed.provide_claims)
    }
}

impl Native for () {}

impl Native for attribute_collection_start::Action {}

impl Native for attribute_collection_submit::Action {}

impl Native for password_submit::Action {}

impl Native for verified_id_claim_validation::Verdict {}

impl Binding {
    /// An admitted invocation's part from its first turn to its report.
    pub(crate) async fn invoke_natively<A: Answer>(
        &self,
        native: Invoke<A>,
        context: &Context<'_>,
        limits: &Limits,
        deadline: Instant,
    ) -> Report<A> {
        let started = Instant::now();
        let mut turns = self.host.shared.turns(&self.tenant);
        let call = async { native(context, &self.settings) };
        let ended = timeout_at(deadline, turns.run(call)).await;
        let ended = turns.run(async { ended }).await;
        let answer = ended.map_err(|_| InvocationError::DeadlineExceeded);
        let answer = answer.and_then(|answer| answer.map_err(|failed| failure(failed, None)));
        Report {
            result: answer.and_then(|answer| bounded(answer, limits.answer_items)),
            usage: Usage {
                elapsed: started.elapsed(),
                ..Usage::default()
            },
            words: GuestWords::default(),
            journal: Journal::default(),
            log: Vec::new(),
        }
    }
}
