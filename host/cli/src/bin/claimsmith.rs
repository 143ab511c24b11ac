//! The executable that operators run.

use std::process::ExitCode;

// What is shipped runs plugins in the sandbox, and nowhere else: with a way around it, it does not compile.
const _: () = assert!(
    !claimsmith_runtime::HAS_NATIVE_PLUGINS,
    "the feature `native-plugins` of claimsmith-runtime is for benchmarks: build without --all-features"
);

fn main() -> ExitCode {
    claimsmith_cli::main()
}
