//! What Entra checks before it sends anything: `numberOfAttempts` stays 0.

use url::{Host, Url};
use uuid::Uuid;

use super::{CalloutErrorCode, Failure};
use crate::config::ExtensionConfig;

/// Checks the target URL and the resource id, and returns the URL to call.
///
/// The host of the resource id must be the host of the target URL. For a loopback host, where every process has its own
/// port, a port in the resource id is allowed and ignored; otherwise a port makes the format wrong.
pub(super) fn precheck(extension: &ExtensionConfig, target_url: &str) -> Result<Url, Failure> {
    let url = check_target_url(target_url)?;
    let (host, app_id) = check_resource_id(&extension.resource_id, is_loopback(&url))?;
    if Some(host.as_str()) != url.host_str() {
        return Err(Failure::new(
            CalloutErrorCode::CustomExtensionDomainNameDoesNotMatch,
            format!(
                "the target URL's host is {}, the resource id {} names {host}",
                url.host_str().unwrap_or_default(),
                extension.resource_id
            ),
        ));
    }
    if app_id != extension.resource_app_id {
        return Err(Failure::new(
            CalloutErrorCode::CustomExtensionResourceServicePrincipalNotFound,
            format!(
                "the resource id ends with {app_id}, the resource application is {}",
                extension.resource_app_id
            ),
        ));
    }
    match extension.refused_with {
        Some(code) => Err(Failure::new(
            code,
            "set by `refused_with` in the extension's configuration",
        )),
        None => Ok(url),
    }
}

fn check_target_url(target_url: &str) -> Result<Url, Failure> {
    let refuse = |detail: String| Failure::new(CalloutErrorCode::CustomExtensionIncorrectTargetUrlFormat, detail);
    let url = Url::parse(target_url).map_err(|error| refuse(format!("the target URL is not a URL: {error}")))?;
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_loopback(&url) => Ok(url),
        "http" => Err(refuse(
            "the target URL is http; only a loopback host may use it, and only locally".to_owned(),
        )),
        scheme => Err(refuse(format!("the target URL's scheme is {scheme}, not https"))),
    }
}

/// The host and the application id of `api://{host}/{appId}`.
fn check_resource_id(resource_id: &str, port_allowed: bool) -> Result<(String, Uuid), Failure> {
    let refuse = || {
        Failure::new(
            CalloutErrorCode::CustomExtensionIncorrectResourceIdFormat,
            format!("the resource id is {resource_id}, not api://{{host of the target URL}}/{{app id}}"),
        )
    };
    let (host, app_id) = resource_id
        .strip_prefix("api://")
        .and_then(|rest| rest.split_once('/'))
        .ok_or_else(refuse)?;
    let app_id = Uuid::try_parse(app_id).map_err(|_| refuse())?;
    // The URL parser knows what a host is and normalises it the same way as the target URL.
    let parsed = Url::parse(&format!("http://{host}/")).map_err(|_| refuse())?;
    let plain = parsed.username().is_empty() && parsed.password().is_none() && parsed.path() == "/";
    // Not `parsed.port()`: it hides a port that is the scheme's default.
    let has_port = host.contains(':') && !host.ends_with(']');
    let host = parsed
        .host_str()
        .filter(|_| plain && (port_allowed || !has_port))
        .ok_or_else(refuse)?;
    Ok((host.to_owned(), app_id))
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(domain)) => domain == "localhost" || domain.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const APP: &str = "a1b2c3d4-0000-4000-8000-0000000000a1";

    fn check(target_url: &str, resource_id: &str) -> Result<(), u32> {
        let extension = ExtensionConfig {
            id: Uuid::nil(),
            target_url: String::new(),
            resource_app_id: APP.parse().unwrap(),
            resource_id: resource_id.replace("APP", APP),
            token_version: crate::config::TokenVersion::V2,
            timeout: 1000,
            maximum_retries: 1,
            refused_with: None,
        };
        precheck(&extension, target_url)
            .map(|_| ())
            .map_err(|failure| failure.code.code())
    }

    #[test]
    fn https_and_loopback_http_are_called() {
        for (target_url, resource_id) in [
            ("https://claims.example.org/x?code=y", "api://claims.example.org/APP"),
            ("https://Claims.Example.org:8443/x", "api://claims.EXAMPLE.org/APP"),
            ("http://127.0.0.1:4567/x", "api://127.0.0.1/APP"),
            ("http://127.0.0.1:4567/x", "api://127.0.0.1:80/APP"),
            ("http://localhost:4567/x", "api://localhost/APP"),
            ("http://shop.localhost/x", "api://shop.localhost/APP"),
            ("http://[::1]:1/x", "api://[::1]/APP"),
        ] {
            assert_eq!(check(target_url, resource_id), Ok(()), "{target_url} {resource_id}");
        }
    }

    #[test]
    fn each_wrong_registration_has_its_code() {
        for (target_url, resource_id, code) in [
            ("http://claims.example.org/x", "api://claims.example.org/APP", 1_003_020),
            ("ftp://claims.example.org/x", "api://claims.example.org/APP", 1_003_020),
            ("claims", "api://claims.example.org/APP", 1_003_020),
            ("https://claims.example.org/", "api://claims.example.org", 1_003_014),
            ("https://claims.example.org/", "api://APP", 1_003_014),
            (
                "https://claims.example.org/",
                "https://claims.example.org/APP",
                1_003_014,
            ),
            (
                "https://claims.example.org/",
                "api://claims.example.org/v1/APP",
                1_003_014,
            ),
            (
                "https://claims.example.org/",
                "api://claims.example.org:443/APP",
                1_003_014,
            ),
            ("https://claims.example.org/", "api://other.example.org/APP", 1_003_015),
            ("http://localhost/", "api://127.0.0.1/APP", 1_003_015),
            (
                "https://claims.example.org/",
                "api://claims.example.org/a1b2c3d4-0000-4000-8000-0000000000a2",
                1_003_016,
            ),
        ] {
            assert_eq!(check(target_url, resource_id), Err(code), "{target_url} {resource_id}");
        }
    }
}
