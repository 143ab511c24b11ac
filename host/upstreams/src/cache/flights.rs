//! Who fills which key, and who waits for it.
//!
//! A key is held by one at a time. Filling it gives all who wait the value at once; letting go of it unfilled gives it to the
//! one who has waited longest, so that nobody waits for somebody who is gone. moka's own single flight (`get_with`) runs a
//! future to its end, and what fills a key here is a guest, between two calls.

use std::collections::hash_map::Entry as Place;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::entry::Entry;

/// Keys that are held, each with those who wait for it.
#[derive(Debug, Default)]
pub(super) struct Flights(Mutex<Waiting>);

type Waiting = HashMap<Arc<str>, VecDeque<oneshot::Sender<Flown>>>;

/// What one who has waited is given.
#[derive(Debug)]
pub(super) enum Flown {
    /// The value that was filled in.
    Fresh(Arc<[u8]>),
    /// A value that is older than it should be: somebody else is filling it anew.
    Stale(Arc<[u8]>),
    /// The key.
    PassedOn(Held),
}

impl Flown {
    pub(super) fn fresh(entry: &Entry) -> impl Fn() -> Self {
        move || Self::Fresh(Arc::clone(&entry.value))
    }

    pub(super) fn stale(entry: &Entry) -> impl Fn() -> Self {
        move || Self::Stale(Arc::clone(&entry.value))
    }
}

/// What one who asks for a key is given.
#[derive(Debug)]
pub(super) enum Turn {
    /// The key.
    Held(Held),
    /// A place among those who wait for it.
    Waits(Waiter),
}

/// A place among those who wait for a key.
#[derive(Debug)]
pub(super) struct Waiter {
    flown: oneshot::Receiver<Flown>,
    key: Arc<str>,
}

impl Waiter {
    /// Waits for the value, or for the key.
    pub(super) async fn wait(self) -> Flown {
        let Self { flown, key } = self;
        // Whoever holds a key answers all who wait; were one not to, this one would fill it beside somebody else.
        let alone = |_| Flown::PassedOn(Held { key, flights: None });
        flown.await.unwrap_or_else(alone)
    }
}

/// A key, held until it is dropped.
pub(super) struct Held {
    key: Arc<str>,
    /// None once all is told.
    flights: Option<Arc<Flights>>,
}

impl Flights {
    /// The key, or a place among those who wait for it.
    pub(super) fn reserve(self: &Arc<Self>, key: &str) -> Turn {
        let key: Arc<str> = key.into();
        match self.lock().entry(Arc::clone(&key)) {
            Place::Vacant(place) => {
                place.insert(VecDeque::new());
                Turn::Held(Held::of(self, &key))
            }
            Place::Occupied(mut place) => {
                let (waiting, flown) = oneshot::channel();
                place.get_mut().push_back(waiting);
                Turn::Waits(Waiter { flown, key })
            }
        }
    }

    /// The key, if nobody holds it.
    pub(super) fn try_reserve(self: &Arc<Self>, key: &str) -> Option<Held> {
        let key: Arc<str> = key.into();
        match self.lock().entry(Arc::clone(&key)) {
            Place::Vacant(place) => {
                place.insert(VecDeque::new());
                Some(Held::of(self, &key))
            }
            Place::Occupied(_) => None,
        }
    }

    /// Gives something to all who wait for a key, whose holder goes on.
    pub(super) fn tell(&self, key: &str, flown: impl Fn() -> Flown) {
        let waiting = self.lock().get_mut(key).map(std::mem::take);
        answer(waiting, flown);
    }

    /// The same, and nobody holds the key any more.
    fn end(&self, key: &str, flown: impl Fn() -> Flown) {
        let waiting = self.lock().remove(key);
        answer(waiting, flown);
    }

    /// Gives the key to the one who has waited longest of those who still wait.
    fn pass_on(self: &Arc<Self>, key: &Arc<str>) {
        loop {
            let next = {
                let mut waiting = self.lock();
                let next = waiting.get_mut(key).and_then(VecDeque::pop_front);
                if next.is_none() {
                    waiting.remove(key);
                }
                next
            };
            let Some(next) = next else { return };
            match next.send(Flown::PassedOn(Held::of(self, key))) {
                // Gone: dropping what comes back would begin this anew inside of itself.
                Err(Flown::PassedOn(mut held)) => held.flights = None,
                _ => return,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn answer(waiting: Option<VecDeque<oneshot::Sender<Flown>>>, flown: impl Fn() -> Flown) {
    for waiter in waiting.into_iter().flatten() {
        // One whose time is over does not wait any more.
        let _is_gone = waiter.send(flown()).is_err();
    }
}

impl Held {
    fn of(flights: &Arc<Flights>, key: &Arc<str>) -> Self {
        Self {
            key: Arc::clone(key),
            flights: Some(Arc::clone(flights)),
        }
    }

    pub(super) fn key(&self) -> &Arc<str> {
        &self.key
    }

    /// Gives all who wait a stale value, and goes on holding the key.
    pub(super) fn tell(&self, entry: &Entry) {
        if let Some(flights) = &self.flights {
            flights.tell(&self.key, Flown::stale(entry));
        }
    }

    /// Gives all who wait something, and lets go of the key.
    pub(super) fn done(mut self, flown: &impl Fn() -> Flown) {
        if let Some(flights) = self.flights.take() {
            flights.end(&self.key, flown);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(flights) = self.flights.take() {
            flights.pass_on(&self.key);
        }
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A key names a person.
        formatter.debug_struct("Held").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn held(flights: &Arc<Flights>) -> Held {
        match flights.reserve("key") {
            Turn::Held(held) => held,
            Turn::Waits(_) => panic!("somebody holds the key"),
        }
    }

    fn waiter(flights: &Arc<Flights>) -> Waiter {
        match flights.reserve("key") {
            Turn::Held(_) => panic!("nobody holds the key"),
            Turn::Waits(waiter) => waiter,
        }
    }

    #[tokio::test]
    async fn a_key_is_passed_on_to_the_next_who_still_waits() {
        let flights = Arc::new(Flights::default());
        let first = held(&flights);
        let gone: Vec<_> = (0..10_000).map(|_| waiter(&flights)).collect();
        let (second, third) = (waiter(&flights), waiter(&flights));
        drop(gone);
        drop(first);
        let Flown::PassedOn(second) = second.wait().await else {
            panic!("the key is passed on");
        };
        let entry = Entry::new(b"value".as_slice().into(), Duration::ZERO, Duration::ZERO);
        second.done(&Flown::fresh(&entry));
        assert!(matches!(third.wait().await, Flown::Fresh(value) if *value == *b"value"));
        assert!(flights.lock().is_empty());
    }

    #[test]
    fn a_key_that_was_passed_to_one_who_has_just_gone_is_passed_on() {
        let flights = Arc::new(Flights::default());
        let first = held(&flights);
        let second = waiter(&flights);
        drop(first);
        // It has the key, and never looks.
        drop(second);
        assert!(flights.try_reserve("key").is_some());
        assert!(flights.lock().is_empty());
    }

    #[tokio::test]
    async fn those_who_wait_are_told_of_a_stale_value_while_it_is_filled_anew() {
        let flights = Arc::new(Flights::default());
        let first = held(&flights);
        let second = waiter(&flights);
        first.tell(&Entry::new(b"old".as_slice().into(), Duration::ZERO, Duration::MAX / 4));
        assert!(matches!(second.wait().await, Flown::Stale(_)));
        assert!(flights.try_reserve("key").is_none(), "the key is still held");
    }
}
