//! The command and a service on another machine: what it says when that does not answer.

use std::fs;
use std::net::TcpListener;

use claimsmith_tests::{Authority, Ended, TlsUpstream, run};
use tempfile::TempDir;

/// Runs a command against a URL; its errors hold neither what was given as the reason nor log lines.
async fn ask(directory: &TempDir, url: &str, more: &[&str]) -> Ended {
    let rollback = [
        "rollback", "--tenant", "contoso", "--plugin", "p", "--reason", "CHG-1042",
    ];
    let connection = ["--url", url, "--token-file", "token", "--json"];
    let ended = run(directory.path(), &[&rollback[..], &connection, more].concat(), "").await;
    for unwanted in ["CHG-1042", "ERROR", "as this user"] {
        assert!(!ended.errors.contains(unwanted), "{unwanted}: {}", ended.errors);
    }
    ended
}

async fn push(directory: &TempDir, url: &str) -> Ended {
    let component = [
        "push",
        "token",
        "--tenant",
        "contoso",
        "--plugin",
        "p",
        "--version",
        "1.0.0",
    ];
    let connection = ["--reason", "CHG-1042", "--url", url, "--token-file", "token"];
    run(directory.path(), &[&component[..], &connection].concat(), "").await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_a_service_elsewhere_from_answering_is_told() {
    let directory = TempDir::new().unwrap();
    let authority = Authority::new();
    fs::write(directory.path().join("token"), "a token").unwrap();
    fs::write(directory.path().join("ca.pem"), authority.pem()).unwrap();
    let server = TlsUpstream::start(&authority, "localhost", false);
    let port = server.address.port();
    let url = format!("https://localhost:{port}");

    let ended = ask(&directory, &url, &[]).await;
    assert_eq!(ended.code, 1, "{}", ended.output);
    assert!(ended.errors.contains("certificate by --ca-file"), "{}", ended.errors);
    let ended = ask(&directory, &url, &["--ca-file", "ca.pem"]).await;
    assert_eq!((ended.code, ended.errors.as_str()), (0, ""));
    assert!(ended.output.contains("gold"), "{}", ended.output);
    let ended = ask(&directory, &url, &["--ca-file", "token"]).await;
    assert!(
        ended.errors.contains("token holds no certificates in PEM"),
        "{}",
        ended.errors
    );

    // Nobody is there, or speaks TLS.
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for url in [format!("http://{nobody}"), format!("http://localhost:{port}")] {
        let ended = ask(&directory, &url, &[]).await;
        assert_eq!(ended.code, 1, "{}", ended.output);
        assert!(ended.errors.contains("is the URL right"), "{}", ended.errors);
        let ended = push(&directory, &url).await;
        assert!(!ended.errors.contains("CHG-1042"), "{}", ended.errors);
    }
    let ended = ask(&directory, "localhost:18081", &[]).await;
    assert!(ended.errors.contains("such as https://admin"), "{}", ended.errors);
}
