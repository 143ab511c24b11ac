//! How much time is left.

use std::time::Duration;

/// How long until the host answers without this plugin; zero when that time has come.
///
/// Counted from the arrival of Entra's request. A plugin that looks something up can leave out what no longer fits. In
/// native tests it is always two seconds, what Entra allows.
#[must_use]
pub fn remaining() -> Duration {
    crate::host::remaining()
}

#[cfg(test)]
mod tests {
    #[test]
    fn without_a_host_the_whole_time_is_left() {
        assert_eq!(super::remaining().as_secs(), 2);
    }
}
