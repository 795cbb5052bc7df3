//! Tensors of one item: name, element type, shape, bytes. Row-major, little-endian, no batch dimension.
//!
//! A set of named tensors has one stored form, written by [`TensorSet::encode`] and read without copying by
//! [`TensorSet::decode`]. Stores keep it for years; the layout only ever grows by a new magic.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

use crate::dtype::DType;

/// The most dimensions a tensor has, batch dimension excluded.
pub const RANK_MAX: usize = 16;
/// The most tensors in one set.
pub const TENSORS_MAX: usize = 256;

/// The size of a tensor along each dimension.
pub type Shape = Vec<usize>;

/// What `model.toml` declares of one input or output, for one item (the batch dimension is not in it).
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct TensorSpec {
    /// The tensor's name.
    pub name: Arc<str>,
    /// Its element type.
    pub dtype: DType,
    /// Its size along each dimension; -1 is free.
    pub shape: Vec<i64>,
    /// For an output: NaN and infinity are a result, not an error (JSON gives them as null).
    pub allow_non_finite: bool,
    /// For an input: items of unequal free dimensions go into one batch, padded to the largest with this element (its
    /// bytes). The server pads; a model process is not told.
    #[serde(skip)]
    pub pad: Option<Bytes>,
}

impl TensorSpec {
    /// True when `shape` is one this declaration admits.
    #[must_use]
    pub fn admits(&self, shape: &[usize]) -> bool {
        self.shape.len() == shape.len()
            && self
                .shape
                .iter()
                .zip(shape)
                .all(|(want, is)| *want < 0 || u64::try_from(*want) == Ok(*is as u64))
    }

    /// Bytes of one item, when no dimension is free and the product does not overflow.
    #[must_use]
    pub fn fixed_bytes(&self) -> Option<usize> {
        self.shape
            .iter()
            .try_fold(self.dtype.size(), |n, d| n.checked_mul(usize::try_from(*d).ok()?))
    }
}

/// One tensor of one item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// Element type.
    pub dtype: DType,
    /// Sizes; empty for a scalar.
    pub shape: Shape,
    /// Row-major little-endian elements; exactly `dtype.size() * product(shape)` bytes.
    pub data: Bytes,
}

/// A shape and its bytes do not go together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a {dtype} tensor of shape {shape:?} does not have {bytes} bytes")]
pub struct BadTensor {
    dtype: DType,
    shape: Shape,
    bytes: usize,
}

impl Tensor {
    /// A tensor, if `data` has the size that `dtype` and `shape` ask for.
    pub fn new(dtype: DType, shape: Shape, data: Bytes) -> Result<Self, BadTensor> {
        let want = shape.iter().try_fold(dtype.size(), |n, d| n.checked_mul(*d));
        if want == Some(data.len()) {
            Ok(Self { dtype, shape, data })
        } else {
            Err(BadTensor {
                dtype,
                shape,
                bytes: data.len(),
            })
        }
    }
}

/// Named tensors of one item, in declared order.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct TensorSet(pub Vec<(Arc<str>, Tensor)>);

/// Stored bytes that are not a tensor set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a stored tensor set: {0}")]
pub struct BadTensorSet(&'static str);

const MAGIC: &[u8; 4] = b"CTS1";

impl TensorSet {
    /// The tensor with this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.0.iter().find(|(n, _)| &**n == name).map(|(_, t)| t)
    }

    /// Bytes of all elements.
    #[must_use]
    pub fn data_len(&self) -> usize {
        self.0.iter().map(|(_, t)| t.data.len()).sum()
    }

    /// The stored form: `CTS1`, u16 count, then per tensor u16 name length, name, u8 dtype code, u8 rank, u64 sizes,
    /// u64 byte length, bytes. Little-endian throughout.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let heads: usize = self.0.iter().map(|(n, t)| n.len() + 12 + 8 * t.shape.len()).sum();
        let mut out = BytesMut::with_capacity(6 + heads + self.data_len());
        out.put_slice(MAGIC);
        out.put_u16_le(self.0.len() as u16);
        for (name, tensor) in &self.0 {
            out.put_u16_le(name.len() as u16);
            out.put_slice(name.as_bytes());
            out.put_u8(tensor.dtype.code());
            out.put_u8(tensor.shape.len() as u8);
            for size in &tensor.shape {
                out.put_u64_le(*size as u64);
            }
            out.put_u64_le(tensor.data.len() as u64);
            out.put_slice(&tensor.data);
        }
        out.freeze()
    }

    /// Reads the stored form; the tensors share `stored`'s memory. Never panics on foreign bytes.
    pub fn decode(stored: &Bytes) -> Result<Self, BadTensorSet> {
        let mut at = Cursor { bytes: stored, at: 0 };
        if at.take(4)? != MAGIC {
            return Err(BadTensorSet("wrong magic"));
        }
        let count = at.u16()? as usize;
        if count > TENSORS_MAX {
            return Err(BadTensorSet("too many tensors"));
        }
        let mut set = Vec::with_capacity(count);
        for _ in 0..count {
            let name_len = at.u16()? as usize;
            let name =
                std::str::from_utf8(at.take(name_len)?).map_err(|_| BadTensorSet("name is not UTF-8"))?;
            let name: Arc<str> = name.into();
            let dtype = DType::from_code(at.u8()?).ok_or(BadTensorSet("unknown dtype"))?;
            let rank = at.u8()? as usize;
            if rank > RANK_MAX {
                return Err(BadTensorSet("too many dimensions"));
            }
            let mut shape = Shape::with_capacity(rank);
            for _ in 0..rank {
                shape.push(at.size()?);
            }
            let len = at.size()?;
            let start = at.at;
            at.take(len)?;
            let tensor = Tensor::new(dtype, shape, stored.slice(start..start + len))
                .map_err(|_| BadTensorSet("shape and length disagree"))?;
            set.push((name, tensor));
        }
        if at.at == stored.len() {
            Ok(Self(set))
        } else {
            Err(BadTensorSet("bytes left over"))
        }
    }
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], BadTensorSet> {
        let end = self
            .at
            .checked_add(n)
            .filter(|e| *e <= self.bytes.len())
            .ok_or(BadTensorSet("cut short"))?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], BadTensorSet> {
        self.take(N)?.try_into().map_err(|_| BadTensorSet("cut short"))
    }

    fn u8(&mut self) -> Result<u8, BadTensorSet> {
        Ok(self.array::<1>()?[0])
    }

    fn u16(&mut self) -> Result<u16, BadTensorSet> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    fn size(&mut self) -> Result<usize, BadTensorSet> {
        usize::try_from(u64::from_le_bytes(self.array()?)).map_err(|_| BadTensorSet("size too large"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_tensor() -> impl Strategy<Value = (Arc<str>, Tensor)> {
        (
            0..DType::ALL.len(),
            proptest::collection::vec(0_usize..4, 0..4),
            "[a-z]{0,8}",
        )
            .prop_map(|(d, shape, name)| {
                let dtype = DType::ALL[d];
                let len = dtype.size() * shape.iter().product::<usize>();
                let data = Bytes::from((0..len).map(|i| i as u8).collect::<Vec<_>>());
                (name.into(), Tensor::new(dtype, shape, data).unwrap())
            })
    }

    proptest! {
        #[test]
        fn a_set_survives_its_stored_form(tensors in proptest::collection::vec(any_tensor(), 0..4)) {
            let set = TensorSet(tensors);
            prop_assert_eq!(TensorSet::decode(&set.encode()), Ok(set));
        }

        #[test]
        fn foreign_bytes_are_refused_without_a_panic(mut tail in proptest::collection::vec(any::<u8>(), 0..200), magic: bool) {
            if magic { tail.splice(0..0, *MAGIC); }
            let _ = TensorSet::decode(&Bytes::from(tail));
        }

        #[test]
        fn a_cut_set_is_refused(tensors in proptest::collection::vec(any_tensor(), 1..3), cut in 1_usize..20) {
            let whole = TensorSet(tensors).encode();
            let short = whole.slice(..whole.len().saturating_sub(cut));
            prop_assert!(TensorSet::decode(&short).is_err());
        }
    }

    #[test]
    fn a_spec_admits_what_it_declares() {
        let spec = TensorSpec {
            name: "x".into(),
            dtype: DType::Float32,
            shape: vec![-1, 3],
            allow_non_finite: false,
            pad: None,
        };
        assert!(spec.admits(&[7, 3]));
        assert!(!spec.admits(&[7, 4]));
        assert!(!spec.admits(&[3]));
        assert_eq!(spec.fixed_bytes(), None);
        assert_eq!(
            TensorSpec {
                shape: vec![2, 3],
                ..spec
            }
            .fixed_bytes(),
            Some(24)
        );
    }

    #[test]
    fn a_tensor_must_have_the_bytes_of_its_shape() {
        assert!(Tensor::new(DType::Float32, vec![2], Bytes::from_static(&[0; 7])).is_err());
        assert!(Tensor::new(DType::Float64, vec![usize::MAX, 2], Bytes::new()).is_err());
    }
}
