//! How a callout ended.

use std::fmt;

macro_rules! outcomes {
    ($($(#[doc = $doc:literal])* $variant:ident = $code:literal,)*) => {
        /// How a callout ended: a closed set with one stable code each, the same in logs, metrics, problem documents
        /// and tests. A code never changes its meaning and is never reused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Outcome { $($(#[doc = $doc])* $variant,)* }

        impl Outcome {
            /// Every outcome.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Whether somebody is told of it in an answer, and not of an action.
            #[must_use]
            pub fn is_refusal(self) -> bool {
                !matches!(self, Self::Answered | Self::ClientGone | Self::PluginCutShort)
            }

            /// The stable `snake_case` code.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }

            /// What it means, in one sentence.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),*).trim_ascii(),)* }
            }
        }
    };
}

outcomes! {
    /// The plugin's action passed the guard and was sent.
    Answered = "answered",

    /// No tenant of that name.
    UnknownTenant = "unknown_tenant",
    /// The tenant has no extension of that name.
    UnknownExtension = "unknown_extension",
    /// The tenant exists, but its configuration has not been valid since the service started.
    TenantUnavailable = "tenant_unavailable",
    /// Not a `POST`.
    MethodNotAllowed = "method_not_allowed",
    /// Not `application/json`.
    UnsupportedMediaType = "unsupported_media_type",
    /// The body is larger than the host accepts.
    BodyTooLarge = "body_too_large",
    /// The body could not be read to its end.
    BodyUnreadable = "body_unreadable",

    /// No bearer token.
    TokenMissing = "token_missing",
    /// The token is not a well-formed JWT with the members that Entra's tokens have.
    TokenMalformed = "token_malformed",
    /// The token's `alg` is not allowed.
    TokenAlgorithm = "token_algorithm",
    /// No configured metadata document has the token's key, as they were last fetched.
    TokenUnknownKey = "token_unknown_key",
    /// The signature does not verify.
    TokenSignature = "token_signature",
    /// The token has expired.
    TokenExpired = "token_expired",
    /// The token is not valid yet.
    TokenNotYetValid = "token_not_yet_valid",
    /// The token's `iss` is not accepted by the tenant.
    TokenIssuer = "token_issuer",
    /// The token's `aud` is not the extension's.
    TokenAudience = "token_audience",
    /// The token's `ver` is neither 1.0 nor 2.0.
    TokenVersion = "token_version",
    /// The token was not issued to Entra's authentication extensions service.
    TokenCaller = "token_caller",
    /// The token's `tid` is not its directory's.
    TokenTenant = "token_tenant",
    /// The signing keys could not be fetched, or those that may be new: the token cannot be checked.
    KeysUnavailable = "keys_unavailable",

    /// The body is not JSON, or repeats a member, or exceeds a structural limit.
    MalformedJson = "malformed_json",
    /// The body does not have the members the event requires.
    InvalidRequest = "invalid_request",
    /// The body is of another event than the extension answers.
    EventMismatch = "event_mismatch",
    /// The body's tenant is not the token's.
    TenantMismatch = "tenant_mismatch",
    /// The encrypted password context cannot be decrypted, or is not for this extension.
    PasswordContext = "password_context",

    /// The plugin said that a system it needs did not answer.
    PluginUnavailable = "plugin_unavailable",
    /// The plugin said that it does not accept the callout.
    PluginRejected = "plugin_rejected",
    /// The plugin said that it has a defect.
    PluginInternal = "plugin_internal",
    /// The plugin panicked or trapped.
    PluginTrapped = "plugin_trapped",
    /// The plugin used more CPU time than its limit.
    PluginCpuLimit = "plugin_cpu_limit",
    /// The plugin wanted more memory, tables or instances than its limit.
    PluginMemoryLimit = "plugin_memory_limit",
    /// The plugin handed the host more data, at once or in all, than its limit.
    PluginTransferLimit = "plugin_transfer_limit",
    /// The plugin called the host more often, asked it for more random bytes or held more handles than its limit.
    PluginHostCallLimit = "plugin_host_call_limit",
    /// The plugin answered more claims, values or messages than its limit.
    PluginAnswerLimit = "plugin_answer_limit",
    /// The plugin could not be instantiated.
    PluginInstantiation = "plugin_instantiation",
    /// The callout ended before the plugin did: its client had gone, or another binding beside it had failed. Of
    /// invocations alone.
    PluginCutShort = "plugin_cut_short",
    /// The plugin failed too often, and is not invoked for a while.
    PluginQuarantined = "plugin_quarantined",
    /// The deadline came before the answer: the plugin's, or the end of what it needs, such as the request's body.
    DeadlineExceeded = "deadline_exceeded",

    /// The plugin's claims are larger than Entra accepts (1003025).
    ClaimsTooLarge = "claims_too_large",
    /// A claim's id is empty (1003026).
    EmptyClaimId = "empty_claim_id",
    /// A claim's id occurs twice.
    DuplicateClaimId = "duplicate_claim_id",
    /// The plugin names an attribute that the request does not have (1003003).
    UnknownAttribute = "unknown_attribute",
    /// The plugin names an attribute twice (1003003).
    DuplicateAttribute = "duplicate_attribute",
    /// The plugin gives an attribute a value of another type (1003003).
    AttributeType = "attribute_type",
    /// A text that people read is missing or too long (1003003).
    TextLength = "text_length",
    /// The answer is larger than Entra accepts (1003024).
    ResponseTooLarge = "response_too_large",
    /// A failed claim has no name (1003003).
    EmptyFailedClaim = "empty_failed_claim",

    /// Several bindings answer a claim, and the extension does not say whose it is.
    ClaimConflict = "claim_conflict",
    /// No binding answers a claim that the extension requires.
    RequiredClaimMissing = "required_claim_missing",

    /// More callouts came than the tenant or the extension may be sent.
    RateLimited = "rate_limited",
    /// As many invocations are running as the binding or its tenant may have at once.
    Throttled = "throttled",
    /// As many callouts are being answered as the host may have at once.
    Overloaded = "overloaded",
    /// The callout's audit record could not be kept, and the host's configuration requires it.
    AuditUnavailable = "audit_unavailable",
    /// The client closed its connection before it was answered.
    ClientGone = "client_gone",
    /// A defect of the host.
    InternalError = "internal_error",
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.code())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::Outcome;

    #[test]
    fn codes_are_unique_snake_case_names_of_their_variants() {
        let codes: BTreeSet<_> = Outcome::ALL.iter().map(|outcome| outcome.code()).collect();
        assert_eq!(codes.len(), Outcome::ALL.len());
        for outcome in Outcome::ALL {
            let variant: String = format!("{outcome:?}").to_lowercase();
            assert_eq!(outcome.code().replace('_', ""), variant);
        }
    }
}
