//! Sends one-time codes by mail, in the user's language: by a mail server, or by the HTTP interface of a mail service.
//!
//! See the README for the settings.

mod http_service;
mod settings;
mod template;

use claimsmith_plugin::{Callout, OneTimeCode, Result, log};

use crate::settings::{Settings, Way};
use crate::template::Letter;

#[claimsmith_plugin::email_otp_send]
fn send(callout: &Callout, code: &OneTimeCode, settings: &Settings) -> Result<()> {
    let letter = Letter::write(callout, code, settings)?;
    log::debug!(language = letter.language.as_str(); "code written");
    match &settings.way {
        Way::Mail { upstream } => {
            let message = upstream.message(code.identifier());
            let message = message
                .subject(letter.subject)
                .text(letter.text)
                .language(letter.language);
            match letter.html {
                Some(html) => message.html(html),
                None => message,
            }
            .send()?;
        }
        Way::Http(service) => service.send(code.identifier(), &letter)?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use claimsmith_plugin::{Client, ErrorKind, ServicePrincipal, http, mail, settings};
    use serde_json::{Value, json};

    use super::*;

    const CODE: &str = "40718263";

    fn code() -> OneTimeCode {
        OneTimeCode::new("ada@example.org", CODE)
    }

    fn callout(locale: &str) -> Callout {
        Callout {
            client: Some(Client {
                locale: Some(locale.to_owned()),
                ..Client::default()
            }),
            client_service_principal: Some(ServicePrincipal {
                display_name: Some("Fish & <Chips>".to_owned()),
                ..ServicePrincipal::default()
            }),
            ..Callout::default()
        }
    }

    fn by_mail(more: &str) -> Settings {
        settings::read(&format!(
            r#"{{ "brand": "Contoso", "mail": {{ "upstream": "post" }} {more} }}"#
        ))
        .unwrap()
    }

    /// What is sent by mail: language, subject, text and HTML.
    fn sent(locale: &str, settings: &Settings) -> (String, String, String, String) {
        let outbox = Rc::new(RefCell::new(Vec::new()));
        let seen = Rc::clone(&outbox);
        let _post = mail::test::answer(move |message| {
            seen.borrow_mut().push(message.clone());
            Ok(())
        });
        send(&callout(locale), &code(), settings).unwrap();
        let sent = outbox.borrow_mut().pop().unwrap();
        assert_eq!((sent.upstream.as_str(), sent.to.as_str()), ("post", "ada@example.org"));
        let html = sent.html.as_ref().map_or_else(String::new, |html| html.to_string());
        let language = sent.language.clone().unwrap_or_default();
        (language, sent.subject.to_string(), sent.text.to_string(), html)
    }

    #[test]
    fn a_code_is_sent_in_the_language_of_the_page() {
        let (language, subject, text, html) = sent("de-at", &by_mail(""));
        assert_eq!((language.as_str(), subject.as_str()), ("de", "Ihr Code für Contoso"));
        assert!(text.contains(CODE) && text.contains("Fish & <Chips>"), "{text}");
        assert!(
            html.contains(CODE) && html.contains("Fish &amp; &lt;Chips&gt;"),
            "{html}"
        );
        assert!(!html.contains("<Chips>"), "{html}");
    }

    #[test]
    fn a_language_that_there_is_not_is_the_default_one() {
        assert_eq!(sent("fi-fi", &by_mail("")).0, "en");
        assert_eq!(sent("fi-fi", &by_mail(r#", "default_language": "fr""#)).0, "fr");
    }

    #[test]
    fn templates_of_the_team_replace_and_add_languages() {
        let settings = by_mail(
            r#", "templates": {
                "fi": { "subject": "Koodisi", "text": "{code} \\{brand\\}" },
                "en": { "subject": "{brand}: {code}", "text": "{code} for {email} at {application}" }
            }"#,
        );
        let sent_in = |locale| sent(locale, &settings);
        assert_eq!(
            sent_in("fi-FI"),
            (
                "fi".into(),
                "Koodisi".into(),
                format!("{CODE} {{brand}}"),
                String::new()
            )
        );
        assert_eq!(
            sent_in("en-gb"),
            (
                "en".into(),
                format!("Contoso: {CODE}"),
                format!("{CODE} for ada@example.org at Fish & <Chips>"),
                String::new()
            )
        );
        assert_eq!(sent_in("de").1, "Ihr Code für Contoso");
    }

    #[test]
    fn what_the_directory_calls_an_application_stays_on_the_subjects_line() {
        let settings = by_mail(r#", "templates": { "en": { "subject": "{application}", "text": "{code}" } }"#);
        let mut callout = callout("en");
        let principal = callout.client_service_principal.as_mut().unwrap();
        principal.display_name = Some("Shop\r\nBcc: eve@evil.example\u{2028}x".to_owned());
        let _post = mail::test::answer(|message| {
            assert_eq!(message.subject.as_str(), "Shop  Bcc: eve@evil.example x");
            Ok(())
        });
        send(&callout, &code(), &settings).unwrap();
    }

    #[test]
    fn a_code_that_cannot_be_sent_is_the_failure_that_it_is_and_tells_no_code() {
        for (error, kind) in [
            (mail::Error::DeadlineExceeded, ErrorKind::Unavailable),
            (mail::Error::Unavailable("no connection".into()), ErrorKind::Unavailable),
            (mail::Error::Refused("550 5.1.1".into()), ErrorKind::Rejected),
            (
                mail::Error::NotAllowed("not to this address".into()),
                ErrorKind::Rejected,
            ),
            (mail::Error::NotGranted("no upstream".into()), ErrorKind::Internal),
        ] {
            let _post = mail::test::answer(move |_| Err(error.clone()));
            let failed = send(&callout("en"), &code(), &by_mail("")).unwrap_err();
            assert_eq!(failed.kind(), kind, "{failed}");
            assert!(!failed.to_string().contains(CODE), "{failed}");
        }
    }

    #[test]
    fn a_mail_services_interface_is_given_what_the_settings_say() {
        let settings: Settings = settings::read(
            r#"{ "brand": "Contoso", "http": {
                "upstream": "mail-api", "path": "/v3/mail/send", "headers": { "x-stream": "codes" },
                "body": {
                    "to": [{ "email": "{to}" }], "tracking": false, "priority": 1,
                    "subject": "{subject}", "content": ["{text}", "{html}"], "language": "{language}"
                }
            }, "templates": { "en": { "subject": "\"{brand}\"", "text": "<{code}>\nBye" } } }"#,
        )
        .unwrap();
        for (status, expected) in [
            (202, None),
            (400, Some(ErrorKind::Rejected)),
            (422, Some(ErrorKind::Rejected)),
            (401, Some(ErrorKind::Internal)),
            (302, Some(ErrorKind::Internal)),
            (429, Some(ErrorKind::Unavailable)),
            (503, Some(ErrorKind::Unavailable)),
        ] {
            let _service = http::test::answer(move |request| {
                assert_eq!(
                    (request.upstream.as_str(), request.path.as_str()),
                    ("mail-api", "/v3/mail/send")
                );
                assert!(request.headers.contains(&("x-stream".into(), "codes".into())));
                let body: Value = serde_json::from_slice(request.body.as_ref().unwrap()).unwrap();
                let expected = json!({
                    "to": [{ "email": "ada@example.org" }], "tracking": false, "priority": 1,
                    "subject": "\"Contoso\"",
                    "content": [format!("<{CODE}>\nBye"), format!("&lt;{CODE}&gt;<br>\nBye")],
                    "language": "en"
                });
                assert_eq!(body, expected);
                Ok(http::Response::new(status))
            });
            let result = send(&callout("en"), &code(), &settings);
            assert_eq!(result.err().map(|error| error.kind()), expected, "{status}");
        }
    }
}
