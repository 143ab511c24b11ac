//! Mail servers in native unit tests, where there is no host.
//!
//! ```
//! use claimsmith_plugin::mail;
//!
//! let _post = mail::test::answer(|message| {
//!     assert_eq!((message.upstream.as_str(), message.to.as_str()), ("post", "ada@example.org"));
//!     assert!(message.text.contains("40718263"));
//!     Ok(())
//! });
//! mail::upstream("post").message("ada@example.org").subject("Code").text("It is 40718263.").send()?;
//! # Ok::<(), claimsmith_plugin::Error>(())
//! ```

use std::cell::RefCell;
use std::fmt;

use super::{Error, Message};

type Answer = Box<dyn FnMut(&Message) -> Result<(), Error>>;

thread_local! {
    static ANSWER: RefCell<Option<Answer>> = const { RefCell::new(None) };
}

/// Has `answer` take all messages of this thread until what is returned is dropped.
#[must_use = "messages are taken until this is dropped"]
pub fn answer(answer: impl FnMut(&Message) -> Result<(), Error> + 'static) -> Answering {
    ANSWER.set(Some(Box::new(answer)));
    Answering(())
}

/// Takes messages until it is dropped.
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

/// What becomes of a message; without a test's [`answer`], what a binding without upstreams gets.
pub(crate) fn send(message: &Message) -> Result<(), Error> {
    // Taken out meanwhile: an answer may send messages of its own, which nobody takes.
    let answer = ANSWER.take();
    let Some(mut answer) = answer else {
        let why = format!(
            "upstream `{}`: there is no host; see `mail::test::answer`",
            message.upstream
        );
        return Err(Error::NotGranted(why));
    };
    let answered = answer(message);
    ANSWER.set(Some(answer));
    answered
}
