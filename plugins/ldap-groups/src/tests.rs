use std::cell::RefCell;
use std::rc::Rc;

use claimsmith_plugin::directory::{Error, Search, test};
use claimsmith_plugin::{ErrorKind, User, settings::read};

use super::*;

const ADA: &str = "uid=ada,ou=people,dc=contoso,dc=example";

fn settings(groups: &str) -> Settings {
    let settings = format!(
        r#"{{
            "directory": "corp",
            "user": {{ "filter": "(&(objectClass=person)(mail={{mail}}))", "base": "ou=people,dc=contoso,dc=example" }},
            "groups": {groups},
            "roles": {{
                "shop.admin": ["cn=admins,ou=groups,dc=contoso,dc=example", "admins"],
                "shop.reader": ["cn=Readers, ou=groups, dc=contoso, dc=example", "readers"],
                "shop.owner": ["cn=owners,ou=groups,dc=contoso,dc=example"]
            }}
        }}"#
    );
    read(&settings).unwrap()
}

fn callout(mail: Option<&str>) -> Callout {
    let user = User {
        mail: mail.map(ToOwned::to_owned),
        ..User::default()
    };
    Callout {
        user: Some(user),
        ..Callout::default()
    }
}

fn roles(settings: &Settings, mail: Option<&str>) -> Result<Claims> {
    provide_claims(&callout(mail), settings)
}

#[test]
fn groups_of_the_users_entry_become_roles() {
    let _corp = test::search(|search| {
        assert_eq!(search.argument("mail"), Some("ada@contoso.example"));
        assert_eq!(search.base.as_deref(), Some("ou=people,dc=contoso,dc=example"));
        assert_eq!(search.attributes, ["memberOf"]);
        let groups = [
            "CN=Admins,OU=groups,DC=contoso,DC=example",
            "cn=other,ou=groups,dc=contoso,dc=example",
        ];
        Ok(vec![Entry::new(ADA).with("memberof", groups)])
    });
    let claims = roles(&settings(r#"{ "member_of": "memberOf" }"#), Some("ada@contoso.example")).unwrap();
    assert_eq!(claims, Claims::new().with("roles", ["shop.admin"]));
}

/// Answers the first search with Ada, and keeps the second one, which is answered with two groups.
fn directory_with_groups() -> (test::Answering, Rc<RefCell<Vec<Search>>>) {
    let asked = Rc::new(RefCell::new(Vec::new()));
    let kept = Rc::clone(&asked);
    let answering = test::search(move |search| {
        kept.borrow_mut().push(search.clone());
        if kept.borrow().len() == 1 {
            return Ok(vec![Entry::new(ADA).with("uid", ["ada"])]);
        }
        let group = |name: &str| Entry::new(format!("cn={name},ou=groups,dc=contoso,dc=example")).with("cn", [name]);
        Ok(vec![group("admins"), group("readers")])
    });
    (answering, asked)
}

#[test]
fn groups_that_are_searched_become_roles() {
    for (search, member) in [
        (r#"{ "filter": "(member={member})" }"#, ADA),
        (
            r#"{ "filter": "(memberUid={member})", "member": "uid", "name": "cn" }"#,
            "ada",
        ),
    ] {
        let (_corp, asked) = directory_with_groups();
        let settings = settings(&format!(r#"{{ "search": {search} }}"#));
        let claims = roles(&settings, Some("ada@contoso.example")).unwrap();
        assert_eq!(claims, Claims::new().with("roles", ["shop.admin", "shop.reader"]));
        assert_eq!(asked.borrow()[1].argument("member"), Some(member));
    }
}

#[test]
fn who_is_not_found_has_no_roles() {
    let settings = settings(r#"{ "member_of": "memberOf" }"#);
    let none = Claims::new().with("roles", Vec::<String>::new());
    let _corp = test::search(|_| Ok(Vec::new()));
    assert_eq!(roles(&settings, Some("nobody@contoso.example")).unwrap(), none);
    let _corp = test::search(|_| unreachable!("there is nothing to look for"));
    assert_eq!(roles(&settings, None).unwrap(), none);
    assert_eq!(roles(&settings, Some("")).unwrap(), none);
}

#[test]
fn roles_are_nobodys_when_it_is_not_clear_whose_they_are() {
    let settings = settings(r#"{ "member_of": "memberOf" }"#);
    let _corp = test::search(|_| Ok(vec![Entry::new("uid=twin-1"), Entry::new("uid=twin-2")]));
    let error = roles(&settings, Some("twin@contoso.example")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
    assert_eq!(
        error.to_string(),
        "the user: the directory has several entries where one was wanted"
    );
}

#[test]
fn a_directory_that_does_not_answer_is_a_failure_that_may_mend() {
    let settings = settings(r#"{ "member_of": "memberOf" }"#);
    for (failure, kind) in [
        (Error::DeadlineExceeded, ErrorKind::Unavailable),
        (Error::Unavailable("down".to_owned()), ErrorKind::Unavailable),
        (Error::NotGranted("corp".to_owned()), ErrorKind::Internal),
        (Error::TooLarge("many".to_owned()), ErrorKind::Internal),
    ] {
        let _corp = test::search(move |_| Err(failure.clone()));
        assert_eq!(roles(&settings, Some("ada@contoso.example")).unwrap_err().kind(), kind);
    }
    let error = provide_claims(&Callout::default(), &settings).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Rejected);
}
