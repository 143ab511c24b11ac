use std::collections::BTreeSet;
use std::net::TcpListener;
use std::time::Duration;

use claimsmith_tests::otlp::{self, Collector, Health, Span};
use claimsmith_tests::{Platform, Upstream, eventually};
use serde_json::{Value, json};

use crate::{ECHO, asking, correlation_id, misbehaving, with_upstream};

const SERVER: i32 = 2;
const CLIENT: i32 = 3;

fn only<'s>(spans: &'s [Span], name: &str) -> &'s Span {
    let named: Vec<_> = spans.iter().filter(|span| span.name == name).collect();
    assert_eq!(named.len(), 1, "{name} in {spans:#?}");
    named[0]
}

/// Sends a callout with this header: its correlation id.
async fn call_with(platform: &Platform, token: &str, trace_parent: &str) -> String {
    let body = platform.body();
    let request = platform.http.post(platform.url()).bearer_auth(token).json(&body);
    request.header("traceparent", trace_parent).send().await.unwrap();
    correlation_id(&body).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callout_is_a_trace_with_a_span_for_each_stage_and_host_call() {
    let (collector, server) = (Collector::start(Health::Well).await, Upstream::start().await);
    let more = "telemetry.traces.resource = { \"deployment.environment.name\" = \"test\" }";
    let host = collector.config() + more;
    let platform = with_upstream(&host, &server, "", "settings.probe = true").await;
    let body = asking(&platform, "/members/7");
    assert_eq!(platform.call(&platform.token(), &body).await.status(), 200);

    let spans = collector.trace_of(correlation_id(&body)).await;
    let names: Vec<_> = spans.iter().map(|span| span.name.as_str()).collect();
    let expected = [
        "callout",
        "token",
        "body",
        "parse",
        "invoke",
        "plugin http-caller",
        "instantiate",
        "run",
        "http.fetch",
        "guard",
        "audit",
    ];
    assert_eq!(names.iter().collect::<BTreeSet<_>>(), expected.iter().collect());
    let callout = only(&spans, "callout");
    assert_eq!(callout.trace, correlation_id(&body).replace('-', ""));
    assert_eq!(
        (callout.kind, callout.parent.as_str(), &callout.error),
        (SERVER, "", &None)
    );
    for (attribute, value) in [
        ("claimsmith.tenant", "contoso"),
        ("claimsmith.extension", "claims"),
        ("claimsmith.event", "tokenIssuanceStart"),
        ("claimsmith.outcome", "answered"),
        ("http.response.status_code", "200"),
    ] {
        assert_eq!(
            callout.attributes.get(attribute).map(String::as_str),
            Some(value),
            "{attribute}"
        );
    }
    for (name, parent) in [
        ("token", "callout"),
        ("audit", "callout"),
        ("invoke", "callout"),
        ("plugin http-caller", "invoke"),
        ("instantiate", "plugin http-caller"),
        ("run", "plugin http-caller"),
        ("http.fetch", "run"),
    ] {
        let (span, parent) = (only(&spans, name), only(&spans, parent));
        assert_eq!(span.parent, parent.id, "{name}");
        let slack = 50_000;
        let within = span.times.0 + slack >= parent.times.0 && span.times.1 <= parent.times.1 + slack;
        assert!(within, "{name} {:?} in {:?}", span.times, parent.times);
    }
    // The call that the upstream saw is the span, and sampled.
    let fetch = only(&spans, "http.fetch");
    assert_eq!(fetch.kind, CLIENT);
    assert_eq!(fetch.attributes["claimsmith.upstream"], "crm");
    let head = server.requests("/members/7")[0].head.to_ascii_lowercase();
    let sent = format!("traceparent: 00-{}-{}-01", fetch.trace, fetch.id);
    assert!(head.contains(&sent), "{sent} {head}");
    assert_eq!(callout.resource["service.name"], "claimsmith");
    assert_eq!(callout.resource["deployment.environment.name"], "test");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_was_not_granted_is_nowhere() {
    const CODE: &str = "40718263";
    let (collector, server) = (Collector::start(Health::Well).await, Upstream::start().await);
    let platform = with_upstream(&collector.config(), &server, "", "settings.probe = true").await;
    let mut body = platform.body();
    let request = json!({ "upstream": CODE, "path": "/members/7" });
    body["data"]["authenticationContext"]["user"]["displayName"] = json!(request.to_string());
    let response = platform.call(&platform.token(), &body).await;
    assert_eq!(response.status(), 200);
    assert!(response.text().await.unwrap().contains("not-granted"));
    let spans = collector.trace_of(correlation_id(&body)).await;
    assert_eq!(only(&spans, "http.fetch").attributes["claimsmith.upstream"], "");
    assert!(!format!("{spans:?}").contains(CODE), "{spans:#?}");
    let is_call = |line: &Value| line["message"] == "capability called";
    platform.host.log_line("the call", is_call).await;
    assert!(!Value::from(platform.host.log()).to_string().contains(CODE));
}

#[tokio::test(flavor = "multi_thread")]
async fn callouts_that_repeat_are_in_one_trace_with_one_run() {
    let (collector, server) = (Collector::start(Health::Well).await, Upstream::start().await);
    let host = collector.config();
    let members = "repeated_callouts = \"join\"";
    let platform = with_upstream(&host, &server, members, "settings.probe = true").await;
    let body = asking(&platform, "/members/7");
    for _ in 0..2 {
        assert_eq!(platform.call(&platform.token(), &body).await.status(), 200);
    }
    let callouts = |spans: &[Span]| spans.iter().filter(|span| span.name == "callout").count();
    eventually("both are traced", async || {
        callouts(&collector.trace_of(correlation_id(&body)).await) == 2
    })
    .await;
    let spans = collector.trace_of(correlation_id(&body)).await;
    // The run is the first one's; the other one has waited, which is its stage.
    let (plugin, fetch) = (only(&spans, "plugin http-caller"), only(&spans, "http.fetch"));
    let invokes: Vec<_> = spans.iter().filter(|span| span.name == "invoke").collect();
    assert_eq!(invokes.len(), 2, "{spans:#?}");
    assert_eq!(invokes.iter().filter(|invoke| invoke.id == plugin.parent).count(), 1);
    only(&spans, "guard");
    let head = server.requests("/members/7")[0].head.to_ascii_lowercase();
    let sent = format!("traceparent: 00-{}-{}-01", fetch.trace, fetch.id);
    assert!(head.contains(&sent), "{sent} {head}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callout_whose_client_goes_away_is_traced() {
    let collector = Collector::start(Health::Well).await;
    let platform = Platform::start_with(&collector.config(), "deadline = \"2s\"", &misbehaving("sleep")).await;
    let body = platform.body();
    let request = platform.http.post(platform.url()).bearer_auth(platform.token());
    let sent = request.json(&body).timeout(Duration::from_millis(500)).send().await;
    assert!(sent.unwrap_err().is_timeout());
    let spans = collector.trace_of(correlation_id(&body)).await;
    let callout = only(&spans, "callout");
    assert_eq!(callout.attributes["claimsmith.outcome"], "client_gone");
    assert_eq!(only(&spans, "invoke").parent, callout.id);
}

#[tokio::test(flavor = "multi_thread")]
async fn guest_logs_and_failures_are_in_the_plugins_span() {
    let collector = Collector::start(Health::Well).await;
    let platform = Platform::start_with(&collector.config(), "", &misbehaving("control_characters")).await;
    let body = platform.body();
    platform.call(&platform.token(), &body).await;
    let spans = collector.trace_of(correlation_id(&body)).await;
    let plugin = only(&spans, "plugin misbehaving");
    assert_eq!(plugin.events.len(), 1, "{plugin:?}");
    assert_eq!(plugin.events[0]["level"], "warn");
    assert!(!plugin.events[0]["message"].contains('\u{1b}'), "{plugin:?}");
    // The log has it under the callout's span.
    let line = platform
        .host
        .log_line("the guest's", |line| line["target"] == "claimsmith::plugin")
        .await;
    assert_eq!(line["span"]["correlation_id"], correlation_id(&body));

    let platform = Platform::start_with(&collector.config(), "", &misbehaving("panic")).await;
    let body = platform.body();
    platform.call(&platform.token(), &body).await;
    let spans = collector.trace_of(correlation_id(&body)).await;
    for name in ["callout", "plugin misbehaving"] {
        assert_eq!(only(&spans, name).error.as_deref(), Some("plugin_trapped"), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_parent_counts_where_it_is_wanted_and_the_caller_is_known() {
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const PARENT: &str = "00f067aa0ba902b7";
    let given = format!("00-{TRACE}-{PARENT}-01");
    let collector = Collector::start(Health::Well).await;

    let platform = Platform::start_with(&collector.config(), "", ECHO).await;
    let id = call_with(&platform, &platform.token(), &given).await;
    let spans = collector.trace_of(&id).await;
    assert_eq!(only(&spans, "callout").trace, id.replace('-', ""));

    let host = collector.config() + "telemetry.traces.accept_traceparent = true";
    let platform = Platform::start_with(&host, "", ECHO).await;
    let id = call_with(&platform, &platform.token(), &given).await;
    let spans = collector.trace_of(&id).await;
    let callout = only(&spans, "callout");
    assert_eq!((callout.trace.as_str(), callout.parent.as_str()), (TRACE, PARENT));
    let line = platform
        .host
        .log_line("with its trace", |line| line["span"]["trace_id"] == TRACE)
        .await;
    assert_eq!(line["span"]["correlation_id"], id.as_str());

    // Of a caller that nothing is known of, there is no trace at all.
    let mark = collector.spans().len();
    call_with(&platform, "no-token", &given).await;
    let body = platform.body();
    platform.call(&platform.token(), &body).await;
    collector.trace_of(correlation_id(&body)).await;
    let own = correlation_id(&body).replace('-', "");
    assert!(collector.spans()[mark..].iter().all(|span| span.trace == own));
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_leave_no_spans() {
    let collector = Collector::start(Health::Well).await;
    let platform = Platform::start_with(&collector.config(), "", ECHO).await;
    let body = platform.body();
    for (url, token) in [
        (platform.url(), "no-token".to_owned()),
        (platform.url_of("contoso", "nowhere"), platform.token()),
        (platform.url_of("nobody", "claims"), platform.token()),
    ] {
        let request = platform.http.post(url).bearer_auth(token).json(&body);
        assert!(request.send().await.unwrap().status().is_client_error());
    }
    // Who is known and says what nobody understands is traced.
    let refused = platform.call(&platform.token(), &json!({})).await;
    assert_eq!(refused.status(), 400);
    eventually("the refusal is traced", async || {
        collector.spans().iter().any(|span| span.name == "callout")
    })
    .await;
    let spans = collector.spans();
    assert_eq!(
        only(&spans, "callout").attributes["claimsmith.outcome"],
        "invalid_request"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn header_fields_are_secrets_by_reference() {
    let collector = Collector::start(Health::Well).await;
    let stage = claimsmith_tests::Stage::new().await;
    std::fs::write(stage.file("otlp-token"), "Bearer of-the-collector\n").unwrap();
    let host = collector.config() + "telemetry.traces.headers = { authorization = \"file:otlp-token\" }";
    let stage = stage.host_config(&host);
    let toml = format!(
        "{}\n[extensions.claims]\nevent = \"tokenIssuanceStart\"\naudiences = {}\n{ECHO}",
        claimsmith_tests::world::directories_toml(&stage.entra),
        claimsmith_tests::world::audiences_toml(),
    );
    let platform = stage.tenant("contoso", &toml).start().await;
    assert_eq!(platform.callout().await.0, 200);
    eventually("spans are sent", async || !collector.headers().is_empty()).await;
    assert_eq!(collector.headers()[0]["authorization"], "Bearer of-the-collector");
    let told = Value::from(platform.host.log()).to_string();
    assert!(!told.contains("of-the-collector"));

    std::fs::remove_file(platform.directory.path().join("otlp-token")).unwrap();
    let (status, errors) = claimsmith_tests::Host::fail_to_start(platform.directory.path()).await;
    assert!(!status.success());
    let expected = "telemetry.traces.headers.authorization: file:otlp-token cannot be read";
    assert!(errors.contains(expected), "{errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_collector_does_callouts_are_answered() {
    let spans = |result: &str| format!("result=\"{result}\"");
    // Nobody listens there.
    let absent = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let refusing = Collector::start(Health::Refuses).await;
    for host in [otlp::config(absent), refusing.config()] {
        let platform = Platform::start_with(&host, "", ECHO).await;
        for _ in 0..20 {
            assert_eq!(platform.callout().await.0, 200);
        }
        eventually("failures are counted", async || {
            platform
                .metric("claimsmith_trace_spans_total", &[&spans("failed")])
                .await
                >= 100.0
        })
        .await;
        let tells = |line: &Value| {
            line["message"]
                .as_str()
                .is_some_and(|text| text.starts_with("traces cannot be sent"))
        };
        platform.host.log_line("the operator is told", tells).await;
        let log = platform.host.log();
        let told: Vec<_> = log.iter().filter(|line| tells(line)).collect();
        assert_eq!(told.len(), 1);
        assert!(
            told[0]["endpoint"].as_str().unwrap().ends_with("/v1/traces"),
            "{}",
            told[0]
        );
        let why = told[0].to_string();
        assert!(why.contains("refused") || why.contains("status code"), "{why}");
    }

    // One that hangs holds a request; what does not fit the queue meanwhile is dropped.
    let hanging = Collector::start(Health::Hangs).await;
    let host = hanging.config() + "telemetry.traces.queue_length = 512";
    let platform = Platform::start_with(&host, "", ECHO).await;
    eventually("a request hangs, and spans are dropped", async || {
        for _ in 0..100 {
            assert_eq!(platform.callout().await.0, 200);
        }
        let dropped = platform
            .metric("claimsmith_trace_spans_total", &[&spans("dropped")])
            .await;
        dropped > 0.0 && !hanging.headers().is_empty()
    })
    .await;
    eventually("it is given up", async || {
        platform
            .metric("claimsmith_trace_spans_total", &[&spans("failed")])
            .await
            > 0.0
    })
    .await;
    hanging.set_health(Health::Well);
    eventually("traces are sent again", async || {
        assert_eq!(platform.callout().await.0, 200);
        platform.metric("claimsmith_trace_spans_total", &[&spans("sent")]).await > 0.0
    })
    .await;
    let is_told = |line: &Value| line["message"] == "traces can be sent again";
    platform.host.log_line("the end of it", is_told).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_is_sent_at_the_end() {
    let collector = Collector::start(Health::Well).await;
    let mut platform = Platform::start_with(&collector.config(), "", ECHO).await;
    let body = platform.body();
    platform.call(&platform.token(), &body).await;
    platform.host.terminate();
    assert!(platform.host.ended().await.success());
    let id = correlation_id(&body);
    let is_callout = |span: &Span| span.attributes.get("claimsmith.correlation_id").map(String::as_str) == Some(id);
    assert!(collector.spans().iter().any(is_callout));
}
