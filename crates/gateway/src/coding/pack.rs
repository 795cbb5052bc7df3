//! Packs answers that are text, for callers who ask for that.
//!
//! At the lowest level: the processor belongs to the models, and the first level has most of what there is to have.

use std::io::Write;

use axum::body::{Body, HttpBody, to_bytes};
use axum::http::{HeaderValue, Response, header};
use axum::response::IntoResponse;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::Coding;
use crate::app::App;

/// What can be a quarter of its size afterwards. Tensors as bytes cannot; events are many small pieces.
const TEXT: [&str; 5] = [
    "application/json",
    "text/css",
    "text/javascript",
    "text/markdown",
    "application/openmetrics-text",
];

/// Packing takes about four times as long as writing JSON does, which decides where it is done.
const WORK: usize = 4;

/// The answer, packed if it is worth it and its reader can unpack it.
pub(crate) async fn packed(app: &App, coding: Option<Coding>, mut answer: Response<Body>) -> Response<Body> {
    let large = |size: u64| size >= app.options.compress_above as u64;
    if !HttpBody::size_hint(answer.body()).exact().is_some_and(large) || !is_text(&answer) {
        return answer;
    }
    let headers = answer.headers_mut();
    headers.append(header::VARY, HeaderValue::from_name(header::ACCEPT_ENCODING));
    let Some(coding) = coding else { return answer };
    let body = std::mem::take(answer.body_mut());
    // Bodies of known size are here already: nothing is waited for, and nothing copied.
    let Ok(whole) = to_bytes(body, usize::MAX).await else {
        return answer;
    };
    let (size, plain) = (whole.len(), whole.clone());
    let packed = match app.codec(size * WORK, move || pack(coding, &whole)).await {
        Ok(packed) => packed,
        Err(stopping) => return stopping.into_response(),
    };
    if packed.len() >= size {
        *answer.body_mut() = Body::from(plain);
        return answer;
    }
    let headers = answer.headers_mut();
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
    *answer.body_mut() = Body::from(packed);
    answer
}

fn is_text(answer: &Response<Body>) -> bool {
    let media = answer
        .headers()
        .get(header::CONTENT_TYPE)
        .map(HeaderValue::as_bytes);
    media.is_some_and(|media| TEXT.iter().any(|text| media.starts_with(text.as_bytes())))
        && !answer.headers().contains_key(header::CONTENT_ENCODING)
}

/// All of it at once.
pub(super) fn pack(coding: Coding, plain: &[u8]) -> Vec<u8> {
    match coding {
        Coding::Gzip => {
            let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 2), Compression::fast());
            encoder.write_all(plain).expect("a Vec takes any bytes");
            encoder.finish().expect("a Vec takes any bytes")
        }
        Coding::Zstd => {
            let mut packed = Vec::with_capacity(zstd_safe::compress_bound(plain.len()));
            zstd_safe::compress(&mut packed, plain, 1).expect("the bound is room enough");
            packed
        }
    }
}
