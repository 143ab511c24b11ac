//! Fills all memory it can get with a marker, or looks for the marker in all memory it can get. What one instance writes,
//! none after it may find.
//!
//! The marker is made at run time and compared word by word in a form that the one who looks never stores, so that it
//! finds no trace of itself. Linear memory is read and written as a whole, which no safe Rust does.

#[cfg(target_family = "wasm")]
use std::arch::wasm32::{memory_grow, memory_size};
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};

use claimsmith_plugin::{Callout, Claims, Result};
use serde::Deserialize;

/// Half of the marker; the settings hold the other half.
const MASK: u64 = 0x5bd1_e995_9e37_79b9;
/// Bytes of a page of linear memory.
const PAGE: usize = 64 << 10;
/// Words of a frame that takes most of a plugin's stack of 128 KiB.
const FRAME: usize = 11_000;

/// Static memory, which an instance begins with.
static STATICS: [AtomicU64; 1024] = [const { AtomicU64::new(0) }; 1024];

#[claimsmith_plugin::settings]
struct Settings {
    mode: Mode,
    key: u64,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum Mode {
    /// Writes the marker everywhere.
    Write,
    /// Looks for it.
    Search,
    /// Both in one instance: shows that it would be found.
    Both,
}

#[claimsmith_plugin::token_issuance_start]
fn provide_claims(_: &Callout, settings: &Settings) -> Result<Claims> {
    let before = pages() * PAGE;
    grow_to_the_limit();
    let end = pages() * PAGE;
    let mut claims = Claims::new().with("bytes", end.to_string());
    // First of all, because looking writes too: what is new must be zeros.
    let dirty = count(before, end, |word| word != 0);
    if settings.mode != Mode::Search {
        let marker = black_box(settings.key) ^ MASK;
        write_statics(marker);
        write_stack(marker);
        fill(before, end, marker);
    }
    if settings.mode != Mode::Write {
        let key = settings.key;
        let found = count(size_of::<u64>(), end, |word| word ^ MASK == key);
        claims = claims.with("found", found.to_string()).with("dirty", dirty.to_string());
    }
    Ok(claims)
}

fn write_statics(marker: u64) {
    for word in &STATICS {
        word.store(marker, Ordering::Relaxed);
    }
}

/// Leaves the marker in a frame that has returned.
#[inline(never)]
#[expect(clippy::large_stack_arrays, reason = "as much of the stack as there is")]
fn write_stack(marker: u64) {
    black_box(&mut [marker; FRAME]);
}

#[cfg(target_family = "wasm")]
fn pages() -> usize {
    memory_size::<0>()
}

#[cfg(target_family = "wasm")]
fn grow_to_the_limit() {
    while memory_grow::<0>(1) != usize::MAX {}
}

/// How many words of `[from, to)` are as described.
#[expect(
    unsafe_code,
    reason = "memory that no Rust value owns; all of it below the memory's size"
)]
fn count(from: usize, to: usize, is: impl Fn(u64) -> bool) -> usize {
    let words = (from..to).step_by(size_of::<u64>());
    // SAFETY: `to` is at most the size of linear memory, `from` is not null, and both are multiples of a word's size.
    // Volatile, because the compiler does not know that there is anything.
    words
        .filter(|address| is(unsafe { std::ptr::with_exposed_provenance::<u64>(*address).read_volatile() }))
        .count()
}

/// Fills `[from, to)`, which must be memory that has just been grown.
#[expect(unsafe_code, reason = "memory that no Rust value owns yet")]
fn fill(from: usize, to: usize, marker: u64) {
    for address in (from..to).step_by(size_of::<u64>()) {
        // SAFETY: the allocator does not know of these pages, and they are below the memory's size.
        unsafe { std::ptr::with_exposed_provenance_mut::<u64>(address).write_volatile(marker) }
    }
}

/// Natively there is no linear memory, and nothing to test.
#[cfg(not(target_family = "wasm"))]
fn pages() -> usize {
    0
}

#[cfg(not(target_family = "wasm"))]
fn grow_to_the_limit() {}
