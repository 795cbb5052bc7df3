//! Random tensors, tokens and bytes, held against serde_json and the standard library.

use bytes::Bytes;
use cresset_task::json::{parse_inputs, parse_tensor, parse_tensor_into, write_outputs, write_tensor};
use cresset_task::{DType, Tensor, TensorSet};
use proptest::prelude::*;
use serde::de::IgnoredAny;

use super::{read, spec};

fn any_dtype() -> impl Strategy<Value = DType> {
    (0..DType::ALL.len()).prop_map(|i| DType::ALL[i])
}

fn any_shape() -> impl Strategy<Value = Vec<usize>> {
    proptest::collection::vec(0_usize..4, 0..4)
}

/// Bytes of the elements of a tensor, such that none is NaN or infinite and each bool is 0 or 1.
fn finite(dtype: DType, mut bytes: Vec<u8>) -> Vec<u8> {
    for element in bytes.chunks_exact_mut(dtype.size()) {
        let last = element.len() - 1;
        match dtype {
            DType::Bool => element[0] &= 1,
            DType::Float16 if element[1] & 0x7C == 0x7C => element[1] &= !0x40,
            DType::Bfloat16 | DType::Float32 if element[last] & 0x7F == 0x7F => element[last] &= !0x40,
            DType::Float64 if element[7] & 0x7F == 0x7F => element[7] &= !0x40,
            _ => {}
        }
    }
    bytes
}

fn any_tensor() -> impl Strategy<Value = Tensor> {
    (any_dtype(), any_shape()).prop_flat_map(|(dtype, shape)| {
        let len = shape.iter().product::<usize>() * dtype.size();
        proptest::collection::vec(any::<u8>(), len).prop_map(move |bytes| {
            Tensor::new(dtype, shape.clone(), Bytes::from(finite(dtype, bytes))).unwrap()
        })
    })
}

/// Nested arrays of number tokens: mostly regular, now and then not.
#[derive(Clone, Debug)]
enum Node {
    Number(String),
    Array(Vec<Node>),
}

impl Node {
    fn text(&self) -> String {
        match self {
            Self::Number(text) => text.clone(),
            Self::Array(inner) => format!(
                "[ {}\n]",
                inner.iter().map(Self::text).collect::<Vec<_>>().join(",")
            ),
        }
    }

    /// The leaves in order, if the nesting is one that `shape` admits. Fixes free sizes in `shape` as it goes.
    fn leaves(&self, shape: &mut [i64]) -> Option<Vec<String>> {
        match (self, shape) {
            (Self::Number(text), []) => Some(vec![text.clone()]),
            (Self::Array(inner), [size, rest @ ..]) => {
                if *size < 0 {
                    *size = inner.len() as i64;
                }
                (*size == inner.len() as i64).then_some(())?;
                let parts: Option<Vec<_>> = inner.iter().map(|node| node.leaves(rest)).collect();
                Some(parts?.concat())
            }
            _ => None,
        }
    }
}

fn any_number() -> impl Strategy<Value = String> {
    prop_oneof![
        "-?(0|[1-9][0-9]{0,2})",
        "-?(0|[1-9][0-9]{0,18})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,2})?",
        "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?",
        any::<f32>()
            .prop_filter("JSON has finite numbers only", |x| x.is_finite())
            .prop_map(|x| format!("{x:e}")),
        any::<f64>()
            .prop_filter("JSON has finite numbers only", |x| x.is_finite())
            .prop_map(|x| format!("{x:?}")),
        any::<f32>()
            .prop_filter("JSON has finite numbers only", |x| x.is_finite())
            .prop_map(|x| format!("{:?}", f64::from(x))),
        any::<i64>().prop_map(|n| n.to_string()),
    ]
}

fn any_node() -> impl Strategy<Value = Node> {
    (any_shape(), any_number(), any_number(), 0_usize..40).prop_map(|(shape, one, two, odd)| {
        fn build(shape: &[usize], texts: &mut impl Iterator<Item = String>) -> Node {
            match shape {
                [] => Node::Number(texts.next().unwrap()),
                // One array in many gets an element too many, which makes its parent ragged.
                [size, rest @ ..] => Node::Array((0..*size).map(|_| build(rest, texts)).collect()),
            }
        }
        let mut texts = [one, two].into_iter().cycle();
        let mut node = build(&shape, &mut texts);
        if let (Node::Array(outer), true) = (&mut node, odd < 8)
            && let Some(Node::Array(inner)) = outer.get_mut(odd % 4)
        {
            inner.push(Node::Number("1".into()));
        }
        node
    })
}

/// What an element must become, by the standard library.
fn reference(text: &str, dtype: DType) -> Option<Vec<u8>> {
    match dtype {
        DType::Float32 => Some(text.parse::<f32>().unwrap())
            .filter(|x| x.is_finite())
            .map(|x| x.to_le_bytes().to_vec()),
        DType::Float64 => Some(text.parse::<f64>().unwrap())
            .filter(|x| x.is_finite())
            .map(|x| x.to_le_bytes().to_vec()),
        DType::Int64 => text.parse::<i64>().ok().map(|n| n.to_le_bytes().to_vec()),
        DType::Uint8 => text.parse::<u8>().ok().map(|n| n.to_le_bytes().to_vec()),
        _ => unreachable!("the tests below ask for these four"),
    }
}

proptest! {
    #[test]
    fn what_is_written_reads_back_as_the_same_bytes(tensor in any_tensor()) {
        let mut out = Vec::new();
        write_tensor(&tensor, &mut out);
        prop_assert!(serde_json::from_slice::<serde_json::Value>(&out).is_ok());
        let declared: Vec<i64> = tensor.shape.iter().map(|n| *n as i64).collect();
        let got = parse_tensor(&out, &spec("x", tensor.dtype, &declared));
        prop_assert_eq!(got.as_ref(), Ok(&tensor));
        let mut row = vec![0; tensor.data.len()];
        let (shape, written) = parse_tensor_into(&out, &spec("x", tensor.dtype, &declared), &mut row).unwrap();
        prop_assert_eq!((shape, written, &row[..]), (tensor.shape.clone(), row.len(), &tensor.data[..]));
    }

    #[test]
    fn floats_are_the_nearest_and_shapes_are_checked(node in any_node(), shape in proptest::collection::vec(prop_oneof![Just(-1_i64), 0_i64..4], 0..4), as_is: bool, double: bool) {
        let dtype = if double { DType::Float64 } else { DType::Float32 };
        // Half of the declarations are made to fit the text, else nearly none would.
        let mut declared = shape;
        if as_is {
            let mut at = &node;
            declared.clear();
            while let Node::Array(inner) = at {
                declared.push(-1);
                match inner.first() { Some(first) => at = first, None => break }
            }
        }
        let mut sizes = declared.clone();
        let want = node.leaves(&mut sizes).and_then(|leaves| {
            let bytes: Option<Vec<_>> = leaves.iter().map(|text| reference(text, dtype)).collect();
            Some(bytes?.concat())
        });
        let got = read(&node.text(), dtype, &declared);
        prop_assert_eq!(got.as_ref().ok().map(|t| t.data.to_vec()), want, "{:?}", got);
        if let Ok(tensor) = got {
            let spec = spec("x", dtype, &declared);
            prop_assert!(spec.admits(&tensor.shape));
        }
    }

    #[test]
    fn what_is_near_the_middle_of_two_floats_goes_to_the_nearer(bits in 0x2000_0000_u32..0x6000_0000, digits in 12_usize..19, last in 0_u8..10) {
        let middle = (f64::from(f32::from_bits(bits)) + f64::from(f32::from_bits(bits + 1))) / 2.0;
        let (digits, exponent) = format!("{middle:.digits$e}").split_once('e').map(|(d, e)| (d.to_owned(), e.to_owned())).unwrap();
        // As scientific notation, and as the plain decimal that the quick path takes.
        let scientific = format!("{}{last}e{exponent}", &digits[..digits.len() - 1]);
        let decimal = format!("{middle:.9}{last}");
        for text in [scientific, decimal] {
            prop_assert_eq!(read(&text, DType::Float32, &[]).map(|t| t.data.to_vec()), Ok(reference(&text, DType::Float32).unwrap()), "{}", text);
        }
    }

    #[test]
    fn plain_integers_fit_exactly_when_the_standard_library_says_so(text in "-?(0|[1-9][0-9]{0,21})", byte: bool) {
        let dtype = if byte { DType::Uint8 } else { DType::Int64 };
        prop_assert_eq!(read(&text, dtype, &[]).ok().map(|t| t.data.to_vec()), reference(&text.replace("-0", "0"), dtype));
    }

    #[test]
    fn a_token_is_a_number_exactly_when_serde_json_says_so(token in "[-+.0-9eE]{1,7}") {
        let known = serde_json::from_str::<IgnoredAny>(&token).is_ok();
        prop_assert_eq!(read(&token, DType::Float64, &[]).is_ok(), known && token.parse::<f64>().is_ok_and(f64::is_finite), "{}", token);
    }

    #[test]
    fn what_is_accepted_is_json(tensor in any_tensor(), at: prop::sample::Index, byte: u8, cut: bool) {
        let mut out = Vec::new();
        write_outputs(&TensorSet(vec![("x".into(), tensor.clone()), ("y".into(), tensor.clone())]), &mut out);
        let place = at.index(out.len());
        if cut { out.truncate(place) } else { out[place] = byte }
        let free = vec![-1; tensor.shape.len()];
        let specs = [spec("x", tensor.dtype, &free), spec("y", tensor.dtype, &free)];
        if parse_inputs(&out, &specs).is_ok() {
            prop_assert!(serde_json::from_slice::<IgnoredAny>(&out).is_ok(), "{:?}", String::from_utf8_lossy(&out));
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(prop_oneof![proptest::sample::select(&b"[]{},:\"-0123456789.eE \\untrfalsx"[..]), any::<u8>()], 0..60), dtype in any_dtype(), rank in 0_usize..4) {
        let specs = [spec("x", dtype, &vec![-1; rank]), spec("y", dtype, &[1])];
        let _ = (parse_tensor(&bytes, &specs[0]), parse_inputs(&bytes, &specs), parse_inputs(&bytes, &specs[..1]));
        let mut row = [0; 8];
        if let Ok((_, written)) = parse_tensor_into(&bytes, &specs[0], &mut row) {
            prop_assert!(written <= row.len());
        }
    }
}
