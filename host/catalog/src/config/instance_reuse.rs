//! `[runtime.instance_reuse]`: whether a tenant may have a binding's instances serve several invocations.

use std::time::Duration;

use claimsmith_runtime::InstanceReuse;
use serde::Deserialize;

/// Each has a place in the pool, whose address space is reserved.
const MAX_IDLE_INSTANCES: u32 = 10_000;

/// `[runtime.instance_reuse]`
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct InstanceReuseConfig {
    /// Whether a binding may say `isolation = "reuse"`, which gives up that nothing of an invocation is left for the
    /// next. Default false.
    pub allowed: bool,
    /// How many invocations one instance serves. Default 1000.
    pub max_uses: u32,
    /// How long an instance may be idle. Default 1 min.
    #[serde(with = "humantime_serde")]
    pub max_idle_time: Duration,
    /// How many may be idle at once, of all bindings; each keeps its memory. Default 64.
    pub max_idle_instances: u32,
}

impl Default for InstanceReuseConfig {
    fn default() -> Self {
        let options = InstanceReuse::default();
        Self {
            allowed: options.allowed,
            max_uses: options.max_uses,
            max_idle_time: options.max_idle_time,
            max_idle_instances: options.max_idle_instances,
        }
    }
}

impl InstanceReuseConfig {
    /// The rules, and whether each holds.
    pub(super) fn rules(&self) -> [(bool, &'static str); 3] {
        [
            (self.max_uses > 0, "runtime.instance_reuse.max_uses must be at least 1"),
            (
                self.max_idle_time >= Duration::from_millis(100),
                "runtime.instance_reuse.max_idle_time must be at least 100 ms",
            ),
            (
                self.max_idle_instances <= MAX_IDLE_INSTANCES,
                "runtime.instance_reuse.max_idle_instances can be 10000 at most",
            ),
        ]
    }

    pub(super) fn options(&self) -> InstanceReuse {
        InstanceReuse {
            allowed: self.allowed,
            max_uses: self.max_uses,
            max_idle_time: self.max_idle_time,
            max_idle_instances: self.max_idle_instances,
        }
    }
}
