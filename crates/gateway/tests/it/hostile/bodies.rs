//! Bodies that cost more than they weigh.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::{MEMORY, fate, house, post, refused, unharmed};

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

fn zstd(plain: &[u8]) -> Vec<u8> {
    let mut packed = Vec::with_capacity(zstd_safe::compress_bound(plain.len()));
    zstd_safe::compress(&mut packed, plain, 3).unwrap();
    packed
}

/// Memory of this process that is there, in bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[tokio::test]
async fn a_hundred_bombs_at_once_leave_the_server_flat() {
    let house = house().await;
    let zeros = vec![b'0'; 24 << 20];
    for (coding, bomb) in [("gzip", gzip(&zeros)), ("zstd", zstd(&zeros))] {
        let request = post(&format!("content-encoding: {coding}\r\n"), &bomb);
        let before = resident();
        let callers = (0..100).map(|_| fate(&house, &request));
        for answer in futures_util::future::join_all(callers).await {
            // Too large; or there was no room while others were on their way.
            let code = answer.unwrap().code();
            assert!(
                matches!(code.as_str(), "body_too_large" | "server_busy"),
                "{coding}: {code}"
            );
        }
        let more = resident().saturating_sub(before);
        assert!(
            more < 16 * MEMORY,
            "{coding}: {more} bytes more for bombs of 2.4 GB"
        );
    }
    unharmed(house).await;
}

#[tokio::test]
async fn a_bomb_in_a_bomb_is_not_even_looked_at() {
    let house = house().await;
    let twice = gzip(&gzip(&vec![b'0'; 8 << 20]));
    let request = post("content-encoding: gzip, gzip\r\n", &twice);
    refused(&house, "two codings", request, 415, "unsupported_media_type").await;
    let request = post("content-encoding: gzip\r\n", &twice);
    refused(&house, "one of two", request, 400, "malformed_body").await;
    let slow = [&gzip(b"{\"input\":1}")[..], &[0; 64 << 10]].concat();
    refused(
        &house,
        "garbage behind",
        post("content-encoding: gzip\r\n", &slow),
        400,
        "malformed_body",
    )
    .await;
    let nothing = gzip(b"").repeat(40_000);
    refused(
        &house,
        "nothing, often",
        post("content-encoding: gzip\r\n", &nothing),
        400,
        "malformed_body",
    )
    .await;
    unharmed(house).await;
}

#[tokio::test]
async fn objects_of_a_hundred_thousand_keys_are_read_or_refused_in_words() {
    let house = house().await;
    let keys: Vec<String> = (0..100_000).map(|i| format!("\"{i}\":1")).collect();
    let object = format!("{{{}}}", keys.join(","));
    let input = post("", format!("{{\"input\":{object}}}").as_bytes());
    assert_eq!(
        fate(&house, input).await.unwrap().status,
        200,
        "an input is the model's affair"
    );
    refused(
        &house,
        "as options",
        post("", object.as_bytes()),
        422,
        "invalid_input",
    )
    .await;
    let same = format!("{{{}}}", vec!["\"input\":1"; 100_000].join(","));
    refused(
        &house,
        "one key, often",
        post("", same.as_bytes()),
        422,
        "invalid_input",
    )
    .await;
    let long = format!("{{\"input\":1,\"{}\":1}}", "k".repeat(900_000));
    refused(
        &house,
        "a long key",
        post("", long.as_bytes()),
        422,
        "invalid_input",
    )
    .await;
    unharmed(house).await;
}

#[tokio::test]
async fn json_that_is_deep_or_odd_is_refused() {
    let house = house().await;
    let deep = |open: &str, n: usize| format!("{{\"input\":{}", open.repeat(n)).into_bytes();
    for (name, body) in [
        ("arrays without end", deep("[", 500_000)),
        ("objects without end", deep("{\"a\":", 150_000)),
        (
            "half a surrogate",
            br#"{"input":1,"metadata":{"a":"\ud800"}}"#.to_vec(),
        ),
        ("a zero byte", b"{\"input\":\"\0\"}".to_vec()),
        ("not UTF-8", b"{\"input\":\"\xc3\x28\"}".to_vec()),
        ("too long a form", b"{\"input\":\"\xc0\xaf\"}".to_vec()),
        ("a mark before it", b"\xef\xbb\xbf{\"input\":1}".to_vec()),
        ("UTF-16", b"{\0\"\0i\0n\0".to_vec()),
        ("two at once", b"{\"input\":1}{\"input\":2}".to_vec()),
        ("a comma too many", b"{\"input\":[1,],}".to_vec()),
        ("NaN", b"{\"input\":NaN}".to_vec()),
    ] {
        let answer = fate(&house, post("", &body)).await.unwrap();
        assert!(matches!(answer.status, 400 | 422), "{name}: {answer:?}");
        answer.problem();
    }
    let digits = format!("{{\"input\":1,\"priority\":{}}}", "9".repeat(900_000));
    refused(
        &house,
        "a long number",
        post("", digits.as_bytes()),
        422,
        "invalid_input",
    )
    .await;
    let exponent = r#"{"input":1,"priority":1e999999999}"#;
    refused(
        &house,
        "a large number",
        post("", exponent.as_bytes()),
        422,
        "invalid_input",
    )
    .await;
    unharmed(house).await;
}
