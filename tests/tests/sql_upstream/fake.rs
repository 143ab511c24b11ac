//! A server that speaks PostgreSQL's protocol and takes its time, or stops reading.

use std::fs;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::sleep;

/// What is wrong with it.
#[derive(Clone, Copy)]
pub(super) enum Fault {
    /// Each statement takes it so long to prepare.
    Slow(Duration),
    /// It reads no parameters, nor anything after.
    Deaf,
}

/// The server, on a port of 127.0.0.1, without TLS.
pub(super) struct Fake {
    pub(super) port: u16,
    prepared: Arc<AtomicUsize>,
    deafened: Arc<AtomicUsize>,
}

impl Fake {
    pub(super) fn start(fault: Fault) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        // What it does not read is to wait on the other side soon.
        socket.set_recv_buffer_size(4 << 10).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(64).unwrap();
        let fake = Self {
            port: listener.local_addr().unwrap().port(),
            prepared: Arc::default(),
            deafened: Arc::default(),
        };
        let counts = (Arc::clone(&fake.prepared), Arc::clone(&fake.deafened));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (prepared, deafened) = counts.clone();
                tokio::spawn(async move { serve(stream, fault, &prepared, &deafened).await });
            }
        });
        fake
    }

    /// How many statements it was to prepare.
    pub(super) fn prepared(&self) -> usize {
        self.prepared.load(Ordering::SeqCst)
    }

    /// On how many connections it has stopped to read.
    pub(super) fn deafened(&self) -> usize {
        self.deafened.load(Ordering::SeqCst)
    }

    /// How many sockets some process has that are connected to it. Those that only the kernel still has are of none.
    pub(super) fn sockets(&self) -> usize {
        let remote = format!(":{:04X}", self.port);
        let table = fs::read_to_string("/proc/net/tcp").unwrap();
        let rows = table
            .lines()
            .skip(1)
            .map(|row| row.split_whitespace().collect::<Vec<_>>());
        // The remote address, and the inode.
        rows.filter(|row| row[2].ends_with(&remote) && row[9] != "0").count()
    }
}

async fn serve(mut stream: TcpStream, fault: Fault, prepared: &AtomicUsize, deafened: &AtomicUsize) -> io::Result<()> {
    let length = stream.read_u32().await?;
    read(&mut stream, length).await?;
    let welcome = [message(b'R', &[0; 4]), message(b'K', &[0; 8]), message(b'Z', b"I")];
    stream.write_all(&welcome.concat()).await?;
    loop {
        let kind = stream.read_u8().await?;
        let length = stream.read_u32().await?;
        if kind == b'B' && matches!(fault, Fault::Deaf) {
            deafened.fetch_add(1, Ordering::SeqCst);
            std::future::pending::<()>().await;
        }
        let body = read(&mut stream, length).await?;
        let answer = match kind {
            b'P' => {
                prepared.fetch_add(1, Ordering::SeqCst);
                if let Fault::Slow(time) = fault {
                    sleep(time).await;
                }
                message(b'1', b"")
            }
            b'D' => [message(b't', &TAKES_TEXT), message(b'T', &GIVES_TEXT)].concat(),
            b'Q' => {
                let status = if body.starts_with(b"BEGIN") { b"T" } else { b"I" };
                [message(b'C', b"BEGIN\0"), message(b'Z', status)].concat()
            }
            b'S' => message(b'Z', b"I"),
            _ => Vec::new(),
        };
        stream.write_all(&answer).await?;
    }
}

/// One parameter, of the type `text`.
const TAKES_TEXT: [u8; 6] = [0, 1, 0, 0, 0, 25];
/// One column `x` of the type `text`: its name, table, place, type, length, modifier and format.
const GIVES_TEXT: [u8; 22] = [
    0, 1, b'x', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 25, 255, 255, 255, 255, 255, 255, 0, 0,
];

async fn read(stream: &mut TcpStream, length: u32) -> io::Result<Vec<u8>> {
    // It counts itself.
    let mut body = vec![0; usize::try_from(length).unwrap() - 4];
    stream.read_exact(&mut body).await?;
    Ok(body)
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap();
    [&[kind], length.to_be_bytes().as_slice(), body].concat()
}
