//! Passwords' hashes: argon2 (RFC 9106, as PHC string) and bcrypt.

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{Error as HashError, PasswordVerifier as _};
use argon2::{Argon2, Params};
use claimsmith_plugin::{Error, Result};

/// KiB of memory that an argon2 hash may need: no plugin has more than 64 MiB.
const MAX_ARGON2_KIB: u32 = 48 << 10;
/// Each step doubles the time; this one takes about a second.
const MAX_BCRYPT_COST: u32 = 14;

/// Whether a hash is that of a password.
///
/// # Errors
/// [`internal`](claimsmith_plugin::ErrorKind::Internal) when it is no hash, or one that takes more than a callout has.
/// Nothing of the hash is in it.
pub(crate) fn is_of(hash: &str, password: &str) -> Result<bool> {
    let hash = hash.trim();
    if hash.starts_with("$argon2") {
        return argon2(hash, password);
    }
    if ["$2a$", "$2b$", "$2x$", "$2y$"]
        .iter()
        .any(|begin| hash.starts_with(begin))
    {
        return bcrypt(hash, password);
    }
    Err(Error::internal(
        "the hash is of no kind that is known: expected argon2 as a PHC string ($argon2id$…), or bcrypt ($2b$…)",
    ))
}

fn argon2(hash: &str, password: &str) -> Result<bool> {
    let malformed = || Error::internal("the argon2 hash is malformed: expected a PHC string with salt and hash");
    let hash = PasswordHash::new(hash).map_err(|_| malformed())?;
    // Without them every password would be wrong.
    if hash.salt.is_none() || hash.hash.is_none() {
        return Err(malformed());
    }
    let needed = Params::try_from(&hash).map_err(|_| malformed())?.m_cost();
    if needed > MAX_ARGON2_KIB {
        return Err(Error::internal(format!(
            "the argon2 hash needs {needed} KiB of memory: expected at most {MAX_ARGON2_KIB}"
        )));
    }
    match Argon2::default().verify_password(password.as_bytes(), &hash) {
        Ok(()) => Ok(true),
        Err(HashError::PasswordInvalid) => Ok(false),
        Err(_) => Err(malformed()),
    }
}

fn bcrypt(hash: &str, password: &str) -> Result<bool> {
    let malformed = || Error::internal("the bcrypt hash is malformed: expected 60 characters such as $2b$12$…");
    let parts: bcrypt::HashParts = hash.parse().map_err(|_| malformed())?;
    let cost = parts.get_cost();
    if cost > MAX_BCRYPT_COST {
        return Err(Error::internal(format!(
            "the bcrypt hash has the cost {cost}: expected at most {MAX_BCRYPT_COST}"
        )));
    }
    bcrypt::verify(password, hash).map_err(|_| malformed())
}

#[cfg(test)]
mod tests {
    use super::is_of;

    #[test]
    fn hashes_of_other_tools_are_read() {
        // Of the reference implementation's tests. One needs 64 MiB, which no plugin has.
        let large = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        let error = is_of(large, "password").unwrap_err();
        assert!(error.to_string().contains("needs 65536 KiB"), "{error}");
        for hash in [
            "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
            "$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc",
        ] {
            assert_eq!(is_of(hash, "password"), Ok(true), "{hash}");
            assert_eq!(is_of(hash, "passwor"), Ok(false), "{hash}");
        }
        // Of the tests of Openwall's crypt_blowfish, which PHP and others use.
        for (hash, password) in [
            ("$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "U*U"),
            ("$2y$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW\n", "U*U"),
            ("$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "U*U"),
        ] {
            assert_eq!(is_of(hash, password), Ok(true), "{hash}");
            assert_eq!(is_of(hash, "U*V"), Ok(false), "{hash}");
        }
    }

    #[test]
    fn what_is_no_hash_is_a_mistake_that_tells_nothing_of_it() {
        for (hash, why) in [
            ("hunter2", "of no kind that is known"),
            ("", "of no kind that is known"),
            ("{SSHA}hunter2", "of no kind that is known"),
            ("$argon2id$hunter2", "argon2 hash is malformed"),
            ("$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ", "argon2 hash is malformed"),
            ("$argon2id$v=19$m=4194304,t=2,p=1$c29tZXNhbHQ$hunter2", "argon2 hash"),
            ("$2b$12$hunter2", "bcrypt hash is malformed"),
            (
                "$2b$31$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
                "the cost 31",
            ),
        ] {
            let error = is_of(hash, "hunter2").unwrap_err().to_string();
            assert!(error.contains(why) && !error.contains("hunter2"), "{hash}: {error}");
        }
    }
}
