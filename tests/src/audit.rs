//! What the tests see of the audit: the command, and the store's bytes.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::{Ended, Platform, run};

/// What makes answers wait for their records in a test: by default the tests' hosts do not wait for a disk that other tests
/// keep busy.
pub const REQUIRED: &str = "audit.mode = \"required\"";

/// The store of a host whose configuration says nothing of it.
#[must_use]
pub fn store(directory: &Path) -> PathBuf {
    directory.join("audit/audit.db")
}

/// Runs `claimsmith audit` with these arguments.
pub async fn audit(platform: &Platform, arguments: &[&str]) -> Ended {
    run(platform.directory.path(), &[&["audit"], arguments].concat(), "").await
}

/// The records that fit these filters.
pub async fn records(platform: &Platform, filters: &[&str]) -> Vec<Value> {
    let ended = audit(platform, &[&["export"], filters].concat()).await;
    assert_eq!(ended.code, 0, "{}", ended.errors);
    let lines = ended.output.lines();
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Asserts that no file beside the store holds a secret.
pub fn assert_nowhere_in_store(directory: &Path, secret: &str) {
    let mut files = 0;
    for entry in fs::read_dir(store(directory).parent().unwrap()).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
        assert!(!found, "{} holds the secret", path.display());
        files += 1;
    }
    assert!(files > 1, "there is a store");
}
