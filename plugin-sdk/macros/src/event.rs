//! The attributes of events.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::spanned::Spanned as _;
use syn::{Error, FnArg, ItemFn, Result, ReturnType, Safety, Signature, Type};

pub(crate) fn expand(event: &str, function: &str, arguments: TokenStream, item: TokenStream) -> Result<TokenStream> {
    if !arguments.is_empty() {
        return Err(Error::new_spanned(arguments, format!("`{event}` takes no arguments")));
    }
    let item: ItemFn = syn::parse2(item).map_err(|error| {
        Error::new(
            error.span(),
            format!("`{event}` marks the function that answers the event"),
        )
    })?;
    let (callout, settings) = arguments_of(&item.sig)?;
    let answer = match &item.sig.output {
        ReturnType::Default => item.sig.ident.span(),
        ReturnType::Type(_, answer) => answer.span(),
    };

    let event = Ident::new(event, Span::call_site());
    let function = Ident::new(function, Span::call_site());
    // The spans make the compiler point at the type in the plugin's signature that is wrong.
    let mut name = item.sig.ident.clone();
    name.set_span(answer);
    let argument = quote_spanned! { callout.span()=> __callout };
    let call = quote_spanned! { answer=>
        let __answer: ::claimsmith_plugin::Result<__event::PluginAnswer> = #name(#argument, __settings);
        __answer
    };
    let invoke = quote_spanned! { settings.span()=> __private::invoke::<#settings, _, _> };
    Ok(quote! {
        #[allow(clippy::unnecessary_wraps, reason = "the event asks for a `Result`, also of a function that never fails")]
        #item

        // Underscores keep these names from being the plugin's.
        const _: () = {
            use ::claimsmith_plugin::__private::{self, #event as __event};

            struct __Event;
            impl __event::Guest for __Event {
                fn #function(
                    __callout: ::claimsmith_plugin::Callout,
                ) -> ::core::result::Result<__event::Answer, __private::Failure> {
                    #invoke(&__callout, |__callout, __settings| { #call })
                }
            }
            #[cfg(target_family = "wasm")]
            __event::export!(__Event with_types_in __event);
            // Natively nothing is exported, and the plugin's code would count as unused.
            #[cfg(not(target_family = "wasm"))]
            const _: fn(
                ::claimsmith_plugin::Callout,
            ) -> ::core::result::Result<__event::Answer, __private::Failure> = <__Event as __event::Guest>::#function;
        };
    })
}

/// The types the two references point to.
fn arguments_of(signature: &Signature) -> Result<(&Type, &Type)> {
    const EXPECTED: &str = "expected `fn(&Callout, &Settings) -> Result<…>`";
    let refuse = |what: &dyn quote::ToTokens, why: &str| Err(Error::new_spanned(what, format!("{why}: {EXPECTED}")));
    if let Some(token) = &signature.asyncness {
        return refuse(token, "a plugin runs one call and cannot be async");
    }
    if !matches!(signature.safety, Safety::Default) {
        return refuse(&signature.safety, "the function cannot be unsafe");
    }
    if let Some(token) = &signature.abi {
        return refuse(token, "the function cannot be extern");
    }
    if !signature.generics.params.is_empty() {
        return refuse(&signature.generics, "the function cannot be generic");
    }
    let mut inputs = signature.inputs.iter();
    match (inputs.next(), inputs.next(), inputs.next()) {
        (Some(FnArg::Typed(callout)), Some(FnArg::Typed(settings)), None) => match (&*callout.ty, &*settings.ty) {
            (Type::Reference(callout), Type::Reference(settings)) => Ok((&callout.elem, &settings.elem)),
            (Type::Reference(_), other) | (other, _) => refuse(other, "both arguments are references"),
        },
        _ if signature.inputs.is_empty() => refuse(&signature.ident, "the function has two arguments"),
        _ => refuse(&signature.inputs, "the function has two arguments"),
    }
}
