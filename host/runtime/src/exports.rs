//! What a component exports: the lifecycle, and the interface of each event it answers.

use claimsmith_contract::Event;
use wasmtime::Store;
use wasmtime::component::{Component, Instance, InstancePre};

use crate::bindings::{
    attribute_collection_start, attribute_collection_submit, email_otp_send, lifecycle, password_submit,
    token_issuance_start, verified_id_claim_validation,
};
use crate::state::CallState;

/// Declares the events: each one's interface, which is also the name of its field and of its module of bindings.
macro_rules! exports {
    ($($event:ident: $field:ident = $interface:literal,)*) => {
        /// A linked component and where its exports are.
        pub(crate) struct Exports {
            pub(crate) pre: InstancePre<CallState>,
            pub(crate) lifecycle: lifecycle::GuestIndices,
            $(pub(crate) $field: Option<$field::GuestIndices>,)*
        }

        impl Exports {
            /// Looks the exports up; `None` for the lifecycle that every plugin has.
            pub(crate) fn find(component: &Component, pre: InstancePre<CallState>) -> wasmtime::Result<Option<Self>> {
                let has = |interface: &str| component.get_export_index(None, interface).is_some();
                if !has("claimsmith:plugin/lifecycle@0.1.0") {
                    return Ok(None);
                }
                Ok(Some(Self {
                    lifecycle: lifecycle::GuestIndices::new(&pre)?,
                    $($field: has($interface).then(|| $field::GuestIndices::new(&pre)).transpose()?,)*
                    pre,
                }))
            }

            /// Type-checks the events' exports.
            pub(crate) fn check(&self, store: &mut Store<CallState>, instance: &Instance) -> wasmtime::Result<()> {
                $(if let Some(indices) = &self.$field {
                    indices.load(&mut *store, instance)?;
                })*
                Ok(())
            }

            /// Whether the component answers an event.
            pub(crate) fn answers(&self, event: Event) -> bool {
                match event {
                    $(Event::$event => self.$field.is_some(),)*
                }
            }
        }
    };
}

exports! {
    TokenIssuanceStart: token_issuance_start = "claimsmith:plugin/token-issuance-start@0.1.0",
    AttributeCollectionStart: attribute_collection_start = "claimsmith:plugin/attribute-collection-start@0.1.0",
    AttributeCollectionSubmit: attribute_collection_submit = "claimsmith:plugin/attribute-collection-submit@0.1.0",
    EmailOtpSend: email_otp_send = "claimsmith:plugin/email-otp-send@0.1.0",
    PasswordSubmit: password_submit = "claimsmith:plugin/password-submit@0.1.0",
    VerifiedIdClaimValidation: verified_id_claim_validation = "claimsmith:plugin/verified-id-claim-validation@0.1.0",
}
