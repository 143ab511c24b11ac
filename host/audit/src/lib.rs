//! The audit store: one durable record of each callout, in a chain that shows removed, changed and reordered records.
//!
//! Callouts hand [`Record`]s to an [`Auditor`], whose one writer thread takes what is there, serialises it and writes it
//! in one transaction: the disk is asked to sync once a batch. With [`Mode::Required`] a callout waits for that; with
//! [`Mode::BestEffort`] it never waits, and what is lost is counted. `docs/audit.md` tells operators the rest.
//!
//! All SQL is in `store`, `marks`, `history`, `read`, `walk` and `verify`, behind types that know nothing of `SQLite`: a second implementation for
//! another database is a second version of those files.

mod auditor;
mod chain;
mod contexts;
mod encode;
mod export;
mod history;
mod key;
mod marks;
mod read;
mod record;
mod refusals;
mod store;
mod verify;
mod waiter;
mod walk;
mod writer;

pub use auditor::{Auditor, Mode, Options, Verdict};
pub use export::{Format, export};
pub use history::{Erased, erase, retain};
pub use key::KeyError;
pub use read::{Entry, Filter, Reader, outcomes};
pub use record::{
    CLIENT_GONE_STATUS, Call, Claim, Context, Disclosure, MAX_CALLS, PluginVersion, Privacy, Record, Use,
};
pub use refusals::Refusals;
pub use store::StoreError;
pub use verify::{Fault, Verified, verify};
