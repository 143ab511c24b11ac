//! How recorded requests differ from documented ones.

use serde::Deserialize;

/// One way in which recorded requests of Entra differ from the documented form. A server has to understand both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Oddity {
    /// In attributes, `@odata.type` comes after `value`.
    TypeAfterValue,
    /// In attributes, the type's name is `@odata.Type`.
    TypeWithCapital,
    /// The event's own members of `data` (`userSignUpInfo`, `otpContext`, …) come before `tenantId`.
    EventDataFirst,
    /// `userSignUpInfo`, `otpContext` and `resourceServicePrincipal` are null where they do not belong to the event, as
    /// recorded for passwordSubmit.
    ForeignMembersAsNull,
    /// In attributeCollectionStart, the attribute `email` is called `EmailAddress`.
    EmailAddressName,
    /// attributeCollectionSubmit has no `identities`.
    IdentitiesOmitted,
    /// Attributes with several values are arrays of the type `stringCollectionDirectoryAttributeValue`, not one text
    /// with commas.
    CollectionAsArray,
    /// No listener id and no extension id, as in Microsoft's page about verifiedIdClaimValidation.
    IdsAbsent,
    /// `authenticationContext` has the correlation id and the user, and nothing else.
    BareContext,
    /// The client's address is called `clientIp`.
    ClientIpName,
}
