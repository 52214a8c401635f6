//! The heads of HTTP/1 requests, judged before hyper reads them.
//!
//! hyper reads generously: a bare LF ends a line, equal lengths may stand twice, and of `Content-Length` and
//! `Transfer-Encoding` it drops one without a word. Whoever stands in front of us may read the same bytes otherwise, and
//! what one of the two takes for a body the other takes for a request (request smuggling, RFC 9112 §11.2). So bytes
//! pass through here first: each message's head is judged, and nothing of the next message is let through before this
//! one's length is known.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use memchr::{memchr, memchr_iter, memchr2};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// No head is longer; hyper answers 431 before.
const LONGEST_HEAD: usize = 128 * 1024;

/// What is wrong with a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum HeadFault {
    #[error("a line ends without CR, or a CR or NUL stands within a line")]
    LineEnding,
    #[error("a header is folded over several lines")]
    Folded,
    #[error("a line is no header")]
    NoHeader,
    #[error("the request line is not: method, target, HTTP/1.1")]
    RequestLine,
    #[error("Content-Length and Transfer-Encoding stand together")]
    TwoLengths,
    #[error("Content-Length is no number, or stands several times")]
    ContentLength,
    #[error("Transfer-Encoding is not chunked, stands several times, or is used with HTTP/1.0")]
    TransferEncoding,
    #[error("Host is missing, or stands several times")]
    Host,
    #[error("no other protocol is spoken here")]
    Upgrade,
    #[error("the head is too long")]
    TooLong,
}

/// What comes of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Another request may follow on the connection.
    Good,
    /// Good, but nothing may follow: its end, or the protocol behind it, could be read in two ways.
    Last,
    /// 400, and the connection closes.
    Refused(HeadFault),
}

/// A good head's framing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    /// A body of that length, then perhaps another request.
    Length(u64),
    /// Chunked, or a client that wants to change the protocol.
    Open,
}

/// The verdicts on a connection, in the order of its requests: hyper asks for each request once.
#[derive(Clone, Debug, Default)]
pub(super) struct Verdicts(Arc<Mutex<VecDeque<Verdict>>>);

impl Verdicts {
    /// The verdict on the next request.
    pub(super) fn next(&self) -> Verdict {
        let next = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        // hyper found a head where none was seen: nothing good comes of two readings.
        next.unwrap_or(Verdict::Refused(HeadFault::RequestLine))
    }

    fn push(&self, verdict: Verdict) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push_back(verdict);
    }
}

/// A connection whose heads are judged as they are read.
pub(super) struct Judged<Io> {
    io: Io,
    /// Read, and not yet passed on.
    pending: BytesMut,
    scanner: Scanner,
}

impl<Io> Judged<Io> {
    /// Of a connection from which `beginning` was read already.
    pub(super) fn new(io: Io, beginning: &[u8]) -> (Self, Verdicts) {
        let verdicts = Verdicts::default();
        let scanner = Scanner { verdicts: verdicts.clone(), part: Part::Head, head: Vec::new() };
        (Self { io, pending: BytesMut::from(beginning), scanner }, verdicts)
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for Judged<Io> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.pending.is_empty() {
            let before = buffer.filled().len();
            ready!(Pin::new(&mut this.io).poll_read(context, buffer))?;
            let read = buffer.filled().get(before..).unwrap_or_default();
            let passed = this.scanner.pass(read);
            this.pending.extend_from_slice(read.get(passed..).unwrap_or_default());
            buffer.set_filled(before.saturating_add(passed));
        } else {
            let offered = this.pending.len().min(buffer.remaining());
            let passed = this.scanner.pass(this.pending.get(..offered).unwrap_or_default());
            buffer.put_slice(this.pending.get(..passed).unwrap_or_default());
            this.pending.advance(passed);
        }
        Poll::Ready(Ok(()))
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for Judged<Io> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

/// Which part of a message comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Head,
    Body(u64),
    /// Whatever comes is this message's, or is never read.
    Rest,
}

struct Scanner {
    verdicts: Verdicts,
    part: Part,
    /// What of the head has come.
    head: Vec<u8>,
}

impl Scanner {
    /// How many of these bytes may be passed on now: up to where a part ends.
    fn pass(&mut self, bytes: &[u8]) -> usize {
        match self.part {
            Part::Rest => bytes.len(),
            Part::Body(left) => {
                let passed = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                let left = left.saturating_sub(u64::try_from(passed).unwrap_or(u64::MAX));
                self.part = if left == 0 { Part::Head } else { Part::Body(left) };
                passed
            }
            Part::Head => self.pass_head(bytes),
        }
    }

    fn pass_head(&mut self, bytes: &[u8]) -> usize {
        if self.head.is_empty()
            && let Some(head) = whole_head(bytes)
        {
            self.end_head(judge(head));
            return head.len();
        }
        let mut passed = 0;
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            passed += line.len();
            let begins_line = self.head.last().is_none_or(|byte| *byte == b'\n');
            let before = self.head.last().copied();
            self.head.extend_from_slice(line);
            if self.head.len() > LONGEST_HEAD {
                return self.refuse(HeadFault::TooLong, bytes.len());
            }
            if !line.ends_with(b"\n") {
                continue;
            }
            let has_return = if line.len() > 1 { line.ends_with(b"\r\n") } else { before == Some(b'\r') };
            if !has_return {
                return self.refuse(HeadFault::LineEnding, bytes.len());
            }
            let is_empty = if begins_line { line == b"\r\n" } else { line == b"\n" && self.head.ends_with(b"\n\r\n") };
            // Empty lines before a request are skipped, as RFC 9112 §2.2 asks.
            if is_empty && !self.head.iter().all(|byte| matches!(byte, b'\r' | b'\n')) {
                let judged = judge(&self.head);
                self.end_head(judged);
                return passed;
            }
        }
        passed
    }

    fn end_head(&mut self, judged: Result<Framing, HeadFault>) {
        let (verdict, part) = match judged {
            Ok(Framing::Length(0)) => (Verdict::Good, Part::Head),
            Ok(Framing::Length(length)) => (Verdict::Good, Part::Body(length)),
            Ok(Framing::Open) => (Verdict::Last, Part::Rest),
            Err(fault) => (Verdict::Refused(fault), Part::Rest),
        };
        self.verdicts.push(verdict);
        self.part = part;
        self.head.clear();
    }

    fn refuse(&mut self, fault: HeadFault, all: usize) -> usize {
        self.verdicts.push(Verdict::Refused(fault));
        self.part = Part::Rest;
        self.head = Vec::new();
        all
    }
}

/// The head that these bytes begin with, to its empty line, if it is all there and its lines end as they should: heads
/// nearly always come in one piece, and need not be collected.
fn whole_head(bytes: &[u8]) -> Option<&[u8]> {
    let mut begin = 0;
    for end in memchr_iter(b'\n', bytes) {
        let line = bytes.get(begin..end)?.strip_suffix(b"\r")?;
        begin = end + 1;
        if line.is_empty() {
            // Empty lines before a request are another matter.
            let head = bytes.get(..begin).filter(|head| head.len() <= LONGEST_HEAD);
            return head.filter(|head| !head.starts_with(b"\r"));
        }
    }
    None
}

/// The lines of a head, without their CR LF.
fn lines(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut begin = 0;
    memchr_iter(b'\n', head).map(move |end| {
        let line = head.get(begin..end).unwrap_or_default();
        begin = end + 1;
        line.strip_suffix(b"\r").unwrap_or(line)
    })
}

/// Judges a whole head; all its lines end with CR LF.
fn judge(head: &[u8]) -> Result<Framing, HeadFault> {
    let mut lines = lines(head);
    let request_line = lines.find(|line| !line.is_empty()).unwrap_or_default();
    let (is_connect, is_http_11) = judge_request_line(request_line)?;
    let (mut hosts, mut length, mut is_chunked, mut wants_upgrade) = (0_u8, None, false, is_connect);
    for line in lines.take_while(|line| !line.is_empty()) {
        if memchr2(b'\r', b'\0', line).is_some() {
            return Err(HeadFault::LineEnding);
        }
        if line.starts_with(b" ") || line.starts_with(b"\t") {
            return Err(HeadFault::Folded);
        }
        let colon = memchr(b':', line).ok_or(HeadFault::NoHeader)?;
        let (name, value) = (line.get(..colon).unwrap_or_default(), line.get(colon + 1..).unwrap_or_default());
        let value = value.trim_ascii();
        if name.eq_ignore_ascii_case(b"content-length") {
            if length.is_some() {
                return Err(HeadFault::ContentLength);
            }
            length = Some(number(value).ok_or(HeadFault::ContentLength)?);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if is_chunked || !is_http_11 || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(HeadFault::TransferEncoding);
            }
            is_chunked = true;
        } else if name.eq_ignore_ascii_case(b"host") {
            hosts = hosts.saturating_add(1);
        } else if name.eq_ignore_ascii_case(b"upgrade") {
            // Java's own client offers h2c with every plain http request; declining is silence (RFC 9110 §7.8).
            if !value.eq_ignore_ascii_case(b"h2c") {
                return Err(HeadFault::Upgrade);
            }
            wants_upgrade = true;
        }
    }
    if hosts > 1 || (hosts == 0 && is_http_11) {
        return Err(HeadFault::Host);
    }
    match (length, is_chunked) {
        (Some(_), true) => Err(HeadFault::TwoLengths),
        (None, true) => Ok(Framing::Open),
        (_, false) if wants_upgrade => Ok(Framing::Open),
        (length, false) => Ok(Framing::Length(length.unwrap_or(0))),
    }
}

/// Whether the method is `CONNECT`, and the version 1.1.
fn judge_request_line(line: &[u8]) -> Result<(bool, bool), HeadFault> {
    let mut words = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(HeadFault::RequestLine);
    };
    let is_http_11 = match version {
        b"HTTP/1.1" => true,
        b"HTTP/1.0" => false,
        _ => return Err(HeadFault::RequestLine),
    };
    let is_connect = method == b"CONNECT";
    let is_origin_form = target.starts_with(b"/");
    let is_absolute_form = target.starts_with(b"http://") || target.starts_with(b"https://");
    let is_asterisk = target == b"*" && method == b"OPTIONS";
    if is_connect || is_origin_form || is_absolute_form || is_asterisk {
        Ok((is_connect, is_http_11))
    } else {
        Err(HeadFault::RequestLine)
    }
}

/// Digits alone: a sign, a list or white space is read in several ways.
fn number(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// The verdicts on a connection that brings these bytes, in pieces of that size at most.
#[cfg(test)]
pub(super) fn verdicts_on(input: &[u8], size: usize) -> Vec<Verdict> {
    let verdicts = Verdicts::default();
    let mut scanner = Scanner { verdicts: verdicts.clone(), part: Part::Head, head: Vec::new() };
    let mut rest = input;
    while !rest.is_empty() {
        let passed = scanner.pass(&rest[..rest.len().min(size)]);
        rest = &rest[passed..];
    }
    let found = verdicts.0.lock().unwrap_or_else(PoisonError::into_inner);
    found.iter().copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;
    use tokio::io::AsyncReadExt as _;

    fn judged(text: &str) -> Result<Framing, HeadFault> {
        judge(text.as_bytes())
    }

    #[test]
    fn good_heads_tell_their_length() {
        for (head, framing) in [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", Framing::Length(0)),
            ("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Framing::Length(0)),
            ("GET / HTTP/1.0\r\n\r\n", Framing::Length(0)),
            ("POST http://a/b HTTP/1.1\r\nhost:a\r\ncontent-length: 5 \r\n\r\n", Framing::Length(5)),
            ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n", Framing::Open),
            ("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n", Framing::Open),
            ("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", Framing::Open),
            ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", Framing::Length(0)),
        ] {
            assert_eq!(judged(head), Ok(framing), "{head:?}");
        }
    }

    #[rstest]
    #[case("Content-Length: 1\r\nTransfer-Encoding: chunked", HeadFault::TwoLengths)]
    #[case("Transfer-Encoding: chunked\r\nContent-Length: 1", HeadFault::TwoLengths)]
    #[case("Content-Length: 1\r\nContent-Length: 1", HeadFault::ContentLength)]
    #[case("Content-Length: 1, 1", HeadFault::ContentLength)]
    #[case("Content-Length: +1", HeadFault::ContentLength)]
    #[case("Content-Length:", HeadFault::ContentLength)]
    #[case("Content-Length: 0x1", HeadFault::ContentLength)]
    #[case("Content-Length: 99999999999999999999", HeadFault::ContentLength)]
    #[case("Transfer-Encoding: gzip, chunked", HeadFault::TransferEncoding)]
    #[case("Transfer-Encoding: chunked, identity", HeadFault::TransferEncoding)]
    #[case("Transfer-Encoding: \u{b}chunked", HeadFault::TransferEncoding)]
    #[case("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", HeadFault::TransferEncoding)]
    #[case("X: a\r\n Content-Length: 1", HeadFault::Folded)]
    #[case("X: a\rContent-Length: 1", HeadFault::LineEnding)]
    #[case("X: a\0", HeadFault::LineEnding)]
    #[case("X", HeadFault::NoHeader)]
    #[case("Host: b", HeadFault::Host)]
    #[case("Upgrade: websocket", HeadFault::Upgrade)]
    fn a_head_with_two_readings_is_refused(#[case] headers: &str, #[case] fault: HeadFault) {
        assert_eq!(judged(&format!("POST / HTTP/1.1\r\nHost: a\r\n{headers}\r\n\r\n")), Err(fault));
    }

    #[rstest]
    #[case("GET  / HTTP/1.1")]
    #[case("GET / HTTP/1.1 ")]
    #[case("GET / HTTP/2.0")]
    #[case("GET /")]
    #[case("GET a HTTP/1.1")]
    #[case("GET ftp://a/ HTTP/1.1")]
    #[case("GET * HTTP/1.1")]
    fn a_request_line_has_three_words(#[case] line: &str) {
        assert_eq!(judged(&format!("{line}\r\nHost: a\r\n\r\n")), Err(HeadFault::RequestLine));
    }

    #[test]
    fn a_host_is_asked_for_in_http_11() {
        assert_eq!(judged("GET / HTTP/1.1\r\n\r\n"), Err(HeadFault::Host));
    }

    /// What comes through in how many pieces, and the verdicts.
    async fn read(input: &[u8], capacity: usize) -> (Vec<u8>, Vec<Verdict>) {
        let (mut judged, verdicts) = Judged::new(input, b"");
        let mut through = Vec::new();
        let mut buffer = vec![0; capacity];
        loop {
            match judged.read(&mut buffer).await.unwrap() {
                0 => break,
                read => through.extend_from_slice(&buffer[..read]),
            }
        }
        let verdicts = verdicts.0.lock().unwrap().iter().copied().collect();
        (through, verdicts)
    }

    #[tokio::test]
    async fn each_request_on_a_connection_gets_its_verdict() {
        let input = b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nPOST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n\n\nabGET /3 HTTP/1.1\r\nHost: a\n\nGET /4 HTTP/1.1\r\n\r\n";
        for capacity in [1, 2, 3, 7, 64, 4096] {
            let (through, verdicts) = read(input, capacity).await;
            assert_eq!(through, input, "{capacity}");
            assert_eq!(verdicts, [Verdict::Good, Verdict::Good, Verdict::Refused(HeadFault::LineEnding)], "{capacity}");
        }
    }

    #[tokio::test]
    async fn nothing_of_the_next_message_passes_with_this_one() {
        let input = b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n";
        let (mut judged, verdicts) = Judged::new(&b""[..], input);
        let mut buffer = [0; 4096];
        let read = judged.read(&mut buffer).await.unwrap();
        assert_eq!(&buffer[..read], b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(verdicts.next(), Verdict::Good);
        assert_eq!(verdicts.next(), Verdict::Refused(HeadFault::RequestLine), "the second has not been read yet");
    }

    proptest! {
        #[test]
        fn bytes_are_passed_on_as_they_came(
            input in "(GET / HTTP/1\\.1\r\nHost: a\r\n|Content-Length: 3\r\n|Transfer-Encoding: chunked\r\n|\r\n|\n|abc|\r){0,12}",
            capacity in 1_usize..20,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let (through, verdicts) = runtime.block_on(read(input.as_bytes(), capacity));
            prop_assert_eq!(through, input.as_bytes());
            let (_, at_once) = runtime.block_on(read(input.as_bytes(), 4096));
            prop_assert_eq!(verdicts, at_once, "verdicts do not hang on how bytes arrive");
        }
    }
}
