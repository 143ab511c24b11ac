//! Compiled code that is known to be ours, and loading it.

use std::ops::Range;

use memmap2::MmapMut;
use wasmtime::Engine;
use wasmtime::component::Component;

/// Code that this build compiled for this engine: either just now, or before, which its entry's MAC proved. Whoever makes
/// one vouches for that; there are two who do, [`super::entry`] and [`crate::compiler`].
pub(crate) struct CompiledCode {
    memory: Memory,
    code: Range<usize>,
}

/// Where code is.
enum Memory {
    Allocated(Vec<u8>),
    Mapped(MmapMut),
}

impl CompiledCode {
    /// Code of which it has been shown that [`wasmtime::Engine::precompile_component`] of this build made it, for an engine
    /// of the same settings.
    pub(crate) fn vouched(bytes: Vec<u8>) -> Self {
        Self {
            code: 0..bytes.len(),
            memory: Memory::Allocated(bytes),
        }
    }

    /// The same for a part of mapped memory.
    pub(super) fn vouched_part(memory: MmapMut, code: Range<usize>) -> Self {
        let memory = Memory::Mapped(memory);
        Self { memory, code }
    }

    /// The code as it is kept.
    pub(crate) fn bytes(&self) -> &[u8] {
        let memory = match &self.memory {
            Memory::Allocated(bytes) => bytes.as_slice(),
            Memory::Mapped(bytes) => bytes,
        };
        memory.get(self.code.clone()).unwrap_or_default()
    }

    /// Loads it.
    ///
    /// # Errors
    /// When the engine's settings do not fit after all.
    pub(crate) fn load(&self, engine: &Engine) -> wasmtime::Result<Component> {
        #[expect(unsafe_code, reason = "compiled code cannot be loaded otherwise")]
        // SAFETY: `deserialize` is sound for what `precompile_component` returned, unchanged. A `CompiledCode` is made in
        // two places: of what a compilation returned, in this process or by a child of the same build and settings through a
        // pipe that nobody else writes to; and of a cache entry whose HMAC, over every byte of it, verified with a key that
        // only this host's user reads and writes. The bytes are in memory of this process since before they were verified,
        // and nobody can change them there.
        unsafe {
            Component::deserialize(engine, self.bytes())
        }
    }
}
