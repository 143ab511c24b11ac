//! Whose turn it is to use the CPU.
//!
//! A guest is polled only while it has a turn. A turn ends with the poll: when the guest waits for something, or when the
//! epoch interrupts it ([`EPOCH_TICK`]). There are as many turns as cores. Guests that have used more than a tick are
//! *long*: one turn is never theirs, so that short ones and the host's own work find a core, and one turn is theirs before
//! short ones have it. Of those that wait, the one is next whose tenant has used the least. A tenant that was idle is
//! taken to have used as much as the least of those that wait, so that it has neither credit nor debt.
//!
//! While nobody waits, a turn costs two short locks and reading the clock twice.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::engine::EPOCH_TICK;

/// What a turn counts for while it lasts, until it is known.
const ESTIMATE: Duration = Duration::from_micros(50);

/// The turns of all tenants.
pub(crate) struct Turns(Mutex<Queue>);

/// What a tenant's guests have used, in nanoseconds. Written under the lock of [`Turns`] only.
#[derive(Debug, Default)]
pub(crate) struct Used(AtomicU64);

/// Guests that have just begun, and those that have used a tick already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Short,
    Long,
}

struct Queue {
    turns: usize,
    running: usize,
    running_long: usize,
    /// What the tenant that had used the least had used when a turn was last given.
    floor: u64,
    /// How many have waited so far: a waiting guest's number is its name.
    numbers: u64,
    /// At most as many as there are invocations at once.
    waiting: Vec<Waiting>,
}

struct Waiting {
    number: u64,
    class: Class,
    used: Arc<Used>,
    waker: Waker,
}

impl Turns {
    /// Turns for a machine with so many cores. At least two: long guests leave one.
    pub(crate) fn new(cores: usize) -> Self {
        Self(Mutex::new(Queue {
            turns: cores.max(2),
            running: 0,
            running_long: 0,
            floor: 0,
            numbers: 0,
            waiting: Vec::new(),
        }))
    }

    /// The turns of one guest, whose use is counted in `used`.
    pub(crate) const fn of<'t>(&'t self, used: &'t Arc<Used>) -> GuestTurns<'t> {
        GuestTurns {
            turns: self,
            used,
            spent: Duration::ZERO,
            waits: None,
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn has_turn_for(&self, class: Class) -> bool {
        self.running < self.turns && (class == Class::Short || self.running_long + 1 < self.turns)
    }

    fn begin(&mut self, class: Class, used: &Used) {
        self.running += 1;
        self.running_long += usize::from(class == Class::Long);
        used.add(nanoseconds(ESTIMATE));
    }

    /// Gives a free turn to the next guest. A guest that is no longer among those that wait has one.
    fn give(&mut self) -> Option<Waker> {
        let class = [Class::Long, Class::Short]
            .into_iter()
            .filter(|class| self.has_turn_for(*class) && self.waiting.iter().any(|guest| guest.class == *class))
            // Long guests first if none runs, else short ones.
            .min_by_key(|class| (*class == Class::Long) != (self.running_long == 0))?;
        let guests = self.waiting.iter().enumerate();
        let of_class = guests.filter(|(_, guest)| guest.class == class);
        let (next, _) = of_class.min_by_key(|(_, guest)| (guest.used.get(), guest.number))?;
        self.floor = self.floor.max(self.least().unwrap_or_default());
        let guest = self.waiting.swap_remove(next);
        self.begin(class, &guest.used);
        Some(guest.waker)
    }

    /// What the tenant has used that has used the least of those that wait.
    fn least(&self) -> Option<u64> {
        self.waiting.iter().map(|guest| guest.used.get()).min()
    }
}

/// One guest's turns, one after the other.
pub(crate) struct GuestTurns<'t> {
    turns: &'t Turns,
    used: &'t Arc<Used>,
    /// What the guest has used so far.
    spent: Duration,
    /// Its number and class while it waits, and until it uses what it was given.
    waits: Option<(u64, Class)>,
}

impl GuestTurns<'_> {
    /// Does `work` in the guest's turns.
    pub(crate) async fn run<F: Future>(&mut self, work: F) -> F::Output {
        let mut work = std::pin::pin!(work);
        let asking = Asking(self);
        poll_fn(move |context| asking.0.poll(work.as_mut(), context)).await
    }

    /// Makes it a long guest. What follows a failure takes long and cannot be interrupted: a backtrace to be written, much
    /// memory to be reset.
    pub(crate) fn be_long(&mut self) {
        self.spent = self.spent.max(EPOCH_TICK);
    }

    fn poll<F: Future>(&mut self, work: Pin<&mut F>, context: &mut Context<'_>) -> Poll<F::Output> {
        let Some(class) = self.ask(context.waker()) else {
            return Poll::Pending;
        };
        let mut turn = Turn {
            turns: self.turns,
            used: self.used,
            class,
            took: Duration::ZERO,
        };
        let started = Instant::now();
        let polled = work.poll(context);
        turn.took = started.elapsed();
        self.spent += turn.took;
        polled
    }

    /// The turn, if it is there; otherwise `waker` is told when it is.
    fn ask(&mut self, waker: &Waker) -> Option<Class> {
        let mut queue = self.turns.queue();
        if let Some((number, class)) = self.waits {
            if let Some(guest) = queue.waiting.iter_mut().find(|guest| guest.number == number) {
                guest.waker.clone_from(waker);
                return None;
            }
            self.waits = None;
            return Some(class);
        }
        let class = if self.spent < EPOCH_TICK {
            Class::Short
        } else {
            Class::Long
        };
        let least = queue.least();
        self.used.raise(least.unwrap_or(queue.floor));
        if queue.has_turn_for(class) {
            if least.is_none() {
                queue.floor = self.used.get();
            }
            queue.begin(class, self.used);
            return Some(class);
        }
        queue.numbers += 1;
        let number = queue.numbers;
        queue.waiting.push(Waiting {
            number,
            class,
            used: Arc::clone(self.used),
            waker: waker.clone(),
        });
        self.waits = Some((number, class));
        None
    }
}

/// A guest while it has work to do.
struct Asking<'g, 't>(&'g mut GuestTurns<'t>);

impl Drop for Asking<'_, '_> {
    /// The deadline came while it waited, or the client went away.
    fn drop(&mut self) {
        let Some((number, class)) = self.0.waits.take() else {
            return;
        };
        let mut queue = self.0.turns.queue();
        let before = queue.waiting.len();
        queue.waiting.retain(|guest| guest.number != number);
        if queue.waiting.len() == before {
            drop(queue);
            // Given, and not used: the next one has it.
            drop(Turn {
                turns: self.0.turns,
                used: self.0.used,
                class,
                took: Duration::ZERO,
            });
        }
    }
}

/// A turn, given back when it is dropped.
struct Turn<'t> {
    turns: &'t Turns,
    used: &'t Used,
    class: Class,
    /// How long it was.
    took: Duration,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut queue = self.turns.queue();
        self.used.correct(self.took);
        queue.running = queue.running.saturating_sub(1);
        queue.running_long = queue
            .running_long
            .saturating_sub(usize::from(self.class == Class::Long));
        let next = queue.give();
        drop(queue);
        if let Some(next) = next {
            next.wake();
        }
    }
}

impl Used {
    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn raise(&self, least: u64) {
        self.0.store(self.get().max(least), Ordering::Relaxed);
    }

    fn add(&self, time: u64) {
        self.0.store(self.get().saturating_add(time), Ordering::Relaxed);
    }

    /// Counts what a turn took in place of its estimate.
    fn correct(&self, took: Duration) {
        let without = self.get().saturating_sub(nanoseconds(ESTIMATE));
        self.0
            .store(without.saturating_add(nanoseconds(took)), Ordering::Relaxed);
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Ends the turn. Not tokio's `yield_now`, which puts a task aside until its worker has nothing else to do: while guests
/// take turns, it always has.
pub(crate) async fn yield_turn() {
    let mut yielded = false;
    poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

impl fmt::Debug for Turns {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let queue = self.queue();
        formatter
            .debug_struct("Turns")
            .field("running", &queue.running)
            .field("waiting", &queue.waiting.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::allow_attributes, reason = "a test fails by panicking")]
mod tests {
    use std::future::pending;
    use std::pin::pin;

    use super::*;

    /// Polls once: whether the guest is done.
    fn poll(guest: Pin<&mut impl Future<Output = ()>>) -> bool {
        guest.poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    /// Takes a turn and keeps it, as a guest does that runs on another thread.
    fn hold<'t>(turns: &'t Turns, used: &'t Arc<Used>, long: bool) -> Option<Turn<'t>> {
        let mut guest = turns.of(used);
        if long {
            guest.be_long();
        }
        let class = guest.ask(Waker::noop())?;
        let took = Duration::from_millis(1);
        Some(Turn {
            turns,
            used,
            class,
            took,
        })
    }

    fn tenants() -> [Arc<Used>; 2] {
        Default::default()
    }

    #[test]
    fn one_turn_is_never_a_long_guests() {
        let (turns, [busy, other]) = (Turns::new(2), tenants());
        let _running = hold(&turns, &busy, true).unwrap();
        assert!(
            hold(&turns, &other, true).is_none(),
            "one of two turns is for short guests"
        );
        assert!(hold(&turns, &other, false).is_some());
    }

    #[test]
    fn the_tenant_that_has_used_the_least_is_next() {
        let (turns, [busy, idle]) = (Turns::new(2), tenants());
        let first = hold(&turns, &busy, false).unwrap();
        let second = hold(&turns, &busy, false).unwrap();
        let mut guests = [turns.of(&busy), turns.of(&busy), turns.of(&idle)];
        let [a, b, c] = guests.each_mut().map(|guest| guest.run(async {}));
        let (mut a, mut b, mut c) = (pin!(a), pin!(b), pin!(c));
        assert!(!poll(a.as_mut()) && !poll(b.as_mut()) && !poll(c.as_mut()));
        drop(first);
        assert!(!poll(a.as_mut()), "it came first, but its tenant has used more");
        assert!(poll(c.as_mut()));
        // The turn of `c` went to `a`.
        assert!(!poll(b.as_mut()));
        assert!(poll(a.as_mut()) && poll(b.as_mut()));
        drop(second);
    }

    #[test]
    fn a_tenant_gains_nothing_by_having_been_idle() {
        let (turns, [busy, idle]) = (Turns::new(2), tenants());
        for _ in 0..100 {
            drop(hold(&turns, &busy, false));
        }
        let _turn = hold(&turns, &idle, false);
        assert!(
            idle.get() >= busy.get() - nanoseconds(Duration::from_millis(1)),
            "{idle:?} {busy:?}"
        );
    }

    #[test]
    fn a_guest_that_goes_away_leaves_its_turn_to_the_next() {
        let (turns, [one, other]) = (Turns::new(2), tenants());
        let running = [hold(&turns, &one, false), hold(&turns, &one, false)];
        let mut leaving = turns.of(&other);
        let mut leaving = Box::pin(leaving.run(pending()));
        assert!(!poll(leaving.as_mut()));
        let mut next = turns.of(&one);
        let mut next = pin!(next.run(async {}));
        assert!(!poll(next.as_mut()));
        let [first, second] = running;
        drop(first);
        // It was given the turn and goes before it has used it.
        drop(leaving);
        assert!(poll(next.as_mut()));
        drop(second);
        let debug = format!("{turns:?}");
        assert!(debug.contains("running: 0") && debug.contains("waiting: 0"), "{debug}");
    }
}
