//! Directories in native unit tests, where there is no host.
//!
//! ```
//! use claimsmith_plugin::directory::{self, Entry, directory};
//!
//! let _searches = directory::test::search(|search| {
//!     assert_eq!(search.argument("mail"), Some("ada@contoso.example"));
//!     Ok(vec![Entry::new("uid=ada,dc=contoso,dc=example").with("memberOf", ["cn=admins"])])
//! });
//! let _passwords = directory::test::authenticate(|credentials| Ok(*credentials.password == "right"));
//!
//! let corp = directory("corp");
//! let ada = corp.search("(mail={mail})").argument("mail", "ada@contoso.example").attributes(["memberOf"]).one()?.unwrap();
//! assert_eq!(ada.text("memberOf"), Some("cn=admins"));
//! assert!(!corp.authenticate(ada.dn(), "wrong")?);
//! # Ok::<(), claimsmith_plugin::Error>(())
//! ```

use std::cell::RefCell;
use std::fmt;

use super::{Authentication, Entry, Error, Search};

type Searching = Box<dyn FnMut(&Search) -> Result<Vec<Entry>, Error>>;
type Authenticating = Box<dyn FnMut(&Authentication) -> Result<bool, Error>>;

thread_local! {
    static SEARCH: RefCell<Option<Searching>> = const { RefCell::new(None) };
    static AUTHENTICATE: RefCell<Option<Authenticating>> = const { RefCell::new(None) };
}

/// Has `answer` answer all searches of this thread until what is returned is dropped.
#[must_use = "searches are answered until this is dropped"]
pub fn search(answer: impl FnMut(&Search) -> Result<Vec<Entry>, Error> + 'static) -> Answering {
    SEARCH.set(Some(Box::new(answer)));
    Answering(|| SEARCH.set(None))
}

/// Has `answer` say whether passwords are right, on this thread until what is returned is dropped.
#[must_use = "passwords are checked until this is dropped"]
pub fn authenticate(answer: impl FnMut(&Authentication) -> Result<bool, Error> + 'static) -> Answering {
    AUTHENTICATE.set(Some(Box::new(answer)));
    Answering(|| AUTHENTICATE.set(None))
}

/// Answers until it is dropped.
pub struct Answering(fn());

impl Drop for Answering {
    fn drop(&mut self) {
        (self.0)();
    }
}

impl fmt::Debug for Answering {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Answering")
    }
}

/// What a search is answered with; without a test's [`search`], what a binding without upstreams gets.
pub(crate) fn searched(search: &Search) -> Result<Vec<Entry>, Error> {
    // Taken out meanwhile: an answer may search itself, which nobody answers.
    let Some(mut answer) = SEARCH.take() else {
        return Err(not_granted(&search.upstream, "search"));
    };
    let answered = answer(search);
    SEARCH.set(Some(answer));
    answered
}

/// The same for credentials.
pub(crate) fn authenticated(authentication: &Authentication) -> Result<bool, Error> {
    let Some(mut answer) = AUTHENTICATE.take() else {
        return Err(not_granted(&authentication.upstream, "authenticate"));
    };
    let answered = answer(authentication);
    AUTHENTICATE.set(Some(answer));
    answered
}

fn not_granted(upstream: &str, function: &str) -> Error {
    Error::NotGranted(format!(
        "upstream `{upstream}`: there is no host; see `directory::test::{function}`"
    ))
}
