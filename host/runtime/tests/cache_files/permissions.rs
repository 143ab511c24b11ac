//! Who else can reach the key or the directory.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;

use claimsmith_runtime::{CacheError, RuntimeError};

use crate::{Scene, component, is_compiled, open};

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[tokio::test]
async fn a_key_that_others_may_know_is_refused() {
    for (mode, refused) in [
        (0o600, false),
        (0o400, false),
        (0o640, true),
        (0o604, true),
        (0o610, true),
        (0o644, true),
    ] {
        let scene = Scene::new();
        fs::write(scene.path("key"), [7; 32]).unwrap();
        set_mode(&scene.path("key"), mode);
        let opened = open(scene.options());
        assert_eq!(opened.is_err(), refused, "{mode:o}");
        if let Err(error) = opened {
            assert!(matches!(error, RuntimeError::Cache(CacheError::Key { .. })), "{error}");
            assert!(error.to_string().contains("chmod 600"), "{error}");
        }
    }
}

#[tokio::test]
async fn a_key_or_directory_of_another_user_is_refused() {
    let scene = Scene::new();
    fs::write(scene.path("key"), [7; 32]).unwrap();
    set_mode(&scene.path("key"), 0o600);
    fs::create_dir(scene.path("cache")).unwrap();
    set_mode(&scene.path("cache"), 0o700);
    for file in ["key", "cache"] {
        // Only root can give files away; whoever is not cannot try this.
        if chown(scene.path(file), Some(4711), None).is_ok() {
            let error = open(scene.options()).unwrap_err();
            assert!(error.to_string().contains("belongs to the user 4711"), "{error}");
            chown(scene.path(file), Some(0), None).unwrap();
        }
    }
    open(scene.options()).unwrap();
}

#[tokio::test]
async fn hosts_that_start_together_make_one_key() {
    let scene = Scene::new();
    let hosts: Vec<_> = (0..8)
        .map(|_| {
            let options = scene.options();
            std::thread::spawn(move || open(options).unwrap())
        })
        .collect();
    let hosts: Vec<_> = hosts.into_iter().map(|host| host.join().unwrap()).collect();
    assert!(is_compiled(&hosts[0], &component(1)).await);
    for host in &hosts {
        assert!(!is_compiled(host, &component(1)).await);
    }
    let files = fs::read_dir(scene.directory.path()).unwrap();
    assert_eq!(files.count(), 2, "the key and the cache, and nothing left over");
}

#[tokio::test]
async fn a_key_has_at_least_32_bytes_and_one_that_is_there_stays() {
    let scene = Scene::new();
    for (bytes, refused) in [(0, true), (31, true), (32, false), (64, false)] {
        fs::write(scene.path("key"), vec![7; bytes]).unwrap();
        set_mode(&scene.path("key"), 0o600);
        let opened = open(scene.options());
        assert_eq!(opened.is_err(), refused, "{bytes}");
        assert_eq!(fs::read(scene.path("key")).unwrap(), vec![7; bytes]);
    }
    fs::remove_file(scene.path("key")).unwrap();
    fs::create_dir(scene.path("key")).unwrap();
    let error = open(scene.options()).unwrap_err();
    assert!(error.to_string().contains("no regular file"), "{error}");
}

#[tokio::test]
async fn a_directory_that_others_can_write_is_refused() {
    for (mode, refused) in [
        (0o700, false),
        (0o755, false),
        (0o770, true),
        (0o702, true),
        (0o1777, true),
    ] {
        let scene = Scene::new();
        fs::create_dir(scene.path("cache")).unwrap();
        set_mode(&scene.path("cache"), mode);
        let opened = open(scene.options());
        assert_eq!(opened.is_err(), refused, "{mode:o}");
        if let Err(error) = opened {
            assert!(
                matches!(error, RuntimeError::Cache(CacheError::Directory { .. })),
                "{error}"
            );
            assert!(error.to_string().contains("chmod 700"), "{error}");
        }
    }
}
