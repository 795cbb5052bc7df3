//! Bodies that were compressed, with a bound on what comes out: a few bytes can say a terabyte.

use std::io::Read;

/// The name in a message's `compression` header, and how such bytes are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    /// A zlib stream; what Celery calls gzip is one, too.
    Zlib,
    Zstd,
}

/// Why a body was not decompressed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadCompression {
    /// A method that is not read here.
    #[error(
        "compression `{0}` is not read here: send with compression=\"zlib\" or \"zstd\", or without (task_compression)"
    )]
    Unknown(String),
    #[error("the compressed body is damaged: {0}")]
    Damaged(String),
    #[error("the body is larger than {0} bytes when it is decompressed")]
    TooLarge(usize),
}

/// Decompresses to at most `max` bytes.
pub(crate) fn decompress(name: &str, bytes: &[u8], max: usize) -> Result<Vec<u8>, BadCompression> {
    let method = match name {
        "application/x-gzip" | "application/gzip" | "gzip" | "zlib" => Method::Zlib,
        "application/zstd" | "zstd" => Method::Zstd,
        other => return Err(BadCompression::Unknown(other.to_owned())),
    };
    match method {
        Method::Zlib => read_up_to(flate2::read::ZlibDecoder::new(bytes), max),
        Method::Zstd => match ruzstd::decoding::StreamingDecoder::new(bytes) {
            Ok(decoder) => read_up_to(decoder, max),
            Err(error) => Err(BadCompression::Damaged(error.to_string())),
        },
    }
}

fn read_up_to(reader: impl Read, max: usize) -> Result<Vec<u8>, BadCompression> {
    let mut out = Vec::new();
    let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    let read = reader.take(limit).read_to_end(&mut out);
    read.map_err(|error| BadCompression::Damaged(error.to_string()))?;
    if out.len() > max {
        return Err(BadCompression::TooLarge(max));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn zlib(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_bomb_is_refused_before_it_is_whole() {
        let bomb = zlib(&vec![0; 10 << 20]);
        assert!(bomb.len() < 1 << 17);
        let refused = decompress("application/x-gzip", &bomb, 1 << 20);
        assert_eq!(refused, Err(BadCompression::TooLarge(1 << 20)));
        assert_eq!(decompress("zlib", &zlib(b"[1]"), 3), Ok(b"[1]".to_vec()));
    }

    #[test]
    fn damage_and_unknown_methods_are_named() {
        let cut = &zlib(b"hello hello hello")[..9];
        assert!(matches!(
            decompress("zlib", cut, 99),
            Err(BadCompression::Damaged(_))
        ));
        assert!(matches!(
            decompress("zstd", b"nothing", 99),
            Err(BadCompression::Damaged(_))
        ));
        let error = decompress("application/x-bz2", b"", 99).unwrap_err().to_string();
        assert!(
            error.contains("application/x-bz2") && error.contains("zlib"),
            "{error}"
        );
    }
}
