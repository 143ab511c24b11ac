//! One kept connection: a request is written, its answer read and compared.
//!
//! Requests are put together from bytes that are made before, and answers are parsed by `httparse`: a general client
//! costs as much CPU time as the fastest server here, and would be what is measured.

use std::cell::Cell;
use std::io::Read as _;
use std::net::SocketAddr;

use anyhow::{Context as _, Result, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::Job;

/// Response headers of one answer, at most.
const MAX_HEADERS: usize = 32;

/// What is sent, in turn.
#[derive(Debug)]
pub(crate) struct Requests {
    heads: Vec<String>,
    tail: String,
    answer: Vec<u8>,
    tokens: Tokens,
    next: Cell<usize>,
}

#[derive(Debug)]
enum Tokens {
    Repeated(String),
    Pool(Vec<String>),
}

impl Requests {
    /// A job's callouts with one token for all of them.
    pub(crate) fn repeating(job: &Job) -> Self {
        Self::with(job, Tokens::Repeated(job.token.clone()))
    }

    /// A job's callouts.
    ///
    /// # Errors
    /// When the pool of tokens cannot be read.
    pub(crate) fn of(job: &Job) -> Result<Self> {
        let Some(pool) = &job.pool else {
            return Ok(Self::repeating(job));
        };
        let tokens = std::fs::read_to_string(pool).with_context(|| format!("{} cannot be read", pool.display()))?;
        Ok(Self::with(
            job,
            Tokens::Pool(tokens.lines().map(str::to_owned).collect()),
        ))
    }

    fn with(job: &Job, tokens: Tokens) -> Self {
        let head = |path: &String| {
            format!(
                "POST {path} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nauthorization: Bearer ",
                job.address,
                job.body.len()
            )
        };
        Self {
            heads: job.paths.iter().map(head).collect(),
            tail: format!("\r\n\r\n{}", job.body),
            answer: job.answer.clone().into_bytes(),
            tokens,
            next: Cell::new(0),
        }
    }

    /// Writes the next request; false when there is none, because each token has been sent.
    fn write_next(&self, request: &mut Vec<u8>) -> bool {
        let number = self.next.get();
        let token = match &self.tokens {
            Tokens::Repeated(token) => Some(token),
            Tokens::Pool(tokens) => tokens.get(number),
        };
        let head = number
            .checked_rem(self.heads.len())
            .and_then(|turn| self.heads.get(turn));
        let (Some(head), Some(token)) = (head, token) else {
            return false;
        };
        self.next.set(number + 1);
        request.clear();
        for part in [head, token, &self.tail] {
            request.extend_from_slice(part.as_bytes());
        }
        true
    }
}

/// A kept connection.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    request: Vec<u8>,
    received: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address)
            .await
            .with_context(|| format!("{address} does not accept connections"))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            request: Vec::with_capacity(8192),
            received: Vec::with_capacity(8192),
        })
    }

    /// Sends the next callout and reads its answer; false when there is none left.
    ///
    /// # Errors
    /// When the connection ends, or the answer is another one.
    pub(crate) async fn exchange(&mut self, requests: &Requests) -> Result<bool> {
        if !requests.write_next(&mut self.request) {
            return Ok(false);
        }
        self.stream.write_all(&self.request).await?;
        self.received.clear();
        loop {
            let read = self.stream.read_buf(&mut self.received).await?;
            ensure!(read > 0, "the server closed a connection in the middle of an answer");
            if let Some(answer) = Answer::parse(&self.received)? {
                answer.check(&requests.answer)?;
                return Ok(true);
            }
        }
    }
}

/// A complete answer.
struct Answer<'a> {
    status: u16,
    body: Body<'a>,
}

enum Body<'a> {
    Plain(&'a [u8]),
    Chunked(Vec<u8>),
}

impl<'a> Answer<'a> {
    /// `None` while a part is missing.
    fn parse(received: &'a [u8]) -> Result<Option<Self>> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let httparse::Status::Complete(length) = response.parse(received).context("not an HTTP answer")? else {
            return Ok(None);
        };
        let rest = received.get(length..).unwrap_or_default();
        let value = |name: &str| {
            let header = response
                .headers
                .iter()
                .find(|header| header.name.eq_ignore_ascii_case(name));
            header.map(|header| header.value)
        };
        let body = if let Some(announced) = value("content-length") {
            let announced: usize = std::str::from_utf8(announced)?.parse().context("content-length")?;
            ensure!(rest.len() <= announced, "more than one answer to one request");
            (rest.len() == announced).then_some(Body::Plain(rest))
        } else if value("transfer-encoding") == Some(b"chunked") {
            dechunk(rest)?.map(Body::Chunked)
        } else {
            bail!("an answer with neither content-length nor transfer-encoding: chunked");
        };
        let status = response.code.unwrap_or_default();
        Ok(body.map(|body| Self { status, body }))
    }

    fn check(&self, expected: &[u8]) -> Result<()> {
        let body = match &self.body {
            Body::Plain(body) => *body,
            Body::Chunked(body) => body,
        };
        ensure!(
            self.status == 200 && body == expected,
            "a wrong answer under load: status {}, `{}`; expected 200, `{}`",
            self.status,
            String::from_utf8_lossy(body),
            String::from_utf8_lossy(expected),
        );
        Ok(())
    }
}

/// A chunked body; `None` while a part is missing.
fn dechunk(received: &[u8]) -> Result<Option<Vec<u8>>> {
    // Without its end the decoder would report a malformed chunk rather than a missing one.
    if !received.ends_with(b"0\r\n\r\n") {
        return Ok(None);
    }
    let mut body = Vec::new();
    chunked_transfer::Decoder::new(received)
        .read_to_end(&mut body)
        .context("a malformed chunked answer")?;
    Ok(Some(body))
}
