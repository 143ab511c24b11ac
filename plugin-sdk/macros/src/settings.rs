//! `#[settings]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput, Error, Fields, Result};

pub(crate) fn expand(arguments: TokenStream, item: TokenStream) -> Result<TokenStream> {
    if !arguments.is_empty() {
        return Err(Error::new_spanned(arguments, "`settings` takes no arguments"));
    }
    let item: DeriveInput = syn::parse2(item).map_err(|error| {
        Error::new(
            error.span(),
            "`settings` marks the struct that the settings are read into",
        )
    })?;
    check(&item)?;
    let name = &item.ident;
    Ok(quote! {
        #[derive(::claimsmith_plugin::serde::Deserialize)]
        #[serde(crate = "::claimsmith_plugin::serde", deny_unknown_fields)]
        #item

        impl ::claimsmith_plugin::settings::Settings for #name {}

        #[cfg(target_family = "wasm")]
        const _: () = {
            use ::claimsmith_plugin::__private::{self, lifecycle_bindings};

            struct __Lifecycle;

            impl lifecycle_bindings::Guest for __Lifecycle {
                fn describe() -> lifecycle_bindings::Description {
                    __private::describe(
                        ::core::env!("CARGO_PKG_NAME"),
                        ::core::env!("CARGO_PKG_VERSION"),
                        ::core::option_env!("CARGO_PKG_DESCRIPTION"),
                    )
                }

                fn check_settings(
                    settings: ::std::string::String,
                ) -> ::std::vec::Vec<lifecycle_bindings::Problem> {
                    __private::check_settings::<#name>(&settings)
                }
            }

            lifecycle_bindings::export!(__Lifecycle with_types_in lifecycle_bindings);
        };
    })
}

fn check(item: &DeriveInput) -> Result<()> {
    if !item.generics.params.is_empty() {
        return Err(Error::new_spanned(&item.generics, "settings cannot be generic"));
    }
    match &item.data {
        Data::Struct(data) if matches!(data.fields, Fields::Named(_)) => Ok(()),
        Data::Enum(_) => Ok(()),
        Data::Struct(_) => Err(Error::new_spanned(
            &item.ident,
            format!(
                "settings have named members; an empty one is `struct {} {{}}`",
                item.ident
            ),
        )),
        Data::Union(_) => Err(Error::new_spanned(&item.ident, "settings cannot be a union")),
    }
}
