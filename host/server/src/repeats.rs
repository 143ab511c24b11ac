//! Callouts that repeat: they join the run in flight or get its answer, so that one one-time code is one mail.
//!
//! A callout repeats another when tenant, extension and every byte of the body are the same, which the correlation id is a
//! part of. What is remembered is the body's SHA-256 and the answer, never the body. Each tenant has a memory of its own,
//! bounded in time, entries and bytes. Failures are handed to those who wait for them and then forgotten: Entra's next
//! attempt is a second one.
//!
//! The first callout's run is a task of its own, until the deadline at most: Entra ends the connection at its time limit
//! before it tries again, and what was begun must be there to be joined. When its client has gone, the run completes that
//! callout's record with its invocations.
//!
//! The run belongs to the trace of the callout that began it, and is told of there, if that is still there at its end.
//! Callouts that join it, or get its answer, tell of no invocations: their `invoke` stage is the time that they waited.

use std::future;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use claimsmith_audit::{Auditor, Claim, Record};
use claimsmith_catalog::{Extension, RepeatsConfig};
use claimsmith_contract::{Callout, Outcome, ParseError};
use moka::future::Cache;
use moka::ops::compute::Op;
use moka::policy::EvictionPolicy;
use sha2::{Digest as _, Sha256};
use tokio::sync::{OwnedSemaphorePermit, oneshot, watch};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use crate::answer::Refusal;
use crate::audit::Invoked;
use crate::callout::{or_panicked, run};
use crate::facts::{Facts, Gone};
use crate::trace::Trace;

/// What an entry takes besides what it tells, about.
const ENTRY_BYTES: u32 = 1024;
/// Tenants whose memories are kept: more than one host has.
const MAX_TENANTS: u64 = 100_000;
/// How often a callout looks again whose first run has ended without an answer, because nobody was left to hand it on.
const MAX_LOOKS: usize = 3;

/// How a run ended, for all whose callout it was.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) answered: Result<Vec<u8>, Refusal>,
    pub(crate) action: Option<&'static str>,
    pub(crate) claims: Vec<Claim>,
    pub(crate) invocations: Invoked,
}

impl Told {
    /// What it takes besides itself, about. The claims' texts are as long as the answer that is made of them.
    fn bytes(&self) -> usize {
        let answer = self.answered.as_ref().map_or(0, Vec::len);
        2 * answer + size_of_val(&*self.claims) + self.invocations.bytes()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    extension: Arc<str>,
    body: [u8; 32],
}

/// A run that has begun: there will be how it ended.
type Running = watch::Receiver<Option<Arc<Told>>>;

#[derive(Clone, Debug)]
enum State {
    Running(Running),
    Answered(Arc<Told>),
}

impl State {
    fn running(&self) -> Option<Running> {
        match self {
            Self::Running(running) => Some(running.clone()),
            Self::Answered(_) => None,
        }
    }
}

/// One tenant's memory.
type Memory = Cache<Key, State>;

/// What is remembered of callouts, by tenant.
#[derive(Debug)]
pub(crate) struct Repeats {
    config: RepeatsConfig,
    tenants: Cache<Arc<str>, Memory>,
    runs: TaskTracker,
}

impl Repeats {
    pub(crate) fn new(config: RepeatsConfig) -> Self {
        // A memory that nobody has used for so long has nothing left that could be found.
        let tenants = Cache::builder().max_capacity(MAX_TENANTS);
        let tenants = tenants.time_to_idle(config.keep_for * 2).build();
        Self {
            config,
            tenants,
            runs: TaskTracker::new(),
        }
    }

    /// Waits for the runs whose clients have gone, within this time: they end with their deadlines.
    pub(crate) async fn close(&self, within: Duration) {
        self.runs.close();
        if timeout(within, self.runs.wait()).await.is_err() {
            let runs = self.runs.len();
            tracing::warn!(runs, "runs of callouts whose clients had gone were cut off");
        }
    }

    async fn of(&self, tenant: &Arc<str>) -> Memory {
        if let Some(memory) = self.tenants.get(tenant).await {
            return memory;
        }
        let memory = async { memory(self.config) };
        self.tenants.get_with(Arc::clone(tenant), memory).await
    }

    /// Answers a callout: as the one before that it repeats, or by a run of its own, which takes the callout's `place`.
    pub(crate) async fn answer(
        &self,
        auditor: &Arc<Auditor>,
        extension: &Arc<Extension>,
        body: &Bytes,
        place: OwnedSemaphorePermit,
        deadline: Instant,
        facts: &mut Facts,
    ) -> Result<Vec<u8>, Refusal> {
        let memory = self.of(&extension.tenant).await;
        let key = Key {
            extension: Arc::clone(&extension.name),
            body: Sha256::digest(body).into(),
        };
        let mut place = Some(place);
        for _ in 0..MAX_LOOKS {
            let mut sender = None;
            let begin = async {
                let (begun, running) = watch::channel(None);
                sender = Some(begun);
                State::Running(running)
            };
            let state = memory.entry(key.clone()).or_insert_with(begin).await.into_value();
            let looked_at = state.running();
            let (told, repeat) = match (state, sender) {
                (State::Running(running), Some(sender)) => {
                    let whole = Begun {
                        extension: Arc::clone(extension),
                        body: body.clone(),
                        trace: facts.invocations.course.trace,
                        _place: place.take(),
                        deadline,
                    };
                    let (tell, mut gone) = oneshot::channel();
                    let (leave, left) = oneshot::channel();
                    facts.run = Some(leave);
                    let run = hand_on(whole.run(), tell, sender, memory.clone(), key.clone());
                    let auditor = Arc::clone(auditor);
                    let run = async move { complete(left, &*run.await, &auditor).await };
                    drop(self.runs.spawn(run.in_current_span()));
                    let told = ended(running, None).await?;
                    facts.run = None;
                    if let Ok(gone) = gone.try_recv() {
                        facts.take_over(gone);
                    }
                    (told, None)
                }
                (State::Running(running), None) => (ended(running, Some(deadline)).await?, Some("joined")),
                (State::Answered(told), _) => (Some(told), Some("remembered")),
            };
            let Some(told) = told else {
                // Whoever began it has gone before it ran.
                if let Some(looked_at) = looked_at {
                    forget(&memory, key.clone(), &looked_at).await;
                }
                continue;
            };
            if let Some(repeat) = repeat {
                extension.meters.count_repeat(repeat);
                tracing::info!(repeat, "the callout repeats another and is answered as that one");
            }
            facts.tell(&told, repeat);
            return told.answered.clone();
        }
        Err(Refusal::new(
            Outcome::InternalError,
            "the run that the callout repeats has ended without an answer, again and again",
        ))
    }
}

fn memory(config: RepeatsConfig) -> Memory {
    // One bound for both: no entry weighs less than its part of all bytes.
    let least = (config.max_bytes / config.max_entries.max(1)).max(1);
    let weigher = move |_: &Key, state: &State| {
        let bytes = match state {
            State::Running(_) => 0,
            State::Answered(told) => told.bytes(),
        };
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        bytes.saturating_add(ENTRY_BYTES).max(least)
    };
    Cache::builder()
        .max_capacity(config.max_bytes.into())
        .eviction_policy(EvictionPolicy::lru())
        .weigher(weigher)
        .time_to_live(config.keep_for)
        .build()
}

/// How a run ended; `None` when it was never begun.
async fn ended(mut running: Running, deadline: Option<Instant>) -> Result<Option<Arc<Told>>, Refusal> {
    let ended = async {
        let told = running.wait_for(Option::is_some).await;
        told.ok().and_then(|told| told.as_ref().map(Arc::clone))
    };
    let Some(deadline) = deadline else {
        return Ok(ended.await);
    };
    timeout_at(deadline, ended).await.map_err(|_elapsed| {
        Refusal::new(
            Outcome::DeadlineExceeded,
            "the deadline came before the end of the run that the callout repeats",
        )
    })
}

/// Forgets a run that has ended without an answer, unless another one of the same callout has its place by now: what was
/// running can have made room for others.
async fn forget(memory: &Memory, key: Key, ended: &Running) {
    let decide = |entry: Option<moka::Entry<Key, State>>| {
        let is_it = entry
            .and_then(|entry| entry.value().running())
            .is_some_and(|running| running.same_channel(ended));
        future::ready(if is_it { Op::Remove } else { Op::Nop })
    };
    drop(memory.entry(key).and_compute_with(decide).await);
}

/// Completes the record of the callout that began a run and whose client has gone since, if it has left one.
async fn complete(left: oneshot::Receiver<Record>, told: &Told, auditor: &Auditor) {
    if let Ok(mut record) = left.await {
        told.invocations.clone().complete(&mut record);
        auditor.note(record);
    }
}

/// Tells how a run ended, and keeps its answer if it has one.
async fn hand_on(
    run: impl Future<Output = (Told, Gone)>,
    tell: oneshot::Sender<Gone>,
    sender: watch::Sender<Option<Arc<Told>>>,
    memory: Memory,
    key: Key,
) -> Arc<Told> {
    let (told, gone) = run.await;
    let told = Arc::new(told);
    if told.answered.is_ok() {
        memory.insert(key, State::Answered(Arc::clone(&told))).await;
    } else {
        forget(&memory, key, &sender.subscribe()).await;
    }
    // Nobody may be left to hear it. How it went is there before its end is told.
    drop(tell.send(gone));
    drop(sender.send(Some(Arc::clone(&told))));
    told
}

/// A callout's run by itself. The body has been parsed before, for its sender; what was found in it lives as long as that
/// callout, and this must live longer.
struct Begun {
    extension: Arc<Extension>,
    body: Bytes,
    /// The trace of the callout that began it.
    trace: Option<Trace>,
    _place: Option<OwnedSemaphorePermit>,
    deadline: Instant,
}

impl Begun {
    async fn run(self) -> (Told, Gone) {
        let mut facts = Facts::default();
        facts.invocations.course.trace = self.trace;
        let answered = {
            let facts = &mut facts;
            let (extension, body) = (&self.extension, &self.body);
            let run = async move {
                let parsed = Callout::parse(body, extension.event);
                let again = |error: ParseError| Refusal::new(Outcome::InternalError, error.to_string());
                run(extension, &parsed.map_err(again)?, self.deadline, facts).await
            };
            or_panicked(Box::pin(run)).await
        };
        facts.told(answered)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use claimsmith_audit::{Call, Claim, MAX_CALLS};
    use claimsmith_catalog::RepeatsConfig;
    use tokio::sync::watch;

    use super::{Key, Memory, State, Told, forget, memory};
    use crate::audit::Invoked;

    fn key(number: u32) -> Key {
        let mut body = [0; 32];
        body[..4].copy_from_slice(&number.to_be_bytes());
        let extension = Arc::from("mails");
        Key { extension, body }
    }

    fn answered(bytes: usize) -> State {
        State::Answered(Arc::new(Told {
            answered: Ok(vec![b'x'; bytes]),
            action: None,
            claims: Vec::new(),
            invocations: Invoked::default(),
        }))
    }

    async fn kept(memory: &Memory) -> u64 {
        memory.run_pending_tasks().await;
        memory.entry_count()
    }

    #[tokio::test]
    async fn what_is_told_of_an_answer_counts_as_the_answer_does() {
        const CLAIMS: usize = 1_000;
        let claim = Claim {
            id: "a".into(),
            value: None,
        };
        let told = Told {
            answered: Ok(Vec::new()),
            action: None,
            claims: vec![claim; CLAIMS],
            invocations: Invoked::of_calls(MAX_CALLS),
        };
        let least = CLAIMS * size_of::<Claim>() + MAX_CALLS * size_of::<Call>();
        assert!(told.bytes() >= least);
        let memory = memory(RepeatsConfig {
            max_bytes: u32::try_from(10 * least).unwrap(),
            ..RepeatsConfig::default()
        });
        let told = Arc::new(told);
        for number in 0..100 {
            memory.insert(key(number), State::Answered(Arc::clone(&told))).await;
        }
        let kept = kept(&memory).await;
        assert!((1..10).contains(&kept), "{kept}");
    }

    #[tokio::test]
    async fn a_run_that_ends_forgets_no_other_run() {
        let memory = memory(RepeatsConfig::default());
        let ((_one, older), (_other, newer)) = (watch::channel(None), watch::channel(None));
        memory.insert(key(1), State::Running(newer.clone())).await;
        forget(&memory, key(1), &older).await;
        assert!(memory.get(&key(1)).await.is_some());
        forget(&memory, key(1), &newer.clone()).await;
        assert!(memory.get(&key(1)).await.is_none());
        memory.insert(key(1), answered(1)).await;
        forget(&memory, key(1), &newer).await;
        assert!(memory.get(&key(1)).await.is_some());
    }

    #[tokio::test]
    async fn entries_and_bytes_are_bounded_and_the_newest_stay() {
        let few = memory(RepeatsConfig {
            max_entries: 10,
            ..RepeatsConfig::default()
        });
        let small = memory(RepeatsConfig {
            max_bytes: 1 << 20,
            ..RepeatsConfig::default()
        });
        for number in 0..500 {
            let (_, running) = watch::channel(None);
            few.insert(key(number), State::Running(running)).await;
            small.insert(key(number), answered(100_000)).await;
        }
        assert_eq!(kept(&few).await, 10);
        assert!((1..=5).contains(&kept(&small).await));
        assert!(few.get(&key(499)).await.is_some() && small.get(&key(499)).await.is_some());
        assert!(few.get(&key(0)).await.is_none() && small.get(&key(0)).await.is_none());
    }
}
