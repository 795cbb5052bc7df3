//! float16 and bfloat16: decimal text to the nearest of them, and back to float32 for writing.
//!
//! Going through a double would round twice, and so, now and then, to the wrong neighbour: when the double is exactly
//! halfway between two of the narrow numbers but the text is not. In that case alone the text is compared with the
//! double digit by digit.

use std::cmp::Ordering;

use super::scan::Number;

/// A narrow binary format with one sign bit.
pub(super) struct Format {
    /// Significant bits, the hidden one counted.
    precision: u32,
    /// The exponent of the smallest normal number.
    exponent_min: i32,
    /// The bits of infinity.
    infinity: u16,
}

pub(super) const FLOAT16: Format = Format {
    precision: 11,
    exponent_min: -14,
    infinity: 0x7C00,
};
pub(super) const BFLOAT16: Format = Format {
    precision: 8,
    exponent_min: -126,
    infinity: 0x7F80,
};

impl Format {
    /// The bits nearest to `number`, whose nearest double is `double`; ties go to even. `None`: too large.
    pub(super) fn nearest(&self, number: &Number<'_>, double: f64) -> Option<u16> {
        let bits = double.to_bits();
        let sign = u16::from(double.is_sign_negative()) << 15;
        let biased = ((bits >> 52) & 0x7FF) as i32;
        if biased == 0x7FF {
            return None;
        }
        // Zero, or a double so small that both formats round it to zero.
        if biased == 0 {
            return Some(sign);
        }
        let exponent = biased - 1023;
        let significand = (bits & ((1 << 52) - 1)) | (1 << 52);
        // The last place of the result is 2^quantum; the bits of the double below it are dropped.
        let quantum = exponent.max(self.exponent_min) - (self.precision as i32 - 1);
        let dropped = quantum - (exponent - 52);
        if dropped > 53 {
            return Some(sign);
        }
        let kept = significand >> dropped;
        let rest = significand & ((1 << dropped) - 1);
        let half = 1 << (dropped - 1);
        let up = match rest.cmp(&half) {
            Ordering::Equal => match compare(number, double.abs()) {
                Ordering::Equal => kept & 1 == 1,
                side => side == Ordering::Greater,
            },
            side => side == Ordering::Greater,
        };
        let units = kept + u64::from(up);
        // Adding to the exponent field, a carry out of the significand raises the exponent as it should.
        let field =
            u64::from((exponent.max(self.exponent_min) - self.exponent_min) as u32) << (self.precision - 1);
        u16::try_from(field + units)
            .ok()
            .filter(|magnitude| *magnitude < self.infinity)
            .map(|magnitude| sign | magnitude)
    }
}

/// Decimal digits that write any midpoint between two narrow numbers exactly: the longest, 511 * 2^-134, has 97.
const MIDPOINT_DIGITS: usize = 120;

/// The magnitude that stands in the text, against a midpoint. Both as `0.d1d2d3... * 10^point` with `d1` not zero.
fn compare(number: &Number<'_>, midpoint: f64) -> Ordering {
    let exact = format!("{midpoint:.MIDPOINT_DIGITS$e}");
    let (digits, exponent) = exact.split_once('e').unwrap_or((&exact, "0"));
    let point = exponent.parse::<i64>().unwrap_or(0) + 1;
    let exact_digits = digits.bytes().filter(u8::is_ascii_digit);

    let zeros = number.digits().take_while(|d| *d == b'0').count();
    let text_point = number.whole_len as i64 - zeros as i64 + number.exponent;
    text_point.cmp(&point).then_with(|| {
        let text_len = number.whole_len + number.fraction_len - zeros;
        let len = text_len.max(MIDPOINT_DIGITS + 1);
        let padded = |digits: &mut dyn Iterator<Item = u8>| -> Vec<u8> {
            digits.chain(std::iter::repeat(b'0')).take(len).collect()
        };
        padded(&mut number.digits().skip(zeros)).cmp(&padded(&mut exact_digits.into_iter()))
    })
}

/// The float32 with the value of these float16 bits.
pub(super) fn widen_float16(bits: u16) -> f32 {
    let sign = u32::from(bits & 0x8000) << 16;
    let magnitude = u32::from(bits & 0x7FFF);
    if magnitude >= 0x7C00 {
        return f32::from_bits(sign | 0x7F80_0000 | ((magnitude & 0x3FF) << 13));
    }
    // Shifted into place the exponent is 112 too small; the product puts that right, for subnormal numbers too.
    let value = f32::from_bits(magnitude << 13) * f32::from_bits((112 + 127) << 23);
    f32::from_bits(value.to_bits() | sign)
}

/// The float32 with the value of these bfloat16 bits.
pub(super) fn widen_bfloat16(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::scan::Scan;
    use proptest::prelude::*;

    fn nearest(format: &Format, text: &str) -> Option<u16> {
        let number = Scan::new(text.as_bytes()).number().unwrap();
        format.nearest(&number, text.parse().unwrap())
    }

    type Widen = fn(u16) -> f32;

    fn both() -> [(&'static Format, Widen); 2] {
        [(&FLOAT16, widen_float16), (&BFLOAT16, widen_bfloat16)]
    }

    #[test]
    fn known_values_have_their_bits() {
        for (text, f16, bf16) in [
            ("0", 0x0000, 0x0000),
            ("-0.0", 0x8000, 0x8000),
            ("1", 0x3C00, 0x3F80),
            ("-2", 0xC000, 0xC000),
            ("0.1", 0x2E66, 0x3DCD),
            ("65504", 0x7BFF, 0x4780),
            ("5.960464477539063e-8", 0x0001, 0x3380),
        ] {
            assert_eq!(
                (nearest(&FLOAT16, text), nearest(&BFLOAT16, text)),
                (Some(f16), Some(bf16)),
                "{text}"
            );
        }
    }

    #[test]
    fn every_finite_number_reads_back_from_its_text() {
        for (format, widen) in both() {
            for bits in (0..=u16::MAX).filter(|bits| bits & 0x7FFF < format.infinity) {
                assert_eq!(
                    nearest(format, &format!("{:e}", widen(bits))),
                    Some(bits),
                    "{bits:#x}"
                );
            }
        }
    }

    #[test]
    fn what_is_at_half_a_step_beyond_the_largest_overflows() {
        assert_eq!(nearest(&FLOAT16, "65519.999999999999999999"), Some(0x7BFF));
        assert_eq!(nearest(&FLOAT16, "65520"), None);
        assert_eq!(nearest(&FLOAT16, "1e999"), None);
        assert_eq!(nearest(&BFLOAT16, "3.4e38"), None);
    }

    /// The midpoint between `bits` and the next, as text with all its digits: 134 places after the point at most.
    fn midpoint(widen: Widen, bits: u16) -> String {
        format!(
            "{:.134}",
            (f64::from(widen(bits)) + f64::from(widen(bits + 1))) / 2.0
        )
    }

    proptest! {
        #[test]
        fn a_hair_beside_a_midpoint_decides(which in 0..2_usize, bits in 0_u16..0x7BFE) {
            let (format, widen) = both()[which];
            let text = midpoint(widen, bits);
            let even = bits + (bits & 1);
            prop_assert_eq!(nearest(format, &text), Some(even));
            prop_assert_eq!(nearest(format, &format!("{text}00000001")), Some(bits + 1));
            let below = format!("{}{}", below(&text), "9999");
            prop_assert_eq!(nearest(format, &below), Some(bits));
        }
    }

    /// The decimal text one unit of its last place smaller.
    fn below(text: &str) -> String {
        let mut digits: Vec<u8> = text.bytes().collect();
        for digit in digits.iter_mut().rev().filter(|d| **d != b'.') {
            if *digit == b'0' {
                *digit = b'9';
            } else {
                *digit -= 1;
                break;
            }
        }
        String::from_utf8(digits).unwrap()
    }
}
