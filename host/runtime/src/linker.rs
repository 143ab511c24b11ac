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
/// [`LoadError::ForbiddenImports`] with all such imports.
pub(crate) fn check_imports(component: &Component) -> Result<(), LoadError> {
    let component_type = component.component_type();
    let imports = component_type.imports(component.engine());
    let forbidden: Vec<_> = imports
        .map(|(name, _)| name)
        .filter(|name| !ALLOWED.contains(&interface(name)))
        .collect();
    if forbidden.is_empty() {
        return Ok(());
    }
    Err(LoadError::ForbiddenImports(told(forbidden)))
}

/// An import's name up to its version.
fn interface(name: &str) -> &str {
    name.split_once('@').map_or(name, |(interface, _)| interface)
}

/// The package of an import's interface.
fn package(name: &str) -> &str {
    let interface = interface(name);
    interface.split_once('/').map_or(interface, |(package, _)| package)
}

/// How many imports of a package are named, and of how many packages: a component can have thousands.
const MAX_NAMED: usize = 16;

/// Imports that are refused, each package's with their usual cause. The network comes first: what uses it often imports the
/// file system too, and that is not what its author has to look for.
fn told(mut names: Vec<&str>) -> String {
    names.sort_by_key(|name| match package(name) {
        "wasi:sockets" => 0,
        "wasi:http" => 1,
        _ => 2,
    });
    let mut packages: Vec<(&str, Vec<String>)> = Vec::new();
    for name in names {
        // A URL's name holds what its author likes.
        let quoted = format!("`{}`", clean(name));
        if let Some((_, of_package)) = packages.iter_mut().find(|(known, _)| *known == package(name)) {
            of_package.push(quoted);
        } else if packages.len() < MAX_NAMED {
            packages.push((package(name), vec![quoted]));
        }
    }
    let mut told = String::new();
    for (package, names) in packages {
        let first = names.iter().take(MAX_NAMED).map(String::as_str).collect::<Vec<_>>();
        let begin = if told.is_empty() { "" } else { "; it imports " };
        let more = if names.len() > MAX_NAMED { ", and more" } else { "" };
        told = format!(
            "{told}{begin}{}{more}, which plugins are not given: {}",
            first.join(", "),
            hint(package)
        );
    }
    told
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
fn hint(package: &str) -> &'static str {
    match package {
        "wasi:filesystem" => {
            "plugins have no file system; usually a dependency uses std::fs, std::env::current_dir or reads files when it \
             starts: give it what it needs in the settings, or build it without that feature"
        }
        "wasi:sockets" => {
            "plugins have no network; ask an upstream (docs/upstreams.md). Usually the plugin or a dependency uses std::net or a \
             database driver: build it without that"
        }
        "wasi:http" => {
            "plugins have no network; ask an upstream (docs/upstreams.md). Usually a dependency has an HTTP client of its own: \
             build it without that feature"
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

#[cfg(test)]
mod tests {
    use super::told;

    #[test]
    fn all_imports_that_are_refused_are_named_and_the_network_first() {
        let told = told(vec![
            "wasi:filesystem/types@0.2.0",
            "wasi:sockets/tcp@0.2.0",
            "wasi:filesystem/preopens@0.2.0",
            "wasi:sockets/udp@0.2.0",
        ]);
        let network = "`wasi:sockets/tcp@0.2.0`, `wasi:sockets/udp@0.2.0`, which plugins are not given: plugins have no network; \
                       ask an upstream (docs/upstreams.md)";
        assert!(told.starts_with(network), "{told}");
        let files = "; it imports `wasi:filesystem/types@0.2.0`, `wasi:filesystem/preopens@0.2.0`, which plugins are not given: \
                     plugins have no file system";
        assert!(told.contains(files), "{told}");
    }

    #[test]
    fn a_component_with_thousands_of_imports_is_told_in_one_message() {
        let of_one: Vec<_> = (0..5_000).map(|number| format!("wasi:sockets/x{number}")).collect();
        let of_many: Vec<_> = (0..5_000).map(|number| format!("a:b{number}/c")).collect();
        for names in [of_one, of_many] {
            let told = told(names.iter().map(String::as_str).collect());
            assert!(told.len() < 8_192, "{} bytes", told.len());
        }
    }
}
