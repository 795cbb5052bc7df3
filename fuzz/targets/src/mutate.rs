//! Inputs made of other inputs: what a fuzzer does, without its sight. Repeatable from a seed.

/// A small repeatable source of chance (SplitMix64's recurrence).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// The same seed gives the same throws.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0 to `limit` - 1; 0 for a limit of 0.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % (limit.max(1) as u64)) as usize
    }
}

/// Bytes that are the edge of something.
const EDGES: &[u8] = &[
    0, 1, 7, 8, 9, 10, 13, 31, 32, 34, 39, 44, 45, 46, 48, 57, 58, 61, 91, 92, 93, 123, 125, 127, 128, 191,
    192, 254, 255,
];
/// Texts that are.
const WORDS: &[&[u8]] = &[
    b"-1",
    b"1e999",
    b"9223372036854775808",
    b"18446744073709551616",
    b"NaN",
    b"null",
    b"true",
    b"\"\"",
    b"[[",
    b"]]",
    b"{\"",
    b"\\u0000",
    b"\\ud800",
    b"\xef\xbb\xbf",
    b"\xc3\x28",
    b"%00",
    b"%zz",
    b"=",
    b"&",
    b"s",
    b"ms",
    b"KiB",
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
];

/// One of `corpus` changed a little, a few times; now and then with a part of another.
pub fn mutated(corpus: &[Vec<u8>], bytes_max: usize, dice: &mut Dice) -> Vec<u8> {
    let mut data = corpus.get(dice.below(corpus.len())).cloned().unwrap_or_default();
    for _ in 0..=dice.below(6) {
        change(&mut data, corpus, dice);
    }
    data.truncate(bytes_max);
    data
}

fn change(data: &mut Vec<u8>, corpus: &[Vec<u8>], dice: &mut Dice) {
    let at = dice.below(data.len() + 1);
    let end = (at + 1 + dice.below(8)).min(data.len());
    match dice.below(9) {
        0 if at < data.len() => data[at] ^= 1 << dice.below(8),
        1 if at < data.len() => data[at] = EDGES[dice.below(EDGES.len())],
        2 if at < data.len() => data[at] = data[at].wrapping_add(if dice.below(2) == 0 { 1 } else { 255 }),
        3 => data.insert(at, EDGES[dice.below(EDGES.len())]),
        4 => drop(data.drain(at.min(end)..end)),
        5 => {
            let word = WORDS[dice.below(WORDS.len())];
            data.splice(at..at, word.iter().copied());
        }
        6 => {
            let part = data[at.min(end)..end].to_vec();
            let count = 1 + dice.below(40);
            data.splice(at..at, part.repeat(count));
        }
        7 => data.truncate(at),
        _ => {
            if let Some(other) = corpus.get(dice.below(corpus.len())) {
                let from = dice.below(other.len());
                data.truncate(at);
                data.extend_from_slice(&other[from..]);
            }
        }
    }
}
