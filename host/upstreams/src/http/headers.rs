//! Header fields: which ones a plugin may send, and which ones it is given.

use claimsmith_runtime::interface::http::Header;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

/// Fields of one request, and bytes of their names and values.
const MAX_FIELDS: usize = 64;
const MAX_BYTES: usize = 16 << 10;

/// What belongs to the connection (RFC 9110, section 7.6.1), to the client, or to the credentials; what proxies believe; and
/// what has servers take a request for another one than was allowed.
const NOT_A_PLUGINS: &[&str] = &[
    "authorization",
    "connection",
    "content-length",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "set-cookie",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-client-ip",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-url",
    "x-real-ip",
    "x-rewrite-url",
];

/// Whole families of such fields.
const NOT_A_PLUGINS_BEGIN: &[&str] = &["proxy-", "sec-", "x-forwarded-"];

/// What a plugin is not given of a response: it belongs to the connection, or is a secret between upstream and host.
const NOT_GIVEN: &[&str] = &[
    "alt-svc",
    "authentication-info",
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-connection",
    "set-cookie",
    "set-cookie2",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Whether a field is the host's to set.
pub(super) fn is_hosts(name: &str) -> bool {
    let name = as_read(name);
    let begins = |prefix: &&str| name.starts_with(*prefix);
    NOT_A_PLUGINS.contains(&name.as_str()) || NOT_A_PLUGINS_BEGIN.iter().any(begins)
}

/// A field's name as applications are given it by servers of the kind of CGI (RFC 3875, section 4.1.18), to which `_` and `-`
/// are the same.
fn as_read(name: &str) -> String {
    name.replace('_', "-")
}

/// The fields of a plugin's request. `own` are those that the upstream's configuration sets, its credentials' among them.
///
/// # Errors
/// What is wrong, for the plugin's author.
pub(super) fn of_request<'o>(
    fields: &[Header],
    own: impl IntoIterator<Item = &'o HeaderName>,
) -> Result<HeaderMap, String> {
    let bytes: usize = fields.iter().map(|field| field.name.len() + field.value.len()).sum();
    if fields.len() > MAX_FIELDS || bytes > MAX_BYTES {
        return Err(format!(
            "expected at most {MAX_FIELDS} headers of {MAX_BYTES} bytes together"
        ));
    }
    let own: Vec<_> = own.into_iter().map(|name| as_read(name.as_str())).collect();
    let mut headers = HeaderMap::with_capacity(fields.len() + own.len() + 2);
    for field in fields {
        let shown = field.name.escape_debug();
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| format!("`{shown}` is no header name"))?;
        if name.as_str().contains('_') {
            return Err(format!(
                "header `{shown}` has `_` in its name, which many servers take for `-` and so for another header: expected `-`"
            ));
        }
        if is_hosts(name.as_str()) || own.iter().any(|own| own == name.as_str()) {
            return Err(format!("header `{shown}` cannot be set by a plugin"));
        }
        let value = value(&field.value).ok_or_else(|| {
            format!("the value of header `{shown}` has something else than visible ASCII characters, spaces and tabs")
        })?;
        headers.append(name, value);
    }
    Ok(headers)
}

/// A value of visible ASCII characters, spaces and tabs: no line breaks, and nothing that is read differently by some.
pub(super) fn value(text: &str) -> Option<HeaderValue> {
    let fits = text.bytes().all(|byte| matches!(byte, b'\t' | b' '..=b'~'));
    HeaderValue::from_str(text).ok().filter(|_| fits)
}

/// What a plugin is given of a response's fields. Those that `connection` names belong to the connection too.
pub(super) fn of_response(headers: &HeaderMap) -> Vec<Header> {
    let named = |name: &HeaderName| {
        let connection = headers.get_all("connection").iter();
        connection
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|option| option.trim().eq_ignore_ascii_case(name.as_str()))
    };
    headers
        .iter()
        .filter(|(name, _)| !NOT_GIVEN.contains(&name.as_str()) && !named(name))
        .map(|(name, value)| Header {
            name: name.as_str().to_owned(),
            value: value.as_bytes().iter().copied().map(char::from).collect(),
        })
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::allow_attributes, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn field(name: &str, value: &str) -> Header {
        Header {
            name: name.to_owned(),
            value: value.to_owned(),
        }
    }

    #[test]
    fn a_plugin_cannot_set_what_is_the_hosts() {
        let own = [
            HeaderName::from_static("x-api-key"),
            HeaderName::from_static("x_tenant"),
        ];
        for name in [
            "Host",
            "AUTHORIZATION",
            "Transfer-Encoding",
            "X-Forwarded-For",
            "Proxy-Foo",
            "X-Api-Key",
            "a b",
            "",
        ] {
            assert!(of_request(&[field(name, "x")], &own).is_err(), "{name}");
        }
        for value in ["a\r\nb: c", "a\nb", "a\0", "ä", "\u{7f}"] {
            assert!(of_request(&[field("x-a", value)], &own).is_err(), "{value:?}");
        }
        for name in ["x_forwarded_for", "X_Api_Key", "x_a", "x-tenant"] {
            assert!(of_request(&[field(name, "x")], &own).is_err(), "{name}");
        }
        assert!(is_hosts("x_forwarded-for") && is_hosts("x_http_method_override"));
        let made = of_request(&[field("X-A", "1"), field("x-a", "2\t3 4")], &own).unwrap();
        assert_eq!(made.get_all("x-a").iter().count(), 2);
        let many: Vec<_> = (0..=MAX_FIELDS)
            .map(|number| field(&format!("x-{number}"), ""))
            .collect();
        assert!(of_request(&many, &own).is_err());
        assert!(of_request(&[field("x-a", &"a".repeat(MAX_BYTES))], &own).is_err());
    }

    #[test]
    fn a_plugin_is_not_given_what_is_the_connections() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Secret"),
            ("x-secret", "1"),
            ("set-cookie", "a=b"),
            ("etag", "\"1\""),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        headers.insert("x-name", HeaderValue::from_bytes(b"\xe4").unwrap());
        let mut given = of_response(&headers);
        given.sort_by(|a, b| a.name.cmp(&b.name));
        let given: Vec<_> = given
            .iter()
            .map(|field| (field.name.as_str(), field.value.as_str()))
            .collect();
        assert_eq!(given, [("etag", "\"1\""), ("x-name", "ä")]);
    }
}
