//! What is deleted from the directory, and what is kept.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

use claimsmith_runtime::{CacheOptions, Runtime};

use crate::{DAY, Scene, component, is_compiled, open};

fn set_age(path: &Path, age: Duration) {
    File::open(path).unwrap().set_modified(SystemTime::now() - age).unwrap();
}

fn age(path: &Path) -> Duration {
    let modified = fs::metadata(path).unwrap().modified().unwrap();
    SystemTime::now().duration_since(modified).unwrap_or_default()
}

/// Tends the cache for as long as `until` does not hold.
async fn tend(runtime: &Runtime, until: impl Fn() -> bool) {
    let looked = async {
        while !until() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        () = runtime.tend_cache() => {}
        () = looked => {}
    }
}

#[tokio::test]
async fn entries_that_nobody_used_for_long_are_deleted_and_what_killed_processes_left() {
    let scene = Scene::new();
    let runtime = scene.runtime();
    assert!(is_compiled(&runtime, &component(1)).await);
    let old = scene.entry();
    assert!(is_compiled(&runtime, &component(2)).await);
    let young = scene.entries().into_iter().find(|entry| *entry != old).unwrap();
    set_age(&old, 30 * DAY + DAY);
    set_age(&young, 29 * DAY);
    let left = scene.path("cache").join(".writing-abc");
    let being_written = scene.path("cache").join(".writing-def");
    let not_ours = scene.path("cache").join("README");
    for file in [&left, &being_written, &not_ours] {
        fs::write(file, "").unwrap();
    }
    set_age(&left, Duration::from_hours(2));
    set_age(&not_ours, 400 * DAY);
    tend(&runtime, || !old.exists() && !left.exists()).await;
    assert!(young.exists() && being_written.exists() && not_ours.exists());
}

#[tokio::test]
async fn a_use_is_noted_once_a_day() {
    let scene = Scene::new();
    let runtime = scene.runtime();
    assert!(is_compiled(&runtime, &component(1)).await);
    let entry = scene.entry();
    set_age(&entry, DAY / 2);
    assert!(!is_compiled(&runtime, &component(1)).await);
    assert!(age(&entry) > DAY / 3, "noted twice a day");
    set_age(&entry, 2 * DAY);
    assert!(!is_compiled(&runtime, &component(1)).await);
    assert!(age(&entry) < DAY / 3, "not noted");
}

#[tokio::test]
async fn the_cache_has_no_more_bytes_than_it_may_and_keeps_what_was_used_last() {
    let scene = Scene::new();
    assert!(is_compiled(&scene.runtime(), &component(1)).await);
    let bytes = fs::metadata(scene.entry()).unwrap().len();
    let three = CacheOptions {
        max_bytes: bytes * 3 + bytes / 2,
        ..scene.options()
    };
    let runtime = open(three).unwrap();
    for number in 1..=6 {
        set_age(&scene.entries()[0], Duration::from_mins(1));
        is_compiled(&runtime, &component(number)).await;
        let kept = scene
            .entries()
            .into_iter()
            .map(|entry| fs::metadata(entry).unwrap().len());
        assert!(kept.sum::<u64>() <= bytes * 3 + bytes / 2);
        assert!(!is_compiled(&runtime, &component(number)).await, "the newest stays");
    }
    assert_eq!(scene.entries().len(), 3);
}
