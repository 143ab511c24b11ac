//! Who calls during a soak.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::{Platform, Stage, raw, world};

/// What the hostile tenant's plugins do, an extension each.
const MODES: [&str; 12] = [
    "loop",
    "panic",
    "abort",
    "allocate",
    "recurse",
    "huge_answer",
    "many_claims",
    "duplicate_claim_id",
    "log_flood",
    "unavailable",
    "internal",
    "sleep",
];
/// The tenants whose callouts must all be answered; the second one's files change all the time.
const GOOD: [&str; 2] = ["good", "changing"];
/// How many callouts are sent with one token.
const CALLOUTS_PER_TOKEN: u64 = 200;

/// What was sent and done.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    pub(super) good: u64,
    pub(super) hostile: u64,
    pub(super) abandoned: u64,
    pub(super) changes: u64,
}

type Ended = (Counts, Vec<String>);

/// Writes the tenants' files.
pub(super) fn tenants(stage: Stage) -> Stage {
    let directories = world::directories_toml(&stage.entra);
    let good = directories.clone() + &world::extension_toml("claims", "deadline = \"2s\"", "misbehaving", "");
    let hostile = |mode: &&str| {
        let settings = format!("settings = {{ mode = \"{mode}\" }}\nlimits.cpu = \"20ms\"");
        world::extension_toml(
            &mode.replace('_', "-"),
            "deadline = \"300ms\"",
            "misbehaving",
            &settings,
        )
    };
    let hostile = directories + &MODES.iter().map(hostile).collect::<String>();
    let stage = GOOD.iter().fold(stage, |stage, name| stage.tenant(name, &good));
    stage.tenant("hostile", &hostile)
}

/// Starts all clients; each says in the end what it did, and what went wrong.
pub(super) fn start(platform: &Arc<Platform>, stop: &Arc<AtomicBool>) -> JoinSet<Ended> {
    let mut clients = JoinSet::new();
    for name in GOOD {
        clients.spawn(good(Arc::clone(platform), name, Arc::clone(stop)));
    }
    for number in 0..4 {
        clients.spawn(hostile(Arc::clone(platform), number, Arc::clone(stop)));
    }
    clients.spawn(leaving(Arc::clone(platform), Arc::clone(stop)));
    clients
}

/// A client of its own, whose connections end with it.
fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

async fn good(platform: Arc<Platform>, tenant: &'static str, stop: Arc<AtomicBool>) -> Ended {
    let (http, url) = (client(), platform.url_of(tenant, "claims"));
    let (mut token, mut count, mut problems) = (platform.token(), 0, Vec::new());
    while !stop.load(Ordering::Relaxed) && problems.len() < 5 {
        count += 1;
        if count % CALLOUTS_PER_TOKEN == 0 {
            token = platform.token();
        }
        let sent = http.post(&url).bearer_auth(&token).json(&platform.body()).send().await;
        match sent {
            Ok(response) if response.status() == 200 => {}
            Ok(response) => {
                let status = response.status();
                let text = response.text().await.unwrap_or_default();
                problems.push(format!("{tenant}: {status} {text}"));
            }
            Err(error) => problems.push(format!("{tenant}: {error:?}")),
        }
        sleep(Duration::from_millis(2)).await;
    }
    let counts = Counts {
        good: count,
        ..Counts::default()
    };
    (counts, problems)
}

/// Whatever a hostile plugin does, its callout has an answer.
async fn hostile(platform: Arc<Platform>, first: usize, stop: Arc<AtomicBool>) -> Ended {
    let http = client();
    let (mut token, mut count, mut problems) = (platform.token(), 0, Vec::new());
    for mode in MODES.iter().cycle().skip(first * 3) {
        if stop.load(Ordering::Relaxed) || problems.len() >= 5 {
            break;
        }
        count += 1;
        if count % CALLOUTS_PER_TOKEN == 0 {
            token = platform.token();
        }
        let url = platform.url_of("hostile", &mode.replace('_', "-"));
        let sent = http.post(url).bearer_auth(&token).json(&platform.body()).send().await;
        match sent {
            // It logs and answers; what it logs is cut.
            Ok(response) if *mode == "log_flood" || response.status().is_server_error() => {}
            Ok(response) => problems.push(format!("{mode}: {}", response.status())),
            Err(error) => problems.push(format!("{mode}: {error:?}")),
        }
    }
    let counts = Counts {
        hostile: count,
        ..Counts::default()
    };
    (counts, problems)
}

/// Clients that go away: in the middle of their request, and while a plugin spins or sleeps.
async fn leaving(platform: Arc<Platform>, stop: Arc<AtomicBool>) -> Ended {
    let mut counts = Counts::default();
    while !stop.load(Ordering::Relaxed) {
        drop(abandoned(&platform, &stop).await);
        counts.abandoned += 4;
    }
    (counts, Vec::new())
}

/// Four callouts that nobody will read the answer of, after some time.
pub(super) async fn abandoned(platform: &Platform, stop: &AtomicBool) -> Vec<TcpStream> {
    let (token, body) = (platform.token(), platform.body().to_string());
    let mut streams = Vec::new();
    for (tenant, extension, sent) in [
        ("good", "claims", body.len() / 2),
        ("hostile", "sleep", body.len()),
        ("hostile", "loop", body.len()),
        ("hostile", "allocate", body.len()),
    ] {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let head = format!(
            "POST /tenants/{tenant}/extensions/{extension} HTTP/1.1\r\nhost: claimsmith\r\nauthorization: Bearer {token}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len(),
        );
        let mut stream = raw::send(platform.host.address, head.as_bytes()).await;
        let _gone = stream.write_all(&body.as_bytes()[..sent]).await.is_err();
        streams.push(stream);
    }
    sleep(Duration::from_millis(15)).await;
    streams
}

impl Counts {
    pub(super) fn add(&mut self, other: &Self) {
        self.good += other.good;
        self.hostile += other.hostile;
        self.abandoned += other.abandoned;
        self.changes += other.changes;
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "good_callouts": self.good,
            "hostile_callouts": self.hostile,
            "abandoned_callouts": self.abandoned,
            "changes": self.changes,
        })
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            good,
            hostile,
            abandoned,
            changes,
        } = self;
        write!(
            formatter,
            "{good} good callouts, {hostile} hostile ones, {abandoned} abandoned, {changes} changes of files"
        )
    }
}
