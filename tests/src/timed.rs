//! Callouts that are sent at once, and how long each took: what their host says, which is its own to keep, and what their
//! client saw, which also holds connections and everything else that this machine has to do.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::{LogLine, Platform, eventually};

/// A callout that was answered.
#[derive(Clone, Debug)]
pub struct Timed {
    /// The status.
    pub status: u16,
    /// The answer.
    pub answer: Value,
    /// From the request's arrival to its answer, by the host's log.
    pub host: Duration,
    /// From the sending of the request to the end of the answer.
    pub client: Duration,
}

/// Sends callouts (URLs and bodies) at once.
pub async fn at_once(platform: &Platform, callouts: impl IntoIterator<Item = (String, Value)>) -> Vec<Timed> {
    let token = platform.token();
    let mark = platform.host.log_mark();
    let mut sending = JoinSet::new();
    for (url, body) in callouts {
        let request = platform.http.post(url).bearer_auth(&token).json(&body);
        let id = correlation_id(&body["data"]["authenticationContext"]["correlationId"]);
        sending.spawn(async move {
            let began = Instant::now();
            let response = request.send().await.unwrap();
            let status = response.status().as_u16();
            let answer: Value = response.json().await.unwrap();
            (id, status, answer, began.elapsed())
        });
    }
    let answers = sending.join_all().await;
    let mut durations = BTreeMap::new();
    // The line can come after the answer.
    eventually("the host tells how long each callout took", async || {
        durations = platform.host.log_after(mark).iter().filter_map(duration).collect();
        answers.iter().all(|(id, ..)| durations.contains_key(id))
    })
    .await;
    let timed = answers.into_iter().map(|(id, status, answer, client)| Timed {
        status,
        answer,
        host: durations[&id],
        client,
    });
    timed.collect()
}

/// The same with one of the host's usual callouts, whose user's display name holds what its plugin is asked for.
pub async fn asked_at_once(platform: &Platform, asked: impl IntoIterator<Item = Value>) -> Vec<Timed> {
    let callouts = asked.into_iter().map(|asked| {
        let mut body = platform.body();
        body["data"]["authenticationContext"]["user"]["displayName"] = asked.to_string().into();
        (platform.url(), body)
    });
    at_once(platform, callouts.collect::<Vec<_>>()).await
}

/// Prints how long callouts took if there are several, and fails if the host had any of them for longer than their deadline.
pub fn assert_in_time(what: &str, callouts: &[Timed], deadline: Duration) {
    if callouts.len() > 1 {
        print(what, callouts);
    }
    let late: Vec<_> = callouts.iter().filter(|callout| callout.host > deadline).collect();
    assert!(
        late.is_empty(),
        "{what}: {} of {} callouts had no answer by {deadline:?}: {late:?}",
        late.len(),
        callouts.len()
    );
}

#[expect(clippy::print_stdout, reason = "tests show what they measured")]
fn print(what: &str, callouts: &[Timed]) {
    println!("{what:<24} callouts     min     p50     p90     p99     max  (milliseconds)");
    for (whose, taken) in [
        ("by the host", callouts.iter().map(|callout| callout.host).collect()),
        ("by the client", callouts.iter().map(|callout| callout.client).collect()),
    ] {
        println!("  {whose:<22} {:>8}{}", callouts.len(), quantiles(taken));
    }
}

fn quantiles(taken: Vec<Duration>) -> String {
    let mut histogram = Histogram::<u64>::new(3).unwrap();
    for taken in taken {
        histogram.record(u64::try_from(taken.as_micros()).unwrap()).unwrap();
    }
    let shown = [0.0, 0.5, 0.9, 0.99, 1.0].map(|quantile| {
        let micros = histogram.value_at_quantile(quantile);
        format!(" {:7.1}", Duration::from_micros(micros).as_secs_f64() * 1e3)
    });
    shown.concat()
}

/// Whose callout a line tells the end of, and how long it took.
fn duration(line: &LogLine) -> Option<(String, Duration)> {
    if line["message"] != "callout answered" && line["message"] != "callout refused" {
        return None;
    }
    let took = Duration::from_secs_f64(line["duration_ms"].as_f64()? / 1e3);
    Some((correlation_id(&line["span"]["correlation_id"]), took))
}

fn correlation_id(id: &Value) -> String {
    id.as_str().unwrap_or_default().to_owned()
}
