//! Requests and the making of them.

use std::fmt;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Error, Response};
use crate::bindings::http as wit;

/// All but the unreserved characters of RFC 3986.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A request method. Which ones may be used, and on which paths, the upstream's configuration says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Method {
    /// `GET`
    Get,
    /// `HEAD`
    Head,
    /// `POST`
    Post,
    /// `PUT`
    Put,
    /// `PATCH`
    Patch,
    /// `DELETE`
    Delete,
    /// Another one, as it is sent.
    Other(String),
}

impl From<Method> for wit::Method {
    fn from(method: Method) -> Self {
        match method {
            Method::Get => Self::Get,
            Method::Head => Self::Head,
            Method::Post => Self::Post,
            Method::Put => Self::Put,
            Method::Patch => Self::Patch,
            Method::Delete => Self::Delete,
            Method::Other(name) => Self::Other(name),
        }
    }
}

/// A request as it goes to the host; tests get it.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Request {
    /// The upstream's name.
    pub upstream: String,
    /// The method.
    pub method: Method,
    /// The path below the upstream's URL, percent-encoded.
    pub path: String,
    /// The query, percent-encoded.
    pub query: Option<String>,
    /// Header fields.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Option<Vec<u8>>,
    /// How long it may take.
    pub timeout: Option<Duration>,
}

/// A request that is being made.
#[derive(Clone, Debug)]
#[must_use = "a request is sent by `send` or `json`"]
pub struct RequestBuilder {
    request: Request,
    /// The first thing that was wrong; told when the request is sent.
    wrong: Option<Error>,
}

impl RequestBuilder {
    pub(super) fn new(upstream: String, method: Method, path: String) -> Self {
        Self {
            request: Request {
                upstream,
                method,
                path,
                query: None,
                headers: Vec::new(),
                body: None,
                timeout: None,
            },
            wrong: None,
        }
    }

    /// Puts `value` in the place of `{name}` in the path, percent-encoded: whatever it is, it stays one segment.
    pub fn parameter(mut self, name: &str, value: impl fmt::Display) -> Self {
        let value = value.to_string();
        let place = format!("{{{name}}}");
        if !self.request.path.contains(&place) {
            self.note(format!("the path has no {place}"));
        } else if matches!(value.as_str(), "" | "." | "..") {
            self.note(format!("{place} cannot be `{value}`: it would be another path"));
        } else {
            let encoded = utf8_percent_encode(&value, RESERVED).to_string();
            self.request.path = self.request.path.replace(&place, &encoded);
        }
        self
    }

    /// Adds a parameter to the query, percent-encoded.
    pub fn query(mut self, name: &str, value: impl fmt::Display) -> Self {
        let query = self.request.query.get_or_insert_default();
        if !query.is_empty() {
            query.push('&');
        }
        let value = value.to_string();
        query.extend(utf8_percent_encode(name, RESERVED));
        query.push('=');
        query.extend(utf8_percent_encode(&value, RESERVED));
        self
    }

    /// Sets the whole query, which is percent-encoded already.
    pub fn query_text(mut self, query: impl Into<String>) -> Self {
        self.request.query = Some(query.into());
        self
    }

    /// Adds a header field. Credentials are the upstream's: the host refuses a plugin's.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.request.headers.push((name.into(), value.into()));
        self
    }

    /// Sets the body.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.request.body = Some(body.into());
        self
    }

    /// Sets the body to a value's JSON, and says so in `content-type`.
    pub fn json_body(mut self, body: &impl Serialize) -> Self {
        match serde_json::to_vec(body) {
            Ok(body) => self.body(body).header("content-type", "application/json"),
            Err(error) => {
                self.note(format!("the body cannot be written as JSON: {error}"));
                self
            }
        }
    }

    /// How long the call may take; the callout's remaining time is the most.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.request.timeout = Some(timeout);
        self
    }

    /// Sends the request and waits for the whole response, whatever its status.
    ///
    /// # Errors
    /// When there is no response.
    pub fn send(self) -> Result<Response, Error> {
        if let Some(wrong) = self.wrong {
            return Err(wrong);
        }
        let timeout = crate::deadline::at_most(self.request.timeout);
        crate::host::fetch(Request {
            timeout,
            ..self.request
        })
    }

    /// Sends the request and reads the JSON of a response whose status says success (2xx).
    ///
    /// # Errors
    /// As [`Self::send`], for another status, and when the body is not what `T` wants.
    pub fn json<T: DeserializeOwned>(self) -> Result<T, Error> {
        self.header("accept", "application/json")
            .send()?
            .error_for_status()?
            .json()
    }

    fn note(&mut self, wrong: String) {
        self.wrong.get_or_insert(Error::Invalid(wrong));
    }
}

impl From<Request> for wit::Request {
    fn from(request: Request) -> Self {
        let header = |(name, value)| wit::Header { name, value };
        Self {
            upstream: request.upstream,
            method: request.method.into(),
            path: request.path,
            query: request.query,
            headers: request.headers.into_iter().map(header).collect(),
            body: request.body,
            timeout_milliseconds: request
                .timeout
                .map(|timeout| u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX)),
        }
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Paths, queries and bodies hold what is known of people; a log is no place for that.
        formatter
            .debug_struct("Request")
            .field("upstream", &self.upstream)
            .field("method", &self.method)
            .finish_non_exhaustive()
    }
}
