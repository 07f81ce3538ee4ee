//! Bodies as they were compressed, under a bound (SAFE-1).

use std::borrow::Cow;
use std::io::Read;

/// How a body is compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// Not at all.
    Identity,
    /// Snappy's block format: what remote write uses.
    #[default]
    Snappy,
    /// Zstandard.
    Zstd,
    /// Gzip.
    Gzip,
}

impl Encoding {
    /// The encoding that `Content-Encoding` names; none for one that is not known.
    pub fn from_header(value: &str) -> Option<Self> {
        match value.trim().to_ascii_lowercase().as_str() {
            "" | "identity" => Some(Self::Identity),
            "snappy" => Some(Self::Snappy),
            "zstd" => Some(Self::Zstd),
            "gzip" => Some(Self::Gzip),
            _ => None,
        }
    }
}

/// Why a body cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecompressError {
    /// It would be too large.
    #[error("the body has more than {limit} bytes uncompressed")]
    TooLarge {
        /// The limit.
        limit: usize,
    },
    /// It is not in that encoding.
    #[error("{0}")]
    Corrupt(String),
}

/// The bytes behind `body`; at most `limit` are made.
pub(crate) fn decompress(encoding: Encoding, body: &[u8], limit: usize) -> Result<Cow<'_, [u8]>, DecompressError> {
    let corrupt = |error: &dyn std::fmt::Display| DecompressError::Corrupt(error.to_string());
    match encoding {
        Encoding::Identity if body.len() > limit => Err(DecompressError::TooLarge { limit }),
        Encoding::Identity => Ok(Cow::Borrowed(body)),
        Encoding::Snappy => {
            let length = snap::raw::decompress_len(body).map_err(|error| corrupt(&error))?;
            if length > limit {
                return Err(DecompressError::TooLarge { limit });
            }
            snap::raw::Decoder::new().decompress_vec(body).map(Cow::Owned).map_err(|error| corrupt(&error))
        }
        Encoding::Zstd => {
            let decoder = zstd::stream::Decoder::with_buffer(body).map_err(|error| corrupt(&error))?;
            bounded(decoder, limit)
        }
        Encoding::Gzip => bounded(flate2::bufread::MultiGzDecoder::new(body), limit),
    }
}

fn bounded<'a>(decoder: impl Read, limit: usize) -> Result<Cow<'a, [u8]>, DecompressError> {
    let mut bytes = Vec::new();
    let read = decoder.take(limit as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|error| DecompressError::Corrupt(error.to_string()))?;
    if bytes.len() > limit { Err(DecompressError::TooLarge { limit }) } else { Ok(Cow::Owned(bytes)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_encoding_within_its_bound() {
        let plain = vec![7u8; 1000];
        let snappy = snap::raw::Encoder::new().compress_vec(&plain).unwrap();
        let zstd = zstd::encode_all(plain.as_slice(), 1).unwrap();
        for (encoding, body) in
            [(Encoding::Snappy, snappy), (Encoding::Zstd, zstd), (Encoding::Identity, plain.clone())]
        {
            assert_eq!(decompress(encoding, &body, 1000).unwrap().as_ref(), plain, "{encoding:?}");
            assert_eq!(decompress(encoding, &body, 999), Err(DecompressError::TooLarge { limit: 999 }));
        }
    }

    #[test]
    fn nonsense_is_no_panic() {
        for encoding in [Encoding::Snappy, Encoding::Zstd, Encoding::Gzip] {
            for body in [&b""[..], b"\xff\xff\xff\xff\xff", b"hello", b"\x05\x00a"] {
                if encoding == Encoding::Zstd && body.is_empty() {
                    continue;
                }
                assert!(decompress(encoding, body, 10).is_err(), "{encoding:?} {body:?}");
            }
        }
    }
}
