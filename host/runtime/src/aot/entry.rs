//! One entry: how it is written, and everything that is checked before its code is believed.
//!
//! ```text
//! magic 8 | format 4 | key id 16 | SHA-256 of the component 32 | engine 32 | build 32 | length of the code 8 | code
//! | HMAC-SHA-256 over all before it 32
//! ```
//!
//! Numbers are little-endian. The key id is derived from the key, and only tells a changed key from a damaged file.

use std::io::{self, Write};
use std::ops::Range;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;

use super::Origin;
use super::code::CompiledCode;
use super::key::Key;
use crate::plugin::Digest;

const MAGIC: [u8; 8] = *b"CLMSMAOT";
const FORMAT: [u8; 4] = 1_u32.to_le_bytes();
const KEY_ID_BYTES: usize = 16;
const DIGEST_BYTES: usize = 32;
const MAC_BYTES: usize = 32;

/// What an entry has besides its code.
pub(super) const OVERHEAD_BYTES: usize =
    MAGIC.len() + FORMAT.len() + KEY_ID_BYTES + DIGEST_BYTES + Origin::BYTES + 8 + MAC_BYTES;

/// Why an entry is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unusable {
    /// Not what was written.
    Corrupt(&'static str),
    /// Written well, but not for this.
    Foreign(&'static str),
}

/// Writes an entry.
///
/// # Errors
/// What `to` says.
pub(super) fn write(
    mut to: impl Write,
    key: &Key,
    digest: Digest,
    origin: Origin,
    code: &CompiledCode,
) -> io::Result<()> {
    let length = (code.bytes().len() as u64).to_le_bytes();
    let origin = origin.to_bytes();
    let parts: [&[u8]; 7] = [
        &MAGIC,
        &FORMAT,
        key.id(),
        digest.as_bytes(),
        &origin,
        &length,
        code.bytes(),
    ];
    let mut mac = hmac::Context::with_key(key.hmac());
    for part in parts {
        mac.update(part);
        to.write_all(part)?;
    }
    to.write_all(mac.sign().as_ref())
}

/// Where the code is in an entry that was written with `key` for this component and origin, and has not been changed by a bit.
///
/// # Errors
/// What is wrong with it.
pub(super) fn read(bytes: &[u8], key: &Key, digest: Digest, origin: Origin) -> Result<Range<usize>, Unusable> {
    let mut rest = bytes;
    let mut take = |length| {
        let (part, after) = rest
            .split_at_checked(length)
            .ok_or(Unusable::Corrupt("it is cut off"))?;
        rest = after;
        Ok(part)
    };
    if take(MAGIC.len())? != MAGIC {
        return Err(Unusable::Corrupt("it does not begin as an entry does"));
    }
    if take(FORMAT.len())? != FORMAT {
        return Err(Unusable::Foreign("its format is another version's"));
    }
    if take(KEY_ID_BYTES)? != key.id() {
        return Err(Unusable::Foreign("it was made with another key"));
    }
    let named_digest = take(DIGEST_BYTES)?;
    let named_origin = take(Origin::BYTES)?;
    let length = take(8)?;
    let header = OVERHEAD_BYTES - MAC_BYTES;
    let code = rest
        .len()
        .checked_sub(MAC_BYTES)
        .ok_or(Unusable::Corrupt("it is cut off"))?;
    if length != (code as u64).to_le_bytes() {
        return Err(Unusable::Corrupt("its length is not what it says"));
    }
    let (authenticated, mac) = bytes
        .split_at_checked(header + code)
        .ok_or(Unusable::Corrupt("it is cut off"))?;
    if verify_slices_are_equal(hmac::sign(key.hmac(), authenticated).as_ref(), mac).is_err() {
        return Err(Unusable::Corrupt(
            "its MAC does not fit: it was damaged, or somebody changed it",
        ));
    }
    if named_digest != digest.as_bytes() {
        return Err(Unusable::Foreign("it is another component's"));
    }
    if named_origin != origin.to_bytes() {
        return Err(Unusable::Foreign(
            "it was made by another build, or for another engine or processor",
        ));
    }
    Ok(header..header + code)
}
