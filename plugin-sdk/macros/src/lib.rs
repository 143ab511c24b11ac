//! The attributes of `claimsmith-plugin`, which re-exports and documents them.

#![expect(missing_docs, reason = "`claimsmith-plugin` documents what it re-exports")]

use proc_macro::TokenStream;

mod event;
mod settings;

#[proc_macro_attribute]
pub fn settings(arguments: TokenStream, item: TokenStream) -> TokenStream {
    settings::expand(arguments.into(), item.into())
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}

/// Declares the attribute of each event: its name, the function of its WIT interface, and what a plugin's function is
/// given, besides the callout and the settings, and answers with.
macro_rules! events {
    (@input) => { None };
    (@input $input:ident) => { Some(stringify!($input)) };
    ($($event:ident => $function:ident($($input:ident)?) -> $answer:ty;)*) => {$(
        #[proc_macro_attribute]
        pub fn $event(arguments: TokenStream, item: TokenStream) -> TokenStream {
            let event = event::Event {
                name: stringify!($event),
                function: stringify!($function),
                input: events!(@input $($input)?),
                answer: stringify!($answer),
            };
            let function = item.clone();
            event::expand(&event, arguments.into(), item.into()).map_or_else(
                // The function stays, so that what uses it is no further error.
                |error| [error.into_compile_error().into(), function].into_iter().collect(),
                Into::into,
            )
        }
    )*};
}

events! {
    token_issuance_start => provide_claims() -> Claims;
    attribute_collection_start => attribute_collection_start(SignUp) -> AttributeCollectionStart;
    attribute_collection_submit => attribute_collection_submit(SignUp) -> AttributeCollectionSubmit;
    email_otp_send => send(OneTimeCode) -> ();
    password_submit => password_submit(Credentials) -> PasswordSubmit;
    verified_id_claim_validation => validate(VerifiedId) -> Verdict;
}
