//! Chosen texts: what is read, what is refused and with which words.

use bytes::Bytes;
use cresset_task::json::{parse_inputs, parse_tensor_into, write_outputs};
use cresset_task::{DType, Tensor, TensorSet, TensorSpec};

use super::{complain, floats, read, spec};

#[test]
fn nested_arrays_become_row_major_bytes() {
    let tensor = read(" [ [1, 2.5,-3e0 ] ,\n[4,0.1 ,\t-0.0]] ", DType::Float32, &[2, 3]).unwrap();
    assert_eq!(
        (tensor.shape.as_slice(), floats(&tensor)),
        (&[2, 3][..], vec![1.0, 2.5, -3.0, 4.0, 0.1, -0.0])
    );
    assert_eq!(floats(&tensor)[5].to_bits(), (-0.0_f32).to_bits());
}

#[test]
fn free_sizes_are_what_the_text_has() {
    assert_eq!(
        read("[[1,2],[3,4],[5,6]]", DType::Uint8, &[-1, -1])
            .unwrap()
            .shape,
        [3, 2]
    );
    assert_eq!(read("[]", DType::Uint8, &[-1, 3]).unwrap().shape, [0, 3]);
    assert_eq!(read("[[],[]]", DType::Uint8, &[2, -1]).unwrap().shape, [2, 0]);
    assert_eq!(read("[]", DType::Uint8, &[-1, -1]).unwrap().shape, [0, 0]);
    assert_eq!(
        read("7", DType::Uint8, &[]).unwrap().data,
        Bytes::from_static(&[7])
    );
}

#[test]
fn a_wrong_shape_is_said_with_its_place_and_its_sizes() {
    let shape = |text| complain(text, DType::Float32, &[2, 3]);
    assert_eq!(
        shape("[[1,2,3]]"),
        "must have 2 elements, has 1; the shape is [2, 3]"
    );
    assert_eq!(
        shape("[[1,2,3],[4,5]]"),
        "[1]: must have 3 elements, has 2; the shape is [2, 3]"
    );
    assert_eq!(
        shape("[[1,2,3],[4,5,6,7,8]]"),
        "[1]: must have 3 elements, has 5; the shape is [2, 3]"
    );
    assert_eq!(
        shape("[[1,2,3],[4,5,6,7,"),
        "[1]: must have 3 elements, has more; the shape is [2, 3]"
    );
    assert_eq!(
        shape("[1,2]"),
        "[0]: must be an array of 3 (the shape is [2, 3]), is a number"
    );
    assert_eq!(
        shape("[[[1],2,3]]"),
        "[0][0]: must be a number, is an array; the shape is [2, 3]"
    );
    assert_eq!(
        shape("{}"),
        "must be an array of 2 (the shape is [2, 3]), is an object"
    );
    assert_eq!(
        complain("[[1],[1,2]]", DType::Float32, &[-1, -1]),
        "[1]: is ragged: has 2 elements where the array before it has 1"
    );
    assert_eq!(
        complain("3", DType::Float32, &[-1]),
        "must be an array (the shape is [-1]), is a number"
    );
}

#[test]
fn an_element_that_is_no_number_is_said_with_its_place() {
    let element = |text| complain(text, DType::Float32, &[-1, -1]);
    assert_eq!(element("[[1,null]]"), "[0][1]: must be a number, is null");
    assert_eq!(element("[[\"1\"]]"), "[0][0]: must be a number, is a string");
    assert_eq!(element("[[true]]"), "[0][0]: must be a number, is true");
    assert_eq!(
        element("[[NaN]]"),
        "[0][0]: not JSON: it has no NaN and no infinity"
    );
    assert_eq!(
        element("[[-Infinity]]"),
        "[0][0]: not JSON: it has no NaN and no infinity"
    );
    assert_eq!(
        element("[[1 2]]"),
        "[0][0]: not JSON: `2` at byte 4 where `,` or `]` should be"
    );
    assert_eq!(
        element("[[1,2]"),
        "[0]: not JSON: it ends where `,` or `]` should be"
    );
    assert_eq!(
        element("[[1]] x"),
        "not JSON: `x` at byte 6 where the end should be"
    );
    assert_eq!(
        element("[[+1]]"),
        "[0][0]: not JSON: `+` at byte 2 where a number should be"
    );
    assert_eq!(
        element("[[01]]"),
        "[0][0]: not JSON: a number does not begin with 0 and another digit (at byte 2)"
    );
    assert_eq!(
        element("[[1.]]"),
        "[0][0]: not JSON: a point has a digit after it (at byte 2)"
    );
    assert_eq!(
        element("[[1e]]"),
        "[0][0]: not JSON: an exponent has a digit (at byte 2)"
    );
    assert_eq!(
        element(""),
        "not JSON: it ends where an array (the shape is [-1, -1]) should be"
    );
}

#[test]
fn integers_are_exact_or_refused() {
    let one = |text: &str, dtype| {
        read(text, dtype, &[])
            .map(|t| t.data.to_vec())
            .map_err(|e| e.message)
    };
    assert_eq!(one("255", DType::Uint8), Ok(vec![255]));
    assert_eq!(one("3.0", DType::Uint8), Ok(vec![3]));
    assert_eq!(one("1.2e1", DType::Uint8), Ok(vec![12]));
    assert_eq!(one("1200e-2", DType::Uint8), Ok(vec![12]));
    assert_eq!(one("-0.000", DType::Uint8), Ok(vec![0]));
    assert_eq!(one("0e999999999999999999999", DType::Uint8), Ok(vec![0]));
    assert_eq!(one("-128", DType::Int8), Ok(vec![0x80]));
    assert_eq!(one("18446744073709551615", DType::Uint64), Ok(vec![255; 8]));
    assert_eq!(
        one("-9223372036854775808", DType::Int64),
        Ok(i64::MIN.to_le_bytes().to_vec())
    );
    assert_eq!(
        one("300", DType::Uint8),
        Err("300 does not fit uint8 (0 to 255)".into())
    );
    assert_eq!(
        one("-1", DType::Uint64),
        Err("-1 does not fit uint64 (0 to 18446744073709551615)".into())
    );
    assert_eq!(
        one("1e400", DType::Int8),
        Err("1e400 does not fit int8 (-128 to 127)".into())
    );
    assert_eq!(
        one("1.5", DType::Int32),
        Err("1.5 is not an integer, and int32 holds nothing else".into())
    );
    assert_eq!(
        one("1e-400", DType::Int32),
        Err("1e-400 is not an integer, and int32 holds nothing else".into())
    );
    assert!(one("18446744073709551616", DType::Uint64).is_err());
    assert!(
        one(&"9".repeat(500), DType::Int64)
            .unwrap_err()
            .starts_with("9999999999999999999999999999999999999999... does")
    );
}

#[test]
fn bools_are_words_or_ones_and_zeros() {
    let tensor = read("[true, false,1,0, 1.0]", DType::Bool, &[5]).unwrap();
    assert_eq!(&tensor.data[..], [1, 0, 1, 0, 1]);
    assert_eq!(
        complain("[2]", DType::Bool, &[1]),
        "[0]: must be true or false, or 1 or 0, is 2"
    );
    assert_eq!(
        complain("[null]", DType::Bool, &[1]),
        "[0]: must be true or false, is null"
    );
    assert_eq!(
        complain("[truely]", DType::Bool, &[1]),
        "[0]: not JSON: `l` at byte 5 where `,` or `]` should be"
    );
}

#[test]
fn a_float_that_would_be_infinite_is_refused() {
    assert_eq!(
        complain("[1e39]", DType::Float32, &[1]),
        "[0]: 1e39 is too large for float32"
    );
    assert_eq!(
        complain("[-1e309]", DType::Float64, &[1]),
        "[0]: -1e309 is too large for float64"
    );
    assert_eq!(
        complain("[65520]", DType::Float16, &[1]),
        "[0]: 65520 is too large for float16"
    );
    assert_eq!(
        floats(&read("[3.4028235e38, 1e-60]", DType::Float32, &[2]).unwrap()),
        [f32::MAX, 0.0]
    );
}

#[test]
fn a_float32_is_not_rounded_twice() {
    // A hair under the middle between two floats, and its nearest double is that very middle.
    let text = "9.000001430511474";
    assert_eq!(text.parse::<f64>().unwrap(), 9.0 + 3.0 * 2.0_f64.powi(-21));
    assert_eq!(
        floats(&read(text, DType::Float32, &[]).unwrap()),
        [9.0 + 2.0_f32.powi(-20)]
    );
}

#[test]
fn a_row_takes_exactly_what_fits() {
    let mut row = [9_u8; 6];
    let pixels = spec("x", DType::Uint16, &[-1]);
    assert_eq!(parse_tensor_into(b"[1,2]", &pixels, &mut row), Ok((vec![2], 4)));
    assert_eq!(row, [1, 0, 2, 0, 9, 9]);
    let error = parse_tensor_into(b"[1,2,3,4]", &pixels, &mut row).unwrap_err();
    assert_eq!(error.to_string(), "[3]: there is no room for so many elements");
}

fn two() -> [TensorSpec; 2] {
    [
        spec("pixels", DType::Uint8, &[2]),
        spec("scale", DType::Float32, &[]),
    ]
}

#[test]
fn one_input_may_stand_alone_and_several_are_named() {
    let [pixels, _] = two();
    let alone = parse_inputs(b"[1,2]", std::slice::from_ref(&pixels)).unwrap();
    assert_eq!(
        parse_inputs(br#"{"pixels": [1,2]}"#, std::slice::from_ref(&pixels)),
        Ok(alone)
    );
    let both = parse_inputs(br#" { "sc\u0061le" : 2 , "pixels":[1,2] } "#, &two()).unwrap();
    assert_eq!(
        both.0.iter().map(|(name, _)| &**name).collect::<Vec<_>>(),
        ["pixels", "scale"]
    );
    assert_eq!(parse_inputs(b"{}", &[]), Ok(TensorSet::default()));
}

#[test]
fn wrong_names_are_said() {
    let complain = |text: &str| parse_inputs(text.as_bytes(), &two()).unwrap_err().to_string();
    assert_eq!(
        complain(r#"{"pixel":[1,2]}"#),
        r#"pixel: no such input; did you mean "pixels"?"#
    );
    assert_eq!(
        complain(r#"{"z":[1,2]}"#),
        r#"z: no such input; the inputs are "pixels", "scale""#
    );
    assert_eq!(
        complain(r#"{"pixels":[1,2],"pixels":[1,2]}"#),
        "pixels: is given twice"
    );
    assert_eq!(
        complain(r#"{"pixels":[1,2]}"#),
        "scale: is missing; must be a number"
    );
    assert_eq!(
        complain(r#"{"pixels":[1,256]}"#),
        "pixels[1]: 256 does not fit uint8 (0 to 255)"
    );
    assert_eq!(
        complain("[1,2]"),
        r#"must be an object with "pixels", "scale", is an array"#
    );
    assert_eq!(
        complain(r#"{"pixels" 1}"#),
        "not JSON: `1` at byte 10 where `:` should be"
    );
    assert_eq!(
        complain(r#"{"pixels":[1,2],}"#),
        "not JSON: `}` at byte 16 where `\"` should be"
    );
    assert_eq!(
        complain("{\"\\q\":1}"),
        "not JSON: the string at byte 1 is broken"
    );
    assert!(parse_inputs(b"{\"\xff\":1}", &two()).is_err());
}

#[test]
fn outputs_are_written_bare_or_by_name() {
    let logits = Tensor::new(
        DType::Float32,
        vec![1, 2],
        Bytes::from([1.5_f32.to_le_bytes(), f32::NAN.to_le_bytes()].concat()),
    )
    .unwrap();
    let flag = Tensor::new(DType::Bool, vec![], Bytes::from_static(&[1])).unwrap();
    let empty = Tensor::new(DType::Int64, vec![2, 0], Bytes::new()).unwrap();
    let written = |set: Vec<(&str, &Tensor)>| {
        let mut out = Vec::new();
        write_outputs(
            &TensorSet(set.into_iter().map(|(n, t)| (n.into(), t.clone())).collect()),
            &mut out,
        );
        String::from_utf8(out).unwrap()
    };
    assert_eq!(written(vec![("logits", &logits)]), "[[1.5,null]]");
    assert_eq!(
        written(vec![("a\"b", &flag), ("e", &empty)]),
        r#"{"a\"b":true,"e":[[],[]]}"#
    );
    assert_eq!(written(vec![]), "{}");
}
