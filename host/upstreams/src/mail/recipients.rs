//! Who gets mail.
//!
//! An address is taken in the one form that everybody on the way reads alike: a local part without quotes, and the name
//! of a domain. Servers that are told `"a>, <b"@example.org` do not agree on whom it is for.

use lettre::Address;
use url::Host;

/// RFC 5321, section 4.5.3.1.3, without the angle brackets.
const MAX_ADDRESS_BYTES: usize = 254;

/// An address that a message can be sent to, its domain as DNS has it.
///
/// # Errors
/// What is wrong, and nothing of the address.
pub(super) fn address(text: &str) -> Result<Address, &'static str> {
    let expected = "the recipient is not one mail address: expected a name, `@` and a domain (RFC 5321)";
    if text.len() > MAX_ADDRESS_BYTES {
        return Err("the recipient's address has more than 254 bytes (RFC 5321)");
    }
    let (local, domain) = text.rsplit_once('@').ok_or(expected)?;
    let is_odd = |character: char| character.is_control() || character.is_whitespace() || "\"\\@".contains(character);
    if local.contains(is_odd) {
        return Err(expected);
    }
    let domain = domain_name(domain).ok_or(expected)?;
    Address::new(local, domain).map_err(|_| expected)
}

/// A domain's name as DNS has it (IDNA); none of an address or a single label.
pub(super) fn domain_name(text: &str) -> Option<String> {
    match Host::parse(text) {
        Ok(Host::Domain(name)) if name.contains('.') && !text.contains('%') => Some(name),
        _ => None,
    }
}

/// To whom an upstream sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Recipients {
    Everybody,
    Only(Vec<Pattern>),
}

/// Some addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Pattern {
    /// All of a domain.
    Domain(String),
    /// All of the domains below one: its name after a dot.
    Below(String),
    /// One; its local part is compared without regard to case.
    Address(String),
}

impl Recipients {
    /// Whether it may be sent to an address.
    pub(super) fn allow(&self, to: &Address) -> bool {
        match self {
            Self::Everybody => true,
            Self::Only(patterns) => patterns.iter().any(|pattern| pattern.fits(to)),
        }
    }
}

impl Pattern {
    fn fits(&self, to: &Address) -> bool {
        match self {
            Self::Domain(domain) => to.domain() == domain,
            Self::Below(domain) => to.domain().ends_with(domain.as_str()),
            Self::Address(address) => to.to_string().eq_ignore_ascii_case(address),
        }
    }
}

impl std::str::FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // In an address a `*` is a letter like others, and nobody means that.
        let pattern = if text.contains('@') {
            let address = address(text).ok().filter(|_| !text.contains('*'));
            address.map(|address| Self::Address(address.to_string()))
        } else if let Some(domain) = text.strip_prefix("*.") {
            domain_name(domain).map(|domain| Self::Below(format!(".{domain}")))
        } else {
            domain_name(text).map(Self::Domain)
        };
        pattern.ok_or_else(|| {
            format!(
                "`{}`: expected a domain (`contoso.example`), the domains below one (`*.contoso.example`) or an address",
                text.escape_debug()
            )
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::allow_attributes, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_in_one_form() {
        for (text, expected) in [
            ("ada@example.org", "ada@example.org"),
            ("Ada.Lovelace+otp@Example.ORG", "Ada.Lovelace+otp@example.org"),
            ("o'hara@sub.example.org", "o'hara@sub.example.org"),
            ("ada@bücher.example", "ada@xn--bcher-kva.example"),
            ("åsa@example.org", "åsa@example.org"),
        ] {
            assert_eq!(address(text).unwrap().to_string(), expected);
        }
        for text in [
            "",
            "ada",
            "@example.org",
            "ada@",
            "ada@example",
            "ada@localhost",
            "ada@127.0.0.1",
            "ada@[127.0.0.1]",
            "ada@[IPv6:::1]",
            "ada@2130706433",
            "ada@0x7f.1",
            "ada@example.org\r\nRCPT TO:<eve@evil.example>",
            "ada\r\n@example.org",
            "ada\n@example.org",
            "ada\u{0}@example.org",
            "ada\u{85}@example.org",
            "ada\u{2028}@example.org",
            "ada @example.org",
            "ada@example.org ",
            "ada@example.org,eve@evil.example",
            "ada@example.org;eve@evil.example",
            "ada@example.org>, <eve@evil.example",
            "ada@example.org> BODY=8BITMIME",
            "<ada@example.org>",
            "Ada <ada@example.org>",
            "\"ada\"@example.org",
            "\"a>, <eve@evil.example\"@example.org",
            "@relay.example:ada@example.org",
            "eve@evil.example@example.org",
            "ada@exam%70le.org",
            "ada@example.org?subject=x",
            "ada@example.org#x",
            "ada@example..org",
            "ada..lovelace@example.org",
            ".ada@example.org",
            "ada@-example.org/",
        ] {
            assert!(address(text).is_err(), "{text:?}");
        }
        assert!(address(&format!("{}@example.org", "a".repeat(300))).is_err());
    }

    #[test]
    fn patterns_allow_what_they_say() {
        let only = |patterns: &[&str]| Recipients::Only(patterns.iter().map(|text| text.parse().unwrap()).collect());
        let allows = |patterns: &[&str], to: &str| only(patterns).allow(&address(to).unwrap());
        assert!(allows(&["Contoso.example"], "ada@contoso.EXAMPLE"));
        assert!(!allows(&["contoso.example"], "ada@mail.contoso.example"));
        assert!(!allows(&["contoso.example"], "ada@evilcontoso.example"));
        assert!(allows(&["*.contoso.example"], "ada@a.b.contoso.example"));
        assert!(!allows(&["*.contoso.example"], "ada@contoso.example"));
        assert!(!allows(&["*.contoso.example"], "ada@evilcontoso.example"));
        assert!(allows(&["ada@contoso.example"], "Ada@contoso.example"));
        assert!(!allows(&["ada@contoso.example"], "eve@contoso.example"));
        assert!(allows(&["bücher.example"], "ada@xn--bcher-kva.example"));
        assert!(!allows(&[], "ada@contoso.example"));
        for wrong in [
            "",
            "*",
            "*.",
            "example",
            "*@contoso.example",
            "con toso.example",
            "10.0.0.1",
        ] {
            assert!(wrong.parse::<Pattern>().is_err(), "{wrong}");
        }
    }
}
