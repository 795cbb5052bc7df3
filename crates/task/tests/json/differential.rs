//! The scanner held to the oracle on many texts: whole ones, ones with a slip, and those that a fuzzer or a person kept.
//!
//! The same texts every time, from a seed that is printed when one fails; `CRESSET_FUZZ_SEED` and `CRESSET_FUZZ_CASES`
//! make it others, and more.

use std::fs;
use std::path::Path;

use super::oracle::{agree, case};

/// Texts of one run: a second or so without optimisation.
const CASES: u64 = 40_000;
const SEED: u64 = 20_251_124;

/// A small generator of numbers (xorshift64*): the texts must be the same on every machine and in every year.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() >> 33) as usize % n.max(1)
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }

    fn digits(&mut self, most: usize) -> String {
        (0..=self.below(most))
            .map(|_| char::from(b'0' + self.below(10) as u8))
            .collect()
    }
}

/// Tokens that some reader of numbers takes, or nearly does.
const ODD: [&str; 34] = [
    "NaN",
    "-NaN",
    "nan",
    "Infinity",
    "-Infinity",
    "inf",
    "null",
    "true",
    "false",
    "truely",
    "\"1\"",
    "\"\"",
    "{}",
    "[]",
    "+1",
    "01",
    "-01",
    "00",
    "1.",
    ".5",
    "-.5",
    "-",
    "1e",
    "1e+",
    "1E-",
    "0x10",
    "1_000",
    "1,5",
    "--1",
    "1..2",
    "1e1.5",
    "\u{ff11}",
    "\u{0}",
    "\\u0031",
];
/// Numbers at the edges of the element types, and of what can be told apart.
const EDGES: [&str; 40] = [
    "0",
    "-0",
    "-0.0",
    "0e5",
    "0E-5",
    "0.0e999999999999999999999",
    "1",
    "127",
    "128",
    "-128",
    "-129",
    "255",
    "256",
    "32767",
    "32768",
    "65504",
    "65519.999999999999",
    "65520",
    "65535",
    "65536",
    "2147483647",
    "2147483648",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "-9223372036854775809",
    "18446744073709551615",
    "18446744073709551616",
    "3.4028235677973366e38",
    "3.4028235677973365e38",
    "1e39",
    "1e-45",
    "7.006492321624085e-46",
    "1.7976931348623157e308",
    "1e309",
    "1e-400",
    "1e400",
    "9.000001430511474",
];
const SPACES: [&str; 9] = ["", "", "", "", " ", "\n", "\t\r ", "\u{b}", "\u{a0}"];

fn number(dice: &mut Dice) -> String {
    match dice.below(14) {
        0 => dice.pick(&ODD).into(),
        1 | 2 => dice.pick(&EDGES).into(),
        3 => f32::from_bits(dice.next() as u32).to_string(),
        4 => format!("{:e}", f64::from_bits(dice.next())),
        5 => format!("-{}.{}", dice.below(100), dice.digits(4)),
        6 => format!(
            "{}.{}e{}",
            dice.below(10),
            dice.digits(30),
            dice.below(60) as i64 - 30
        ),
        7 => format!(
            "{}e{}",
            dice.below(1000),
            dice.pick(&["5", "+5", "-2", "00", "-0", "40", "300", "99999999999"])
        ),
        8 => dice.digits(25),
        9 => near_the_middle(dice),
        _ => dice.below(300).to_string(),
    }
}

/// A text about as near to the middle of two neighbouring floats as a double is.
fn near_the_middle(dice: &mut Dice) -> String {
    let bits = 0x3000_0000 + (dice.next() >> 36) as u32;
    let middle = f64::midpoint(f32::from_bits(bits).into(), f32::from_bits(bits + 1).into());
    let beside = f64::from_bits(middle.to_bits() + dice.below(9) as u64 - 4);
    // As scientific notation, or as the plain decimal that the quick path takes.
    if dice.one_in(2) {
        format!("{beside:.*e}", 12 + dice.below(7))
    } else {
        format!("{beside}")
    }
}

/// Nested arrays along declared sizes; now and then one that is too long, too short, too deep or not deep enough.
fn nested(dice: &mut Dice, shape: &[i64], free: &[usize]) -> String {
    // The last two are no white space to JSON.
    let space = |dice: &mut Dice| {
        let known = if dice.one_in(50) { 9 } else { 7 };
        dice.pick(&SPACES[..known])
    };
    let Some((size, inner)) = shape.split_first() else {
        let token = if dice.one_in(60) {
            "[1]".into()
        } else {
            number(dice)
        };
        return format!("{}{token}{}", space(dice), space(dice));
    };
    let (mut count, free) = match usize::try_from(*size) {
        Ok(size) => (size, free),
        Err(_) => (
            free.first().copied().unwrap_or(1),
            free.get(1..).unwrap_or_default(),
        ),
    };
    match dice.below(80) {
        0 => count += 1,
        1 => count = count.saturating_sub(1),
        2 => return number(dice),
        3 => {
            return dice
                .pick(&["{}", "[[", "]", "[1 2]", "[1,]", "[,1]", "[1,,2]", "[1}"])
                .into();
        }
        _ => {}
    }
    let items: Vec<_> = (0..count).map(|_| nested(dice, inner, free)).collect();
    format!("{}[{}{}]", space(dice), items.join(","), space(dice))
}

/// A case, as the fuzz target would get it.
fn random(dice: &mut Dice) -> Vec<u8> {
    let head = [
        b'a' + dice.below(13) as u8,
        b'0' + dice.below(12) as u8,
        b'1' + dice.below(2) as u8,
    ];
    let (specs, _) = case(&head).unwrap();
    let mut text = Vec::new();
    let tensor = |dice: &mut Dice, which: usize| {
        let free: Vec<_> = (0..16).map(|_| dice.below(3)).collect();
        nested(dice, &specs[which % specs.len()].shape, &free)
    };
    if specs.len() == 1 && !dice.one_in(8) {
        text.extend(tensor(dice, 0).bytes());
    } else {
        let mut members: Vec<_> = [("\"x\"", 0), ("\"y\\\"\"", 1)][..specs.len()].to_vec();
        if dice.one_in(2) {
            members.reverse();
        }
        match dice.below(30) {
            0 => members.push(("\"x\"", 0)),
            1 => drop(members.pop()),
            2 => members.push(("\"z\"", 1)),
            3 => members[0].0 = "\"\\u0078\"",
            4 => members[0].0 = dice.pick(&["x", "'x'", "\"\\ud800\"", "\"x", "1", "\"\\x\"", "\"x\n\""]),
            _ => {}
        }
        let members: Vec<_> = members
            .iter()
            .map(|(name, which)| format!("{name}{}:{}", dice.pick(&SPACES), tensor(dice, *which)))
            .collect();
        text.extend(format!("{{{}}}", members.join(",")).bytes());
    }
    // A slip of the pen, anywhere.
    match dice.below(16) {
        0 => text.truncate(dice.below(text.len() + 1)),
        1 if !text.is_empty() => {
            let at = dice.below(text.len());
            text[at] = dice.next() as u8;
        }
        2 => text.insert(
            dice.below(text.len() + 1),
            dice.pick(&["[", "]", "{", ",", ":", "\"", "-", "e", ".", "0", " "])
                .as_bytes()[0],
        ),
        3 if !text.is_empty() => drop(text.remove(dice.below(text.len()))),
        4 => text.extend(
            dice.pick(&[" ", "\n", "x", "1", "[]", "\u{0}", ",", "//"])
                .bytes(),
        ),
        5 => text = "[".repeat(dice.below(200)).into_bytes(),
        _ => {}
    }
    [&head[..], &text].concat()
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("it should be a number"))
}

/// Says which case it was when one fails.
struct Told<'a> {
    seed: u64,
    number: u64,
    data: &'a [u8],
}

impl Drop for Told<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let (seed, number) = (self.seed, self.number);
            eprintln!(
                "case {number} of CRESSET_FUZZ_SEED={seed}: {}",
                self.data.escape_ascii()
            );
        }
    }
}

#[test]
fn the_scanner_reads_what_serde_json_and_the_standard_library_read() {
    let (seed, cases) = (
        setting("CRESSET_FUZZ_SEED", SEED),
        setting("CRESSET_FUZZ_CASES", CASES),
    );
    let mut dice = Dice(seed.max(1));
    let mut read = 0;
    for number in 0..cases {
        let data = random(&mut dice);
        let told = Told {
            seed,
            number,
            data: &data,
        };
        agree(&data);
        drop(told);
        let (specs, text) = case(&data).unwrap();
        read += u64::from(cresset_task::json::parse_inputs(text, &specs).is_ok());
    }
    // Neither all texts nor none may be good ones, or little has been compared.
    assert!(
        (cases / 10..cases * 9 / 10).contains(&read),
        "{read} of {cases} were read"
    );
}

#[test]
fn the_kept_texts_are_read_so_too() {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/json");
    let mut count = 0;
    for entry in fs::read_dir(kept).unwrap() {
        let data = fs::read(entry.unwrap().path()).unwrap();
        let told = Told {
            seed: 0,
            number: count,
            data: &data,
        };
        agree(&data);
        drop(told);
        count += 1;
    }
    assert!(count >= 20, "{count} texts: has the corpus moved?");
}
