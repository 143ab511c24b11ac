//! Signals to the processes that tests start.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

/// Sends a signal (`TERM`, `HUP`, …) to a process.
pub fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill")
        .args([&format!("-{name}"), &pid.to_string()])
        .status();
    assert!(sent.unwrap().success(), "{pid} is there to be sent {name}");
}

/// Stops a process, and waits until all its threads have stopped: the signal is sent to one of them, and the others go
/// on until that one has run.
pub fn pause(pid: u32) {
    signal(pid, "STOP");
    let until = Instant::now() + Duration::from_secs(30);
    while !threads_have_stopped(pid) {
        assert!(Instant::now() < until, "{pid} does not stop");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Has a stopped process go on.
pub fn resume(pid: u32) {
    signal(pid, "CONT");
}

/// Whether each thread's state is `T`: `proc_pid_stat(5)`, the first field after the name, which is in parentheses.
fn threads_have_stopped(pid: u32) -> bool {
    fs::read_dir(format!("/proc/{pid}/task")).unwrap().all(|thread| {
        let stat = fs::read_to_string(thread.unwrap().path().join("stat")).unwrap();
        stat.rsplit_once(") ").unwrap().1.starts_with('T')
    })
}
