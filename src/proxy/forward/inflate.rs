//! Answers that an EHR sends in gzip though it was asked for plain content: unpacked piece by piece as they are asked for,
//! within limits that no FHIR reaches, so that what follows (rewriting, judging) reads plain JSON.
//!
//! Other codings are refused: nobody who ignores `Accept-Encoding: identity` is known to send them.

use std::io::Write as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use flate2::write::MultiGzDecoder;
use http::header::CONTENT_ENCODING;
use http::{HeaderMap, Response};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use super::ForwardError;
use crate::outbound::GZIP;

/// What may come out of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Limits {
    /// In bytes, whatever went in.
    all: u64,
    /// Times what went in. FHIR in JSON packs 10 to 50 to 1; deflate's utmost, 1030 to 1, is a bomb's.
    ratio: u64,
    /// Below so many bytes the ratio is not looked at: the first few hundred may pack like nothing else.
    allowance: u64,
}

const LIMITS: Limits = Limits { all: 8 << 30, ratio: 200, allowance: 4 << 20 };

/// Why a packed answer breaks off.
#[derive(Debug, thiserror::Error)]
pub(in crate::proxy) enum AnswerError {
    #[error(transparent)]
    Broken(#[from] hyper::Error),
    #[error("the EHR's gzip is damaged, or not gzip to its end")]
    Damaged,
    #[error("the EHR's gzip grows beyond measure when it is unpacked")]
    Bomb,
}

/// What the EHR answers with.
pub(in crate::proxy) enum EhrBody {
    /// As it comes.
    Plain(Incoming),
    /// Unpacked.
    Gzip(Box<Inflated<Incoming>>),
}

/// How an answer is coded.
enum Coding {
    Plain,
    Gzip,
    Other,
}

fn coding(headers: &HeaderMap) -> Coding {
    let mut given = headers.get_all(CONTENT_ENCODING).iter();
    let (first, second) = (given.next().map(|coding| coding.as_bytes().trim_ascii()), given.next());
    let is = |coding: &[u8], name: &str| coding.eq_ignore_ascii_case(name.as_bytes());
    match (first, second) {
        (None, _) => Coding::Plain,
        (Some(coding), None) if is(coding, "identity") => Coding::Plain,
        // RFC 9110 §8.4.1.3
        (Some(coding), None) if is(coding, "gzip") || is(coding, "x-gzip") => Coding::Gzip,
        (Some(_), _) => Coding::Other,
    }
}

/// Unpacks an answer where that is needed. `whose` names the call in the log; of the body, the first piece is waited for
/// as long as `idle`, so that what is no gzip at all is refused instead of broken off.
pub(super) async fn plain(
    answer: Response<Incoming>,
    idle: Duration,
    whose: impl FnOnce() -> String,
) -> Result<Response<EhrBody>, ForwardError> {
    let (mut head, mut body) = answer.into_parts();
    let coding = coding(&head.headers);
    head.headers.remove(CONTENT_ENCODING);
    let body = match coding {
        Coding::Other => return Err(ForwardError::Compressed),
        Coding::Plain => EhrBody::Plain(body),
        // The answer to HEAD tells only how a body would be coded.
        Coding::Gzip if body.is_end_stream() => EhrBody::Plain(body),
        Coding::Gzip => {
            let first = tokio::time::timeout(idle, first_piece(&mut body)).await;
            let first = first.ok().flatten().filter(|first| is_gzip(first)).ok_or(ForwardError::Compressed)?;
            EhrBody::Gzip(Box::new(Inflated::new(body, first, LIMITS, whose())))
        }
    };
    Ok(Response::from_parts(head, body))
}

async fn first_piece(body: &mut Incoming) -> Option<Bytes> {
    loop {
        let piece = body.frame().await?.ok()?.into_data().ok()?;
        if !piece.is_empty() {
            return Some(piece);
        }
    }
}

/// As far as the first piece goes.
fn is_gzip(first: &[u8]) -> bool {
    GZIP.iter().zip(first).all(|(wanted, byte)| wanted == byte)
}

impl http_body::Body for EhrBody {
    type Data = Bytes;
    type Error = AnswerError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        match self.get_mut() {
            Self::Plain(body) => Pin::new(body).poll_frame(context).map_err(AnswerError::from),
            Self::Gzip(body) => Pin::new(body).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Plain(body) => body.is_end_stream(),
            Self::Gzip(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Plain(body) => body.size_hint(),
            Self::Gzip(body) => body.size_hint(),
        }
    }
}

/// A gzip body, unpacked: one piece of at most some 32 KiB at a time, and no more is read before it was taken.
pub(in crate::proxy) struct Inflated<Inner> {
    inner: Inner,
    decoder: MultiGzDecoder<Vec<u8>>,
    /// What came and is not unpacked yet.
    packed: Bytes,
    taken: u64,
    given: u64,
    limits: Limits,
    whose: String,
    is_over: bool,
}

impl<Inner> Inflated<Inner> {
    fn new(inner: Inner, first: Bytes, limits: Limits, whose: String) -> Self {
        Self {
            inner,
            decoder: MultiGzDecoder::new(Vec::new()),
            taken: length(&first),
            packed: first,
            given: 0,
            limits,
            whose,
            is_over: false,
        }
    }

    /// Unpacks the next of what came. Nothing came out: nothing is left of it.
    fn unpack(&mut self) -> Result<Bytes, AnswerError> {
        while !self.packed.is_empty() {
            let taken = self.decoder.write(&self.packed).map_err(|_| AnswerError::Damaged)?;
            self.packed.advance(taken);
            if self.packed.is_empty() {
                // What could be unpacked is not kept until more comes: an EHR may stream its answer slowly.
                self.decoder.flush().map_err(|_| AnswerError::Damaged)?;
            }
            let given = self.out()?;
            if !given.is_empty() {
                return Ok(given);
            }
            if taken == 0 {
                return Err(AnswerError::Damaged);
            }
        }
        Ok(Bytes::new())
    }

    /// What the decoder has given, within the limits.
    fn out(&mut self) -> Result<Bytes, AnswerError> {
        let given = Bytes::from(std::mem::take(self.decoder.get_mut()));
        self.given = self.given.saturating_add(length(&given));
        let most = self.limits.allowance.max(self.taken.saturating_mul(self.limits.ratio));
        if self.given > most.min(self.limits.all) { Err(AnswerError::Bomb) } else { Ok(given) }
    }

    fn end(&mut self) -> Result<Bytes, AnswerError> {
        self.is_over = true;
        self.decoder.try_finish().map_err(|_| AnswerError::Damaged)?;
        self.out()
    }

    fn fail(&mut self, error: AnswerError) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        self.is_over = true;
        tracing::warn!(call = self.whose, given = self.given, taken = self.taken, %error, "an EHR's answer is cut off");
        Poll::Ready(Some(Err(error)))
    }
}

fn length(bytes: &Bytes) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

impl<Inner> http_body::Body for Inflated<Inner>
where
    Inner: http_body::Body<Data = Bytes> + Unpin,
    AnswerError: From<Inner::Error>,
{
    type Data = Bytes;
    type Error = AnswerError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        loop {
            if self.is_over {
                return Poll::Ready(None);
            }
            match self.unpack() {
                Ok(given) if given.is_empty() => {}
                Ok(given) => return Poll::Ready(Some(Ok(Frame::data(given)))),
                Err(error) => return self.fail(error),
            }
            match ready!(Pin::new(&mut self.inner).poll_frame(context)) {
                Some(Ok(frame)) => {
                    // Trailers are dropped, as of every answer.
                    let Ok(piece) = frame.into_data() else { continue };
                    self.taken = self.taken.saturating_add(length(&piece));
                    self.packed = piece;
                }
                Some(Err(error)) => {
                    self.is_over = true;
                    return Poll::Ready(Some(Err(error.into())));
                }
                None => match self.end() {
                    Ok(given) if given.is_empty() => return Poll::Ready(None),
                    Ok(given) => return Poll::Ready(Some(Ok(Frame::data(given)))),
                    Err(error) => return self.fail(error),
                },
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.is_over
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use futures_util::stream;
    use http_body_util::StreamBody;
    use rstest::rstest;

    use super::*;

    fn packed(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    /// What comes out of a body in pieces of this size, and what the longest piece was.
    async fn unpacked(body: &[u8], size: usize, limits: Limits) -> (Vec<u8>, usize, Option<String>) {
        let mut pieces = body.chunks(size).map(Bytes::copy_from_slice).collect::<Vec<_>>().into_iter();
        let first = pieces.next().unwrap_or_default();
        let rest = stream::iter(pieces.map(|piece| Ok::<_, hyper::Error>(Frame::data(piece))));
        let mut body = Inflated::new(StreamBody::new(rest), first, limits, "test".to_owned());
        let (mut whole, mut longest) = (Vec::new(), 0);
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) => {
                    let data = frame.into_data().unwrap();
                    longest = longest.max(data.len());
                    whole.extend_from_slice(&data);
                }
                Err(error) => return (whole, longest, Some(error.to_string())),
            }
        }
        (whole, longest, None)
    }

    fn bundle() -> Vec<u8> {
        (0..5000).flat_map(|number| format!(r#"{{"resource":{{"id":"{number}"}}}},"#).into_bytes()).collect()
    }

    #[rstest]
    #[case::bytes(1)]
    #[case::small_pieces(7)]
    #[case::at_once(1 << 20)]
    #[tokio::test]
    async fn what_was_packed_comes_out(#[case] size: usize) {
        let text = bundle();
        assert_eq!(unpacked(&packed(&text), size, LIMITS).await.0, text);
        let twice = [packed(&text), packed(b"tail")].concat();
        let (whole, _, error) = unpacked(&twice, size, LIMITS).await;
        assert_eq!((whole, error), ([text.as_slice(), b"tail"].concat(), None), "members follow each other");
        assert_eq!(unpacked(&packed(b""), size, LIMITS).await, (vec![], 0, None));
    }

    #[rstest]
    #[case::cut_off(|packed: &mut Vec<u8>| packed.truncate(packed.len() / 2))]
    #[case::without_its_end(|packed: &mut Vec<u8>| packed.truncate(packed.len() - 1))]
    #[case::head_only(|packed: &mut Vec<u8>| packed.truncate(5))]
    #[case::another_checksum(|packed: &mut Vec<u8>| { let at = packed.len() - 8; packed[at] ^= 1; })]
    #[case::damaged_within(|packed: &mut Vec<u8>| { let at = packed.len() / 2; packed[at] ^= 0xff; })]
    #[case::with_something_behind(|packed: &mut Vec<u8>| packed.extend_from_slice(b"<html>and more</html>"))]
    #[case::with_one_byte_behind(|packed: &mut Vec<u8>| packed.push(0))]
    #[tokio::test]
    async fn what_is_damaged_never_ends_well(#[case] damage: fn(&mut Vec<u8>)) {
        let mut body = packed(&bundle());
        damage(&mut body);
        for size in [1, 100, 1 << 20] {
            let (_, _, error) = unpacked(&body, size, LIMITS).await;
            assert_eq!(error, Some(AnswerError::Damaged.to_string()), "pieces of {size}");
        }
    }

    #[tokio::test]
    async fn a_bomb_is_cut_while_it_goes_off() {
        let bomb = packed(&vec![b' '; 64 << 20]);
        for size in [100, 1 << 20] {
            let (whole, longest, error) = unpacked(&bomb, size, LIMITS).await;
            assert_eq!(error, Some(AnswerError::Bomb.to_string()));
            assert!(whole.len() <= 200 * bomb.len() && longest <= 128 * 1024, "{} {longest}", whole.len());
        }
        let limits = Limits { all: 10_000, ..LIMITS };
        let (whole, _, error) = unpacked(&packed(&bundle()), 100, limits).await;
        assert_eq!(error, Some(AnswerError::Bomb.to_string()));
        assert!(whole.len() <= 10_000);
    }

    #[test]
    fn a_coding_is_what_the_header_says_once() {
        let coding = |values: &[&'static str]| {
            let values = values.iter().map(|value| (CONTENT_ENCODING, http::HeaderValue::from_static(value)));
            match coding(&values.collect()) {
                Coding::Plain => "plain",
                Coding::Gzip => "gzip",
                Coding::Other => "other",
            }
        };
        assert_eq!((coding(&[]), coding(&["Identity"])), ("plain", "plain"));
        assert_eq!((coding(&["GZIP"]), coding(&["x-gzip"])), ("gzip", "gzip"));
        for values in
            [&["br"] as &[&'static str], &["zstd"], &["deflate"], &["gzip, gzip"], &["gzip", "identity"], &[""]]
        {
            assert_eq!(coding(values), "other", "{values:?}");
        }
    }
}
