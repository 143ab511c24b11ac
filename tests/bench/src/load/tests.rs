//! The generator against servers that are slow, wrong or gone.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::allow_attributes,
    reason = "a test fails by panicking"
)]

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use super::{Job, Measured, Pace, run};

const STALL: Duration = Duration::from_millis(300);

/// Serves each connection in a thread: what `answer` says for the n-th request of it.
fn server(answer: impl Fn(usize) -> Vec<u8> + Send + Clone + 'static) -> Job {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let answer = answer.clone();
            std::thread::spawn(move || serve(stream.unwrap(), &answer));
        }
    });
    Job {
        address,
        paths: vec!["/a".to_owned(), "/b".to_owned()],
        body: "{}".to_owned(),
        answer: "right".to_owned(),
        token: "token".to_owned(),
        pool: None,
        pace: Pace::Closed,
        connections: 1,
        warm_up: Duration::ZERO,
        duration: Duration::from_millis(200),
    }
}

/// Each request is one segment here, which ends with its body.
fn serve(mut stream: TcpStream, answer: &impl Fn(usize) -> Vec<u8>) {
    let mut request = [0; 8192];
    for number in 0.. {
        let mut read = 0;
        while !request[..read].ends_with(b"\r\n\r\n{}") {
            match stream.read(&mut request[read..]) {
                Ok(more) if more > 0 => read += more,
                _ => return,
            }
        }
        if stream.write_all(&answer(number)).is_err() {
            return;
        }
    }
}

fn plain(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// The warm-up asks each path twice.
const WARM_UP: usize = 4;

/// A server that answers at once, and once only after a while.
fn stalling() -> Job {
    server(|number| {
        if number == WARM_UP + 20 {
            std::thread::sleep(STALL);
        }
        plain("right")
    })
}

#[test]
fn an_open_loop_charges_a_stall_to_all_that_were_due_meanwhile() {
    let mut job = stalling();
    job.pace = Pace::Open { per_second: 200.0 };
    job.duration = Duration::from_secs(1);
    let open = run(&job).unwrap();
    // 60 of 200 were due during the stall, 40 of them more than 100 ms before its end.
    assert_eq!(open.requests, 200);
    assert!(open.max >= 300.0, "{open:?}");
    assert!(open.p99 >= 280.0, "{open:?}");
    assert!(open.kept_up, "{open:?}");
}

#[test]
fn a_closed_loop_is_charged_once() {
    let mut job = stalling();
    job.duration = Duration::from_secs(1);
    let closed = run(&job).unwrap();
    assert!(closed.max >= 300.0, "{closed:?}");
    assert!(closed.p50 < 300.0, "{closed:?}");
}

#[test]
fn a_server_that_cannot_keep_up_is_found_out() {
    let mut job = server(|_| {
        std::thread::sleep(Duration::from_millis(5));
        plain("right")
    });
    job.pace = Pace::Open { per_second: 2000.0 };
    job.duration = Duration::from_millis(500);
    let open = run(&job).unwrap();
    assert!(!open.kept_up, "{open:?}");
}

#[track_caller]
fn assert_error(outcome: anyhow::Result<Measured>, part: &str) {
    let error = format!("{:#}", outcome.unwrap_err());
    assert!(error.contains(part), "{error}");
}

#[test]
fn a_wrong_answer_is_an_error() {
    let late = |wrong: fn() -> Vec<u8>| server(move |number| if number == 30 { wrong() } else { plain("right") });
    assert_error(run(&late(|| plain("wrong"))), "`wrong`; expected 200, `right`");
    assert_error(
        run(&late(|| {
            b"HTTP/1.1 503 Busy\r\nContent-Length: 5\r\n\r\nright".to_vec()
        })),
        "status 503",
    );
    assert_error(run(&late(|| b"nonsense\r\n\r\n".to_vec())), "not an HTTP answer");
}

#[test]
fn a_connection_that_ends_is_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut job = server(|_| Vec::new());
    job.address = listener.local_addr().unwrap();
    std::thread::spawn(move || listener.accept().map(drop));
    assert!(run(&job).is_err());
}

#[test]
fn a_chunked_answer_is_read_to_its_end() {
    let job =
        server(|_| b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nri\r\n3\r\nght\r\n0\r\n\r\n".to_vec());
    assert!(run(&job).unwrap().requests > 0);
}

#[test]
fn each_token_of_a_pool_is_sent_once() {
    let pool = std::env::temp_dir().join(format!("claimsmith-bench-pool-{}", std::process::id()));
    std::fs::write(&pool, "one\ntwo\nthree\n").unwrap();
    let mut job = server(|_| plain("right"));
    job.pool = Some(pool.clone());
    let measured = run(&job).unwrap();
    std::fs::remove_file(pool).unwrap();
    assert_eq!(measured.requests, 3);
    assert!(measured.tokens_used_up);
}
