//! One element of each type from its JSON token: the nearest value for floats, the exact one or an error for integers.

use super::fault::Fault;
use super::narrow::{BFLOAT16, FLOAT16, Format};
use super::scan::{Number, Scan};

/// An element type: how one is read, and its little-endian bytes.
pub(super) trait Element {
    /// The bytes of one.
    type Bytes: AsRef<[u8]> + Copy;

    /// Reads one.
    fn read(scan: &mut Scan<'_>) -> Result<Self::Bytes, Fault>;
}

pub(super) struct Bool;
pub(super) struct Float16;
pub(super) struct Bfloat16;

macro_rules! integers {
    ($($type:ident $name:literal),*) => {
        $(impl Element for $type {
            type Bytes = [u8; size_of::<$type>()];

            #[inline(always)]
            fn read(scan: &mut Scan<'_>) -> Result<Self::Bytes, Fault> {
                let number = scan.number()?;
                let value = exact(&number).map_err(|why| why.fault(&number, $name, &$type::MIN, &$type::MAX))?;
                match $type::try_from(value) {
                    Ok(n) => Ok(n.to_le_bytes()),
                    Err(_) => Err(NotExact::TooLarge.fault(&number, $name, &$type::MIN, &$type::MAX)),
                }
            }
        })*
    };
}

integers! { u8 "uint8", i8 "int8", i16 "int16", i32 "int32", i64 "int64", u16 "uint16", u32 "uint32", u64 "uint64" }

impl Element for f32 {
    type Bytes = [u8; 4];

    #[inline(always)]
    fn read(scan: &mut Scan<'_>) -> Result<[u8; 4], Fault> {
        let number = scan.number()?;
        let value = match quick_single(&number) {
            Some(value) => value,
            None => fast_float2::parse(number.text).map_err(|_| unreadable(&number))?,
        };
        if value.is_finite() {
            Ok(value.to_le_bytes())
        } else {
            Err(too_large(&number, "float32"))
        }
    }
}

impl Element for f64 {
    type Bytes = [u8; 8];

    #[inline(always)]
    fn read(scan: &mut Scan<'_>) -> Result<[u8; 8], Fault> {
        let number = scan.number()?;
        let value = double(&number)?;
        if value.is_finite() {
            Ok(value.to_le_bytes())
        } else {
            Err(too_large(&number, "float64"))
        }
    }
}

impl Element for Float16 {
    type Bytes = [u8; 2];

    fn read(scan: &mut Scan<'_>) -> Result<[u8; 2], Fault> {
        narrow(scan, &FLOAT16, "float16")
    }
}

impl Element for Bfloat16 {
    type Bytes = [u8; 2];

    fn read(scan: &mut Scan<'_>) -> Result<[u8; 2], Fault> {
        narrow(scan, &BFLOAT16, "bfloat16")
    }
}

impl Element for Bool {
    type Bytes = [u8; 1];

    fn read(scan: &mut Scan<'_>) -> Result<[u8; 1], Fault> {
        if scan.take_word("true") {
            return Ok([1]);
        }
        if scan.take_word("false") {
            return Ok([0]);
        }
        if scan.kind() != Some("a number") {
            return Err(scan.wrong_kind("true or false"));
        }
        let number = scan.number()?;
        match exact(&number) {
            Ok(n @ (0 | 1)) => Ok([n as u8]),
            _ => Err(Fault::new(format!(
                "must be true or false, or 1 or 0, is {}",
                number.shown()
            ))),
        }
    }
}

fn narrow(scan: &mut Scan<'_>, format: &Format, name: &str) -> Result<[u8; 2], Fault> {
    let number = scan.number()?;
    let nearest = format.nearest(&number, double(&number)?);
    nearest
        .map(u16::to_le_bytes)
        .ok_or_else(|| too_large(&number, name))
}

/// Powers of ten that a double has exactly.
const EXACT_POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
    1e19, 1e20, 1e21, 1e22,
];
/// Integers up to here are doubles exactly.
const EXACT_INTEGER: u64 = 1 << 53;

/// The mantissa times or over its power of ten, in double arithmetic: at most two roundings from the true value.
#[inline(always)]
fn nearly(number: &Number<'_>) -> Option<f64> {
    if !number.short() {
        return None;
    }
    let scale = number.scale();
    let power = *EXACT_POWERS.get(usize::try_from(scale.unsigned_abs()).ok()?)?;
    let mantissa = number.mantissa as f64;
    let magnitude = if scale < 0 {
        mantissa / power
    } else {
        mantissa * power
    };
    Some(if number.negative { -magnitude } else { magnitude })
}

/// The nearest double, when the mantissa is a double exactly: then there is one rounding only.
#[inline(always)]
fn quick_double(number: &Number<'_>) -> Option<f64> {
    nearly(number).filter(|_| number.mantissa <= EXACT_INTEGER)
}

/// The nearest float. Two roundings leave a double within two of its last places of the true value, and rounding that to
/// a float can go wrong only where the middle between two floats is as near. The powers of ten that come here keep away
/// from where floats are subnormal.
#[inline(always)]
fn quick_single(number: &Number<'_>) -> Option<f32> {
    /// The last places of a double that a float does not have.
    const LOST: u64 = (1 << 29) - 1;
    /// What they say in the middle between two floats.
    const HALFWAY: u64 = 1 << 28;
    /// Twice what two roundings can do.
    const TOO_NEAR: u64 = 4;
    let double = nearly(number)?;
    let lost = double.to_bits() & LOST;
    (lost.abs_diff(HALFWAY) > TOO_NEAR).then_some(double as f32)
}

#[inline(always)]
fn double(number: &Number<'_>) -> Result<f64, Fault> {
    match quick_double(number) {
        Some(double) => Ok(double),
        None => fast_float2::parse(number.text).map_err(|_| unreadable(number)),
    }
}

enum NotExact {
    Fraction,
    TooLarge,
}

impl NotExact {
    #[cold]
    fn fault(
        self,
        number: &Number<'_>,
        name: &str,
        min: &dyn std::fmt::Display,
        max: &dyn std::fmt::Display,
    ) -> Fault {
        let shown = number.shown();
        Fault::new(match self {
            Self::Fraction => format!("{shown} is not an integer, and {name} holds nothing else"),
            Self::TooLarge => format!("{shown} does not fit {name} ({min} to {max})"),
        })
    }
}

/// The integer that stands in the text, also as `3.0` or `1.2e1`.
#[inline(always)]
fn exact(number: &Number<'_>) -> Result<i128, NotExact> {
    if number.plain && number.short() {
        let n = i128::from(number.mantissa);
        return Ok(if number.negative { -n } else { n });
    }
    exact_slowly(number)
}

#[cold]
fn exact_slowly(number: &Number<'_>) -> Result<i128, NotExact> {
    let zeros_after = trailing_zeros(number);
    let digits = number.whole_len + number.fraction_len - zeros_after;
    let zeros_before = number.digits().take_while(|d| *d == b'0').count();
    if digits == 0 || zeros_before >= number.whole_len + number.fraction_len {
        return Ok(0);
    }
    let scale = number.scale() + zeros_after as i64;
    if scale < 0 {
        return Err(NotExact::Fraction);
    }
    // 2^64 has 20 digits: what has more fits nothing.
    if (digits - zeros_before) as i64 + scale > 20 {
        return Err(NotExact::TooLarge);
    }
    let digits = number
        .digits()
        .take(digits)
        .chain(std::iter::repeat_n(b'0', scale as usize));
    let n = digits.fold(0_i128, |n, digit| n * 10 + i128::from(digit - b'0'));
    Ok(if number.negative { -n } else { n })
}

fn trailing_zeros(number: &Number<'_>) -> usize {
    let (mut run, mut all) = (0, 0);
    for digit in number.digits() {
        run = if digit == b'0' { run + 1 } else { 0 };
        all += 1;
    }
    usize::min(run, all)
}

#[cold]
fn too_large(number: &Number<'_>, name: &str) -> Fault {
    Fault::new(format!("{} is too large for {name}", number.shown()))
}

/// The grammar was checked, so this does not happen; but an error costs nothing and a panic would cost the server.
#[cold]
fn unreadable(number: &Number<'_>) -> Fault {
    Fault::new(format!("{} cannot be read as a number", number.shown()))
}
