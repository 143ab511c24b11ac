//! Any bytes as an `Authorization` header, and any header and claims in a token that is signed well: nothing panics, and
//! only tokens that say what Entra's say are accepted.
//!
//! `{token}`, `{header}`, `{payload}` and `{signature}` in the input stand for a good token and its parts. An input that
//! begins with `!` is a token's header and its claims, each a line of JSON; it is signed with the directory's key.
#![no_main]

use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use claimsmith_local_entra::{Config, LocalEntra, TokenRequest, TokenVersion};
use claimsmith_token::{
    Algorithm, Directory, ENTRA_CALLER, MetadataOptions, MetadataStore, Policy, TokenPolicy, TrustedDocument,
    bearer_token,
};
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value};
use tokio::runtime::Runtime;
use tokio::time::Instant;
use uuid::{Uuid, uuid};

const DIRECTORY: Uuid = uuid!("a1b2c3d4-0000-4000-8000-000000000001");
const EXTENSION: Uuid = uuid!("a1b2c3d4-0000-4000-8000-0000000000c1");
const AUDIENCE: &str = "a1b2c3d4-0000-4000-8000-0000000000d1";

struct World {
    runtime: Runtime,
    entra: LocalEntra,
    policy: TokenPolicy,
    good: String,
    issuers: Vec<String>,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../../host/local-entra/example.toml");
    let mut config = Config::load(example.as_ref()).expect("the example");
    config.listen = ([127, 0, 0, 1], 0).into();
    let entra = runtime.block_on(LocalEntra::start(config)).expect("a local Entra");
    let directory = entra.directory(DIRECTORY).expect("the directory");
    let policy = runtime.block_on(async {
        let options = MetadataOptions {
            allow_loopback_http: true,
            // Key ids are made up all the time here; each fetch would take longer than everything else.
            unknown_key_interval: Duration::from_secs(3_600),
            ..MetadataOptions::default()
        };
        let store = MetadataStore::new(options).expect("a store");
        let document = |version| TrustedDocument {
            document: store.document(&directory.metadata_url(version).parse().expect("a URL")),
            issuers: Vec::new(),
        };
        let policy = TokenPolicy::new(Policy {
            directories: vec![Directory {
                id: DIRECTORY,
                documents: vec![document(TokenVersion::V2), document(TokenVersion::V1)],
            }],
            audiences: vec![AUDIENCE.to_owned()],
            caller: ENTRA_CALLER,
            accept_callers: Vec::new(),
            algorithms: vec![Algorithm::RS256],
            leeway: Duration::from_secs(60),
            app_only: true,
        });
        for document in policy.documents() {
            document.wait_for_fetch(Instant::now() + Duration::from_secs(10)).await;
        }
        policy
    });
    World {
        good: directory.callout_bearer(EXTENSION).expect("a token"),
        issuers: vec![directory.issuer(TokenVersion::V2), directory.issuer(TokenVersion::V1)],
        runtime,
        policy,
        entra,
    }
});

fuzz_target!(|input: &[u8]| {
    let world = &*WORLD;
    match input.strip_prefix(b"!") {
        Some(parts) => signed(world, &String::from_utf8_lossy(parts)),
        None => raw(world, input),
    }
});

/// Of raw headers, only those with the good token itself are accepted.
fn raw(world: &World, input: &[u8]) {
    let parts: Vec<_> = world.good.split('.').collect();
    let mut value = String::from_utf8_lossy(input).replace("{token}", &world.good);
    for (name, part) in ["{header}", "{payload}", "{signature}"].iter().zip(parts) {
        value = value.replace(name, part);
    }
    let Ok(token) = bearer_token([value.as_bytes()].into_iter()) else {
        return;
    };
    if accepted(world, token) {
        assert_eq!(token, world.good);
    }
}

/// Of well signed tokens, only those that say what Entra's say are accepted.
fn signed(world: &World, parts: &str) {
    let mut lines = parts.splitn(2, '\n').map(serde_json::from_str::<Map<String, Value>>);
    let (Some(Ok(header)), Some(Ok(changes))) = (lines.next(), lines.next()) else {
        return;
    };
    let directory = world.entra.directory(DIRECTORY).expect("the directory");
    let mut request: TokenRequest = directory.callout_token(EXTENSION).expect("a token");
    request.header.extend(header);
    request.claims.extend(changes);
    let claims = request.claims.clone();
    let Ok(token) = directory.mint(&request) else { return };
    if !accepted(world, &token) {
        return;
    }
    let text = |name: &str| claims.get(name).and_then(Value::as_str).unwrap_or_default();
    assert!(world.issuers.iter().any(|issuer| issuer == text("iss")), "{claims:?}");
    assert_eq!(text("aud"), AUDIENCE);
    assert_eq!(Uuid::try_parse(text("tid")), Ok(DIRECTORY));
    let caller = if text("ver") == "1.0" { "appid" } else { "azp" };
    assert_eq!(Uuid::try_parse(text(caller)), Ok(ENTRA_CALLER), "{claims:?}");
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    assert!(
        claims["exp"].as_u64().is_some_and(|exp| exp.saturating_add(61) > now),
        "{claims:?}"
    );
    assert!(claims["nbf"].as_u64().is_some_and(|nbf| nbf <= now + 61), "{claims:?}");
}

fn accepted(world: &World, token: &str) -> bool {
    let validated = world.policy.validate(token, Instant::now() + Duration::from_millis(50));
    world.runtime.block_on(validated).is_ok()
}
