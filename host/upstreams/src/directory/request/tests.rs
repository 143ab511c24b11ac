use super::*;

fn rules(attributes: &[&str]) -> Rules {
    let base = "dc=contoso,dc=example".to_owned();
    let all = attributes == ["*"];
    Rules {
        base_name: Name::parse(&base).unwrap(),
        base,
        attributes: (!all).then(|| attributes.iter().map(|name| name.to_ascii_lowercase()).collect()),
    }
}

fn request(base: Option<&str>, filter: &str, arguments: &[(&str, &str)], attributes: &[&str]) -> SearchRequest {
    SearchRequest {
        upstream: "corp".to_owned(),
        base: base.map(ToOwned::to_owned),
        scope: claimsmith_runtime::interface::directory::Scope::Subtree,
        filter: filter.to_owned(),
        arguments: arguments
            .iter()
            .map(|(name, value)| Argument {
                name: (*name).to_owned(),
                value: (*value).to_owned(),
            })
            .collect(),
        attributes: attributes.iter().map(|name| (*name).to_owned()).collect(),
        timeout_milliseconds: None,
    }
}

fn filter(text: &str, arguments: &[(&str, &str)]) -> Result<String, Error> {
    let search = rules(&["*"]).search(request(None, text, arguments, &[]), Scope::Subtree)?;
    Ok(search.filter)
}

#[test]
fn whatever_a_value_is_it_stays_one() {
    for (value, escaped) in [
        ("ada", "ada"),
        ("*", r"\2a"),
        ("ada)(uid=*", r"ada\29\28uid=\2a"),
        ("*)(|(objectClass=*)", r"\2a\29\28|\28objectClass=\2a\29"),
        (r"ada\2a", r"ada\5c2a"),
        ("a\0b", r"a\00b"),
        ("{other}", "{other}"),
        ("Ädä", "Ädä"),
    ] {
        let filled = filter("(&(objectClass=person)(uid={uid}))", &[("uid", value)]).unwrap();
        assert_eq!(filled, format!("(&(objectClass=person)(uid={escaped}))"));
    }
    // One value is not looked at for another's name.
    let filled = filter("(&(uid={a})(cn={b}))", &[("a", "{b}"), ("b", "x")]).unwrap();
    assert_eq!(filled, "(&(uid={b})(cn=x))");
}

#[test]
fn a_value_stays_one_in_a_base() {
    for (value, base) in [
        ("people", "ou=people,dc=contoso,dc=example"),
        ("a,b", r"ou=a\2cb,dc=contoso,dc=example"),
        ("x,dc=other", r"ou=x\2cdc\3dother,dc=contoso,dc=example"),
        (" #a ", r"ou=\20#a\20,dc=contoso,dc=example"),
        ("a+cn=b", r"ou=a\2bcn\3db,dc=contoso,dc=example"),
    ] {
        let asked = request(Some("ou={ou},dc=contoso,dc=example"), "(cn=*)", &[("ou", value)], &[]);
        let search = rules(&["*"]).search(asked, Scope::Subtree).unwrap();
        assert_eq!(search.base, base);
    }
}

#[test]
fn mistakes_of_a_plugin_are_told() {
    for (text, arguments, why) in [
        ("(uid={uid})", &[][..], "names {uid}, which no argument has"),
        (
            "(uid={uid})",
            &[("uid", "a"), ("cn", "b")],
            "neither the filter nor the base has {cn}",
        ),
        ("(uid={uid}*)", &[("uid", "")], "is empty"),
        ("({uid}=a)", &[("uid", "cn")], "another place than a value"),
        ("(&(uid=a){more})", &[("more", "b")], "another place than a value"),
        ("(uid={u d})", &[("u d", "a")], "is no argument's name"),
        ("(uid={uid})", &[("uid", "a"), ("uid", "b")], "two arguments"),
        ("(uid={)", &[], "`{` that begins no {name}"),
        ("(uid=})", &[], "`}` without `{`"),
        ("(uid=a", &[], "is malformed"),
        ("(uid=a)(uid=b)", &[], "is malformed"),
        ("", &[], "is malformed"),
    ] {
        match filter(text, arguments) {
            Err(Error::Invalid(message)) => assert!(message.contains(why), "{text}: {message}"),
            other => panic!("{text}: {other:?}"),
        }
    }
}

#[test]
fn filters_are_bounded() {
    let nested = |depth: usize| "(!".repeat(depth) + "(a=b)" + &")".repeat(depth);
    assert!(filter(&nested(MAX_FILTER_DEPTH - 1), &[]).is_ok());
    assert!(matches!(filter(&nested(MAX_FILTER_DEPTH), &[]), Err(Error::Invalid(_))));
    assert!(matches!(filter(&"(".repeat(8_000), &[]), Err(Error::Invalid(_))));
    let long = format!("(a={})", "b".repeat(MAX_TEXT_BYTES));
    assert!(matches!(filter(&long, &[]), Err(Error::Invalid(_))));
    // What counts is what is sent.
    assert!(matches!(
        filter("(a={b})", &[("b", &"*".repeat(MAX_TEXT_BYTES / 3))]),
        Err(Error::Invalid(_))
    ));
}

#[test]
fn who_may_not_read_an_attribute_may_not_search_by_it() {
    let rules = rules(&["uid", "memberOf"]);
    for (filter, attributes, allowed) in [
        (
            "(&(objectClass=person)(UID=ada))",
            &["memberof", "uid;lang-en"][..],
            true,
        ),
        ("(uid=ada)", &["userPassword"], false),
        ("(uid=ada)", &["*"], false),
        ("(userPassword=a*)", &["uid"], false),
        ("(userPassword=*)", &["uid"], false),
        ("(|(uid=ada)(!(userPassword;x-a>=b)))", &["uid"], false),
        ("(userPassword:caseExactMatch:=b)", &["uid"], false),
        ("(:caseExactMatch:=b)", &["uid"], false),
        ("(memberOf:1.2.840.113556.1.4.1941:=cn=a)", &["uid"], true),
    ] {
        let found = rules.search(request(None, filter, &[], attributes), Scope::Subtree);
        match found {
            Ok(_) => assert!(allowed, "{filter}"),
            Err(error) => assert!(!allowed && matches!(error, Error::NotAllowed(_)), "{filter}: {error:?}"),
        }
    }
    let none = rules
        .search(request(None, "(uid=ada)", &[], &[]), Scope::Subtree)
        .unwrap();
    assert_eq!(none.attributes, ["1.1"], "no attributes are not all of them");
    let odd = rules.search(request(None, "(uid=ada)", &[], &["uid "]), Scope::Subtree);
    assert!(matches!(odd, Err(Error::Invalid(_))));
}

#[test]
fn a_base_is_within_the_upstreams() {
    for (base, allowed) in [
        ("ou=people,dc=contoso,dc=example", true),
        ("dc=Contoso, dc=Example", true),
        ("dc=example", false),
        ("dc=other,dc=example", false),
    ] {
        let found = rules(&["*"]).search(request(Some(base), "(a=b)", &[], &[]), Scope::Base);
        assert_eq!(found.is_ok(), allowed, "{base}");
    }
    let odd = rules(&["*"]).search(request(Some("people"), "(a=b)", &[], &[]), Scope::Base);
    assert!(matches!(odd, Err(Error::Invalid(_))));
}
