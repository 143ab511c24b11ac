//! The `claimsmith` command, as a library: what the command does, without the executable around it.

mod admin;
mod audit;
mod check;
mod compile;
mod compiler;
mod explain_token;
mod healthcheck;
mod init;
mod logging;
mod schema;
mod serve;
mod service_manager;
mod validate;

use std::num::NonZero;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

/// What every command has: apart from a command's own options in its help.
const LOGGING: &str = "Logging";

/// A shared platform for Microsoft Entra's custom authentication extensions: validates Entra's callouts and runs
/// tenant teams' sandboxed WebAssembly plugins, which produce the claims.
#[derive(Debug, Parser)]
#[command(name = "claimsmith", version, propagate_version = true)]
struct Cli {
    /// How log lines are written to standard error.
    #[arg(
        long,
        global = true,
        value_enum,
        default_value = "text",
        env = "CLAIMSMITH_LOG_FORMAT",
        help_heading = LOGGING
    )]
    log_format: logging::Format,
    /// Which log lines are written, for example `info` (the default) or `claimsmith_token=debug,warn`. `serve` takes
    /// `log.filter` of its configuration when nothing is said here.
    #[arg(long, global = true, env = "CLAIMSMITH_LOG", help_heading = LOGGING)]
    log: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Answer Entra's callouts.
    Serve(serve::Arguments),
    /// Check a whole configuration, as a start would load it, without serving.
    Check(check::Arguments),
    /// Write a commented configuration to begin with.
    Init(init::Arguments),
    /// Ask whether the service lives, or is ready; the exit code says it. For the health checks of containers.
    Healthcheck(healthcheck::Arguments),
    /// Compile plugins ahead of time, into the cache of compiled components.
    Compile(compile::Arguments),
    /// Compile the component on standard input to standard output: what `serve` and `compile` run for each component.
    #[command(hide = true)]
    CompileForParent(compiler::ChildArguments),
    /// Say why a bearer token is accepted or refused: every check, what was found, what was expected, what to do.
    ExplainToken(explain_token::Arguments),
    /// Check a request or response body offline, with the host's own checks.
    Validate(validate::Arguments),
    /// Print the JSON Schema of a request or response body, or the OpenAPI document.
    Schema(schema::Arguments),
    /// Read, check and prune the records of callouts.
    Audit(audit::Arguments),
    /// Give the running service a version of a plugin, which serves once it is activated.
    Push(admin::PushArguments),
    /// Let versions of plugins serve that were pushed; all of them, or none.
    Activate(admin::ActivateArguments),
    /// Go back to the version of a plugin that was active before.
    Rollback(admin::RollbackArguments),
    /// List the versions that were pushed for a tenant.
    Versions(admin::VersionsArguments),
    /// Say what the running service serves: active versions, circuit breakers, mistakes in the tenants' files.
    Status(admin::StatusArguments),
    /// Say who has changed what through the admin API, when and why.
    AdminLog(admin::LogArguments),
    /// Forget the versions of a tenant that was deleted, so that its name can be given to somebody else.
    Forget(admin::ForgetArguments),
    /// Run a local Entra: signs users in, calls extensions as Entra does, applies claims mapping and issues tokens.
    LocalEntra(serve::LocalEntraArguments),
}

/// The whole command: reads the process's arguments, does what they say, and says how it ended.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Command::CompileForParent(arguments) = &cli.command {
        // Before there are threads, which would need a share of its memory.
        return compiler::compile_for_parent(arguments);
    }
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if has_no_reader(&error) => ExitCode::from(ENDED_BY_SIGPIPE),
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "the last word of a command line program")]
            {
                eprintln!("error: {}", told(&error));
            }
            ExitCode::FAILURE
        }
    }
}

/// What a shell says of a command that the signal SIGPIPE ended, as it ends others whose output nobody reads any more.
const ENDED_BY_SIGPIPE: u8 = 128 + 13;

/// Whether whoever read the output has gone, as `head` does: nobody has to be told. A connection that broke is another thing.
fn has_no_reader(error: &anyhow::Error) -> bool {
    let is_pipe = |error: &std::io::Error| error.kind() == std::io::ErrorKind::BrokenPipe;
    error
        .chain()
        .any(|cause| cause.downcast_ref::<std::io::Error>().is_some_and(is_pipe))
        && !error
            .chain()
            .any(|cause| cause.downcast_ref::<reqwest::Error>().is_some())
}

/// An error with its causes, each once: some messages hold that of their cause.
fn told(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

fn run(cli: Cli) -> anyhow::Result<()> {
    // What is wrong is what they print: the log would say it once more.
    let filter = match cli.command {
        Command::Check(_) | Command::Healthcheck(_) => Some("off"),
        Command::Push(_)
        | Command::Activate(_)
        | Command::Forget(_)
        | Command::Rollback(_)
        | Command::Versions(_)
        | Command::Status(_)
        | Command::AdminLog(_) => Some(cli.log.as_deref().unwrap_or("off")),
        _ => cli.log.as_deref(),
    };
    let _logging = logging::start(cli.log_format, filter)?;
    // One more than there are cores: one thread is always left for connections. Yet more would only wake each other, which
    // on one core costs a quarter of the callouts.
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get) + 1;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()?;
    let done = match cli.command {
        Command::Serve(arguments) => runtime.block_on(serve::serve(&arguments, cli.log.is_some())),
        Command::Check(arguments) => runtime.block_on(check::check(&arguments)),
        Command::Init(arguments) => init::init(&arguments),
        Command::Healthcheck(arguments) => runtime.block_on(healthcheck::healthcheck(&arguments)),
        Command::Compile(arguments) => runtime.block_on(compile::compile(&arguments)),
        Command::CompileForParent(_) => Ok(()),
        Command::ExplainToken(arguments) => runtime.block_on(explain_token::explain_token(&arguments)),
        Command::Validate(arguments) => validate::validate(&arguments),
        Command::Schema(arguments) => schema::schema(&arguments),
        Command::Audit(arguments) => runtime.block_on(audit::audit(&arguments)),
        Command::Push(arguments) => runtime.block_on(admin::push(&arguments)),
        Command::Activate(arguments) => runtime.block_on(admin::activate(&arguments)),
        Command::Rollback(arguments) => runtime.block_on(admin::roll_back(&arguments)),
        Command::Versions(arguments) => runtime.block_on(admin::versions(&arguments)),
        Command::Status(arguments) => runtime.block_on(admin::status(&arguments)),
        Command::AdminLog(arguments) => runtime.block_on(admin::log(&arguments)),
        Command::Forget(arguments) => runtime.block_on(admin::forget(&arguments)),
        Command::LocalEntra(arguments) => runtime.block_on(serve::local_entra(&arguments)),
    };
    // A blocking read that never ends, of a network file system say, must not keep the process.
    runtime.shutdown_timeout(Duration::from_secs(2));
    done
}
