//! The chain: each record's hash covers its content and the hash before it.
//!
//! Personal data is covered by a commitment, a hash over a random salt and the data. When a person's records are erased,
//! data and salt go and the commitment stays: the chain still holds, and nothing can be guessed from it.

use aws_lc_rs::digest::{Context, SHA256};

use crate::key::{Key, PSEUDONYM_BYTES};

/// A SHA-256.
pub(crate) type Hash = [u8; 32];
/// Random bytes that keep personal data from being guessed from its commitment.
pub(crate) type Salt = [u8; 16];

/// The hash before the first record.
pub(crate) const BEGINNING: Hash = [0; 32];
/// The commitment of a record without personal data.
pub(crate) const NOTHING: Hash = [0; 32];

/// What a record's hash covers besides its place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Content<'r> {
    pub(crate) time: i64,
    /// Of the context's text.
    pub(crate) context: &'r Hash,
    pub(crate) outcome: &'r str,
    pub(crate) correlation: &'r [u8],
    pub(crate) application: &'r [u8],
    pub(crate) detail: &'r str,
    pub(crate) commitment: &'r Hash,
}

/// A record's hash.
pub(crate) fn hash(seq: i64, previous: &Hash, content: &Content<'_>) -> Hash {
    let mut digest = Context::new(&SHA256);
    digest.update(b"claimsmith-audit-1");
    digest.update(&seq.to_be_bytes());
    digest.update(previous);
    digest.update(&content.time.to_be_bytes());
    digest.update(content.context);
    digest.update(content.commitment);
    for part in [
        content.outcome.as_bytes(),
        content.correlation,
        content.application,
        content.detail.as_bytes(),
    ] {
        digest.update(&(part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    finish(digest)
}

/// The commitment to a record's personal data.
pub(crate) fn commitment(salt: &[u8], subject: &[u8], personal: &str) -> Hash {
    let mut digest = Context::new(&SHA256);
    digest.update(b"claimsmith-audit-personal-1");
    for part in [salt, subject, personal.as_bytes()] {
        digest.update(&(part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    finish(digest)
}

/// What stays of a record's erased personal data: the commitment to it, and who has the store's key says so. Anybody could
/// compute the commitment from the data, and put it there instead.
pub(crate) fn erasure(key: &Key, seq: i64, commitment: &Hash) -> Vec<u8> {
    let tag = key.tag(&[b"erased", &seq.to_be_bytes(), commitment]);
    [commitment.as_slice(), tag.as_ref()].concat()
}

/// The hash of a context's text.
pub(crate) fn of_text(text: &str) -> Hash {
    let mut digest = Context::new(&SHA256);
    digest.update(text.as_bytes());
    finish(digest)
}

fn finish(digest: Context) -> Hash {
    to_hash(digest.finish().as_ref())
}

/// The first 32 bytes; zeros where there are fewer.
pub(crate) fn to_hash(bytes: &[u8]) -> Hash {
    let mut hash = [0; 32];
    hash.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    hash
}

/// Whether there is anybody.
pub(crate) fn is_somebody(subject: &[u8]) -> bool {
    subject.iter().any(|byte| *byte != 0)
}

/// Nobody.
pub(crate) const NOBODY: [u8; PSEUDONYM_BYTES] = [0; PSEUDONYM_BYTES];

/// Names of the marks: places of the chain that the store's key authenticates.
pub(crate) mod mark {
    /// The record before the first one that is kept.
    pub(crate) const BEGIN: &str = "begin";
    /// The last record at the time.
    pub(crate) const SEALED: &str = "sealed";
}

/// The authentication of a mark.
pub(crate) fn mark_tag(key: &Key, name: &str, seq: i64, hash: &Hash) -> Hash {
    to_hash(key.tag(&[b"mark", name.as_bytes(), &seq.to_be_bytes(), hash]).as_ref())
}
