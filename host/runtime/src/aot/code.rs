//! Compiled code that is known to be ours, and loading it.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use wasmtime::Engine;
use wasmtime::component::Component;

/// Code that this build compiled for this engine: either just now, or before, which its entry's MAC proved. Whoever makes
/// one vouches for that; there are two who do, [`super::entry`] and [`crate::compiler`].
pub(crate) struct CompiledCode(Vec<u8>);

impl CompiledCode {
    /// Code of which it has been shown that [`wasmtime::Engine::precompile_component`] of this build made it, for an engine
    /// of the same settings.
    pub(crate) fn vouched(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The code as it is kept.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Loads it: out of a file without a name in `directory`, so that only what is used of it is in memory; from memory where
    /// that cannot be.
    ///
    /// # Errors
    /// When the engine's settings do not fit after all.
    pub(crate) fn load(&self, engine: &Engine, directory: Option<&Path>) -> wasmtime::Result<Component> {
        if let Some(file) = directory.and_then(|directory| self.unnamed(directory).ok())
            && let Ok(component) = load_mapped(&file, engine)
        {
            return Ok(component);
        }
        #[expect(unsafe_code, reason = "compiled code cannot be loaded otherwise")]
        // SAFETY: `deserialize` is sound for what `precompile_component` returned, unchanged. A `CompiledCode` is made in
        // two places: of what a compilation returned, in this process or by a child of the same build and settings through a
        // pipe that nobody else writes to; and of a cache entry whose HMAC, over every byte of it, verified with a key that
        // only this host's user reads and writes. The bytes are in memory of this process since before they were verified,
        // and nobody can change them there.
        unsafe {
            Component::deserialize(engine, &self.0)
        }
    }

    /// A file of it that has no name.
    fn unnamed(&self, directory: &Path) -> io::Result<File> {
        let mut file = tempfile::tempfile_in(directory)?;
        file.write_all(&self.0)?;
        Ok(file)
    }
}

/// Loads what [`CompiledCode::unnamed`] wrote.
#[cfg(target_os = "linux")]
fn load_mapped(file: &File, engine: &Engine) -> wasmtime::Result<Component> {
    use std::os::fd::AsRawFd as _;
    // wasmtime opens components by their path, and this is the one that an unnamed file has for its own process.
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    #[expect(unsafe_code, reason = "compiled code cannot be loaded otherwise")]
    // SAFETY: the file holds what `load` vouches for: it was made and written by this process, which writes it no more. It
    // has no name, and only this process has it open. Whoever may open another process's descriptors (`/proc/<pid>/fd`) may
    // write into its memory as well, so the mapping can be changed by nobody who could not change memory.
    unsafe {
        Component::deserialize_file(engine, path)
    }
}

/// There is no path to a file without a name.
#[cfg(not(target_os = "linux"))]
fn load_mapped(_file: &File, _engine: &Engine) -> wasmtime::Result<Component> {
    Err(wasmtime::Error::msg("only Linux has a path to a file without a name"))
}
