//! The checks of a token's claims, each a plain function, in the order they are run.

use std::time::Duration;

use uuid::Uuid;

use crate::claims::Claims;
use crate::error::{TokenError, quoted};
use crate::policy::{Caller, Policy};

/// A check of claims whose signature by a key of the directory has been verified.
type Check = fn(&Claims, &Policy, Uuid, u64) -> Result<(), TokenError>;

/// The checks by name, in the order they are run.
pub(crate) const CHECKS: &[(&str, Check)] = &[
    ("expiry", |claims, policy, _, now| {
        not_expired(claims.exp, policy.leeway, now)
    }),
    ("not before", |claims, policy, _, now| {
        valid_already(claims, policy.leeway, now)
    }),
    ("directory", |claims, _, directory, _| of_directory(claims, directory)),
    ("audience", |claims, policy, _, _| for_audience(claims, policy)),
    ("version", |claims, _, _, _| of_known_version(claims)),
    ("own token", |claims, policy, _, _| of_application(claims, policy)),
    ("caller", |claims, policy, _, _| called_by(claims, policy).map(drop)),
];

/// Runs every check, and tells who called.
///
/// # Errors
/// The first check that fails.
pub(crate) fn check_claims(claims: &Claims, policy: &Policy, directory: Uuid, now: u64) -> Result<Caller, TokenError> {
    for (_, check) in CHECKS {
        check(claims, policy, directory, now)?;
    }
    called_by(claims, policy)
}

pub(crate) fn not_expired(exp: u64, leeway: Duration, now: u64) -> Result<(), TokenError> {
    if now < exp.saturating_add(leeway.as_secs()) {
        return Ok(());
    }
    Err(TokenError::Expired {
        exp,
        leeway: leeway.as_secs(),
        seconds_ago: now.saturating_sub(exp),
    })
}

fn valid_already(claims: &Claims, leeway: Duration, now: u64) -> Result<(), TokenError> {
    if claims.nbf <= now.saturating_add(leeway.as_secs()) {
        return Ok(());
    }
    Err(TokenError::NotYetValid {
        nbf: claims.nbf,
        leeway: leeway.as_secs(),
        seconds_ahead: claims.nbf.saturating_sub(now),
    })
}

fn of_directory(claims: &Claims, directory: Uuid) -> Result<(), TokenError> {
    if guid(&claims.tid) == Some(directory) {
        return Ok(());
    }
    Err(TokenError::Tenant {
        found: quoted(&claims.tid),
        expected: directory,
    })
}

fn for_audience(claims: &Claims, policy: &Policy) -> Result<(), TokenError> {
    if policy.audiences.contains(&claims.aud) {
        return Ok(());
    }
    Err(TokenError::Audience {
        found: quoted(&claims.aud),
        accepted: policy.audiences.clone(),
    })
}

fn of_known_version(claims: &Claims) -> Result<(), TokenError> {
    if matches!(claims.ver.as_str(), "1.0" | "2.0") {
        return Ok(());
    }
    Err(TokenError::Version {
        found: quoted(&claims.ver),
    })
}

/// A token that an application got for a user has `scp`, whoever the application is; `idtyp` says what a token is where it
/// is configured to be there.
fn of_application(claims: &Claims, policy: &Policy) -> Result<(), TokenError> {
    let scp = claims.scp.as_deref().map(|scp| ("scp", scp));
    let idtyp = claims.idtyp.as_deref().filter(|idtyp| *idtyp != "app");
    match scp.or(idtyp.map(|idtyp| ("idtyp", idtyp))) {
        Some((member, found)) if policy.app_only => Err(TokenError::UserToken {
            member,
            found: quoted(found),
        }),
        _ => Ok(()),
    }
}

/// `ver` chooses the member that names the caller. The other version's member is absent in Entra's tokens; one that
/// names somebody else makes the token ambiguous.
fn called_by(claims: &Claims, policy: &Policy) -> Result<Caller, TokenError> {
    let (appid, azp) = (("appid", claims.appid.as_deref()), ("azp", claims.azp.as_deref()));
    of_known_version(claims)?;
    let [(member, party), other] = if claims.ver == "1.0" {
        [appid, azp]
    } else {
        [azp, appid]
    };
    let refused = |member, found: Option<&str>, expected| TokenError::Caller {
        member,
        found: found.map_or_else(|| "missing".to_owned(), quoted),
        expected,
    };
    let Some(caller) = party.and_then(guid) else {
        return Err(refused(member, party, policy.caller));
    };
    if let (member, Some(party)) = other
        && guid(party) != Some(caller)
    {
        return Err(refused(member, Some(party), caller));
    }
    if caller == policy.caller {
        Ok(Caller::Entra)
    } else if policy.accept_callers.contains(&caller) {
        Ok(Caller::Diagnostic(caller))
    } else {
        Err(refused(member, party, policy.caller))
    }
}

/// A GUID in the only form that Entra writes, hyphenated; case does not count.
fn guid(text: &str) -> Option<Uuid> {
    let uuid = Uuid::try_parse(text).ok()?;
    uuid.hyphenated().to_string().eq_ignore_ascii_case(text).then_some(uuid)
}
