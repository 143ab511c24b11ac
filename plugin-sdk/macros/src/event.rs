//! The attributes of events.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::spanned::Spanned as _;
use syn::{Error, FnArg, ItemFn, Result, ReturnType, Safety, Signature, Type};

/// What an attribute has to know of its event.
pub(crate) struct Event {
    /// The attribute, and the module of the SDK with the event's bindings.
    pub(crate) name: &'static str,
    /// The function of the event's WIT interface.
    pub(crate) function: &'static str,
    /// What the plugin's function is given between the callout and the settings, as authors write it.
    pub(crate) input: Option<&'static str>,
    /// What the plugin's function answers with, as authors write it.
    pub(crate) answer: &'static str,
}

pub(crate) fn expand(event: &Event, arguments: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let name = event.name;
    if !arguments.is_empty() {
        return Err(Error::new_spanned(arguments, format!("`{name}` takes no arguments")));
    }
    let item: ItemFn = syn::parse2(item).map_err(|error| {
        Error::new(
            error.span(),
            format!("`{name}` marks the function that answers the event"),
        )
    })?;
    let types = event.argument_types(&item.sig)?;
    let answer = match &item.sig.output {
        ReturnType::Default => item.sig.ident.span(),
        ReturnType::Type(_, answer) => answer.span(),
    };

    let module = Ident::new(event.name, Span::call_site());
    let function = Ident::new(event.function, Span::call_site());
    // The spans make the compiler point at the type in the plugin's signature that is wrong.
    let mut name = item.sig.ident.clone();
    name.set_span(answer);
    let Types {
        callout,
        input,
        settings,
    } = types;
    let callout = quote_spanned! { callout.span()=> __callout };
    let input_type = input.map(|_| quote! { __event::Input, });
    let input_parameter = input.map(|_| quote! { __input: __event::Input, });
    let convert = input.map(|_| quote! { let __input = __event::PluginInput::from(__input); });
    let input = input.map(|input| quote_spanned! { input.span()=> &__input, });
    let call = quote_spanned! { answer=>
        let __answer: ::claimsmith_plugin::Result<__event::PluginAnswer> = #name(#callout, #input __settings);
        __answer
    };
    let invoke = quote_spanned! { settings.span()=> __private::invoke::<#settings, _, _> };
    Ok(quote! {
        #[allow(clippy::unnecessary_wraps, reason = "the event asks for a `Result`, also of a function that never fails")]
        #item

        // Underscores keep these names from being the plugin's.
        const _: () = {
            use ::claimsmith_plugin::__private::{self, #module as __event};

            struct __Event;
            impl __event::Guest for __Event {
                fn #function(
                    __callout: ::claimsmith_plugin::Callout,
                    #input_parameter
                ) -> ::core::result::Result<__event::Answer, __private::Failure> {
                    #convert
                    #invoke(&__callout, |__callout, __settings| { #call })
                }
            }
            #[cfg(target_family = "wasm")]
            __event::export!(__Event with_types_in __event);
            // Natively nothing is exported, and the plugin's code would count as unused.
            #[cfg(not(target_family = "wasm"))]
            const _: fn(
                ::claimsmith_plugin::Callout,
                #input_type
            ) -> ::core::result::Result<__event::Answer, __private::Failure> = <__Event as __event::Guest>::#function;
        };
    })
}

/// The types that the function's references point to.
struct Types<'a> {
    callout: &'a Type,
    input: Option<&'a Type>,
    settings: &'a Type,
}

impl Event {
    fn argument_types<'a>(&self, signature: &'a Signature) -> Result<Types<'a>> {
        if let Some(token) = &signature.asyncness {
            return self.refuse(token, "a plugin runs one call and cannot be async");
        }
        if !matches!(signature.safety, Safety::Default) {
            return self.refuse(&signature.safety, "the function cannot be unsafe");
        }
        if let Some(token) = &signature.abi {
            return self.refuse(token, "the function cannot be extern");
        }
        if !signature.generics.params.is_empty() {
            return self.refuse(&signature.generics, "the function cannot be generic");
        }
        let mut types = Vec::with_capacity(signature.inputs.len());
        for argument in &signature.inputs {
            match argument {
                FnArg::Typed(argument) => types.push(&*argument.ty),
                FnArg::Receiver(receiver) => return self.refuse(receiver, "the function cannot be a method"),
            }
        }
        let (callout, input, settings) = match (types.as_slice(), self.input) {
            (&[callout, settings], None) => (callout, None, settings),
            (&[callout, input, settings], Some(_)) => (callout, Some(input), settings),
            _ => return self.refuse_number(signature),
        };
        Ok(Types {
            callout: self.referenced(callout)?,
            input: input.map(|input| self.referenced(input)).transpose()?,
            settings: self.referenced(settings)?,
        })
    }

    fn referenced<'a>(&self, argument: &'a Type) -> Result<&'a Type> {
        match argument {
            Type::Reference(reference) if reference.mutability.is_none() => Ok(&reference.elem),
            other => self.refuse(other, "every argument is a shared reference"),
        }
    }

    fn refuse_number<T>(&self, signature: &Signature) -> Result<T> {
        let why = match self.input {
            None => "the function has two arguments",
            Some(_) => "the function has three arguments",
        };
        if signature.inputs.is_empty() {
            self.refuse(&signature.ident, why)
        } else {
            self.refuse(&signature.inputs, why)
        }
    }

    fn refuse<T>(&self, what: &dyn ToTokens, why: &str) -> Result<T> {
        let answer = self.answer;
        let input = self.input.map(|input| format!("&{input}, ")).unwrap_or_default();
        let expected = format!("expected `fn(&Callout, {input}&Settings) -> Result<{answer}>`");
        Err(Error::new_spanned(what, format!("{why}: {expected}")))
    }
}
