//! From what a plugin says to what is sent.

use std::sync::Arc;

use aws_lc_rs::{hmac, rand};
use claimsmith_runtime::interface::mail::{Error, Message};
use lettre::Address;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MessageBuilder, MultiPart, SinglePart};
use zeroize::Zeroizing;

/// Longer subjects are cut off by those who show them; RFC 5322 allows a line of 998 bytes before folding.
const MAX_SUBJECT_BYTES: usize = 400;
/// RFC 5646, section 4.4.1.
const MAX_LANGUAGE_BYTES: usize = 35;

/// What all messages of an upstream have in common.
pub(super) struct Composer {
    pub(super) from: Mailbox,
    pub(super) reply_to: Option<Mailbox>,
    pub(super) headers: Vec<HeaderValue>,
    pub(super) max_bytes: usize,
    pub(super) ids: MessageIds,
}

/// A message as it is sent, and its envelope.
pub(super) struct Letter {
    pub(super) from: Address,
    pub(super) to: Address,
    pub(super) content: Zeroizing<Vec<u8>>,
}

impl Composer {
    /// Makes a message of `trace`'s callout.
    ///
    /// # Errors
    /// What is wrong with what the plugin says.
    pub(super) fn compose(&self, message: &Message, to: Address, trace: u128) -> Result<Letter, Error> {
        self.check(message)?;
        let builder = lettre::Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to.clone()))
            .subject(message.subject.as_str())
            .date_now()
            .message_id(Some(self.ids.of(message, self.from.email.domain(), trace)))
            // RFC 3834, section 5: nobody's holiday notice answers it.
            .raw_header(header("Auto-Submitted", "auto-generated"));
        let own = self.headers.iter().cloned();
        let builder = own.fold(builder, MessageBuilder::raw_header);
        let builder = match &self.reply_to {
            Some(mailbox) => builder.reply_to(mailbox.clone()),
            None => builder,
        };
        let builder = match &message.language {
            Some(language) => builder.raw_header(header("Content-Language", language)),
            None => builder,
        };
        let text = SinglePart::plain(with_line_feeds(&message.text));
        let made = match &message.html {
            Some(html) => {
                let parts = MultiPart::alternative().singlepart(text);
                builder.multipart(parts.singlepart(SinglePart::html(with_line_feeds(html))))
            }
            None => builder.singlepart(text),
        };
        let made = made.map_err(|_| Error::Invalid("the message cannot be made of this".to_owned()))?;
        let mut content = Zeroizing::new(made.formatted());
        // The line end that stands before the dot is sent with it.
        let end = content.strip_suffix(b"\r\n").unwrap_or(&content).len();
        content.truncate(end);
        Ok(Letter {
            from: self.from.email.clone(),
            to,
            content,
        })
    }

    fn check(&self, message: &Message) -> Result<(), Error> {
        let invalid = |why: &str| Err(Error::Invalid(why.to_owned()));
        let subject = message.subject.as_str();
        if subject.trim().is_empty() {
            return invalid("the subject is empty");
        }
        if subject.len() > MAX_SUBJECT_BYTES {
            return invalid("the subject has more than 400 bytes");
        }
        // Line ends would begin another header field; those of Unicode do with readers that take them for ends.
        if subject.contains(|c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')) {
            return invalid("the subject has a line end or another control character: expected one line");
        }
        if !message.language.as_deref().is_none_or(is_language) {
            return invalid("the language is no tag such as `de` or `pt-BR` (RFC 5646)");
        }
        let html = message.html.as_ref().map_or(0, String::len);
        let bytes = subject.len() + message.text.len() + html;
        if bytes > self.max_bytes {
            let most = self.max_bytes;
            return Err(Error::TooLarge(format!(
                "the message has {bytes} bytes: expected at most {most}, the upstream's `max_bytes`"
            )));
        }
        Ok(())
    }
}

/// A text whose lines end with line feeds alone, which the builder makes line ends of. It leaves a carriage return by
/// itself, and servers that take that for a line end could be told that the message is over.
fn with_line_feeds(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n")
}

fn is_language(tag: &str) -> bool {
    let is_subtag = |part: &str| (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
    tag.len() <= MAX_LANGUAGE_BYTES && tag.split('-').all(is_subtag)
}

/// A header field whose name is a constant.
fn header(name: &'static str, value: &str) -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str(name), value.to_owned())
}

/// Makes `Message-ID`s.
///
/// Their first part is the callout's correlation id, so that what a mail server logs is found by what Entra's sign-in log
/// shows. Entra calls once more when an answer is late; the message of that call has the same id, by which mailboxes know
/// that they have it already.
pub(super) struct MessageIds(Arc<hmac::Key>);

impl MessageIds {
    /// Ids of an upstream, with a key of its own: a one-time code could be guessed from a digest without one.
    ///
    /// # Errors
    /// That the system has no random numbers.
    pub(super) fn new() -> Result<Self, String> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &rand::SystemRandom::new());
        let key = key.map_err(|_| "the system has no random numbers".to_owned())?;
        Ok(Self(Arc::new(key)))
    }

    fn of(&self, message: &Message, domain: &str, trace: u128) -> String {
        let mut tag = hmac::Context::with_key(&self.0);
        let html = message.html.as_deref().unwrap_or_default();
        for part in [&message.to, &message.subject, &message.text, html] {
            tag.update(&(part.len() as u64).to_le_bytes());
            tag.update(part.as_bytes());
        }
        let mut first = trace.to_be_bytes();
        // Callouts that no id is known of have nothing to be told apart by.
        if trace == 0 && rand::fill(&mut first).is_err() {
            first = [0; 16];
        }
        let tag = tag.sign();
        let tag = tag
            .as_ref()
            .iter()
            .take(8)
            .fold(0, |tag, byte| (tag << 8) | u64::from(*byte));
        format!("<{:032x}.{tag:016x}@{domain}>", u128::from_be_bytes(first))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::allow_attributes, reason = "a test fails by panicking")]
mod tests {
    use super::super::recipients::address;
    use super::*;

    fn composer() -> Composer {
        Composer {
            from: "Contoso <no-reply@contoso.example>".parse().unwrap(),
            reply_to: Some("Help <help@contoso.example>".parse().unwrap()),
            headers: vec![header("X-Stream", "codes")],
            max_bytes: 1_000,
            ids: MessageIds::new().unwrap(),
        }
    }

    fn message(subject: &str) -> Message {
        Message {
            upstream: "post".to_owned(),
            to: "ada@example.org".to_owned(),
            subject: subject.to_owned(),
            text: "Ihr Code für Contoso: 40718263\n".to_owned(),
            html: None,
            language: Some("de-CH".to_owned()),
            timeout_milliseconds: None,
        }
    }

    fn composed(composer: &Composer, message: &Message, trace: u128) -> Result<String, Error> {
        let letter = composer.compose(message, address(&message.to).unwrap(), trace)?;
        Ok(String::from_utf8(letter.content.to_vec()).unwrap())
    }

    #[test]
    fn a_message_has_the_header_fields_it_should() {
        let made = composed(&composer(), &message("Ihr Prüfcode"), 0xabc).unwrap();
        let head = made.split("\r\n\r\n").next().unwrap();
        for field in [
            "From: Contoso <no-reply@contoso.example>",
            "Reply-To: Help <help@contoso.example>",
            "To: ada@example.org",
            "Auto-Submitted: auto-generated",
            "Content-Language: de-CH",
            "X-Stream: codes",
            "MIME-Version: 1.0",
            "Content-Type: text/plain; charset=utf-8",
        ] {
            assert!(head.lines().any(|line| line == field), "{field}: {head}");
        }
        assert!(head.contains("Subject: Ihr =?utf-8?b?"), "{head}");
        assert!(
            head.contains("Message-ID: <00000000000000000000000000000abc."),
            "{head}"
        );
        assert!(head.contains("\nDate: ") && made.is_ascii(), "{made}");
    }

    #[test]
    fn the_same_message_of_the_same_callout_has_the_same_id_and_no_other_has_it() {
        let composer = composer();
        let id = |composer: &Composer, message: &Message, trace| {
            let made = composed(composer, message, trace).unwrap();
            made.lines()
                .find(|line| line.starts_with("Message-ID: "))
                .unwrap()
                .to_owned()
        };
        let first = id(&composer, &message("Code"), 7);
        assert_eq!(id(&composer, &message("Code"), 7), first);
        assert_ne!(id(&composer, &message("Code"), 8), first);
        assert_ne!(id(&composer, &message("Another"), 7), first);
        assert_ne!(id(&composer, &message("Code"), 0), id(&composer, &message("Code"), 0));
        let other = super::tests::composer();
        assert_ne!(id(&other, &message("Code"), 7), first, "the key is another");
    }

    #[test]
    fn no_header_field_is_smuggled_into_a_message() {
        for subject in [
            "",
            " ",
            "Code\r\nBcc: eve@evil.example",
            "Code\nBcc: eve@evil.example",
            "Code\rBcc: eve@evil.example",
            "Code\u{0}",
            "Code\u{b}",
            "Code\u{c}",
            "Code\u{85}Bcc: eve@evil.example",
            "Code\u{2028}Bcc: eve@evil.example",
            "Code\u{2029}Bcc: eve@evil.example",
            "Code\u{7f}",
        ] {
            let refused = composed(&composer(), &message(subject), 1);
            assert!(matches!(refused, Err(Error::Invalid(_))), "{subject:?}");
        }
        for language in [
            "",
            "de\r\nBcc: eve@evil.example",
            "de-",
            "d e",
            "de_DE",
            "abcdefghi",
            "ä",
        ] {
            let message = Message {
                language: Some(language.to_owned()),
                ..message("Code")
            };
            let refused = composed(&composer(), &message, 1);
            assert!(matches!(refused, Err(Error::Invalid(_))), "{language:?}");
        }
        let long = composed(&composer(), &message(&"x".repeat(401)), 1);
        assert!(matches!(long, Err(Error::Invalid(_))));
    }

    #[test]
    fn a_text_cannot_end_the_message_or_begin_another() {
        // As they are sent: a line with a single dot ends a message for servers that read bare line ends.
        for text in [
            "a\n.\nMAIL FROM:<eve@evil.example>",
            "a\r.\rMAIL FROM:<eve@evil.example>",
            "a\r\n.\r\nQUIT",
            "ä\n.\r\nQUIT",
        ] {
            let message = Message {
                text: text.to_owned(),
                ..message("Code")
            };
            let made = composed(&composer(), &message, 1).unwrap();
            let bare = made.replace("\r\n", "");
            assert!(!bare.contains(['\r', '\n']), "{made:?}");
        }
    }

    #[test]
    fn sizes_have_a_limit() {
        let message = Message {
            html: Some("x".repeat(1_000)),
            ..message("Code")
        };
        assert!(matches!(composed(&composer(), &message, 1), Err(Error::TooLarge(_))));
    }
}
