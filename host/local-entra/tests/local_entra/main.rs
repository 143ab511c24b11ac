//! The local Entra as its users meet it: started on a loopback port, with an extension that behaves or does not.

#[cfg(test)]
mod callouts;
#[cfg(test)]
mod endpoints;
#[cfg(test)]
mod event_codes;
#[cfg(test)]
mod events;
#[cfg(test)]
mod passwords;
#[cfg(test)]
mod sign_ins;
#[cfg(test)]
mod sign_ups;
#[cfg(test)]
mod support;
#[cfg(test)]
mod tokens;
