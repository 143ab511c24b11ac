//! Where attacks are tried: a host with three tenants, a trap for whoever follows what a token says, and an attacker
//! with a key and a certificate.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use claimsmith_local_entra::{Directory, EncryptionKey, SignWith, SigningKey, TokenRequest, TokenVersion};
use claimsmith_tests::world::{self, DIRECTORY, EXTENSION, EXTENSION_V1, EXTERNAL_DIRECTORY};
use claimsmith_tests::{Documents, Mood, Platform, Stage, Trap};
use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};

/// An application of the tenant's own, and the audience of the extension `other`.
pub(crate) const OWN_APPLICATION: &str = "0d1e0001-0000-4000-8000-0000000000a1";

/// The host, what it trusts, and what it must not touch.
pub(crate) struct Range {
    pub(crate) platform: Platform,
    pub(crate) documents: Documents,
    pub(crate) trap: Trap,
    pub(crate) attacker: Attacker,
}

/// A key that no directory publishes, and its certificate: base64 of its DER.
pub(crate) struct Attacker {
    pub(crate) key: SigningKey,
    pub(crate) certificate: String,
}

/// What is sent as `Authorization` to an extension, and how the callout must end.
pub(crate) struct Attack {
    name: String,
    tenant: &'static str,
    extension: &'static str,
    authorization: Vec<String>,
    outcome: &'static str,
}

impl Attack {
    /// A token sent to `contoso/claims`.
    pub(crate) fn new(name: impl Into<String>, token: impl AsRef<str>, outcome: &'static str) -> Self {
        let authorization = vec![format!("Bearer {}", token.as_ref())];
        Self::with_headers(name, authorization, outcome)
    }

    /// Any `Authorization` headers sent to `contoso/claims`.
    pub(crate) fn with_headers(name: impl Into<String>, authorization: Vec<String>, outcome: &'static str) -> Self {
        Self {
            name: name.into(),
            tenant: "contoso",
            extension: "claims",
            authorization,
            outcome,
        }
    }

    /// The same sent elsewhere.
    pub(crate) fn at(self, tenant: &'static str, extension: &'static str) -> Self {
        Self {
            tenant,
            extension,
            ..self
        }
    }
}

impl Range {
    pub(crate) async fn start() -> Self {
        Self::start_with("").await
    }

    /// With more of the host's configuration.
    pub(crate) async fn start_with(host_config: &str) -> Self {
        let (entra, documents) = Documents::start(world::config(), Mood::Serve).await;
        let stage = Stage::with(entra).host_config(host_config);
        let workforce = stage.entra.directory(DIRECTORY).unwrap();
        let external = stage.entra.directory(EXTERNAL_DIRECTORY).unwrap();
        let contoso = [world::directories_toml(&stage.entra), extensions()].concat();
        let claims = world::extension_toml("claims", "", "misbehaving", "");
        let solo = [only_v2(workforce), claims.clone()].concat();
        let fabrikam = [world::directory_toml(external), claims].concat();
        let stage = stage.tenant("contoso", &contoso);
        let stage = stage.tenant("solo", &solo).tenant("fabrikam", &fabrikam);
        Self {
            platform: stage.start().await,
            documents,
            trap: Trap::set().await,
            attacker: Attacker::new(),
        }
    }

    pub(crate) fn directory(&self) -> &Directory {
        self.platform.directory()
    }

    pub(crate) fn external(&self) -> &Directory {
        self.platform.entra.directory(EXTERNAL_DIRECTORY).unwrap()
    }

    /// A good v2.0 token of the workforce directory, not signed yet.
    pub(crate) fn good(&self) -> TokenRequest {
        self.directory().callout_token(EXTENSION).unwrap()
    }

    /// A good v1.0 token of the workforce directory, not signed yet.
    pub(crate) fn good_v1(&self) -> TokenRequest {
        self.directory().callout_token(EXTENSION_V1).unwrap()
    }

    /// A good token, but for who signs it.
    pub(crate) fn signed_by(&self, key: &SigningKey) -> TokenRequest {
        self.good().sign_with(SignWith::Foreign(Box::new(key.clone())))
    }

    pub(crate) fn mint(&self, request: &TokenRequest) -> String {
        self.directory().mint(request).unwrap()
    }

    pub(crate) fn minted(&self, name: &str, request: &TokenRequest, outcome: &'static str) -> Attack {
        Attack::new(name, self.mint(request), outcome)
    }

    /// A token with these very bytes as header and payload, signed with the directory's key.
    pub(crate) fn raw(&self, header: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> String {
        self.encoded(&encode(header), &encode(payload))
    }

    /// A token with these very characters as header and payload, signed with the directory's key.
    pub(crate) fn encoded(&self, header: &str, payload: &str) -> String {
        let message = format!("{header}.{payload}");
        let signature = self.directory().current_key().sign(&message).unwrap();
        format!("{message}.{signature}")
    }

    /// Sends each attack: each is refused as it must be, nothing of its token is in the log, and nobody it names is
    /// asked. Afterwards a good token is still accepted.
    pub(crate) async fn refuses(&self, attacks: &[Attack]) {
        for attack in attacks {
            let body = self.platform.body();
            let mark = self.platform.host.log_mark();
            let request = self.request(attack.tenant, attack.extension, &attack.authorization);
            let response = request.json(&body).send().await.unwrap();
            self.assert_refused(attack, response, mark).await;
            assert_eq!(self.trap.connections(), 0, "{}: the host asked the trap", attack.name);
        }
        let good = self.mint(&self.good());
        self.accepts("claims", "a good token afterwards", &good).await;
        // What the host did not wait for would be there by now.
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(self.trap.connections(), 0, "the host asked the trap");
        for attack in attacks {
            self.assert_log_without_token(attack);
        }
    }

    async fn assert_refused(&self, attack: &Attack, response: Response, mark: usize) {
        let name = &attack.name;
        let line = self.platform.host.callout_line(mark).await;
        assert_eq!(line["outcome"], attack.outcome, "{name}: {line}");
        let refused = (&json!("callout refused"), &json!(401));
        assert_eq!((&line["message"], &line["status"]), refused, "{name}");
        let reason = line["reason"].as_str().unwrap();
        assert!(!reason.is_empty() && reason.len() < 1500, "{name}: {reason}");

        assert_eq!(response.status(), 401, "{name}");
        // Whether there was a token at all the caller knows; nothing else is told.
        let challenge = match attack.outcome {
            "token_missing" => "Bearer error=\"invalid_request\"",
            _ => "Bearer error=\"invalid_token\"",
        };
        assert_eq!(response.headers()["www-authenticate"], challenge, "{name}");
        assert_eq!(response.headers().get("content-type"), None, "{name}");
        assert_eq!(response.bytes().await.unwrap(), "", "{name}");
    }

    /// Neither the token nor its payload or signature: with the payload, anybody knows what to forge; with all, there is
    /// no need to.
    fn assert_log_without_token(&self, attack: &Attack) {
        let log: String = self.platform.host.log().iter().map(Value::to_string).collect();
        for value in &attack.authorization {
            let secrets = value.split([' ', '.', ',', '"', '\t']).filter(|part| part.len() > 20);
            for secret in secrets {
                assert!(!log.contains(secret), "{}: the log has {secret}", attack.name);
            }
        }
    }

    /// A request to an extension of any tenant, without a body yet.
    pub(crate) fn request(&self, tenant: &str, extension: &str, authorization: &[String]) -> RequestBuilder {
        let request = self.platform.http.post(self.platform.url_of(tenant, extension));
        let add = |request: RequestBuilder, value: &String| request.header("authorization", value);
        authorization.iter().fold(request, add)
    }

    /// A token is accepted by an extension of `contoso`.
    pub(crate) async fn accepts(&self, extension: &'static str, name: &str, token: &str) {
        self.accepts_at("contoso", extension, name, token).await;
    }

    /// A token is accepted by an extension of any tenant.
    pub(crate) async fn accepts_at(&self, tenant: &str, extension: &str, name: &str, token: &str) {
        let mark = self.platform.host.log_mark();
        let request = self.request(tenant, extension, &[format!("Bearer {token}")]);
        let response = request.json(&self.platform.body()).send().await.unwrap();
        let line = self.platform.host.callout_line(mark).await;
        assert_eq!(response.status(), 200, "{name}: {line}");
    }
}

impl Attacker {
    fn new() -> Self {
        let pair = EncryptionKey::generate().unwrap();
        let pem = pair.certificate_pem().unwrap();
        Self {
            key: SigningKey::from_pem(pair.private_key_pem().unwrap()).unwrap(),
            certificate: pem.lines().filter(|line| !line.starts_with('-')).collect(),
        }
    }
}

/// The extensions of `contoso`, which differ in what tokens they accept.
fn extensions() -> String {
    let algorithms = "algorithms = [\"RS256\", \"RS384\", \"RS512\", \"PS256\", \"ES256\"]";
    let other = world::extension_toml("other", "", "misbehaving", "");
    [
        world::extension_toml("claims", "", "misbehaving", ""),
        world::extension_toml("algorithms", algorithms, "misbehaving", ""),
        world::extension_toml("exact", "clock_leeway = \"0s\"", "misbehaving", ""),
        other.replace(&world::audiences_toml(), &format!("[\"{OWN_APPLICATION}\"]")),
    ]
    .concat()
}

/// A directory of which the tenant names the v2.0 document alone.
fn only_v2(directory: &Directory) -> String {
    let url = directory.metadata_url(TokenVersion::V2);
    format!(
        "[[directories]]\nid = \"{}\"\nmetadata = [{{ url = \"{url}\" }}]\n",
        directory.id()
    )
}

/// Base64url without padding.
pub(crate) fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The JSON text of a good token's header or claims.
pub(crate) fn text(members: &serde_json::Map<String, Value>) -> String {
    Value::Object(members.clone()).to_string()
}

/// A JSON object's text with one more member at its beginning.
pub(crate) fn with_member(object: &str, member: &str) -> String {
    object.replacen('{', &format!("{{{member},"), 1)
}

/// Seconds since 1970, and some more or less.
pub(crate) fn now(offset: i64) -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap() + offset
}
