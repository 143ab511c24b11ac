use std::cell::Cell;
use std::rc::Rc;

use claimsmith_plugin::directory::{Entry, Error, test};
use claimsmith_plugin::sql;
use claimsmith_plugin::sql::test::Answer;
use claimsmith_plugin::sql::{Rows, Statement};
use claimsmith_plugin::{BlockPage, ErrorKind, settings::read};

use super::*;

const ADA: &str = "uid=ada,ou=people,dc=contoso,dc=example";
const RIGHT: &str = "correct horse";

fn with_directory(more: &str) -> Settings {
    let settings = format!(
        r#"{{ "directory": {{ "upstream": "corp", "filter": "(mail={{username}})", "base": "ou=people" }} {more} }}"#
    );
    read(&settings).unwrap()
}

fn with_database() -> Settings {
    read(r#"{ "database": { "upstream": "shop", "statement": "password_hash" } }"#).unwrap()
}

fn submit(settings: &Settings, username: &str, password: &str) -> Result<PasswordSubmit> {
    submit_password(&Callout::default(), &Credentials::new(username, password), settings)
}

/// A directory that knows Ada alone; how often it was asked for a password is counted.
fn corp() -> (test::Answering, test::Answering, Rc<Cell<u32>>) {
    let searches = test::search(|search| {
        assert_eq!(
            (search.upstream.as_str(), search.base.as_deref()),
            ("corp", Some("ou=people"))
        );
        assert!(search.attributes.is_empty(), "nothing is read");
        let is_ada = search.argument("username") == Some("ada@contoso.example");
        Ok(is_ada.then(|| Entry::new(ADA)).into_iter().collect())
    });
    let binds = Rc::new(Cell::new(0));
    let counted = Rc::clone(&binds);
    let passwords = test::authenticate(move |credentials| {
        counted.set(counted.get() + 1);
        assert_eq!(credentials.dn, ADA);
        Ok(*credentials.password == RIGHT)
    });
    (searches, passwords, binds)
}

#[test]
fn a_directory_decides() {
    let (_searches, _passwords, binds) = corp();
    for (more, username, password, expected) in [
        ("", "ada@contoso.example", RIGHT, PasswordSubmit::Migrate),
        ("", "ada@contoso.example", "wrong", PasswordSubmit::Retry),
        ("", "nobody@contoso.example", RIGHT, PasswordSubmit::Retry),
        (
            r#", "min_length": 13"#,
            "ada@contoso.example",
            RIGHT,
            PasswordSubmit::Migrate,
        ),
        (
            r#", "min_length": 14"#,
            "ada@contoso.example",
            RIGHT,
            PasswordSubmit::Update,
        ),
        // Whether it is long enough tells nobody whether it is right.
        (
            r#", "min_length": 14"#,
            "ada@contoso.example",
            "wrong",
            PasswordSubmit::Retry,
        ),
    ] {
        assert_eq!(
            submit(&with_directory(more), username, password).unwrap(),
            expected,
            "{more} {username}"
        );
    }
    assert_eq!(binds.get(), 5);
    let blocking =
        with_directory(r#", "unknown_user": "block", "blocked": { "title": "Gone", "message": "Call us." }"#);
    let page = BlockPage::new("Call us.").with_title("Gone");
    let blocked = submit(&blocking, "nobody@contoso.example", RIGHT).unwrap();
    assert_eq!(blocked, PasswordSubmit::Block(page));
    assert_eq!(
        submit(&blocking, "ada@contoso.example", "wrong").unwrap(),
        PasswordSubmit::Retry
    );
}

#[test]
fn an_empty_password_is_asked_of_nobody() {
    let _searches = test::search(|_| unreachable!("nobody is looked for"));
    for (username, password) in [("ada@contoso.example", ""), ("", RIGHT), ("", "")] {
        assert_eq!(
            submit(&with_directory(""), username, password).unwrap(),
            PasswordSubmit::Retry
        );
    }
}

#[test]
fn nobody_is_migrated_when_the_directory_does_not_say() {
    let twins = || Ok(vec![Entry::new("uid=twin-1"), Entry::new("uid=twin-2")]);
    let _searches = test::search(move |_| twins());
    let error = submit(&with_directory(""), "twin@contoso.example", RIGHT).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
    for (failure, kind) in [
        (Error::DeadlineExceeded, ErrorKind::Unavailable),
        (Error::Unavailable("down".to_owned()), ErrorKind::Unavailable),
        (
            Error::Failed("rc=53 (unwillingToPerform)".to_owned()),
            ErrorKind::Internal,
        ),
        (Error::NotAllowed("no".to_owned()), ErrorKind::Internal),
    ] {
        let _searches = test::search(|_| Ok(vec![Entry::new(ADA)]));
        let _passwords = test::authenticate(move |_| Err(failure.clone()));
        let error = submit(&with_directory(""), "ada@contoso.example", RIGHT).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(!error.to_string().contains(RIGHT), "{error}");
    }
}

#[test]
fn a_hash_decides() {
    let _shop = sql::test::answer(|request| {
        assert_eq!(
            (request.database.as_str(), &request.statement),
            ("shop", &Statement::from("password_hash"))
        );
        let rows = Rows::new(["hash", "other"]);
        let hash = |text: &str| Rows::new(["hash", "other"]).with([text.into(), 7.into()]);
        let [Value::Text(username)] = request.parameters.as_slice() else {
            unreachable!("one parameter, the user's name")
        };
        Ok(Answer::from(match username.as_str() {
            "argon2" => hash("$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4"),
            "bcrypt" => hash("$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"),
            "malformed" => hash("password"),
            "number" => rows.with([7.into(), 7.into()]),
            "without" => rows.with([Value::Null, 7.into()]),
            "twice" => hash("a").with(["b".into(), 7.into()]),
            "down" => return Err(sql::Error::Unavailable("down".to_owned())),
            _ => rows,
        }))
    });
    let settings = with_database();
    for (username, password, expected) in [
        ("argon2", "password", PasswordSubmit::Migrate),
        ("argon2", "passwords", PasswordSubmit::Retry),
        ("bcrypt", "U*U", PasswordSubmit::Migrate),
        ("bcrypt", "password", PasswordSubmit::Retry),
        ("without", "password", PasswordSubmit::Retry),
        ("nobody", "password", PasswordSubmit::Retry),
    ] {
        assert_eq!(submit(&settings, username, password).unwrap(), expected, "{username}");
    }
    for (username, kind) in [
        ("malformed", ErrorKind::Internal),
        ("number", ErrorKind::Internal),
        ("twice", ErrorKind::Internal),
        ("down", ErrorKind::Unavailable),
    ] {
        let error = submit(&settings, username, "password").unwrap_err();
        assert_eq!(error.kind(), kind, "{username}: {error}");
    }
}
