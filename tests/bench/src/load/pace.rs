//! Closed and open loops over a set of connections.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Result;
use futures::future::{LocalBoxFuture, try_join_all};
use tokio::sync::Notify;
use tokio::task::{spawn_local, yield_now};

use super::client::{Connection, Requests};
use super::{Pace, Tally};

/// Callouts that are due and not sent yet, at most. More than this wait only where the server does not keep up.
const MAX_BACKLOG: usize = 100_000;
/// How far a server that keeps up may be behind at the end.
const MAX_BEHIND: Duration = Duration::from_millis(100);
/// A turn of the generator's loop that takes less has found nothing to do: it asked the system once, and no answer was there.
const IDLE_TURN: Duration = Duration::from_micros(4);

/// Sends callouts at this pace for so long.
///
/// # Errors
/// When an answer is not the expected one.
pub(crate) async fn run(
    connections: &mut [Connection],
    requests: &Requests,
    pace: Pace,
    duration: Duration,
) -> Result<Tally> {
    match pace {
        Pace::Closed => closed(connections, requests, duration).await,
        Pace::Open { per_second } => open(connections, requests, per_second, duration).await,
    }
}

/// Sends so many callouts over the connections, as fast as they are answered.
pub(crate) async fn at_least(connections: &mut [Connection], requests: &Requests, callouts: usize) -> Result<()> {
    let left = Cell::new(callouts);
    let work = connections.iter_mut().map(async |connection| {
        while left.get() > 0 {
            left.set(left.get().saturating_sub(1));
            connection.exchange(requests).await?;
        }
        anyhow::Ok(())
    });
    try_join_all(work).await?;
    Ok(())
}

async fn closed(connections: &mut [Connection], requests: &Requests, duration: Duration) -> Result<Tally> {
    let tally = RefCell::new(Tally::new()?);
    let idle = Rc::default();
    let spinning = spawn_local(spin(Rc::clone(&idle)));
    let began = Instant::now();
    let end = Cell::new(began + duration);
    let work = connections.iter_mut().map(async |connection| {
        loop {
            let sent = Instant::now();
            if sent >= end.get() {
                return anyhow::Ok(());
            }
            let answered = connection.exchange(requests).await?;
            let now = Instant::now();
            if !answered {
                // The last tokens are under way: what comes later would be measured on idle connections.
                tally.borrow_mut().tokens_used_up = true;
                end.set(end.get().min(now));
            } else if now <= end.get() {
                tally.borrow_mut().record(now - sent);
            }
        }
    });
    try_join_all(work).await?;
    spinning.abort();
    let mut tally = tally.into_inner();
    tally.elapsed = end.get() - began;
    tally.idle = idle.get();
    Ok(tally)
}

/// Keeps the generator's core awake, and counts the time in which it had nothing to do. The server would have to wake it for
/// each answer otherwise: on a virtual machine that takes several microseconds of the *server's* core, the more the longer
/// the generator had slept, so that slow servers would look slower than they are.
async fn spin(idle: Rc<Cell<Duration>>) {
    let mut turn = Instant::now();
    loop {
        yield_now().await;
        let took = turn.elapsed();
        if took < IDLE_TURN {
            idle.set(idle.get() + took);
        }
        turn += took;
    }
}

/// What the clock and the connections of an open loop share.
struct Schedule {
    due: RefCell<VecDeque<Instant>>,
    waiting: Notify,
    over: Cell<bool>,
}

async fn open(
    connections: &mut [Connection],
    requests: &Requests,
    per_second: f64,
    duration: Duration,
) -> Result<Tally> {
    let tally = RefCell::new(Tally::new()?);
    let schedule = Schedule {
        due: RefCell::default(),
        waiting: Notify::new(),
        over: Cell::new(false),
    };
    let began = Instant::now();
    let mut work: Vec<LocalBoxFuture<'_, Result<()>>> = Vec::with_capacity(connections.len() + 1);
    for connection in connections {
        work.push(Box::pin(answer_what_is_due(connection, requests, &schedule, &tally)));
    }
    work.push(Box::pin(keep_time(began, per_second, duration, &schedule, &tally)));
    try_join_all(work).await?;
    let mut tally = tally.into_inner();
    tally.elapsed = began.elapsed();
    Ok(tally)
}

/// Notes each callout when it is due. The timer's milliseconds are too coarse for thousands a second, so this spins.
async fn keep_time(
    began: Instant,
    per_second: f64,
    duration: Duration,
    schedule: &Schedule,
    tally: &RefCell<Tally>,
) -> Result<()> {
    let interval = Duration::from_secs_f64(1.0 / per_second);
    let end = began + duration;
    let mut due = began;
    while due < end {
        if Instant::now() < due {
            yield_now().await;
            continue;
        }
        if schedule.due.borrow().len() >= MAX_BACKLOG {
            tally.borrow_mut().kept_up = false;
            break;
        }
        schedule.due.borrow_mut().push_back(due);
        schedule.waiting.notify_one();
        due += interval;
    }
    schedule.over.set(true);
    let behind = interval * u32::try_from(schedule.due.borrow().len()).unwrap_or(u32::MAX);
    if behind > MAX_BEHIND {
        tally.borrow_mut().kept_up = false;
    }
    // Whoever is busy takes the rest before it sees that this is over.
    schedule.waiting.notify_waiters();
    Ok(())
}

async fn answer_what_is_due(
    connection: &mut Connection,
    requests: &Requests,
    schedule: &Schedule,
    tally: &RefCell<Tally>,
) -> Result<()> {
    loop {
        let next = schedule.due.borrow_mut().pop_front();
        match next {
            Some(due) => {
                if !connection.exchange(requests).await? {
                    tally.borrow_mut().tokens_used_up = true;
                    return Ok(());
                }
                tally.borrow_mut().record(due.elapsed());
            }
            None if schedule.over.get() => return Ok(()),
            None => schedule.waiting.notified().await,
        }
    }
}
