//! What plugins can import: the capabilities of `wit/`, and the part of WASI 0.2 that Rust's standard library needs.
//!
//! Filesystem, sockets and HTTP are not linked at all, so a component that imports them is refused when it is loaded.

use wasmtime::Engine;
use wasmtime::component::{Component, HasData, HasSelf, Linker, ResourceTable};
use wasmtime_wasi::cli::{WasiCli, WasiCliView as _};
use wasmtime_wasi::p2::bindings::{cli, clocks, random};
use wasmtime_wasi_io::bindings::wasi::io;

use crate::bindings::{cache, callout, deadline, directory, grants, http, log, mail, settings, sign_up, sql};
use crate::error::LoadError;
use crate::guest_text::clean;
use crate::state::CallState;

/// The imports that are linked: an interface's name up to its version.
const ALLOWED: &[&str] = &[
    "claimsmith:plugin/cache",
    "claimsmith:plugin/callout",
    "claimsmith:plugin/deadline",
    "claimsmith:plugin/directory",
    "claimsmith:plugin/grants",
    "claimsmith:plugin/http",
    "claimsmith:plugin/log",
    "claimsmith:plugin/mail",
    "claimsmith:plugin/settings",
    "claimsmith:plugin/sign-up",
    "claimsmith:plugin/sql",
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stderr",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stderr",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
    "wasi:random/random",
];

/// Builds the linker; there is one in a process. Every function that a plugin calls goes through one of the closures
/// here, which is where calls are counted.
///
/// # Errors
/// When two interfaces claim one name: a defect.
pub(crate) fn build(engine: &Engine) -> wasmtime::Result<Linker<CallState>> {
    let mut linker = Linker::new(engine);
    let l = &mut linker;
    cache::add_to_linker::<_, HasSelf<CallState>>(l, counted)?;
    callout::add_to_linker::<_, HasSelf<CallState>>(l, counted)?;
    deadline::add_to_linker::<_, HasSelf<CallState>>(l, counted)?;
    directory::add_to_linker::<_, HasSelf<CallState>>(l, counted)?;
    grants::add_to_linker::<_, HasSelf<CallState>>(l, counted)?;
    http::add_to_linker::<_, HasSelf<CallState>>(l, counted)?;
    log::add_to_linker::<_, HasSelf<CallState>>(l, counted)?;
    mail::add_to_linker::<_, HasSelf<CallState>>(l, counted)?;
    settings::add_to_linker::<_, HasSelf<CallState>>(l, counted)?;
    sign_up::add_to_linker::<_, HasSelf<CallState>>(l, counted)?;
    sql::add_to_linker::<_, HasSelf<CallState>>(l, counted)?;

    io::error::add_to_linker::<_, Resources>(l, |state| counted(state).table())?;
    io::poll::add_to_linker::<_, HasSelf<CallState>>(l, counted)?;
    io::streams::add_to_linker::<_, Resources>(l, |state| counted(state).table())?;
    clocks::wall_clock::add_to_linker::<_, HasSelf<CallState>>(l, counted)?;
    clocks::monotonic_clock::add_to_linker::<_, HasSelf<CallState>>(l, counted)?;
    random::random::add_to_linker::<_, HasSelf<CallState>>(l, counted)?;
    random::insecure::add_to_linker::<_, HasSelf<CallState>>(l, counted)?;
    random::insecure_seed::add_to_linker::<_, HasSelf<CallState>>(l, counted)?;
    cli::environment::add_to_linker::<_, WasiCli>(l, |state| counted(state).cli())?;
    cli::exit::add_to_linker::<_, WasiCli>(l, |state| counted(state).cli())?;
    cli::stdin::add_to_linker::<_, WasiCli>(l, |state| counted(state).cli())?;
    cli::stdout::add_to_linker::<_, WasiCli>(l, |state| counted(state).cli())?;
    cli::stderr::add_to_linker::<_, WasiCli>(l, |state| counted(state).cli())?;
    cli::terminal_input::add_to_linker::<_, WasiCli>(l, |state| counted(state).cli())?;
    cli::terminal_output::add_to_linker::<_, WasiCli>(l, |state| counted(state).cli())?;
    cli::terminal_stdin::add_to_linker::<_, WasiCli>(l, |state| counted(state).cli())?;
    cli::terminal_stdout::add_to_linker::<_, WasiCli>(l, |state| counted(state).cli())?;
    cli::terminal_stderr::add_to_linker::<_, WasiCli>(l, |state| counted(state).cli())?;
    Ok(linker)
}

/// The state, for one call of an imported function.
fn counted(state: &mut CallState) -> &mut CallState {
    state.budget.call();
    state
}

struct Resources;

impl HasData for Resources {
    type Data<'a> = &'a mut ResourceTable;
}

/// Refuses a component that asks for anything else, naming it.
///
/// # Errors
/// [`LoadError::ForbiddenImport`] for the first such import.
pub(crate) fn check_imports(component: &Component) -> Result<(), LoadError> {
    let component_type = component.component_type();
    for (name, _) in component_type.imports(component.engine()) {
        let interface = name.split_once('@').map_or(name, |(interface, _)| interface);
        if !ALLOWED.contains(&interface) {
            return Err(LoadError::ForbiddenImport {
                // A URL's name holds what its author likes.
                import: clean(name),
                hint: hint(interface),
            });
        }
    }
    Ok(())
}

/// The interfaces that a component imports, in the order of their names.
pub(crate) fn imports(component: &Component) -> Vec<String> {
    let component_type = component.component_type();
    let imports = component_type.imports(component.engine());
    let mut names: Vec<_> = imports.map(|(name, _)| clean(name)).collect();
    names.sort_unstable();
    names
}

/// The usual cause of an import that is refused, and what to do.
fn hint(interface: &str) -> &'static str {
    match interface.split_once('/').map_or(interface, |(package, _)| package) {
        "wasi:filesystem" => {
            "plugins have no file system; usually a dependency uses std::fs, std::env::current_dir or reads files when it \
             starts: give it what it needs in the settings, or build it without that feature"
        }
        "wasi:sockets" => {
            "plugins have no network; usually a dependency uses std::net or a database driver: build it without that \
             feature"
        }
        "wasi:http" => {
            "plugins have no network; usually a dependency has an HTTP client of its own: build it without that feature"
        }
        "wasi:cli" => {
            "plugins are not commands; build the plugin as a library (`crate-type = [\"cdylib\"]`), not as a program with \
             a main function"
        }
        "claimsmith:plugin" => {
            "this host does not know it; the plugin was built for a newer host: update the host, or build the plugin with \
             an older claimsmith-plugin"
        }
        _ => {
            "plugins are given claimsmith:plugin and the parts of wasi:cli, wasi:clocks, wasi:io and wasi:random that \
             Rust's standard library needs; usually a dependency brings bindings of its own"
        }
    }
}
