//! Adds a customer's loyalty tier, and what it gives, to the token.
//!
//! See the README for the settings.

mod names;
mod settings;

use claimsmith_plugin::{Callout, Claims, Result, User, log};

use crate::names::{MailDomain, ObjectId};
use crate::settings::{Settings, Tier};

#[claimsmith_plugin::token_issuance_start]
fn provide_claims(callout: &Callout, settings: &Settings) -> Result<Claims> {
    let Some(tier) = tier_of(callout.user()?, settings) else {
        log::debug!("the user has no tier");
        return Ok(Claims::new());
    };
    Ok(Claims::new()
        .with(&settings.tier_claim, &tier.name)
        .with(&settings.benefits_claim, &tier.benefits))
}

/// The tier of the user's id, else of the mail's domain, else the default one.
fn tier_of<'a>(user: &User, settings: &'a Settings) -> Option<&'a Tier> {
    let by_id = || settings.members.get(&user.id.as_deref()?.parse::<ObjectId>().ok()?);
    let by_domain = || settings.domains.get(&MailDomain::of(user.mail.as_deref()?)?);
    let name = by_id().or_else(by_domain).or(settings.default_tier.as_ref())?;
    settings.tier(name)
}

#[cfg(test)]
mod tests {
    use claimsmith_plugin::{ErrorKind, settings::read};

    use super::*;

    const ADA: &str = "a1b2c3d4-0000-4000-8000-0000000000f1";

    const SETTINGS: &str = r#"{
        "tiers": [
            { "name": "gold", "benefits": ["lounge", "wifi"] },
            { "name": "silver", "benefits": ["wifi"] },
            { "name": "basic" }
        ],
        "members": { "A1B2C3D4-0000-4000-8000-0000000000F1": "gold" },
        "domains": { "Example.org": "silver" },
        "default_tier": "basic"
    }"#;

    fn settings() -> Settings {
        read(SETTINGS).unwrap()
    }

    fn callout(id: Option<&str>, mail: Option<&str>) -> Callout {
        Callout {
            user: Some(User {
                id: id.map(Into::into),
                mail: mail.map(Into::into),
                ..User::default()
            }),
            ..Callout::default()
        }
    }

    fn tier(settings: &Settings, id: Option<&str>, mail: Option<&str>) -> Option<String> {
        let user = callout(id, mail).user.unwrap();
        tier_of(&user, settings).map(|tier| tier.name.clone())
    }

    #[test]
    fn a_member_gets_the_tier_and_its_benefits() {
        let claims = provide_claims(&callout(Some(ADA), None), &settings()).unwrap();
        let expected = Claims::new()
            .with("loyaltyTier", "gold")
            .with("loyaltyBenefits", ["lounge", "wifi"]);
        assert_eq!(claims, expected);
    }

    #[test]
    fn the_user_id_beats_the_domain_and_the_domain_the_default() {
        let settings = settings();
        let other = Some("a1b2c3d4-0000-4000-8000-0000000000f2");
        let member = tier(&settings, Some(ADA), Some("ada@example.org"));
        assert_eq!(member.as_deref(), Some("gold"));
        let of_domain = tier(&settings, other, Some("grace@EXAMPLE.ORG"));
        assert_eq!(of_domain.as_deref(), Some("silver"));
        let anyone = tier(&settings, other, Some("linus@example.com"));
        assert_eq!(anyone.as_deref(), Some("basic"));
    }

    #[test]
    fn a_subdomain_is_another_domain() {
        let tier = tier(&settings(), None, Some("ada@mail.example.org"));
        assert_eq!(tier.as_deref(), Some("basic"));
    }

    #[test]
    fn a_social_account_without_mail_is_served() {
        assert_eq!(tier(&settings(), Some(ADA), None).as_deref(), Some("gold"));
        assert_eq!(tier(&settings(), None, None).as_deref(), Some("basic"));
    }

    #[test]
    fn without_a_tier_there_are_no_claims() {
        let settings = read(r#"{ "tiers": [] }"#).unwrap();
        let claims = provide_claims(&callout(Some(ADA), Some("not a mail address")), &settings).unwrap();
        assert!(claims.is_empty());
    }

    #[test]
    fn a_tier_without_benefits_has_an_empty_list_of_them() {
        let claims = provide_claims(&callout(None, None), &settings()).unwrap();
        assert_eq!(claims.get("loyaltyBenefits"), Some(&Vec::<String>::new().into()));
    }

    #[test]
    fn the_claims_are_named_as_the_settings_say() {
        let settings = read(
            r#"{
                "tiers": [{ "name": "gold", "benefits": ["wifi"] }],
                "default_tier": "gold", "tier_claim": "tier", "benefits_claim": "perks"
            }"#,
        )
        .unwrap();
        let claims = provide_claims(&callout(None, None), &settings).unwrap();
        assert_eq!(claims, Claims::new().with("tier", "gold").with("perks", ["wifi"]));
    }

    #[test]
    fn a_callout_without_user_is_rejected() {
        let error = provide_claims(&Callout::default(), &settings()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Rejected);
    }
}
