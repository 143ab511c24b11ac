//! What can be changed while the service runs: which log lines are written, and how many callouts are traced.
//!
//! Both belong to the process, so they are changed here by whoever may: a reload of `claimsmith.toml`, SIGHUP, or an admin
//! API.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use claimsmith_catalog::HostConfig;

/// Sets the filter of log lines; `None` is the one that the process began with. Says what is wrong with it.
type SetLogFilter = Box<dyn Fn(Option<&str>) -> Result<(), String> + Send + Sync>;

static SET_LOG_FILTER: OnceLock<SetLogFilter> = OnceLock::new();

/// Of 2^56: trace ids whose last 56 bits are below are sampled. None until there is a configuration.
static SAMPLED_BELOW: AtomicU64 = AtomicU64::new(0);

/// What the configuration said when it was applied last: what somebody has changed by hand since stays until the
/// configuration itself changes.
static APPLIED: Mutex<Option<Configured>> = Mutex::new(None);

/// How many bits of a trace id are random (W3C Trace Context, level 2); of a correlation id that is a GUID of version 4
/// they are too.
const RANDOM_BITS: u32 = 56;

#[derive(Clone, Debug, PartialEq)]
struct Configured {
    log_filter: Option<String>,
    sample_ratio: f64,
}

impl Configured {
    fn of(config: &HostConfig) -> Self {
        Self {
            log_filter: config.log.filter.clone(),
            sample_ratio: config.telemetry.traces.sample_ratio,
        }
    }
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The text is no filter.
    #[error(
        "`{filter}` is no log filter ({why}); expected a level or `target=level` pairs such as `info,claimsmith_token=debug`"
    )]
    LogFilter {
        /// The text.
        filter: String,
        /// What is wrong with it.
        why: String,
    },
    /// Whoever started the process has fixed what is logged.
    #[error("the log filter of this process cannot be changed")]
    FixedLog,
    /// The number is no share.
    #[error("{0} is no sample ratio; expected a number between 0 and 1")]
    SampleRatio(f64),
}

/// Says how the filter of log lines is set. The first call in a process counts.
pub fn install_log_filter(set: impl Fn(Option<&str>) -> Result<(), String> + Send + Sync + 'static) {
    drop(SET_LOG_FILTER.set(Box::new(set)));
}

/// Changes which log lines are written; `None` brings the filter back that the process began with.
///
/// # Errors
/// [`ControlError`]: the text is no filter, or the process has none that can be changed.
pub fn set_log_filter(filter: Option<&str>) -> Result<(), ControlError> {
    let set = SET_LOG_FILTER.get().ok_or(ControlError::FixedLog)?;
    set(filter).map_err(|why| ControlError::LogFilter {
        filter: filter.unwrap_or_default().to_owned(),
        why,
    })
}

/// Changes the share of callouts that are traced, 0 to 1.
///
/// # Errors
/// [`ControlError::SampleRatio`]
pub fn set_sample_ratio(ratio: f64) -> Result<(), ControlError> {
    if !(0.0..=1.0).contains(&ratio) {
        return Err(ControlError::SampleRatio(ratio));
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "between 0 and 2^56, and no share is that fine"
    )]
    let below = (ratio * (1_u64 << RANDOM_BITS) as f64) as u64;
    SAMPLED_BELOW.store(below, Ordering::Relaxed);
    Ok(())
}

/// Whether a trace is sampled. By its id alone, so that what belongs to one trace is sampled together.
pub(crate) fn is_sampled(trace: u128) -> bool {
    let random = trace & ((1 << RANDOM_BITS) - 1);
    random < u128::from(SAMPLED_BELOW.load(Ordering::Relaxed))
}

/// Applies the configuration that the process begins with. With `log_is_given` somebody has said on the command line what is
/// logged, which holds until the configuration says something else than now.
///
/// # Errors
/// [`ControlError`]: the configured filter is none.
pub fn begin(config: &HostConfig, log_is_given: bool) -> Result<(), ControlError> {
    let configured = Configured::of(config);
    if let Some(filter) = configured.log_filter.as_deref().filter(|_| !log_is_given) {
        set_log_filter(Some(filter))?;
    }
    set_sample_ratio(configured.sample_ratio)?;
    *APPLIED.lock().unwrap_or_else(PoisonError::into_inner) = Some(configured);
    Ok(())
}

/// Applies what a configuration says, as far as it has changed since the last one that was applied. Says what cannot be
/// applied in the log.
pub fn apply(config: &HostConfig) {
    let configured = Configured::of(config);
    let mut applied = APPLIED.lock().unwrap_or_else(PoisonError::into_inner);
    let before = applied.replace(configured.clone());
    drop(applied);
    let filter_changed = match &before {
        Some(before) => before.log_filter != configured.log_filter,
        None => configured.log_filter.is_some(),
    };
    if filter_changed {
        match set_log_filter(configured.log_filter.as_deref()) {
            Ok(()) => tracing::info!(filter = configured.log_filter, "log filter changed"),
            Err(error) => tracing::error!("{error}; log lines are written as before"),
        }
    }
    let before = before.map(|before| before.sample_ratio.to_bits());
    if before != Some(configured.sample_ratio.to_bits()) {
        match set_sample_ratio(configured.sample_ratio) {
            Ok(()) => tracing::debug!(ratio = configured.sample_ratio, "sample ratio of traces set"),
            Err(error) => tracing::error!("{error}; traces are sampled as before"),
        }
    }
}
