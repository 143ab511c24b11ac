//! Every check of a token with its result, for people: the manual comparison that Microsoft documents, made one command
//! (contract.md, section 7, R10).

use jsonwebtoken::Algorithm;
use serde::Serialize;
use tokio::time::Instant;

use crate::check::CHECKS;
use crate::claims::{Claims, Unverified};
use crate::error::{TokenError, quoted};
use crate::policy::{TokenPolicy, unix_now};

/// One check and how it ended.
#[derive(Clone, Debug, Serialize)]
pub struct Explained {
    /// The check.
    pub check: &'static str,
    /// Whether it passed; absent when it could not be run because an earlier one failed.
    pub passed: Option<bool>,
    /// The outcome's code that a callout with this token would end with; absent when it passed.
    pub outcome: Option<&'static str>,
    /// What was found, what was expected, and what to do.
    pub message: String,
}

impl Explained {
    fn of(check: &'static str, result: Result<String, &TokenError>) -> Self {
        match result {
            Ok(message) => Self {
                check,
                passed: Some(true),
                outcome: None,
                message,
            },
            Err(error) => Self {
                check,
                passed: Some(false),
                outcome: Some(error.outcome().code()),
                message: error.to_string(),
            },
        }
    }

    fn skipped(check: &'static str, message: &str) -> Self {
        Self {
            check,
            passed: None,
            outcome: None,
            message: message.to_owned(),
        }
    }
}

/// What is left to say of a token that cannot be read.
fn unreadable(error: &TokenError) -> Vec<Explained> {
    let rest = ["algorithm", "issuer", "key", "signature"].into_iter();
    let rest = rest.chain(CHECKS.iter().map(|(name, _)| *name));
    let skipped = rest.map(|name| Explained::skipped(name, "not run: the token could not be read"));
    std::iter::once(Explained::of("form", Err(error)))
        .chain(skipped)
        .collect()
}

impl TokenPolicy {
    /// Runs every check on a token and tells how each ended, also after one has failed. Waits for the documents' first
    /// fetch until `deadline`. The token goes nowhere.
    pub async fn explain(&self, token: &str, deadline: Instant) -> Vec<Explained> {
        for document in self.documents() {
            document.wait_for_fetch(deadline).await;
        }
        let unverified = match Unverified::parse(token) {
            Ok(unverified) => unverified,
            Err(error) => return unreadable(&error),
        };
        let form = format!("a JWT with kid {}", quoted(&unverified.kid));
        let algorithm = unverified.algorithm(&self.policy().algorithms);
        let mut explained = vec![
            Explained::of("form", Ok(form)),
            Explained::of(
                "algorithm",
                algorithm.as_ref().map(|algorithm| format!("alg is {algorithm:?}")),
            ),
        ];
        explained.extend(self.explain_signature(&unverified, algorithm.ok()));
        explained.extend(self.explain_claims(&unverified));
        explained
    }

    fn explain_signature(&self, unverified: &Unverified<'_>, algorithm: Option<Algorithm>) -> [Explained; 3] {
        let issuer = quoted(&unverified.claims.iss);
        let accepted = Explained::of("issuer", Ok(format!("iss is {issuer}")));
        let no_key = Explained::skipped("signature", "not run: there is no key to verify it with");
        let found = match self.find_key(unverified) {
            Ok(found) => found,
            Err(error @ TokenError::UnknownKey { .. }) => return [accepted, Explained::of("key", Err(&error)), no_key],
            Err(error @ TokenError::KeysUnavailable(_)) => {
                let no_document = "not run: a document that could name the issuer could not be fetched";
                return [
                    Explained::skipped("issuer", no_document),
                    Explained::of("key", Err(&error)),
                    no_key,
                ];
            }
            Err(error) => {
                let no_issuer = Explained::skipped("key", "not run: only keys of accepted issuers are looked for");
                return [Explained::of("issuer", Err(&error)), no_issuer, no_key];
            }
        };
        let key = Explained::of("key", Ok(format!("{} has it", found.document.url())));
        let signature = match algorithm.map(|algorithm| found.key.verify(unverified, algorithm)) {
            Some(verified) => {
                let verified = verified.as_ref().map(|()| "verifies with that key".to_owned());
                Explained::of("signature", verified)
            }
            None => Explained::skipped("signature", "not run: its algorithm is not allowed"),
        };
        [accepted, key, signature]
    }

    fn explain_claims(&self, unverified: &Unverified<'_>) -> Vec<Explained> {
        let claims = &unverified.claims;
        let now = unix_now();
        // Without a key, the directory that the token names itself is as good as any to compare with.
        let directory = self.find_key(unverified).map(|found| found.directory).ok();
        let named = || self.policy().directories.iter().map(|directory| directory.id);
        let directory = directory.or_else(|| named().find(|id| id.to_string().eq_ignore_ascii_case(&claims.tid)));
        let Some(directory) = directory.or_else(|| named().next()) else {
            return Vec::new();
        };
        let explain = |(name, check): &(&'static str, _)| {
            let check: &fn(&_, &_, _, _) -> Result<(), TokenError> = check;
            if *name == "caller" && !matches!(claims.ver.as_str(), "1.0" | "2.0") {
                return Explained::skipped(name, "not run: ver decides which member names the caller");
            }
            let result = check(claims, self.policy(), directory, now);
            let found = match *name {
                "expiry" => format!("exp {} is in {} s", claims.exp, claims.exp.saturating_sub(now)),
                "not before" => format!("nbf {} was {} s ago", claims.nbf, now.saturating_sub(claims.nbf)),
                "directory" => format!("tid is {}", quoted(&claims.tid)),
                "audience" => format!("aud is {}", quoted(&claims.aud)),
                "version" => format!("ver is {}", quoted(&claims.ver)),
                "own token" if !self.policy().app_only => "users' tokens are accepted too".to_owned(),
                "own token" => "an application got it for itself".to_owned(),
                _ => self.explain_caller(claims),
            };
            Explained::of(name, result.as_ref().map(|()| found))
        };
        CHECKS.iter().map(explain).collect()
    }
    /// Who called, of a token whose caller is accepted.
    fn explain_caller(&self, claims: &Claims) -> String {
        let (member, party) = if claims.ver == "1.0" {
            ("appid", &claims.appid)
        } else {
            ("azp", &claims.azp)
        };
        let party = party.as_deref().unwrap_or_default();
        let listed = if party.eq_ignore_ascii_case(&self.policy().caller.to_string()) {
            ""
        } else {
            ", which accept_callers lists: it may call for diagnosis, and each call is warned about"
        };
        format!("{member} is {}{listed}", quoted(party))
    }
}
