//! The host's side of `wit/`, generated.
//!
//! One world exports the interfaces of every event, so that they share their types. No component is matched against
//! that world as a whole: each interface has its own `GuestIndices`, which a component has or has not.
//!
//! What a plugin is given is lowered from borrowed text: a callout is copied once, from the request into the guest.

#![allow(
    missing_docs,
    elided_lifetimes_in_paths,
    unreachable_pub,
    missing_debug_implementations,
    clippy::all,
    clippy::pedantic,
    clippy::restriction,
    clippy::allow_attributes,
    reason = "generated code, and the list is of lints that it may or may not trigger"
)]

wasmtime::component::bindgen!({
    path: "../../wit",
    inline: "
        package claimsmith:host;
        world plugin {
            include claimsmith:plugin/token-issuance-start-plugin@0.1.0;
            include claimsmith:plugin/attribute-collection-start-plugin@0.1.0;
            include claimsmith:plugin/attribute-collection-submit-plugin@0.1.0;
            include claimsmith:plugin/email-otp-send-plugin@0.1.0;
            include claimsmith:plugin/password-submit-plugin@0.1.0;
            include claimsmith:plugin/verified-id-claim-validation-plugin@0.1.0;
        }
    ",
    world: "claimsmith:host/plugin",
    ownership: Borrowing { duplicate_if_necessary: false },
    imports: { default: trappable },
    exports: { default: async },
    with: {
        "claimsmith:plugin/cache": kept::claimsmith::plugin::cache,
        "claimsmith:plugin/directory": upstreams::claimsmith::plugin::directory,
        "claimsmith:plugin/http": upstreams::claimsmith::plugin::http,
        "claimsmith:plugin/mail": upstreams::claimsmith::plugin::mail,
        "claimsmith:plugin/sql": upstreams::claimsmith::plugin::sql,
    },
});

/// Apart from the others, because their results can be written into a journal.
mod upstreams {
    wasmtime::component::bindgen!({
        path: "../../wit",
        inline: "
            package claimsmith:host;
            world upstreams {
                import claimsmith:plugin/directory@0.1.0;
                import claimsmith:plugin/http@0.1.0;
                import claimsmith:plugin/mail@0.1.0;
                import claimsmith:plugin/sql@0.1.0;
            }
        ",
        world: "claimsmith:host/upstreams",
        imports: { default: async | trappable },
        additional_derives: [PartialEq, serde::Deserialize, serde::Serialize],
    });
}

/// Apart from the others, because it has a resource.
mod kept {
    wasmtime::component::bindgen!({
        path: "../../wit",
        inline: "
            package claimsmith:host;
            world kept {
                import claimsmith:plugin/cache@0.1.0;
            }
        ",
        world: "claimsmith:host/kept",
        imports: { default: async | trappable },
        with: { "claimsmith:plugin/cache.reservation": crate::capability::Reservation },
    });
}

pub use claimsmith::plugin::{callout, deadline, grants, log, settings, sign_up};
pub use exports::claimsmith::plugin::{
    attribute_collection_start, attribute_collection_submit, email_otp_send, lifecycle, password_submit,
    token_issuance_start, verified_id_claim_validation,
};
pub use kept::claimsmith::plugin::cache;
pub use upstreams::claimsmith::plugin::{directory, http, mail, sql};
