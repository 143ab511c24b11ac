//! The attributes of `claimsmith-plugin`, which re-exports and documents them.

use proc_macro::TokenStream;

mod event;
mod settings;

/// Marks the type that the binding's settings are read into; a plugin has exactly one.
///
/// It becomes a strict `serde::Deserialize`, and the plugin answers what the host asks outside callouts: its name,
/// version and description, from `Cargo.toml`, and whether settings are acceptable. A plugin without settings has an
/// empty one: `struct Settings {}`. serde's attributes work on its members.
#[proc_macro_attribute]
pub fn settings(arguments: TokenStream, item: TokenStream) -> TokenStream {
    settings::expand(arguments.into(), item.into())
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}

/// Declares the attribute of each event: its name, and the function of its WIT interface.
macro_rules! events {
    ($($(#[$doc:meta])* $event:ident => $function:ident;)*) => {$(
        $(#[$doc])*
        #[proc_macro_attribute]
        pub fn $event(arguments: TokenStream, item: TokenStream) -> TokenStream {
            let function = item.clone();
            event::expand(stringify!($event), stringify!($function), arguments.into(), item.into())
                .map_or_else(
                    // The function stays, so that what uses it is no further error.
                    |error| [error.into_compile_error().into(), function].into_iter().collect(),
                    Into::into,
                )
        }
    )*};
}

events! {
    /// Answers Entra's tokenIssuanceStart with claims for the token that is about to be issued.
    ///
    /// For `fn(&Callout, &Settings) -> Result<Claims>`, where `Settings` is the type marked with `#[settings]`.
    token_issuance_start => provide_claims;
}
