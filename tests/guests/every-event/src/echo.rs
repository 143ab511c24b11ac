//! What the plugin was given, as pairs of path and text.

use std::fmt;

use claimsmith_plugin::{AttributeType, AttributeValue, BlockPage, Callout, Identity, SignUp, ValueType, VerifiedId};
use serde_json::json;

/// Every member of the callout that has a field.
const CALLOUT: [&str; 31] = [
    "correlationId",
    "tenantId",
    "authenticationEventListenerId",
    "customAuthenticationExtensionId",
    "protocol",
    "requestType",
    "client.ip",
    "client.locale",
    "client.market",
    "clientServicePrincipal.id",
    "clientServicePrincipal.appId",
    "clientServicePrincipal.appDisplayName",
    "clientServicePrincipal.displayName",
    "resourceServicePrincipal.id",
    "resourceServicePrincipal.appId",
    "resourceServicePrincipal.appDisplayName",
    "resourceServicePrincipal.displayName",
    "user.id",
    "user.companyName",
    "user.createdDateTime",
    "user.displayName",
    "user.givenName",
    "user.mail",
    "user.onPremisesSamAccountName",
    "user.onPremisesSecurityIdentifier",
    "user.onPremisesUserPrincipalName",
    "user.preferredDataLocation",
    "user.preferredLanguage",
    "user.surname",
    "user.userPrincipalName",
    "user.userType",
];

/// Pairs of path and text, in the order they are met.
pub(crate) struct Echo {
    only: String,
    pairs: Vec<(String, String)>,
}

impl Echo {
    /// Keeps only paths that begin so.
    pub(crate) fn new(only: &str) -> Self {
        Self {
            only: only.to_owned(),
            pairs: Vec::new(),
        }
    }

    pub(crate) fn text(mut self, path: impl Into<String>, text: Option<&str>) -> Self {
        let path = path.into();
        if let Some(text) = text
            && path.starts_with(&self.only)
        {
            self.pairs.push((path, text.to_owned()));
        }
        self
    }

    pub(crate) fn callout(self, callout: &Callout) -> Self {
        let echo = CALLOUT
            .iter()
            .fold(self, |echo, &path| echo.text(path, callout.get(path)));
        let additional = callout.additional.iter();
        additional.fold(echo, |echo, (path, text)| echo.text(path, Some(text)))
    }

    pub(crate) fn sign_up(self, sign_up: &SignUp) -> Self {
        let attributes = sign_up.attributes.iter();
        let echo = attributes.fold(self, |echo, attribute| {
            let path = |member| format!("attributes.{}.{member}", attribute.name);
            echo.text(path("value"), attribute.value.as_ref().map(text).as_deref())
                .text(path("valueType"), Some(value_type(attribute.value_type)))
                .text(path("attributeType"), Some(attribute_type(attribute.attribute_type)))
        });
        echo.identities(&sign_up.identities).text("mail", sign_up.mail())
    }

    pub(crate) fn verified_id(self, verified_id: &VerifiedId) -> Self {
        let claims = verified_id.claims.iter().map(|claim| ("claims", claim));
        let additional_info = verified_id.additional_info.iter().map(|info| ("additionalInfo", info));
        let echo = claims.chain(additional_info).fold(self, |echo, (place, named)| {
            echo.text(format!("{place}.{}", named.name), Some(&named.value))
        });
        echo.identities(&verified_id.identities)
    }

    fn identities(self, identities: &[Identity]) -> Self {
        identities.iter().enumerate().fold(self, |echo, (index, identity)| {
            let path = |member| format!("identities[{index}].{member}");
            echo.text(path("signInType"), identity.sign_in_type.as_deref())
                .text(path("issuer"), identity.issuer.as_deref())
                .text(path("issuerAssignedId"), identity.issuer_assigned_id.as_deref())
        })
    }

    /// How long a secret is, and whether it is the expected one.
    pub(crate) fn secret(self, path: &str, secret: &str, expected: Option<&str>) -> Self {
        let matches = expected.map(|expected| (expected == secret).to_string());
        self.text(format!("{path}.bytes"), Some(&secret.len().to_string()))
            .text(format!("{path}.matches"), matches.as_deref())
    }
}

fn text(value: &AttributeValue) -> String {
    match value {
        AttributeValue::Text(text) => text.clone(),
        AttributeValue::Integer(integer) => integer.to_string(),
        AttributeValue::Boolean(boolean) => boolean.to_string(),
        AttributeValue::Texts(texts) => json!(texts).to_string(),
    }
}

const fn value_type(value_type: ValueType) -> &'static str {
    match value_type {
        ValueType::Text => "text",
        ValueType::Integer => "integer",
        ValueType::Boolean => "boolean",
        ValueType::Texts => "texts",
        ValueType::Other => "other",
    }
}

const fn attribute_type(attribute_type: AttributeType) -> &'static str {
    match attribute_type {
        AttributeType::BuiltIn => "builtIn",
        AttributeType::DirectorySchemaExtension => "directorySchemaExtension",
        AttributeType::Other => "other",
    }
}

impl IntoIterator for Echo {
    type IntoIter = std::vec::IntoIter<(String, String)>;
    type Item = (String, String);

    fn into_iter(self) -> Self::IntoIter {
        self.pairs.into_iter()
    }
}

/// A JSON object.
impl fmt::Display for Echo {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let members = self
            .pairs
            .iter()
            .map(|(path, text)| format!("{}:{}", json!(path), json!(text)));
        write!(formatter, "{{{}}}", members.collect::<Vec<_>>().join(","))
    }
}

impl From<Echo> for BlockPage {
    fn from(echo: Echo) -> Self {
        Self::new(echo.to_string())
    }
}
