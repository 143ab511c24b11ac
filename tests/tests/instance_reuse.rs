//! Instances that serve several invocations, where operator and tenant want that: what is given up, which is a plugin's
//! memory within one binding, and what is not.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::allow_attributes,
    reason = "a test fails by panicking"
)]

#[path = "hostile/component.rs"]
mod component;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use claimsmith_runtime::interface::token_issuance_start::{Claim, ClaimValue};
use claimsmith_runtime::{
    Binding, InstanceReuse, InvocationError, Isolation, Limits, Plugin, Report, Runtime, RuntimeOptions, TenantShare,
};
use claimsmith_tests::{Platform, Stage, eventually, misbehaving, no_context, world};
use component::Skeleton;
use serde_json::Value;
use tokio::time::Instant;

const MINUTE: Duration = Duration::from_mins(1);

fn runtime(reuse: InstanceReuse) -> Runtime {
    let options = RuntimeOptions {
        max_concurrent_invocations: 2,
        instance_reuse: InstanceReuse { allowed: true, ..reuse },
        ..RuntimeOptions::default()
    };
    Runtime::new(options).unwrap()
}

/// A plugin that counts its invocations in its memory, answers how many there were, and then does `work`, which finds
/// the number in `$count`.
fn counter(work: &str) -> Vec<u8> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("hostile");
    let corpus = std::fs::read_to_string(directory.join("corpus.toml")).unwrap();
    let corpus: toml::Table = corpus.parse().unwrap();
    let usual: BTreeMap<String, String> = corpus["usual"].clone().try_into().unwrap();
    let items = "(global $count (mut i32) (i32.const 0))";
    let claims = format!(
        "(global.set $count (i32.add (global.get $count) (i32.const 1)))
        {work}
        (i32.store8 (i32.const 2096) (i32.add (i32.const 48) (global.get $count)))
        (i32.const 1300)"
    );
    let parts = [("items", items.to_owned()), ("claims", claims)].map(|(part, text)| (part.to_owned(), text));
    Skeleton::read(&directory, usual).component("counter", &BTreeMap::from(parts), "plugin")
}

/// `work` at the third invocation of an instance.
fn at_the_third(work: &str) -> Vec<u8> {
    counter(&format!(
        "(if (i32.eq (global.get $count) (i32.const 3)) (then {work}))"
    ))
}

async fn load(runtime: &Runtime, bytes: Vec<u8>) -> Arc<Plugin> {
    runtime.load(bytes, &Limits::default()).await.unwrap()
}

async fn bind(runtime: &Runtime, plugin: &Arc<Plugin>, settings: &str, limits: Limits) -> Binding {
    let tenant = Arc::new(TenantShare::new(2));
    let bound = runtime.bind(
        Arc::clone(plugin),
        "counter",
        settings.to_owned(),
        limits,
        tenant,
        Arc::default(),
    );
    bound.await.unwrap()
}

async fn bind_reusing(runtime: &Runtime, plugin: &Arc<Plugin>) -> Binding {
    let bound = bind(runtime, plugin, "{}", Limits::default()).await;
    bound.with_isolation(Isolation::Reuse).unwrap()
}

async fn invoke(binding: &Binding, time: Duration) -> Report<Vec<Claim>> {
    binding.token_issuance_start(no_context(), Instant::now() + time).await
}

/// How many invocations the instance has served that answered.
async fn count(binding: &Binding) -> usize {
    let claims = invoke(binding, MINUTE).await.result.unwrap();
    match &claims[0].value {
        ClaimValue::Text(text) => text.parse().unwrap(),
        ClaimValue::Texts(_) => panic!("a list"),
    }
}

async fn counts<const N: usize>(binding: &Binding) -> [usize; N] {
    let mut counts = [0; N];
    for each in &mut counts {
        *each = count(binding).await;
    }
    counts
}

#[tokio::test]
async fn each_invocation_has_an_instance_of_its_own_unless_the_binding_says_otherwise() {
    let runtime = runtime(InstanceReuse::default());
    let plugin = load(&runtime, counter("")).await;
    let fresh = bind(&runtime, &plugin, "{}", Limits::default()).await;
    assert_eq!(counts(&fresh).await, [1, 1, 1]);
    let reusing = fresh.with_isolation(Isolation::Reuse).unwrap();
    assert_eq!(counts(&reusing).await, [1, 2, 3]);
    let fresh = reusing.with_isolation(Isolation::Fresh).unwrap();
    assert_eq!(counts(&fresh).await, [1, 1]);
}

#[tokio::test]
async fn a_binding_alone_cannot_have_its_instances_used_again() {
    let runtime = Runtime::new(RuntimeOptions::default()).unwrap();
    let plugin = load(&runtime, counter("")).await;
    let binding = bind(&runtime, &plugin, "{}", Limits::default()).await;
    assert!(binding.with_isolation(Isolation::Reuse).is_err());
}

#[tokio::test]
async fn an_instance_is_never_anothers() {
    let runtime = runtime(InstanceReuse::default());
    let plugin = load(&runtime, counter("")).await;
    let other_version = load(&runtime, counter("(nop)")).await;
    let binding = bind_reusing(&runtime, &plugin).await;
    assert_eq!(counts(&binding).await, [1, 2]);
    let others = [
        // Another tenant's, another extension's, or the same one's after a reload.
        bind_reusing(&runtime, &plugin).await,
        bind_reusing(&runtime, &other_version).await,
        // An application's.
        binding
            .with_settings("{\"a\":1}".to_owned(), Arc::default())
            .await
            .unwrap(),
        binding.with_settings("{}".to_owned(), Arc::default()).await.unwrap(),
    ];
    for (index, other) in others.iter().enumerate() {
        assert_eq!(counts(other).await, [1, 2], "{index}");
    }
    assert_eq!(counts(&binding).await, [3, 4]);
}

#[tokio::test]
async fn an_instance_serves_so_many_invocations() {
    let runtime = runtime(InstanceReuse {
        max_uses: 3,
        ..InstanceReuse::default()
    });
    let plugin = load(&runtime, counter("")).await;
    let binding = bind_reusing(&runtime, &plugin).await;
    assert_eq!(counts(&binding).await, [1, 2, 3, 1, 2, 3, 1]);
}

type Expected = fn(&InvocationError) -> bool;

/// An instance that has failed is not used again, however it did, and the limits hold in its third invocation too.
#[tokio::test]
async fn an_instance_that_has_failed_is_not_used_again() {
    let runtime = runtime(InstanceReuse::default());
    let spin = "(loop $again (br $again))";
    let limits = Limits {
        cpu: Duration::from_millis(20),
        memory_bytes: 6 << 16,
        ..Limits::default()
    };
    let grow = "(if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then (unreachable)))";
    let cases: [(&str, Vec<u8>, Duration, Expected); 4] = [
        ("traps", at_the_third("(unreachable)"), MINUTE, |error| {
            matches!(error, InvocationError::Trapped(_))
        }),
        ("spins", at_the_third(spin), MINUTE, |error| {
            matches!(error, InvocationError::CpuLimit(_))
        }),
        ("grows in each", counter(grow), MINUTE, |error| {
            matches!(error, InvocationError::MemoryLimit(_))
        }),
        ("is late", at_the_third(spin), Duration::from_millis(10), |error| {
            matches!(error, InvocationError::DeadlineExceeded)
        }),
    ];
    for (name, bytes, time, expected) in cases {
        let plugin = load(&runtime, bytes).await;
        let bound = bind(&runtime, &plugin, "{}", limits).await;
        let binding = bound.with_isolation(Isolation::Reuse).unwrap();
        for _ in 0..2 {
            assert_eq!(counts(&binding).await, [1, 2], "{name}");
            let error = invoke(&binding, time).await.result.unwrap_err();
            assert!(expected(&error), "{name}: {error}");
        }
    }
}

#[tokio::test]
async fn an_instance_whose_client_has_gone_is_not_used_again() {
    let runtime = runtime(InstanceReuse::default());
    let plugin = load(&runtime, at_the_third("(loop $again (br $again))")).await;
    let binding = bind_reusing(&runtime, &plugin).await;
    assert_eq!(counts(&binding).await, [1, 2]);
    let gone = tokio::time::timeout(Duration::from_millis(10), invoke(&binding, MINUTE)).await;
    assert!(gone.is_err());
    assert_eq!(counts(&binding).await, [1, 2]);
}

/// What is counted begins anew with each invocation: a hundred are far beyond the limits of one.
#[tokio::test]
async fn limits_are_those_of_one_invocation() {
    let runtime = runtime(InstanceReuse::default());
    let plugin = load(&runtime, std::fs::read(misbehaving("default")).unwrap()).await;
    let limits = Limits {
        host_calls: 40,
        total_transfer_bytes: 4 << 10,
        random_bytes: 128,
        ..Limits::default()
    };
    let binding = bind(&runtime, &plugin, "{ \"mode\": \"random\" }", limits).await;
    let binding = binding.with_isolation(Isolation::Reuse).unwrap();
    for _ in 0..100 {
        let report = invoke(&binding, MINUTE).await;
        assert!(report.result.is_ok(), "{:?}", report.result);
        assert!(report.usage.host_calls < 10, "{:?}", report.usage);
    }
    assert_eq!(runtime.live_instances(), Some(1));
}

/// Lowered limits hold for the next invocation: an instance that was made with more cannot serve it.
#[tokio::test]
async fn an_instance_made_with_other_limits_is_not_used_again() {
    let runtime = runtime(InstanceReuse::default());
    let plugin = load(&runtime, counter("")).await;
    let binding = bind_reusing(&runtime, &plugin).await;
    assert_eq!(counts(&binding).await, [1, 2]);
    runtime.set_most(Limits {
        memory_bytes: 8 << 20,
        ..Limits::default()
    });
    assert_eq!(counts(&binding).await, [1, 2]);
}

#[tokio::test]
async fn idle_instances_go_with_their_time_and_with_their_binding() {
    let runtime = runtime(InstanceReuse {
        max_idle_time: Duration::from_millis(300),
        ..InstanceReuse::default()
    });
    let plugin = load(&runtime, counter("")).await;
    let binding = bind_reusing(&runtime, &plugin).await;
    assert_eq!(counts(&binding).await, [1, 2]);
    let nothing_idle = async || runtime.live_instances().unwrap() == 0;
    eventually("the idle instance is dropped", nothing_idle).await;
    assert_eq!(counts(&binding).await, [1, 2]);
    assert_eq!(runtime.live_instances(), Some(1));
    drop(binding);
    assert_eq!(runtime.live_instances(), Some(0));
}

/// Idle instances have places of their own: when all are taken, every invocation still has one.
#[tokio::test]
async fn idle_instances_take_no_place_from_invocations() {
    let runtime = runtime(InstanceReuse {
        max_idle_instances: 1,
        ..InstanceReuse::default()
    });
    let plugin = load(&runtime, counter("")).await;
    let bindings = [
        bind_reusing(&runtime, &plugin).await,
        bind_reusing(&runtime, &plugin).await,
    ];
    assert_eq!(counts(&bindings[0]).await, [1, 2]);
    // There is no place left for its instance to be idle.
    assert_eq!(counts(&bindings[1]).await, [1, 1, 1]);
    assert_eq!(runtime.live_instances(), Some(1));
    let fresh = bind(&runtime, &plugin, "{}", Limits::default()).await;
    for _ in 0..50 {
        let both = tokio::join!(count(&fresh), count(&bindings[1]));
        assert_eq!(both, (1, 1));
    }
    assert_eq!(counts(&bindings[0]).await, [3, 4]);
}

/// The callouts of one tenant count on, and those of another, of another application or after a reload do not.
#[tokio::test(flavor = "multi_thread")]
async fn instances_of_a_host_are_one_bindings() {
    let stage = Stage::new()
        .await
        .host_config("runtime.instance_reuse.allowed = true\nruntime.max_concurrent_invocations = 4");
    let application = "0d1e0001-0000-4000-8000-0000000000a1";
    let members = format!("applications = [{{ client_ids = [\"{application}\"] }}]");
    let tenant = world::directories_toml(&stage.entra)
        + &world::extension_toml("claims", &members, "counter", "isolation = \"reuse\"");
    let stage = stage.tenant("one", &tenant).tenant("other", &tenant);
    for name in ["one", "other"] {
        let plugins = stage.file("tenants").join(name).join("plugins");
        std::fs::write(plugins.join("counter.wasm"), counter("")).unwrap();
    }
    let platform = stage.start().await;
    let count = async |tenant: &str, body: &Value| {
        let url = platform.url_of(tenant, "claims");
        let request = platform.http.post(url).bearer_auth(platform.token()).json(body);
        let answer: Value = request.send().await.unwrap().json().await.unwrap();
        let claims = Platform::claims(&answer).as_object().cloned();
        let claims = claims.unwrap_or_else(|| panic!("{tenant}: {answer}"));
        claims.values().next().unwrap().as_str().unwrap().to_owned()
    };
    let body_of = |application: &str| {
        let mut body = platform.body();
        body["data"]["authenticationContext"]["clientServicePrincipal"]["appId"] = application.into();
        body
    };
    let (usual, of_application) = (body_of("0d1e0001-0000-4000-8000-0000000000b7"), body_of(application));
    for expected in ["1", "2", "3"] {
        for tenant in ["one", "other"] {
            assert_eq!(count(tenant, &usual).await, expected, "{tenant}");
            assert_eq!(count(tenant, &of_application).await, expected, "{tenant}'s application");
        }
    }
    let file = platform.directory.path().join("tenants/one/tenant.toml");
    std::fs::write(file, tenant + "# changed\n").unwrap();
    let begins_anew = async || count("one", &usual).await == "1";
    eventually("the tenant that was loaded again counts anew", begins_anew).await;
    assert_eq!(count("other", &usual).await, "4");
}

/// A code or password would be left for the next user's callout.
#[tokio::test(flavor = "multi_thread")]
async fn plugins_that_are_given_secrets_have_instances_of_their_own() {
    let stage = Stage::new().await.host_config("runtime.instance_reuse.allowed = true");
    let extension = world::extension_toml("claims", "", "misbehaving", "isolation = \"reuse\"");
    let extension = extension.replace("tokenIssuanceStart", "emailOtpSend");
    let tenant = world::directories_toml(&stage.entra) + &extension;
    // A host whose only tenant does not load is never ready.
    let platform = stage.tenant("one", &tenant).listen("json").await;
    let says = |line: &Value| {
        let message = line["message"].as_str().unwrap_or_default();
        message.contains("plugins of emailOtpSend are given secrets") && message.contains("tenant.toml:13:13: ")
    };
    platform.host.log_line("reuse is refused", says).await;
}
