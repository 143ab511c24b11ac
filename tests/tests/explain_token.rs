//! `claimsmith explain-token`: why a token is accepted or refused, and what to do.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::allow_attributes,
    reason = "a test fails by panicking"
)]

use claimsmith_local_entra::{SignWith, SigningKey, TokenRequest};
use claimsmith_tests::world::{self, DIRECTORY, EXTENSION, EXTENSION_V1, EXTERNAL_DIRECTORY};
use claimsmith_tests::{Documents, Ended, Mood, Stage, Trap, run};
use serde_json::{Value, json};

/// Every check, in the order in which they are printed.
const CHECKS: [&str; 12] = [
    "form",
    "algorithm",
    "issuer",
    "key",
    "signature",
    "expiry",
    "not before",
    "directory",
    "audience",
    "version",
    "own token",
    "caller",
];

/// An application of the tenant's own.
const OWN_APPLICATION: &str = "0d1e0001-0000-4000-8000-0000000000a1";

/// A host's configuration, and the way to the documents that it names. No host runs.
struct Desk {
    stage: Stage,
    documents: Documents,
}

impl Desk {
    async fn new() -> Self {
        let (entra, documents) = Documents::start(world::config(), Mood::Serve).await;
        let stage = Stage::with(entra);
        let accept_callers = format!("accept_callers = [\"{OWN_APPLICATION}\"]");
        let toml = [
            world::directories_toml(&stage.entra),
            world::extension_toml("claims", "", "misbehaving", ""),
            world::extension_toml("diagnosis", &accept_callers, "misbehaving", ""),
        ]
        .concat();
        let stage = stage.tenant("contoso", &toml);
        Self { stage, documents }
    }

    fn good(&self) -> TokenRequest {
        let directory = self.stage.entra.directory(DIRECTORY).unwrap();
        directory.callout_token(EXTENSION).unwrap()
    }

    fn mint(&self, request: &TokenRequest) -> String {
        self.stage.entra.directory(DIRECTORY).unwrap().mint(request).unwrap()
    }

    /// Runs the command for `contoso/claims` with these further arguments and this standard input.
    async fn explain(&self, arguments: &[&str], input: &str) -> Ended {
        self.explain_for("contoso/claims", arguments, input).await
    }

    async fn explain_for(&self, extension: &str, arguments: &[&str], input: &str) -> Ended {
        let command = ["explain-token", "--extension", extension];
        run(self.stage.directory.path(), &[&command[..], arguments].concat(), input).await
    }
}

/// What `--json` prints.
fn checks(ended: &Ended) -> Vec<Value> {
    let Value::Array(checks) = serde_json::from_str(&ended.output).unwrap() else {
        panic!("an array: {}", ended.output);
    };
    let names: Vec<_> = checks.iter().map(|check| check["check"].as_str().unwrap()).collect();
    assert_eq!(names, CHECKS);
    checks
}

/// The one check that failed, of those that `--json` printed.
fn failed(ended: &Ended) -> Value {
    let failed: Vec<_> = checks(ended)
        .into_iter()
        .filter(|check| check["passed"] == false)
        .collect();
    let [failed] = &failed[..] else {
        panic!("one check fails: {failed:?}");
    };
    failed.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_token_passes_every_check() {
    let desk = Desk::new().await;
    let token = desk.mint(&desk.good());
    let copies = [
        token.clone(),
        format!("Bearer {token}"),
        format!("  bearer   {token}\r\n"),
        format!("Authorization: Bearer {token}\n"),
        format!("authorization: {token}"),
    ];
    for copy in copies {
        for (arguments, input) in [(vec![], copy.as_str()), (vec![copy.as_str()], "")] {
            let ended = desk.explain(&arguments, input).await;
            assert_eq!(ended.code, 0, "{copy}: {ended:?}");
            let lines: Vec<_> = ended.output.lines().collect();
            assert_eq!(lines.len(), CHECKS.len(), "{ended:?}");
            for (line, check) in lines.iter().zip(CHECKS) {
                assert!(line.starts_with(&format!("ok      {check} ")), "{line}");
            }
        }
    }
    // Copied without quotes.
    let ended = desk.explain(&["Authorization:", "Bearer", &token], "").await;
    assert_eq!(ended.code, 0, "{ended:?}");
    let v1 = desk
        .stage
        .entra
        .directory(DIRECTORY)
        .unwrap()
        .callout_bearer(EXTENSION_V1);
    let ended = desk.explain(&["--json"], &v1.unwrap()).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    for check in checks(&ended) {
        assert_eq!(
            (&check["passed"], &check["outcome"]),
            (&json!(true), &Value::Null),
            "{check}"
        );
    }
    // A diagnostic caller is accepted where it is listed, and told from Entra.
    let own = desk.mint(&desk.good().claim("azp", OWN_APPLICATION));
    let ended = desk.explain_for("contoso/diagnosis", &[], &own).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    let line = ended.output.lines().last().unwrap();
    assert!(
        line.contains(OWN_APPLICATION) && line.contains("accept_callers"),
        "{line}"
    );
    assert_eq!(desk.explain(&[], &own).await.code, 1);
}

/// A token with one mistake, and what is said of it.
struct Bad {
    request: TokenRequest,
    /// The check that fails.
    check: &'static str,
    /// How a callout with the token ends.
    outcome: &'static str,
    /// What the message holds: what was found, what was expected, what to do.
    words: [String; 3],
}

fn bad(request: TokenRequest, check: &'static str, outcome: &'static str, words: [&str; 3]) -> Bad {
    Bad {
        request,
        check,
        outcome,
        words: words.map(str::to_owned),
    }
}

fn badly_made(desk: &Desk) -> Vec<Bad> {
    let good = || desk.good();
    let foreign = SignWith::Foreign(Box::new(SigningKey::generate().unwrap()));
    let unsigned = good().sign_with(SignWith::Nothing);
    let kid = good().header["kid"].as_str().unwrap().to_owned();
    let resource = good().claims["aud"].as_str().unwrap().to_owned();
    let signature = [kid.as_str(), "does not verify", "get a new one"];
    let none = ["\"none\"", "[RS256]", "not Entra's"];
    let malformed = |request, found, expected| {
        let words = [found, expected, "take it whole, as it was sent"];
        bad(request, "form", "token_malformed", words)
    };
    let unknown = ["nobody", kid.as_str(), "ciamlogin.com"];
    vec![
        bad(
            unsigned.clone().header("alg", "none"),
            "algorithm",
            "token_algorithm",
            none,
        ),
        bad(good().header("kid", "nobody"), "key", "token_unknown_key", unknown),
        bad(unsigned, "signature", "token_signature", signature),
        bad(good().sign_with(foreign), "signature", "token_signature", signature),
        malformed(good().claim("exp", "soon"), "exp is a string", "seconds since 1970"),
        malformed(
            good().claim("aud", json!([resource])),
            "aud is an array",
            "expected a string",
        ),
        malformed(good().without_claim("tid"), "no tid", "its payload"),
        malformed(good().header("crit", json!(["exp"])), "crit", "without it"),
        malformed(
            good().header("typ", "logout+jwt"),
            "logout+jwt",
            "expected JWT or at+jwt",
        ),
    ]
}

fn for_others(desk: &Desk) -> Vec<Bad> {
    let good = || desk.good();
    let known = |name: &str| good().claims[name].as_str().unwrap().to_owned();
    let (issuer, resource, caller) = (known("iss"), known("aud"), known("azp"));
    let (own_tid, other_tid) = (DIRECTORY.to_string(), EXTERNAL_DIRECTORY.to_string());
    let foreign_issuer = ["https://login.example/", issuer.as_str(), "add the issuer"];
    let late = ["1700000000", "leeway of 60 s", "get a new token"];
    let early = ["4102444800", "leeway of 60 s", "time server"];
    let directory = [other_tid.as_str(), own_tid.as_str(), "add the other one"];
    let audience = ["api://other", resource.as_str(), "add it to the extension's audiences"];
    let version = ["3.0", "1.0 or 2.0", "no other is known"];
    let own = [OWN_APPLICATION, caller.as_str(), "accept_callers"];
    let nobody = ["azp is missing", caller.as_str(), "accept_callers"];
    let scope = ["scp is \"User.Read\"", "without scp", "client_credentials"];
    let of_user = ["idtyp is \"user\"", "idtyp app if any", "client_credentials"];
    let claim = |name: &str, value: Value| good().claim(name, value);
    vec![
        bad(
            claim("iss", json!(foreign_issuer[0])),
            "issuer",
            "token_issuer",
            foreign_issuer,
        ),
        bad(claim("exp", json!(1_700_000_000)), "expiry", "token_expired", late),
        bad(
            claim("nbf", json!(4_102_444_800_u64)),
            "not before",
            "token_not_yet_valid",
            early,
        ),
        bad(claim("tid", json!(other_tid)), "directory", "token_tenant", directory),
        bad(
            claim("aud", json!("api://other")),
            "audience",
            "token_audience",
            audience,
        ),
        bad(claim("ver", json!("3.0")), "version", "token_version", version),
        bad(claim("azp", json!(OWN_APPLICATION)), "caller", "token_caller", own),
        bad(good().without_claim("azp"), "caller", "token_caller", nobody),
        bad(claim("scp", json!("User.Read")), "own token", "token_caller", scope),
        bad(claim("idtyp", json!("user")), "own token", "token_caller", of_user),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_check_tells_what_was_found_what_was_expected_and_what_to_do() {
    let desk = Desk::new().await;
    for bad in badly_made(&desk).into_iter().chain(for_others(&desk)) {
        let (check, outcome) = (bad.check, bad.outcome);
        let token = desk.mint(&bad.request);
        let ended = desk.explain(&["--json"], &token).await;
        assert_eq!(ended.code, 1, "{ended:?}");
        assert!(
            ended
                .errors
                .ends_with("error: contoso/claims would refuse this token\n"),
            "{ended:?}"
        );
        let failed = failed(&ended);
        assert_eq!(
            (&failed["check"], &failed["outcome"]),
            (&json!(check), &json!(outcome)),
            "{failed}"
        );
        let message = failed["message"].as_str().unwrap();
        for words in bad.words {
            assert!(message.contains(&words), "{message} has no {words}");
        }

        let printed = desk.explain(&[&token], "").await;
        assert_eq!(printed.code, 1);
        let line = printed.output.lines().find(|line| line.starts_with("REFUSED")).unwrap();
        assert!(line.starts_with(&format!("REFUSED {check}")), "{line}");
        assert!(line.ends_with(&format!("{message} [{outcome}]")), "{line}");
        for ended in [ended, printed] {
            assert_no_secrets(&ended, &token);
        }
    }
}

/// Neither the payload nor the signature is printed: output ends up in tickets.
fn assert_no_secrets(ended: &Ended, token: &str) {
    for part in token.split('.').filter(|part| part.len() > 20) {
        assert!(!ended.output.contains(part), "{ended:?}");
        assert!(!ended.errors.contains(part), "{ended:?}");
    }
}

/// Checks that do not depend on the one that failed are run all the same.
#[tokio::test(flavor = "multi_thread")]
async fn everything_that_is_wrong_is_said_at_once() {
    let desk = Desk::new().await;
    let request = desk.good().header("alg", "PS256").header("kid", "nobody");
    let request = request
        .claim("exp", 1)
        .claim("aud", "x")
        .claim("ver", "3.0")
        .claim("tid", "x")
        .claim("scp", "x");
    let ended = desk.explain(&["--json"], &desk.mint(&request)).await;
    let passed: Vec<_> = checks(&ended).iter().map(|check| check["passed"].as_bool()).collect();
    let (ok, refused, not_run) = (Some(true), Some(false), None);
    assert_eq!(
        passed,
        [
            ok, refused, ok, refused, not_run, refused, ok, refused, refused, refused, refused, not_run
        ]
    );

    // What cannot be read at all is one failure and one line for the rest.
    for text in ["garbage", "a.b", "Bearer x", "a.b.c.d.e", "a.b.c"] {
        let ended = desk.explain(&[], text).await;
        assert_eq!(ended.code, 1, "{text}");
        let lines: Vec<_> = ended.output.lines().collect();
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].starts_with("REFUSED form"), "{lines:?}");
        assert!(lines[1].starts_with("-       algorithm, issuer, key"), "{lines:?}");
        let ended = desk.explain(&["--json"], text).await;
        assert_eq!(failed(&ended)["outcome"], "token_malformed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_configured_documents_are_asked_and_never_told_the_token() {
    let desk = Desk::new().await;
    let trap = Trap::set().await;
    let foreign = SigningKey::generate().unwrap();
    let url = trap.url("/keys");
    let request = desk.good().claim("iss", trap.url("/v2.0")).header("jku", url.as_str());
    let request = request.header("x5u", url.as_str()).header("kid", url.as_str());
    let token = desk.mint(&request.sign_with(SignWith::Foreign(Box::new(foreign))));
    for arguments in [&["--json"][..], &[]] {
        assert_eq!(desk.explain(arguments, &token).await.code, 1);
    }
    assert_eq!(trap.connections(), 0);
    let received = desk.documents.received();
    assert!(received.contains(".well-known/openid-configuration"));
    for part in token.split('.') {
        assert!(!received.contains(part), "{received}");
    }
    assert!(!received.to_ascii_lowercase().contains("authorization:"), "{received}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_cannot_be_fetched_are_not_the_tokens_fault() {
    let desk = Desk::new().await;
    desk.documents.set_mood(Mood::Refuse);
    let ended = desk.explain(&["--json"], &desk.mint(&desk.good())).await;
    assert_eq!(ended.code, 1);
    let failed = failed(&ended);
    assert_eq!(
        (&failed["check"], &failed["outcome"]),
        (&json!("key"), &json!("keys_unavailable"))
    );
    let message = failed["message"].as_str().unwrap();
    for words in [
        ".well-known/openid-configuration",
        "did not answer",
        "check the directory's metadata URL",
    ] {
        assert!(message.contains(words), "{message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistake_in_the_command_is_told() {
    let desk = Desk::new().await;
    let token = desk.mint(&desk.good());
    for (extension, words) in [
        ("claims", "takes `tenant/extension`"),
        (
            "contoso/loyalty",
            "there is no extension `loyalty`; there is: claims, diagnosis",
        ),
        ("fabrikam/claims", "tenants/fabrikam/tenant.toml"),
    ] {
        let ended = desk.explain_for(extension, &[], &token).await;
        assert_eq!((ended.code, ended.output.as_str()), (1, ""), "{extension}");
        assert!(ended.errors.contains(words), "{}", ended.errors);
    }
    for nothing in ["", " \n", "Bearer", "Authorization: Bearer "] {
        let ended = desk.explain(&[], nothing).await;
        assert_eq!((ended.code, ended.output.as_str()), (1, ""), "{nothing:?}: {ended:?}");
        assert!(ended.errors.contains("there is no token"), "{}", ended.errors);
    }
    let ended = run(desk.stage.directory.path(), &["explain-token"], &token).await;
    assert_eq!(ended.code, 2);
    assert!(ended.errors.contains("--extension"), "{}", ended.errors);
}
