//! Claims that Entra does not let a claims mapping policy emit (contract.md, section 4).

/// Entra's restricted claim set for JWTs, one name a line.
const NAMES: &str = include_str!("restricted_jwt_names.txt");
/// What restricted names may begin with.
const PREFIXES: [&str; 2] = ["xms_", "extn."];

/// Whether Entra refuses to emit a claim of this name in a JWT. The name is what a claims mapping policy has as
/// `JwtClaimType`; the id that an extension answers may be anything.
#[must_use]
pub fn is_restricted_jwt_claim(name: &str) -> bool {
    PREFIXES.iter().any(|prefix| name.starts_with(prefix)) || NAMES.lines().any(|restricted| restricted == name)
}

#[cfg(test)]
mod tests {
    use super::is_restricted_jwt_claim;

    #[test]
    fn names_and_prefixes_are_restricted() {
        for name in [".", "aud", "upn", "xms_anything", "extn.anything", "ztdid"] {
            assert!(is_restricted_jwt_claim(name), "{name}");
        }
        for name in ["", "loyalty_tier", "audience", "my_xms_"] {
            assert!(!is_restricted_jwt_claim(name), "{name}");
        }
    }
}
