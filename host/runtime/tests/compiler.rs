//! Whatever the child that compiles does, the parent says what it was in a word that operators can use, keeps nothing of
//! it, and waits no longer than it may. The real child is tried in `tests/tests/compile_limits.rs`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::allow_attributes,
    reason = "a test fails by panicking"
)]

use std::path::PathBuf;
use std::time::Duration;

use claimsmith_runtime::{CompileLimits, Compiler, CompilerProgram, Limits, LoadError, Runtime, RuntimeOptions};

/// An empty component.
const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

/// What loading says when this shell script is the child, which may take `max_time` and say 1000 bytes.
async fn load_with(script: &str, max_time: Duration) -> LoadError {
    load(
        CompilerProgram {
            program: PathBuf::from("/bin/sh"),
            arguments: vec!["-c".into(), script.into()],
        },
        max_time,
    )
    .await
}

async fn load(program: CompilerProgram, max_time: Duration) -> LoadError {
    let runtime = Runtime::new(RuntimeOptions {
        max_concurrent_invocations: 1,
        compiler: Compiler::Child(program),
        compile_limits: CompileLimits {
            max_time,
            max_compiled_bytes: 1000,
            ..CompileLimits::default()
        },
        ..RuntimeOptions::default()
    });
    runtime
        .unwrap()
        .load(EMPTY.to_vec(), &Limits::default())
        .await
        .unwrap_err()
}

const LONG: Duration = Duration::from_mins(1);

#[tokio::test]
async fn each_way_a_child_can_end_has_its_error() {
    let cases = [
        (
            "echo 'type mismatch' >&2; exit 1",
            "the component does not compile: type mismatch",
        ),
        ("exit 3", "more than 1073741824 bytes of memory"),
        (
            "echo 'memory allocation of 5 bytes failed' >&2; kill -ABRT $$",
            "more than 1073741824 bytes of memory",
        ),
        ("kill -SEGV $$", "the compiler crashed on the component, signal: 11"),
        (
            "echo 'thread main panicked' >&2; exit 101",
            "crashed on the component, exit status: 101: thread main panicked",
        ),
        ("head -c 100000000 /dev/zero", "more than 1000 bytes of machine code"),
        ("exec cat /dev/zero", "more than 1000 bytes of machine code"),
        // Success, but not the code of this build: nothing of it is loaded.
        ("cat > /dev/null", "not this service's build any more"),
        ("head -c 500 /dev/zero", "not this service's build any more"),
    ];
    for (script, expected) in cases {
        let error = load_with(script, LONG).await.to_string();
        assert!(error.contains(expected), "{script}: {error}");
    }
}

#[tokio::test]
async fn a_child_that_does_not_end_is_not_waited_for() {
    for script in ["sleep 600", "exec sleep 600 <&- >&- 2>&-", "while :; do :; done"] {
        let error = load_with(script, Duration::from_millis(200)).await;
        assert!(
            matches!(error, LoadError::CompileTime { .. }) && error.is_compile_limit(),
            "{script}: {error}"
        );
    }
}

#[tokio::test]
async fn last_words_are_cut_and_cannot_forge_log_lines() {
    // As a Rust program, it does not end of a pipe that nobody reads.
    let script = "trap '' PIPE; i=0; while [ $i -lt 20000 ]; do echo 'x x x x x x'; i=$((i+1)); done >&2; exit 1";
    let LoadError::Compile(text) = load_with(script, LONG).await else {
        panic!("another error");
    };
    assert!(text.len() < 2000 && !text.contains('\n'), "{text}");
}

#[tokio::test]
async fn a_program_that_cannot_be_run_is_no_fault_of_the_component() {
    let program = CompilerProgram {
        program: PathBuf::from("/does/not/exist"),
        arguments: Vec::new(),
    };
    let error = load(program, LONG).await;
    assert!(
        error.to_string().contains("cannot be compiled now: No such file"),
        "{error}"
    );
    assert!(error.passes(), "it is tried again");
}

#[tokio::test]
async fn a_child_gets_its_limits_as_arguments_and_nothing_of_the_environment() {
    // Of `sh -c SCRIPT A B`, A is $0 and B is $1.
    let error = load_with("echo \"bytes=$0 seconds=$1 home=$HOME in=$(pwd)\" >&2; exit 1", LONG).await;
    assert!(
        error.to_string().ends_with("bytes=1073741824 seconds=62 home= in=/"),
        "{error}"
    );
}
