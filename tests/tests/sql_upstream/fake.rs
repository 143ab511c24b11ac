//! A server that speaks PostgreSQL's protocol and takes its time, stops reading, or says what it should not.

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
    /// It says this so often before a transaction begins.
    Says(fn(usize) -> Vec<u8>, usize),
    /// It refuses everything with this.
    Refuses(fn() -> Vec<u8>),
    /// A row has no values.
    Valueless,
    /// A result has no end.
    Endless,
    /// A statement gives so many columns.
    Columns(u16),
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
        if let Fault::Refuses(words) = fault {
            stream.write_all(&words()).await?;
            continue;
        }
        let answer = match kind {
            b'P' => {
                prepared.fetch_add(1, Ordering::SeqCst);
                if let Fault::Slow(time) = fault {
                    sleep(time).await;
                }
                message(b'1', b"")
            }
            b'D' => {
                let (count, column) = GIVES_TEXT.split_at(2);
                let columns = match fault {
                    Fault::Columns(count) => [&count.to_be_bytes(), column.repeat(count.into()).as_slice()].concat(),
                    _ => [count, column].concat(),
                };
                [message(b't', &TAKES_TEXT), message(b'T', &columns)].concat()
            }
            b'Q' => {
                if let (Fault::Says(words, times), true) = (fault, body.starts_with(b"BEGIN")) {
                    for number in 0..times {
                        stream.write_all(&words(number)).await?;
                    }
                }
                let status = if body.starts_with(b"BEGIN") { b"T" } else { b"I" };
                [message(b'C', b"BEGIN\0"), message(b'Z', status)].concat()
            }
            b'B' => message(b'2', b""),
            b'E' => {
                if matches!(fault, Fault::Endless) {
                    loop {
                        stream.write_all(&message(b'D', ROW).repeat(1_000)).await?;
                    }
                }
                let row: &[u8] = if matches!(fault, Fault::Valueless) {
                    &[0, 0]
                } else {
                    ROW
                };
                [message(b'D', row), message(b'C', b"SELECT 1\0")].concat()
            }
            b'C' => message(b'3', b""),
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

/// One value, `hi`.
const ROW: &[u8] = &[0, 1, 0, 0, 0, 2, b'h', b'i'];

async fn read(stream: &mut TcpStream, length: u32) -> io::Result<Vec<u8>> {
    // It counts itself.
    let mut body = vec![0; usize::try_from(length).unwrap() - 4];
    stream.read_exact(&mut body).await?;
    Ok(body)
}

pub(super) fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap();
    [&[kind], length.to_be_bytes().as_slice(), body].concat()
}
