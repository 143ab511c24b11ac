//! Upstreams in native unit tests, where there is no host.
//!
//! ```
//! use claimsmith_plugin::http::{self, Method, Response};
//! use serde_json::{Value, json};
//!
//! let _crm = http::test::answer(|request| {
//!     assert_eq!((&request.method, request.path.as_str()), (&Method::Get, "/users/a%20b"));
//!     Ok(Response::new(200).with_json(&json!({ "tier": "gold" })))
//! });
//! let user: Value = http::upstream("crm").get("/users/{id}").parameter("id", "a b").json()?;
//! assert_eq!(user["tier"], "gold");
//! # Ok::<(), claimsmith_plugin::Error>(())
//! ```

use std::cell::RefCell;
use std::fmt;

use super::{Error, Request, Response};

type Answer = Box<dyn FnMut(&Request) -> Result<Response, Error>>;

thread_local! {
    static ANSWER: RefCell<Option<Answer>> = const { RefCell::new(None) };
}

/// Has `answer` answer all requests of this thread until what is returned is dropped.
#[must_use = "requests are answered until this is dropped"]
pub fn answer(answer: impl FnMut(&Request) -> Result<Response, Error> + 'static) -> Answering {
    ANSWER.set(Some(Box::new(answer)));
    Answering(())
}

/// Answers requests until it is dropped.
pub struct Answering(());

impl Drop for Answering {
    fn drop(&mut self) {
        ANSWER.set(None);
    }
}

impl fmt::Debug for Answering {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Answering")
    }
}

/// What a request is answered with; without a test's [`answer`], what a binding without upstreams gets.
pub(crate) fn fetch(request: &Request) -> Result<Response, Error> {
    // Taken out meanwhile: an answer may send requests of its own, which nobody answers.
    let answer = ANSWER.take();
    let Some(mut answer) = answer else {
        let why = format!(
            "upstream `{}`: there is no host; see `http::test::answer`",
            request.upstream
        );
        return Err(Error::NotGranted(why));
    };
    let answered = answer(request);
    ANSWER.set(Some(answer));
    answered
}
