//! The cache of compiled components: whatever happens to a file of it, no code is loaded but what this host wrote there
//! for this component, and what is lost is compiled again.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::allow_attributes,
    reason = "a test fails by panicking"
)]

mod permissions;
mod upkeep;

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use claimsmith_runtime::{
    CacheOptions, CompileLimits, Compiler, LoadError, PrecompileError, Runtime, RuntimeError, RuntimeOptions,
};
use tempfile::TempDir;

const DAY: Duration = Duration::from_hours(24);
/// Magic, format, key id, digest, engine, build, length.
const HEADER_BYTES: usize = 8 + 4 + 16 + 32 + 32 + 32 + 8;
const MAC_BYTES: usize = 32;

/// A component with one core module whose one function returns `number`: small, so that it compiles at once.
fn component(number: u8) -> Vec<u8> {
    assert!(number < 64, "one byte of LEB128");
    let module = [
        b"\0asm\x01\0\0\0".as_slice(),
        // Types: one, `func() -> i32`. Functions: one of that type. Code: one body, `i32.const number`.
        &[1, 5, 1, 0x60, 0, 1, 0x7f],
        &[3, 2, 1, 0],
        &[10, 6, 1, 4, 0, 0x41, number, 0x0b],
    ]
    .concat();
    let section = [1, u8::try_from(module.len()).unwrap()];
    [b"\0asm\x0d\0\x01\0".as_slice(), &section, &module].concat()
}

/// A cache in a directory of its own.
struct Scene {
    directory: TempDir,
}

impl Scene {
    fn new() -> Self {
        Self {
            directory: TempDir::new().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn options(&self) -> CacheOptions {
        CacheOptions {
            directory: self.path("cache"),
            key: self.path("key"),
            unused_for: 30 * DAY,
            max_bytes: 1 << 30,
            build_tag: String::new(),
        }
    }

    fn runtime(&self) -> Runtime {
        open(self.options()).unwrap()
    }

    /// The files that look like entries, by name.
    fn entries(&self) -> Vec<PathBuf> {
        let files = fs::read_dir(self.path("cache"))
            .unwrap()
            .map(|file| file.unwrap().path());
        let mut entries: Vec<_> = files.collect();
        entries.sort();
        entries
    }

    fn entry(&self) -> PathBuf {
        let entries = self.entries();
        assert_eq!(entries.len(), 1, "{entries:?}");
        entries[0].clone()
    }
}

fn with(cache: CacheOptions, compiler: Compiler) -> Result<Runtime, RuntimeError> {
    Runtime::new(RuntimeOptions {
        max_concurrent_invocations: 1,
        compiler,
        cache: Some(cache),
        ..RuntimeOptions::default()
    })
}

fn open(cache: CacheOptions) -> Result<Runtime, RuntimeError> {
    with(cache, Compiler::InProcess)
}

async fn is_compiled(runtime: &Runtime, wasm: &[u8]) -> bool {
    runtime.precompile(wasm).await.unwrap().compiled
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[tokio::test]
async fn a_component_is_compiled_once_for_all_processes_and_nobody_else_can_read_or_write_what_is_kept() {
    let scene = Scene::new();
    assert!(is_compiled(&scene.runtime(), &component(1)).await);
    assert!(!is_compiled(&scene.runtime(), &component(1)).await);
    assert!(is_compiled(&scene.runtime(), &component(2)).await);
    assert_eq!(scene.entries().len(), 2);
    assert_eq!((mode(&scene.path("cache")), mode(&scene.path("key"))), (0o700, 0o600));
    for entry in scene.entries() {
        assert_eq!(mode(&entry), 0o600, "{}", entry.display());
    }
    assert_eq!(fs::read(scene.path("key")).unwrap().len(), 32);
}

/// Puts `bytes` in the place of the entry, and asks for the component: it must be compiled anew, which leaves the entry as it
/// was written.
async fn assert_detected(runtime: &Runtime, entry: &Path, written: &[u8], bytes: &[u8], what: &str) {
    fs::write(entry, bytes).unwrap();
    assert!(is_compiled(runtime, &component(1)).await, "{what} was not detected");
    assert!(fs::read(entry).unwrap() == written, "{what}: it was not written again");
}

#[tokio::test]
async fn no_changed_bit_goes_unnoticed() {
    let scene = Scene::new();
    let runtime = scene.runtime();
    assert!(is_compiled(&runtime, &component(1)).await);
    let entry = scene.entry();
    let written = fs::read(&entry).unwrap();
    let code = written.len() - HEADER_BYTES - MAC_BYTES;
    let header = 0..HEADER_BYTES;
    let payload = (0..250).map(|part| HEADER_BYTES + part * code / 250);
    let mac = written.len() - MAC_BYTES..written.len();
    for (number, position) in header.chain(payload).chain(mac).enumerate() {
        let mut changed = written.clone();
        changed[position] ^= 1 << (number % 8);
        assert_detected(
            &runtime,
            &entry,
            &written,
            &changed,
            &format!("a changed bit in byte {position}"),
        )
        .await;
    }
    assert!(
        !is_compiled(&runtime, &component(1)).await,
        "the untouched entry is used"
    );
}

#[tokio::test]
async fn no_changed_length_goes_unnoticed() {
    let scene = Scene::new();
    let runtime = scene.runtime();
    assert!(is_compiled(&runtime, &component(1)).await);
    let entry = scene.entry();
    let written = fs::read(&entry).unwrap();
    let edges = [
        0,
        1,
        7,
        8,
        12,
        HEADER_BYTES - 1,
        HEADER_BYTES,
        HEADER_BYTES + 1,
        HEADER_BYTES + MAC_BYTES,
    ];
    let near_end = written.len() - MAC_BYTES - 2..written.len();
    let spread = (0..40).map(|part| part * written.len() / 40);
    for length in edges.into_iter().chain(near_end).chain(spread) {
        let what = format!("a file cut to {length} bytes");
        assert_detected(&runtime, &entry, &written, &written[..length], &what).await;
    }
    for more in [1, 31, 32, 33, 4096, written.len()] {
        let longer = [written.as_slice(), &vec![0; more]].concat();
        assert_detected(&runtime, &entry, &written, &longer, &format!("{more} bytes appended")).await;
    }
    let twice = [written.as_slice(), &written].concat();
    assert_detected(&runtime, &entry, &written, &twice, "an entry written twice").await;
}

#[tokio::test]
async fn an_entry_serves_no_other_component_under_whatever_name() {
    let scene = Scene::new();
    let runtime = scene.runtime();
    assert!(is_compiled(&runtime, &component(1)).await);
    let first = scene.entry();
    let written = fs::read(&first).unwrap();
    assert!(is_compiled(&runtime, &component(2)).await);
    let second = scene.entries().into_iter().find(|entry| *entry != first).unwrap();
    let others = fs::read(&second).unwrap();
    assert_detected(&runtime, &first, &written, &others, "another component's entry").await;
    // Its header on the other's code, and the other way round.
    let mixed = [&written[..HEADER_BYTES], &others[HEADER_BYTES..]].concat();
    assert_detected(&runtime, &first, &written, &mixed, "another component's code").await;
    let mixed = [&others[..HEADER_BYTES], &written[HEADER_BYTES..]].concat();
    assert_detected(&runtime, &first, &written, &mixed, "another component's header").await;
}

#[tokio::test]
async fn what_was_made_with_another_key_or_by_another_build_is_not_used() {
    let (scene, elsewhere) = (Scene::new(), Scene::new());
    let runtime = scene.runtime();
    assert!(is_compiled(&runtime, &component(1)).await);
    let entry = scene.entry();
    let written = fs::read(&entry).unwrap();

    assert!(is_compiled(&elsewhere.runtime(), &component(1)).await);
    let of_another_key = fs::read(elsewhere.entry()).unwrap();
    assert_detected(&runtime, &entry, &written, &of_another_key, "another key").await;
    // Also when it says that it was made with this one.
    let mut disguised = of_another_key.clone();
    disguised[12..28].copy_from_slice(&written[12..28]);
    assert_detected(&runtime, &entry, &written, &disguised, "another key in disguise").await;

    let another_build = CacheOptions {
        build_tag: "another".to_owned(),
        ..scene.options()
    };
    assert!(is_compiled(&open(another_build.clone()).unwrap(), &component(1)).await);
    // Two builds share a directory without taking each other's.
    assert_eq!(scene.entries().len(), 2);
    assert!(!is_compiled(&runtime, &component(1)).await);
    let of_another_build = scene.entries().into_iter().find(|other| *other != entry).unwrap();
    let others = fs::read(&of_another_build).unwrap();
    assert_detected(&runtime, &entry, &written, &others, "another build").await;
    assert!(!is_compiled(&open(another_build).unwrap(), &component(1)).await);
}

#[tokio::test]
async fn what_is_no_regular_file_is_no_entry() {
    let scene = Scene::new();
    let runtime = scene.runtime();
    assert!(is_compiled(&runtime, &component(1)).await);
    let entry = scene.entry();
    let elsewhere = scene.path("elsewhere");
    fs::rename(&entry, &elsewhere).unwrap();
    symlink(&elsewhere, &entry).unwrap();
    assert!(is_compiled(&runtime, &component(1)).await, "a link is not followed");
    assert!(fs::symlink_metadata(&entry).unwrap().is_file());

    fs::remove_file(&entry).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&entry).status().unwrap();
    assert!(made.success());
    assert!(is_compiled(&runtime, &component(1)).await, "a pipe is not waited for");
    assert!(fs::symlink_metadata(&entry).unwrap().is_file());
}

#[tokio::test]
async fn an_entry_larger_than_compiled_code_may_be_is_not_read() {
    let scene = Scene::new();
    let runtime = scene.runtime();
    assert!(is_compiled(&runtime, &component(1)).await);
    let entry = scene.entry();
    let file = File::options().write(true).open(&entry).unwrap();
    let most = CompileLimits::default().max_compiled_bytes + HEADER_BYTES + MAC_BYTES;
    file.set_len(most as u64 + 1).unwrap();
    assert!(is_compiled(&runtime, &component(1)).await);
}

#[tokio::test]
async fn a_component_that_compiles_to_too_much_is_refused() {
    let scene = Scene::new();
    let runtime = Runtime::new(RuntimeOptions {
        max_concurrent_invocations: 1,
        compile_limits: CompileLimits {
            max_compiled_bytes: 1000,
            ..CompileLimits::default()
        },
        cache: Some(scene.options()),
        ..RuntimeOptions::default()
    });
    let refused = runtime.unwrap().precompile(&component(1)).await.unwrap_err();
    assert!(
        matches!(
            refused,
            PrecompileError::Load(LoadError::CompiledTooLarge { limit: 1000 })
        ),
        "{refused}"
    );
    assert!(scene.entries().is_empty());
}

#[tokio::test]
async fn a_cache_that_cannot_be_used_is_done_without() {
    let scene = Scene::new();
    fs::write(scene.path("file"), "").unwrap();
    let below_a_file = CacheOptions {
        directory: scene.path("file").join("cache"),
        ..scene.options()
    };
    let runtime = open(below_a_file).unwrap();
    let error = runtime.precompile(&component(1)).await.unwrap_err();
    assert!(matches!(error, PrecompileError::NoCache), "{error}");
    // It compiles all the same, and says what is wrong with the component itself.
    let error = runtime
        .load(component(1), &claimsmith_runtime::Limits::default())
        .await
        .unwrap_err();
    assert!(matches!(error, LoadError::NoLifecycle), "{error}");

    // A directory that stops taking files is found out when it is written to.
    let runtime = scene.runtime();
    fs::remove_dir(scene.path("cache")).unwrap();
    fs::write(scene.path("cache"), "").unwrap();
    let error = runtime.precompile(&component(1)).await.unwrap_err();
    assert!(matches!(error, PrecompileError::NotKept(_)), "{error}");
    let error = runtime
        .load(component(1), &claimsmith_runtime::Limits::default())
        .await
        .unwrap_err();
    assert!(matches!(error, LoadError::NoLifecycle), "{error}");
}

#[tokio::test]
async fn a_host_that_does_not_compile_takes_what_is_in_the_cache_alone() {
    let scene = Scene::new();
    let nobody = || Compiler::Nobody {
        command: "claimsmith compile".to_owned(),
    };
    let runtime = with(scene.options(), nobody()).unwrap();
    let error = runtime.precompile(&component(1)).await.unwrap_err();
    assert!(
        matches!(&error, PrecompileError::Load(LoadError::NotCompiled { command }) if command == "claimsmith compile"),
        "{error}"
    );
    assert!(is_compiled(&scene.runtime(), &component(1)).await);
    assert!(!is_compiled(&runtime, &component(1)).await);
    // Nor does it take what was tampered with.
    let entry = scene.entry();
    let mut changed = fs::read(&entry).unwrap();
    changed[HEADER_BYTES + 1000] ^= 1;
    fs::write(&entry, changed).unwrap();
    assert!(runtime.precompile(&component(1)).await.is_err());
}
