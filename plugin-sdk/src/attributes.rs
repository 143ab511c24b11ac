//! The attributes, with their documentation: it can name the types of this crate here.

/// Marks the type that the binding's settings are read into; a plugin has exactly one.
///
/// It becomes a strict `serde::Deserialize`, and the plugin answers what the host asks outside callouts: its name,
/// version and description, from `Cargo.toml`, and whether settings are acceptable. A plugin without settings has an
/// empty one: `struct Settings {}`. serde's attributes work on its members.
pub use claimsmith_plugin_macros::settings;

/// Answers Entra's tokenIssuanceStart with claims for the token that is about to be issued.
///
/// For `fn(&Callout, &Settings) -> Result<Claims>`: a [`Callout`](crate::Callout), the type marked with `#[settings]`,
/// and [`Claims`](crate::Claims). Entra adds those that the application's claims mapping policy names.
///
/// ```
/// use claimsmith_plugin::{Callout, Claims, Result};
///
/// #[claimsmith_plugin::settings]
/// struct Settings {}
///
/// #[claimsmith_plugin::token_issuance_start]
/// fn provide_claims(callout: &Callout, _: &Settings) -> Result<Claims> {
///     let user = callout.user()?;
///     Ok(Claims::new().with_optional("company", user.company_name.as_deref()))
/// }
/// ```
pub use claimsmith_plugin_macros::token_issuance_start;

/// Answers Entra's attributeCollectionStart: what happens before the page that collects a new user's attributes is
/// shown.
///
/// For `fn(&Callout, &SignUp, &Settings) -> Result<AttributeCollectionStart>`: a [`Callout`](crate::Callout), the
/// [`SignUp`](crate::SignUp), the type marked with `#[settings]`, and the
/// [`AttributeCollectionStart`](crate::AttributeCollectionStart) that happens. The callout names no user: there is none
/// yet.
///
/// ```
/// use claimsmith_plugin::{AttributeCollectionStart, AttributeValues, BlockPage, Callout, Result, SignUp};
///
/// #[claimsmith_plugin::settings]
/// struct Settings {
///     /// Where each partner is, by its mail domain.
///     partners: std::collections::BTreeMap<String, String>,
/// }
///
/// #[claimsmith_plugin::attribute_collection_start]
/// fn start(_: &Callout, sign_up: &SignUp, settings: &Settings) -> Result<AttributeCollectionStart> {
///     let domain = sign_up.mail().and_then(|mail| mail.rsplit_once('@')).map(|(_, domain)| domain);
///     let Some(country) = domain.and_then(|domain| settings.partners.get(domain)) else {
///         let page = BlockPage::new("Please sign up with the address of your company.");
///         return Ok(AttributeCollectionStart::Block(page.with_title("For partners only")));
///     };
///     Ok(AttributeCollectionStart::Prefill(AttributeValues::new().with("country", country)))
/// }
///
/// use claimsmith_plugin::{Identity, settings};
///
/// let settings: Settings = settings::read(r#"{ "partners": { "example.org": "Spain" } }"#)?;
/// let identity = Identity {
///     issuer: Some("mail".into()),
///     issuer_assigned_id: Some("ada@example.org".into()),
///     ..Identity::default()
/// };
/// let sign_up = SignUp { identities: vec![identity], ..SignUp::default() };
/// assert_eq!(
///     start(&Callout::default(), &sign_up, &settings)?,
///     AttributeCollectionStart::Prefill(AttributeValues::new().with("country", "Spain")),
/// );
/// # Ok::<(), claimsmith_plugin::Error>(())
/// ```
pub use claimsmith_plugin_macros::attribute_collection_start;

/// Answers Entra's attributeCollectionSubmit: what happens after a new user has submitted the page that collects
/// attributes.
///
/// For `fn(&Callout, &SignUp, &Settings) -> Result<AttributeCollectionSubmit>`: a [`Callout`](crate::Callout), the
/// [`SignUp`](crate::SignUp), the type marked with `#[settings]`, and the
/// [`AttributeCollectionSubmit`](crate::AttributeCollectionSubmit) that happens. The callout names no user: there is
/// none yet.
///
/// ```
/// use claimsmith_plugin::{AttributeCollectionSubmit, Callout, Result, SignUp, ValidationError};
///
/// #[claimsmith_plugin::settings]
/// struct Settings {}
///
/// #[claimsmith_plugin::attribute_collection_submit]
/// fn submit(_: &Callout, sign_up: &SignUp, _: &Settings) -> Result<AttributeCollectionSubmit> {
///     let mut error = ValidationError::new("Please correct the marked fields.");
///     if sign_up.text("city").is_some_and(|city| city.contains(|letter: char| letter.is_ascii_digit())) {
///         error.insert("city", "Letters only");
///     }
///     Ok(if error.is_empty() {
///         AttributeCollectionSubmit::Proceed
///     } else {
///         AttributeCollectionSubmit::ValidationError(error)
///     })
/// }
///
/// use claimsmith_plugin::Attribute;
///
/// let sign_up = SignUp { attributes: vec![Attribute::new("city", "P4ris")], ..SignUp::default() };
/// let AttributeCollectionSubmit::ValidationError(error) = submit(&Callout::default(), &sign_up, &Settings {})? else {
///     panic!("a city with a digit");
/// };
/// assert_eq!(error.get("city"), Some("Letters only"));
/// # Ok::<(), claimsmith_plugin::Error>(())
/// ```
pub use claimsmith_plugin_macros::attribute_collection_submit;

/// Answers Entra's emailOtpSend: sends a one-time code.
///
/// For `fn(&Callout, &OneTimeCode, &Settings) -> Result<()>`: a [`Callout`](crate::Callout), whose `request_type` tells
/// what the code is for, the [`OneTimeCode`](crate::OneTimeCode), and the type marked with `#[settings]`. `Ok(())` says
/// that the code is on its way; an error lets Entra send it, where the listener is set up so.
///
/// ```
/// use claimsmith_plugin::{Callout, Context as _, OneTimeCode, Result};
///
/// #[claimsmith_plugin::settings]
/// struct Settings {}
///
/// #[claimsmith_plugin::email_otp_send]
/// fn send(callout: &Callout, code: &OneTimeCode, _: &Settings) -> Result<()> {
///     let locale = callout.client.as_ref().and_then(|client| client.locale.as_deref());
///     let subject = match locale {
///         Some(locale) if locale.starts_with("fr") => "Votre code",
///         _ => "Your code",
///     };
///     mail(code.identifier(), subject, code.code()).or_unavailable("the mail server")
/// }
///
/// fn mail(to: &str, subject: &str, text: &str) -> std::io::Result<()> {
///     // …
/// #   assert_eq!((to, subject, text), ("ada@example.org", "Your code", "40718263"));
///     Ok(())
/// }
///
/// let code = OneTimeCode::new("ada@example.org", "40718263");
/// assert!(send(&Callout::default(), &code, &Settings {}).is_ok());
/// ```
pub use claimsmith_plugin_macros::email_otp_send;

/// Answers Entra's passwordSubmit: whether the password is right that a user has typed who is still to be migrated.
///
/// For `fn(&Callout, &Credentials, &Settings) -> Result<PasswordSubmit>`: a [`Callout`](crate::Callout), the
/// [`Credentials`](crate::Credentials) that the host has decrypted, the type marked with `#[settings]`, and the
/// [`PasswordSubmit`](crate::PasswordSubmit) that happens. Entra asks only when the password is not the one it has.
///
/// ```
/// use claimsmith_plugin::{BlockPage, Callout, Context as _, Credentials, PasswordSubmit, Result};
///
/// #[claimsmith_plugin::settings]
/// struct Settings {
///     minimum_length: usize,
/// }
///
/// #[claimsmith_plugin::password_submit]
/// fn check(_: &Callout, credentials: &Credentials, settings: &Settings) -> Result<PasswordSubmit> {
///     let password = credentials.password();
///     let account = sign_in(credentials.username(), password).or_unavailable("the old directory")?;
///     Ok(match account {
///         Account::Locked => PasswordSubmit::Block(BlockPage::new("Your account is locked. Please call us.")),
///         Account::Refused => PasswordSubmit::Retry,
///         Account::Known if password.chars().count() < settings.minimum_length => PasswordSubmit::Update,
///         Account::Known => PasswordSubmit::Migrate,
///     })
/// }
///
/// enum Account {
///     Known,
///     Refused,
///     Locked,
/// }
///
/// fn sign_in(username: &str, password: &str) -> std::io::Result<Account> {
///     // …
/// #   Ok(match (username, password) {
/// #       ("locked", _) => Account::Locked,
/// #       ("ada", "correct" | "correct horse") => Account::Known,
/// #       _ => Account::Refused,
/// #   })
/// }
///
/// let settings = Settings { minimum_length: 10 };
/// let check = |username, password| check(&Callout::default(), &Credentials::new(username, password), &settings);
/// assert_eq!(check("ada", "correct horse")?, PasswordSubmit::Migrate);
/// assert_eq!(check("ada", "correct")?, PasswordSubmit::Update);
/// assert_eq!(check("ada", "wrong")?, PasswordSubmit::Retry);
/// # assert!(matches!(check("locked", "")?, PasswordSubmit::Block(_)));
/// # Ok::<(), claimsmith_plugin::Error>(())
/// ```
pub use claimsmith_plugin_macros::password_submit;

/// Answers Entra's verifiedIdClaimValidation: whether the Verified ID is the user's that somebody presents to recover
/// an account.
///
/// For `fn(&Callout, &VerifiedId, &Settings) -> Result<Verdict>`: a [`Callout`](crate::Callout), the
/// [`VerifiedId`](crate::VerifiedId), the type marked with `#[settings]`, and the [`Verdict`](crate::Verdict).
///
/// ```
/// use claimsmith_plugin::{Callout, Context as _, Result, Verdict, VerifiedId};
///
/// #[claimsmith_plugin::settings]
/// struct Settings {}
///
/// #[claimsmith_plugin::verified_id_claim_validation]
/// fn validate(_: &Callout, verified_id: &VerifiedId, _: &Settings) -> Result<Verdict> {
///     let employee = verified_id.additional_info("employeeId").or_rejected("no employee id")?;
///     let known = date_of_birth(employee).or_rejected("unknown employee id")?;
///     Ok(match verified_id.claim("dateOfBirth") {
///         Some(date) if date == known => Verdict::Pass,
///         _ => Verdict::failed(["dateOfBirth"]),
///     })
/// }
///
/// fn date_of_birth(employee: &str) -> Option<&'static str> {
///     // …
/// #   (employee == "E77").then_some("1815-12-10")
/// }
///
/// use claimsmith_plugin::NamedText;
///
/// let verified_id = VerifiedId {
///     claims: vec![NamedText::new("dateOfBirth", "1815-12-11")],
///     additional_info: vec![NamedText::new("employeeId", "E77")],
///     ..VerifiedId::default()
/// };
/// let verdict = validate(&Callout::default(), &verified_id, &Settings {})?;
/// assert_eq!(verdict, Verdict::failed(["dateOfBirth"]));
/// # Ok::<(), claimsmith_plugin::Error>(())
/// ```
pub use claimsmith_plugin_macros::verified_id_claim_validation;
