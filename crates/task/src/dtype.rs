//! Element types of tensors, as model.toml, the runner protocol and the stores name them.

use std::fmt;
use std::str::FromStr;

macro_rules! dtypes {
    ($($variant:ident = $code:literal, $name:literal, $size:literal;)*) => {
        /// The element type of a tensor. The numbers are the runner protocol's and never change.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum DType {
            $(#[doc = concat!("`", $name, "`, ", $size, " byte(s) an element.")] $variant = $code,)*
        }

        impl DType {
            /// Every element type.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The name in model.toml: torch's and numpy's.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            /// Bytes an element.
            #[must_use]
            pub const fn size(self) -> usize {
                match self { $(Self::$variant => $size),* }
            }

            /// The type with this protocol number.
            #[must_use]
            pub const fn from_code(code: u8) -> Option<Self> {
                match code { $($code => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

dtypes! {
    Bool = 0, "bool", 1;
    Uint8 = 1, "uint8", 1;
    Int8 = 2, "int8", 1;
    Int16 = 3, "int16", 2;
    Int32 = 4, "int32", 4;
    Int64 = 5, "int64", 8;
    Float16 = 6, "float16", 2;
    Bfloat16 = 7, "bfloat16", 2;
    Float32 = 8, "float32", 4;
    Float64 = 9, "float64", 8;
    Uint16 = 10, "uint16", 2;
    Uint32 = 11, "uint32", 4;
    Uint64 = 12, "uint64", 8;
}

impl DType {
    /// The protocol's number.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// True for the floating-point types.
    #[must_use]
    pub const fn is_float(self) -> bool {
        matches!(
            self,
            Self::Float16 | Self::Bfloat16 | Self::Float32 | Self::Float64
        )
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The text is not an element type's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an element type; the known ones are {}", DType::ALL.iter().map(|d| d.name()).collect::<Vec<_>>().join(", "))]
pub struct BadDType;

impl FromStr for DType {
    type Err = BadDType;

    fn from_str(text: &str) -> Result<Self, BadDType> {
        Self::ALL
            .iter()
            .copied()
            .find(|d| d.name() == text)
            .ok_or(BadDType)
    }
}

impl serde::Serialize for DType {
    fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_codes_are_read_back() {
        for dtype in DType::ALL.iter().copied() {
            assert_eq!(dtype.name().parse(), Ok(dtype));
            assert_eq!(DType::from_code(dtype.code()), Some(dtype));
        }
        assert_eq!(DType::from_code(13), None);
        assert!("float".parse::<DType>().is_err());
    }
}
