//! What the scanner should say of a text, worked out slowly by others: serde_json for the grammar, the standard library
//! for the numbers. Shared by the tests here and the fuzz target (`fuzz/fuzz_targets/json.rs`).
//!
//! The two agree on every text but for what is meant to differ, and that is written out below: a name that is given twice
//! is refused (serde_json keeps the last), and a number must fit the element type (serde_json has its own idea of
//! numbers). NaN, infinity and everything else that RFC 8259 lacks are refused by both.

use std::cmp::Ordering;
use std::fmt;
use std::sync::LazyLock;

use cresset_task::json::{parse_inputs, parse_tensor, parse_tensor_into};
use cresset_task::{DType, TensorSpec};
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// A tensor: its shape and its bytes.
type Made = (Vec<usize>, Vec<u8>);

/// Declared shapes to choose from.
const SHAPES: [&[i64]; 12] = [
    &[],
    &[-1],
    &[3],
    &[2, 3],
    &[-1, -1],
    &[2, -1],
    &[0],
    &[-1, 0, 2],
    &[2, 2, 2],
    &[-1, -1, -1],
    &[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
    &[-1; 16],
];

/// A case: the declared inputs, from its first three bytes, and the text. Any bytes are one, so that a fuzzer loses no
/// time; and letters will do, so that people can write one: `i41[[1]]` is float32 (`i`), shape 4, one input.
pub(crate) fn case(data: &[u8]) -> Option<(Vec<TensorSpec>, &[u8])> {
    let ([dtype, shape, count], text) = data.split_first_chunk::<3>()?;
    let pick = |byte: u8, from: u8, len: usize| usize::from(byte.wrapping_sub(from)) % len;
    let dtype = pick(*dtype, b'a', DType::ALL.len());
    let shape = pick(*shape, b'0', SHAPES.len());
    let spec = |name: &str, dtype: usize, shape: usize| TensorSpec {
        name: name.into(),
        dtype: DType::ALL[dtype % DType::ALL.len()],
        shape: SHAPES[shape % SHAPES.len()].to_vec(),
        allow_non_finite: false,
        pad: None,
    };
    let mut specs = vec![spec("x", dtype, shape)];
    if count % 2 == 0 {
        specs.push(spec("y\"", dtype + 1, shape + 1));
    }
    Some((specs, text))
}

/// Holds the scanner to what it should say of this case.
///
/// # Panics
///
/// When it says something else.
pub(crate) fn agree(data: &[u8]) {
    let Some((specs, text)) = case(data) else { return };
    let shown = || format!("{:?} of {:?}", String::from_utf8_lossy(text), specs);
    let want = inputs(text, &specs);
    let got = parse_inputs(text, &specs).map(|set| {
        assert!(
            set.0
                .iter()
                .zip(&specs)
                .all(|((name, t), s)| *name == s.name && t.dtype == s.dtype)
        );
        set.0
            .into_iter()
            .map(|(_, t)| (t.shape, t.data.to_vec()))
            .collect::<Vec<Made>>()
    });
    compare(got, want, shown);

    let want = raw(text).and_then(|value| one(value, &specs[0]));
    let got = parse_tensor(text, &specs[0]).map(|t| (t.shape, t.data.to_vec()));
    compare(got, want.clone(), shown);
    // Into a row: exactly as long, and one byte too short.
    let len = want.as_ref().map_or(16, |(_, data)| data.len());
    let mut row = vec![0xA5; len];
    let got = parse_tensor_into(text, &specs[0], &mut row).map(|(shape, n)| (shape, row[..n].to_vec()));
    compare(got, want.clone(), shown);
    if len > 0 {
        assert!(
            parse_tensor_into(text, &specs[0], &mut row[1..]).is_err() || want.is_none(),
            "{}",
            shown()
        );
    }
}

fn compare<T: PartialEq + fmt::Debug, E: fmt::Display>(
    got: Result<T, E>,
    want: Option<T>,
    shown: impl Fn() -> String,
) {
    match (got, want) {
        (Ok(got), Some(want)) => assert_eq!(got, want, "{}", shown()),
        (Ok(got), None) => panic!("{got:?} was read of {}", shown()),
        (Err(error), Some(want)) => panic!("{want:?} was refused ({error}): {}", shown()),
        (Err(error), None) => assert!(!error.to_string().is_empty()),
    }
}

/// The text as one JSON value.
fn raw(text: &[u8]) -> Option<&RawValue> {
    serde_json::from_slice(text).ok()
}

/// All inputs: alone when there is one, else by name.
fn inputs(text: &[u8], specs: &[TensorSpec]) -> Option<Vec<Made>> {
    let value = raw(text)?;
    if let [spec] = specs
        && !value.get().starts_with('{')
    {
        return Some(vec![one(value, spec)?]);
    }
    let Members(members) = serde_json::Deserializer::from_str(value.get())
        .deserialize_map(Collect)
        .ok()?;
    if members.len() != specs.len() {
        return None; // one is missing, unknown, or given twice
    }
    let of = |spec: &TensorSpec| {
        let (_, value) = members.iter().find(|(name, _)| **name == *spec.name)?;
        one(value, spec)
    };
    specs.iter().map(of).collect()
}

/// An object's members in its order, repeated names too.
struct Members<'a>(Vec<(String, &'a RawValue)>);

struct Collect;

impl<'de> Visitor<'de> for Collect {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Members(members))
    }
}

/// One tensor.
fn one(value: &RawValue, spec: &TensorSpec) -> Option<Made> {
    let mut sizes: Vec<Option<usize>> = spec
        .shape
        .iter()
        .map(|size| usize::try_from(*size).ok())
        .collect();
    let mut data = Vec::new();
    level(value, spec.dtype, &mut sizes, &mut data)?;
    // A free size that no array had lies inside an empty one.
    Some((sizes.into_iter().map(|size| size.unwrap_or(0)).collect(), data))
}

fn level(value: &RawValue, dtype: DType, sizes: &mut [Option<usize>], data: &mut Vec<u8>) -> Option<()> {
    let Some((size, inner)) = sizes.split_first_mut() else {
        data.extend(element(value.get(), dtype)?);
        return Some(());
    };
    let items: Vec<&RawValue> = serde_json::from_str(value.get()).ok()?;
    if *size.get_or_insert(items.len()) != items.len() {
        return None;
    }
    items
        .into_iter()
        .try_for_each(|item| level(item, dtype, inner, data))
}

/// The bytes of one element of a token that serde_json takes for a value.
fn element(token: &str, dtype: DType) -> Option<Vec<u8>> {
    if dtype == DType::Bool {
        let value = match token {
            "true" => 1,
            "false" => 0,
            _ => whole(token).filter(|n| matches!(n, 0 | 1))? as u8,
        };
        return Some(vec![value]);
    }
    if !token.starts_with(|c: char| c == '-' || c.is_ascii_digit()) {
        return None;
    }
    macro_rules! integer {
        ($type:ty) => {
            <$type>::try_from(whole(token)?)
                .ok()?
                .to_le_bytes()
                .to_vec()
        };
    }
    Some(match dtype {
        DType::Bool => return None,
        DType::Uint8 => integer!(u8),
        DType::Int8 => integer!(i8),
        DType::Int16 => integer!(i16),
        DType::Int32 => integer!(i32),
        DType::Int64 => integer!(i64),
        DType::Uint16 => integer!(u16),
        DType::Uint32 => integer!(u32),
        DType::Uint64 => integer!(u64),
        DType::Float32 => token
            .parse::<f32>()
            .ok()
            .filter(|x| x.is_finite())?
            .to_le_bytes()
            .to_vec(),
        DType::Float64 => token
            .parse::<f64>()
            .ok()
            .filter(|x| x.is_finite())?
            .to_le_bytes()
            .to_vec(),
        DType::Float16 => narrow(token, &FLOAT16)?.to_le_bytes().to_vec(),
        DType::Bfloat16 => narrow(token, &BFLOAT16)?.to_le_bytes().to_vec(),
    })
}

/// A token's magnitude as `0.DIGITS * 10^point`, with neither leading nor trailing zeros; no digits at all for zero.
fn exact(token: &str) -> (String, i64) {
    let token = token.trim_start_matches('-');
    let (number, exponent) = token.split_once(['e', 'E']).unwrap_or((token, "0"));
    let (before, after) = number.split_once('.').unwrap_or((number, ""));
    let digits = format!("{before}{after}");
    let significant = digits.trim_start_matches('0');
    // An exponent that fits no i64 cannot be made up for by any text.
    let far = if exponent.starts_with('-') {
        -i64::MAX / 2
    } else {
        i64::MAX / 2
    };
    let exponent = exponent
        .trim_start_matches('+')
        .parse::<i64>()
        .unwrap_or(far)
        .clamp(-i64::MAX / 2, i64::MAX / 2);
    let point = exponent + before.len() as i64 - (digits.len() - significant.len()) as i64;
    (significant.trim_end_matches('0').to_owned(), point)
}

/// The whole number that a token is, also as `3.0` or `1.2e1`, if it is one of at most twenty digits.
fn whole(token: &str) -> Option<i128> {
    if !token.starts_with(|c: char| c == '-' || c.is_ascii_digit()) {
        return None;
    }
    let (digits, point) = exact(token);
    if digits.is_empty() {
        return Some(0);
    }
    let len = usize::try_from(point)
        .ok()
        .filter(|len| (digits.len()..=20).contains(len))?;
    let magnitude: i128 = format!("{digits:0<len$}").parse().ok()?;
    Some(if token.starts_with('-') {
        -magnitude
    } else {
        magnitude
    })
}

/// Every magnitude of a narrow format, infinity last (as the number that would come next).
struct Narrow(Vec<f64>);

static FLOAT16: LazyLock<Narrow> = LazyLock::new(|| Narrow::new(10, 14, 0x7C00));
static BFLOAT16: LazyLock<Narrow> = LazyLock::new(|| Narrow::new(7, 126, 0x7F80));

impl Narrow {
    fn new(fraction_bits: i32, exponent_max: i32, infinity: u16) -> Self {
        let value = |bits: u16| {
            let exponent = i32::from(bits >> fraction_bits);
            let fraction = f64::from(bits & ((1 << fraction_bits) - 1));
            let unit = 2_f64.powi(-fraction_bits);
            match exponent {
                0 => fraction * unit * 2_f64.powi(-exponent_max),
                _ => (1.0 + fraction * unit) * 2_f64.powi(exponent - exponent_max - 1),
            }
        };
        Self((0..=infinity).map(value).collect())
    }
}

/// The nearest number of a narrow format, ties to even. A double that is a tie says nothing of the token: its digits do.
fn narrow(token: &str, format: &Narrow) -> Option<u16> {
    let double: f64 = token.parse().ok()?;
    let magnitude = double.abs();
    let above = format.0.partition_point(|value| *value < magnitude);
    let last = format.0.len() - 1;
    let bits = if above == 0 {
        0
    } else if above > last {
        return None;
    } else {
        let middle = f64::midpoint(format.0[above - 1], format.0[above]);
        let side = magnitude.total_cmp(&middle).then_with(|| {
            let ((digits, point), (tie, tie_point)) = (exact(token), exact(&format!("{middle:.140e}")));
            point.cmp(&tie_point).then(digits.cmp(&tie))
        });
        match side {
            Ordering::Less => above - 1,
            Ordering::Greater => above,
            Ordering::Equal => above - (above & 1),
        }
    };
    let sign = u16::from(double.is_sign_negative()) << 15;
    u16::try_from(bits)
        .ok()
        .filter(|_| bits < last)
        .map(|bits| sign | bits)
}
