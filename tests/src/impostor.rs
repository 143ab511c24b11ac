//! A directory that does not do as directories do: raw bytes on loopback.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// `BindResponse` with the message id 1: success.
pub const BOUND: &[u8] = &[0x30, 12, 2, 1, 1, 0x61, 7, 10, 1, 0, 4, 0, 4, 0];

/// What is answered to the first, second, … thing that is asked on a connection, however it is worded. After the last one
/// nothing is answered.
pub type Answers = Vec<Answer>;

/// One answer.
#[derive(Clone, Debug)]
pub enum Answer {
    /// These bytes.
    Bytes(Vec<u8>),
    /// These bytes again and again.
    Endless(Vec<u8>),
    /// The connection is closed.
    Close,
}

/// A server that answers what it was told to.
#[derive(Debug)]
pub struct Impostor {
    /// Where it listens.
    pub address: SocketAddr,
    connections: Arc<AtomicUsize>,
    abandoned: Arc<AtomicUsize>,
    sent: Arc<AtomicUsize>,
}

impl Impostor {
    /// Starts it on a free port of 127.0.0.1.
    pub async fn start(answers: Answers) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let impostor = Self {
            address: listener.local_addr().unwrap(),
            connections: Arc::default(),
            abandoned: Arc::default(),
            sent: Arc::default(),
        };
        let connections = Arc::clone(&impostor.connections);
        let (abandoned, sent) = (Arc::clone(&impostor.abandoned), Arc::clone(&impostor.sent));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                let (answers, abandoned, sent) = (answers.clone(), Arc::clone(&abandoned), Arc::clone(&sent));
                tokio::spawn(async move {
                    let _has_closed = serve(stream, answers, &sent).await.is_none();
                    abandoned.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        impostor
    }

    /// How many connections there have been.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// How many connections have ended.
    #[must_use]
    pub fn ended(&self) -> usize {
        self.abandoned.load(Ordering::SeqCst)
    }

    /// How many bytes the other sides have taken.
    #[must_use]
    pub fn sent(&self) -> usize {
        self.sent.load(Ordering::SeqCst)
    }
}

async fn serve(mut stream: TcpStream, answers: Answers, sent: &AtomicUsize) -> Option<()> {
    let mut asked = vec![0; 64 << 10];
    for answer in answers {
        read(&mut stream, &mut asked).await?;
        match answer {
            Answer::Bytes(bytes) => stream.write_all(&bytes).await.ok()?,
            Answer::Endless(bytes) => loop {
                stream.write_all(&bytes).await.ok()?;
                sent.fetch_add(bytes.len(), Ordering::SeqCst);
            },
            Answer::Close => return None,
        }
    }
    loop {
        read(&mut stream, &mut asked).await?;
    }
}

async fn read(stream: &mut TcpStream, buffer: &mut [u8]) -> Option<()> {
    let read = stream.read(buffer).await.ok()?;
    (read > 0).then_some(())
}
