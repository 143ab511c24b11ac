//! The plugin's side of `wit/`, generated. Every event has bindings of its own in [`crate::events`], because a plugin
//! exports only the events it answers; they all share the types made here.

#![allow(
    missing_docs,
    rust_2018_idioms,
    unreachable_pub,
    unsafe_code,
    unused_imports,
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    reason = "generated code; `wit/` holds its documentation"
)]

wit_bindgen::generate!({
    path: "../wit",
    inline: "
        package claimsmith:sdk;
        world capabilities {
            import claimsmith:plugin/callout@0.1.0;
            import claimsmith:plugin/deadline@0.1.0;
            import claimsmith:plugin/grants@0.1.0;
            import claimsmith:plugin/http@0.1.0;
            import claimsmith:plugin/log@0.1.0;
            import claimsmith:plugin/settings@0.1.0;
        }
    ",
    generate_all,
    generate_unused_types: true,
    additional_derives: [Default, PartialEq, Eq],
    additional_derives_ignore: ["error", "failure", "kind", "level", "method", "request", "upstream"],
});

pub use claimsmith::plugin::{callout, deadline, grants, http, log, settings};

/// Apart from the others, because floating-point numbers have no `Eq` and resources derive nothing.
mod stores {
    wit_bindgen::generate!({
        path: "../wit",
        inline: "
            package claimsmith:sdk;
            world stores {
                import claimsmith:plugin/cache@0.1.0;
                import claimsmith:plugin/directory@0.1.0;
                import claimsmith:plugin/mail@0.1.0;
                import claimsmith:plugin/sql@0.1.0;
            }
        ",
        generate_all,
        generate_unused_types: true,
    });
}

pub use stores::claimsmith::plugin::{cache, directory, mail, sql};

/// Apart from the others, because its variants derive what records do except `Default`.
mod shared {
    wit_bindgen::generate!({
        path: "../wit",
        inline: "
            package claimsmith:sdk;
            world sign-up {
                import claimsmith:plugin/sign-up@0.1.0;
            }
        ",
        generate_unused_types: true,
        additional_derives: [PartialEq, Eq],
        generate_all,
    });
}

pub use shared::claimsmith::plugin::sign_up;

pub mod lifecycle {
    wit_bindgen::generate!({
        path: "../wit",
        inline: "
            package claimsmith:sdk;
            world lifecycle {
                export claimsmith:plugin/lifecycle@0.1.0;
            }
        ",
        additional_derives: [PartialEq, Eq],
        pub_export_macro: true,
    });

    pub use exports::claimsmith::plugin::lifecycle::{Description, Guest, Problem};
}
