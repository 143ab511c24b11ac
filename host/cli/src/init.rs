//! `claimsmith init`: a configuration to begin with.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

/// What is written where.
const FILES: [(&str, &str); 2] = [
    ("claimsmith.toml", include_str!("init/claimsmith.toml")),
    ("tenants/.example/tenant.toml", include_str!("init/tenant.toml")),
];

/// What the service writes, as the configuration names it beside itself, and its name in a directory of its own.
const WRITTEN: [(&str, &str); 4] = [
    ("\"cache\"", "cache"),
    ("\"cache.key\"", "cache.key"),
    ("\"audit/audit.db\"", "audit/audit.db"),
    ("\"state\"", "admin"),
];

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The directory; made if it is absent.
    #[arg(default_value = ".")]
    directory: PathBuf,
    /// The directory of what the service writes, where the configuration's cannot be written: /var/lib/claimsmith under the
    /// systemd unit and in the container. Without it all is beside the configuration.
    #[arg(long)]
    state: Option<PathBuf>,
}

/// Writes the files. None that is there already is changed.
pub(crate) fn init(arguments: &Arguments) -> anyhow::Result<()> {
    let mut files = FILES.map(|(name, text)| (arguments.directory.join(name), text.to_owned()));
    if let Some(state) = &arguments.state {
        let state = std::path::absolute(state).context("--state cannot be made an absolute path")?;
        let [(_, config), _] = &mut files;
        for (beside, inside) in WRITTEN {
            *config = config.replace(beside, &quoted(&state.join(inside))?);
        }
    }
    if let Some((file, _)) = files.iter().find(|(file, _)| file.exists()) {
        bail!(
            "{} is there already; nothing was written: choose another directory",
            file.display()
        );
    }
    let mut output = std::io::stdout().lock();
    for (file, text) in &files {
        write(file, text)?;
        writeln!(output, "wrote {}", file.display())?;
    }
    let example = Path::new("tenants").join(".example");
    writeln!(
        output,
        "next: rename {} in {}, fill its tenant.toml in, put the plugin into plugins/ beside that, and run `claimsmith check`",
        example.display(),
        arguments.directory.display()
    )?;
    Ok(())
}

/// A path as a string of TOML, which a string of JSON is too.
fn quoted(path: &Path) -> anyhow::Result<String> {
    let text = path
        .to_str()
        .context("--state is not UTF-8, and so cannot be written down")?;
    Ok(serde_json::to_string(text)?)
}

fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    let directory = file.parent().unwrap_or(Path::new(""));
    let made = fs::create_dir_all(directory).and_then(|()| {
        let mut options = fs::OpenOptions::new();
        options
            .write(true)
            .create_new(true)
            .open(file)?
            .write_all(text.as_bytes())
    });
    made.map_err(|error| match error.kind() {
        ErrorKind::PermissionDenied => anyhow::Error::new(error).context("this user may not write there"),
        _ => error.into(),
    })
    .with_context(|| format!("{} cannot be written", file.display()))
}
