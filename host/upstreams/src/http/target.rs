//! What may be asked of an upstream, and where a request goes.
//!
//! A path is taken only in the one form that everybody on the way reads alike: no segment that is `.` or `..` or empty, no
//! encoded separators, nothing unencoded that a URL cannot hold. So what the patterns allow is what the upstream is asked.

use std::str::FromStr;

use percent_encoding::percent_decode_str;
use reqwest::Method;
use url::Url;

/// Longer paths and queries are refused; servers take 8 KiB or less.
const MAX_TARGET_BYTES: usize = 8 << 10;

/// A method and the paths it may be used on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    method: Method,
    segments: Vec<Segment>,
    /// Whether the last segment was `**`.
    and_below: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Literal(Vec<u8>),
    Any,
}

impl FromStr for Rule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = "expected a method and a path pattern, such as \"GET /users/{id}\"";
        let (method, pattern) = text.split_once(' ').ok_or(expected)?;
        let method = self::method(method)?;
        let pattern = pattern.trim_start();
        let (pattern, and_below) = match pattern.strip_suffix("/**") {
            Some(above) => (above, true),
            None => (pattern, false),
        };
        let mut rule = Self {
            method,
            segments: Vec::new(),
            and_below,
        };
        if and_below && pattern.is_empty() {
            return Ok(rule);
        }
        let path = pattern.strip_prefix('/').ok_or(expected)?;
        for segment in path.split('/') {
            let is_name = segment.starts_with('{') && segment.ends_with('}');
            if !is_name && segment.contains(['*', '{', '}', '?', '#', '\\', '%']) {
                return Err(format!(
                    "`{segment}`: expected plain text, a whole `{{name}}`, or `**` at the end"
                ));
            }
            rule.segments.push(if is_name {
                Segment::Any
            } else {
                Segment::Literal(segment.as_bytes().to_vec())
            });
        }
        Ok(rule)
    }
}

impl Rule {
    /// Whether a path that [`check_path`] has accepted may be asked for so.
    fn allows(&self, method: &Method, path: &str) -> bool {
        if *method != self.method {
            return false;
        }
        let mut found = path.strip_prefix('/').unwrap_or(path).split('/');
        let fits = self.segments.iter().all(|expected| match (expected, found.next()) {
            (Segment::Any, Some(found)) => !found.is_empty(),
            (Segment::Literal(expected), Some(found)) => percent_decode_str(found).eq(expected.iter().copied()),
            (_, None) => false,
        });
        fits && (found.next().is_some() == self.and_below)
    }
}

/// Whether one of the rules allows it.
pub(super) fn is_allowed(rules: &[Rule], method: &Method, path: &str) -> bool {
    rules.iter().any(|rule| rule.allows(method, path))
}

/// A method that can be asked for.
pub(super) fn method(name: &str) -> Result<Method, String> {
    let is_name = !name.is_empty() && name.len() <= 24 && name.bytes().all(|byte| byte.is_ascii_uppercase());
    let method = Method::from_bytes(name.as_bytes()).ok().filter(|_| is_name);
    match method {
        Some(Method::CONNECT | Method::TRACE) | None => Err(format!(
            "`{}` is no method that can be used: expected one in upper case, such as GET",
            name.escape_debug()
        )),
        Some(method) => Ok(method),
    }
}

/// Whether a path has the one form that is taken.
pub(super) fn check_path(path: &str) -> Result<(), &'static str> {
    let Some(below) = path.strip_prefix('/') else {
        return Err("the path must begin with `/`");
    };
    if path.len() > MAX_TARGET_BYTES {
        return Err("the path is too long");
    }
    check_encoding(path, b"/:@")?;
    let last = below.split('/').count();
    for (index, segment) in below.split('/').enumerate() {
        let decoded: Vec<u8> = percent_decode_str(segment).collect();
        match decoded.as_slice() {
            [] if index + 1 < last => return Err("the path has an empty segment"),
            b"." | b".." => return Err("the path has a segment that leads elsewhere (`.` or `..`)"),
            // Some servers take what follows a `;` for no part of the segment.
            [b'.', b';', ..] | [b'.', b'.', b';', ..] => {
                return Err("the path has a segment that leads elsewhere (`.` or `..`)");
            }
            decoded if decoded.iter().any(|byte| matches!(byte, b'/' | b'\\' | 0..=31 | 127)) => {
                return Err("the path has an encoded `/`, `\\` or control character");
            }
            // Decoded twice, it would be what was refused above.
            decoded if decoded.windows(3).any(is_encoded_separator) => {
                return Err("the path has something that is encoded twice");
            }
            _ => {}
        }
    }
    Ok(())
}

fn is_encoded_separator(bytes: &[u8]) -> bool {
    let lower = bytes.to_ascii_lowercase();
    matches!(lower.as_slice(), b"%2f" | b"%5c" | b"%2e")
}

/// Whether a query has the one form that is taken.
pub(super) fn check_query(query: &str) -> Result<(), &'static str> {
    if query.len() > MAX_TARGET_BYTES {
        return Err("the query is too long");
    }
    check_encoding(query, b"/:@?")
}

/// RFC 3986: unreserved characters, sub-delimiters, encoded bytes, and `more`.
fn check_encoding(text: &str, more: &[u8]) -> Result<(), &'static str> {
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let fits = byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&byte) || more.contains(&byte);
        let mut is_encoded = || {
            let mut digit = || bytes.next().is_some_and(|byte| byte.is_ascii_hexdigit());
            digit() && digit()
        };
        if !(fits || byte == b'%' && is_encoded()) {
            return Err("it has a character that must be percent-encoded (RFC 3986)");
        }
    }
    Ok(())
}

/// The URL of a path and query that were accepted, below `base`.
pub(super) fn url(base: &Url, path: &str, query: Option<&str>) -> Result<Url, &'static str> {
    let whole = format!("{}{path}", base.path().trim_end_matches('/'));
    let mut url = base.clone();
    url.set_path(&whole);
    url.set_query(query);
    // Were it read otherwise, another path would be asked for than was allowed.
    if url.path() != whole || url.query() != query {
        return Err("it is not in the form that URLs have");
    }
    Ok(url)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::allow_attributes, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn allows(rule: &str, method: &str, path: &str) -> bool {
        let rule: Rule = rule.parse().unwrap();
        check_path(path).is_ok() && is_allowed(&[rule], &self::method(method).unwrap(), path)
    }

    #[test]
    fn patterns_allow_what_they_say() {
        assert!(allows("GET /users/{id}", "GET", "/users/7"));
        assert!(allows("GET /users/{id}", "GET", "/users/a%20b"));
        assert!(allows("GET /users", "GET", "/%75sers"));
        assert!(!allows("GET /users/{id}", "POST", "/users/7"));
        assert!(!allows("GET /users/{id}", "GET", "/users"));
        assert!(!allows("GET /users/{id}", "GET", "/users/"));
        assert!(!allows("GET /users/{id}", "GET", "/users/7/roles"));
        assert!(!allows("GET /users/{id}", "GET", "/Users/7"));
        assert!(allows("GET /v1/**", "GET", "/v1/a/b"));
        assert!(!allows("GET /v1/**", "GET", "/v1"));
        assert!(!allows("GET /v1/**", "GET", "/v2/a"));
        assert!(allows("QUERY /**", "QUERY", "/anything"));
        assert!(allows("GET /", "GET", "/"));
    }

    #[test]
    fn patterns_that_mean_nothing_are_refused() {
        for rule in [
            "/users",
            "GET users",
            "get /users",
            "GET /a*",
            "GET /{a}b",
            "GET /a?b",
            "TRACE /",
            "GET /**/a",
        ] {
            assert!(rule.parse::<Rule>().is_err(), "{rule}");
        }
    }

    #[test]
    fn paths_that_some_read_otherwise_are_refused() {
        for path in [
            "users",
            "",
            "//evil.example",
            "/a//b",
            "/..",
            "/a/../b",
            "/a/%2e%2e/b",
            "/a/.%2E",
            "/a%2fb",
            "/a%5Cb",
            "/a\\b",
            "/a b",
            "/a%",
            "/a%2",
            "/a%zz",
            "/a?b",
            "/a#b",
            "/a%00",
            "/a%0d%0a",
            "/a\r\nHost: x",
            "/ä",
            "/%252e%252e/x",
            "/a%252fb",
            "/..;/a",
            "/.;x",
        ] {
            assert!(check_path(path).is_err(), "{path}");
        }
        for path in [
            "/",
            "/a/",
            "/a.b/c..d",
            "/a;v=1",
            "/~ada",
            "/a%25b",
            "/user@example.org",
            "/%C3%A4",
        ] {
            assert!(check_path(path).is_ok(), "{path}");
        }
    }

    #[test]
    fn a_path_stays_below_the_base() {
        let base: Url = "https://crm.example/api/".parse().unwrap();
        let made = url(&base, "/users/7", Some("a=b")).unwrap();
        assert_eq!(made.as_str(), "https://crm.example/api/users/7?a=b");
    }
}
