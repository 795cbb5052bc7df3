use super::*;
use proptest::prelude::*;

/// A file with this header and data.
fn file(header: &str, data: &[u8]) -> Bytes {
    let length = (header.len() as u64).to_le_bytes();
    [&length, header.as_bytes(), data].concat().into()
}

fn any_tensor() -> impl Strategy<Value = Tensor> {
    (0..DType::ALL.len(), proptest::collection::vec(0_usize..4, 0..4)).prop_map(|(d, shape)| {
        let dtype = DType::ALL[d];
        let len = dtype.size() * shape.iter().product::<usize>();
        Tensor::new(dtype, shape, (0..len).map(|i| i as u8).collect()).unwrap()
    })
}

/// Tensors of different names.
fn any_set() -> impl Strategy<Value = TensorSet> {
    proptest::collection::btree_map("[a-z\"\\\\é\\n]{0,8}", any_tensor(), 0..5).prop_map(|set| {
        TensorSet(
            set.into_iter()
                .map(|(name, tensor)| (name.into(), tensor))
                .collect(),
        )
    })
}

fn why(file: &Bytes) -> String {
    parse(file).unwrap_err().to_string()
}

proptest! {
    #[test]
    fn a_set_survives_its_file(set in any_set()) {
        let file = Bytes::from(write(&set).unwrap());
        let read = parse(&file).unwrap();
        prop_assert_eq!(&read, &set);
        prop_assert_eq!(head_len(&file), file.len() - set.data_len());
        prop_assert_eq!(head_len(&file) % ALIGNMENT, 0);
        for (_, tensor) in &read.0 {
            prop_assert!(tensor.data.is_empty() || file.as_ptr_range().contains(&tensor.data.as_ptr()), "shared, not copied");
            let offset = tensor.data.as_ptr() as usize - file.as_ptr() as usize;
            prop_assert!(tensor.data.is_empty() || offset.is_multiple_of(tensor.dtype.size()), "aligned in its file");
        }
    }

    #[test]
    fn mutated_files_never_panic(
        set in any_set(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut: prop::sample::Index,
        whole: bool,
    ) {
        let mut bytes = write(&set).unwrap();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if !whole { bytes.truncate(cut.index(bytes.len())); }
        prop_assert!(head_len(&bytes) <= bytes.len());
        match parse(&Bytes::from(bytes)) {
            Ok(set) => for (_, tensor) in set.0 { prop_assert!(Tensor::new(tensor.dtype, tensor.shape, tensor.data).is_ok()) },
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }

    #[test]
    fn foreign_headers_never_panic(
        pieces in proptest::collection::vec(proptest::sample::select(vec![
            "{", "}", "[", "]", ",", ":", " ", "\n", "\"x\"", "\"dtype\"", "\"F32\"", "\"U8\"", "\"shape\"", "\"data_offsets\"",
            "\"__metadata__\"", "0", "4", "18446744073709551615", "-1", "1.5", "null", "\\", "é",
            "\"y\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}",
        ]), 0..14),
    ) {
        let header = format!("{{{}", pieces.concat());
        let _ = parse(&file(&header, &[0; 4]));
    }

    #[test]
    fn a_cut_file_is_refused(set in any_set(), cut: prop::sample::Index) {
        let whole = Bytes::from(write(&set).unwrap());
        prop_assert!(parse(&whole.slice(..cut.index(whole.len()))).is_err());
    }

    #[test]
    fn places_are_right_exactly_when_they_tile_the_data(
        sizes in proptest::collection::vec(1_u64..4, 1..5),
        shift in -1_i64..2,
        which: prop::sample::Index,
        more in 0_usize..2,
        order in any::<u64>(),
    ) {
        let mut at = 0;
        let mut entries: Vec<_> = sizes.iter().enumerate().map(|(i, size)| {
            let start = at;
            at += size;
            (i, *size, start, at)
        }).collect();
        let moved = which.index(entries.len());
        let before = entries.clone();
        entries[moved].2 = entries[moved].2.saturating_add_signed(shift);
        entries[moved].3 = entries[moved].3.saturating_add_signed(shift);
        let is_as_it_was = entries == before;
        let turn = order as usize % entries.len();
        entries.rotate_left(turn);
        let header: Vec<_> = entries.iter().map(|(i, size, start, end)| {
            format!("\"{i}\":{{\"dtype\":\"U8\",\"shape\":[{size}],\"data_offsets\":[{start},{end}]}}")
        }).collect();
        let file = file(&format!("{{{}}}", header.join(",")), &vec![7; at as usize + more]);
        prop_assert_eq!(parse(&file).is_ok(), is_as_it_was && more == 0, "{:?}", parse(&file));
    }
}

#[test]
fn a_file_of_the_formats_own_library_is_read() {
    // Written by its `safetensors.torch.save`, version 0.8.0, with tensors of these names and values.
    let file = Bytes::from_static(include_bytes!("reference.safetensors"));
    let set = parse(&file).unwrap();
    let of = |name: &str| {
        let tensor = set.get(name).unwrap();
        (tensor.dtype, tensor.shape.clone(), tensor.data.to_vec())
    };
    assert_eq!(set.0.len(), 6);
    assert_eq!(of("pixels"), (DType::Uint8, vec![2, 3], vec![0, 1, 2, 3, 4, 5]));
    assert_eq!(
        of("scale"),
        (DType::Float32, vec![], 0.5_f32.to_le_bytes().to_vec())
    );
    assert_eq!(of("mask"), (DType::Bool, vec![3], vec![1, 0, 1]));
    assert_eq!(
        of("half"),
        (DType::Bfloat16, vec![1, 2], vec![0x80, 0x3F, 0, 0xC0])
    );
    assert_eq!(of("empty"), (DType::Int64, vec![0, 4], vec![]));
    assert_eq!(of("größe \"x\""), (DType::Int16, vec![1], vec![7, 0]));
    assert_eq!(parse(&write(&set).unwrap().into()), Ok(set));
}

#[test]
fn a_header_is_what_the_format_says() {
    let tensor = |dtype, shape: Vec<usize>, data: &'static [u8]| {
        Tensor::new(dtype, shape, Bytes::from_static(data)).unwrap()
    };
    let set = TensorSet(vec![
        ("b".into(), tensor(DType::Uint8, vec![1, 3], &[1, 2, 3])),
        ("a\"".into(), tensor(DType::Float32, vec![], &[4, 5, 6, 7])),
    ]);
    let header = concat!(
        r#"{"b":{"dtype":"U8","shape":[1,3],"data_offsets":[4,7]},"#,
        r#""a\"":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}   "#
    );
    assert_eq!(write(&set).unwrap(), file(header, &[4, 5, 6, 7, 1, 2, 3]));
    assert_eq!(write(&TensorSet::default()).unwrap(), file("{}      ", &[]));
}

#[test]
fn damaged_files_say_where() {
    let damaged = |file: &Bytes| {
        assert_eq!(parse(file).unwrap_err().tensor(), None);
        why(file)
    };
    assert_eq!(
        damaged(&Bytes::from_static(b"\x02\0\0\0\0\0\0")),
        "it ends within its header"
    );
    assert_eq!(
        damaged(&Bytes::from_static(b"\x03\0\0\0\0\0\0\0{}")),
        "it ends within its header"
    );
    assert_eq!(
        damaged(&Bytes::from_static(b"PK\x03\x04 garbage")),
        "its header has 8241982180268657488 bytes; at most 1048576 are read"
    );
    assert_eq!(
        damaged(&file(" {}", &[])),
        "its header is wrong at byte 8: an object should begin here"
    );
    assert_eq!(
        damaged(&file("{\n\"x\":}", &[])),
        "its header is wrong at byte 14: expected value"
    );
    assert_eq!(
        damaged(&file("{} {}", &[])),
        "its header is wrong at byte 11: trailing characters"
    );
    assert_eq!(
        damaged(&file("{\"x\":", &[])),
        "its header is wrong at byte 13: EOF while parsing a value"
    );
    let one = |inside: &str| damaged(&file(&format!("{{\"x\":{{{inside}}}}}"), &[0; 4]));
    assert!(one(r#""dtype":"U8","shape":[4]"#).ends_with("missing field `data_offsets`"));
    assert!(one(r#""dtype":"U8","shape":[4],"strides":[1]"#).contains("unknown field `strides`"));
    assert!(one(r#""dtype":"U8","dtype":"U8""#).ends_with("duplicate field `dtype`"));
    assert!(one(r#""dtype":"U8","shape":[-1]"#).contains("invalid value: integer `-1`"));
    assert!(one(r#""dtype":"U8","shape":[4.0]"#).contains("invalid type: floating point"));
    assert!(damaged(&file(r#"{"__metadata__":{"a":1}}"#, &[])).contains("expected a string"));
    assert!(
        damaged(&file(r#"{"__metadata__":{},"__metadata__":{}}"#, &[]))
            .ends_with("__metadata__ is given twice")
    );
    assert!(
        damaged(&file(&format!("{{\"x\":{}", "[".repeat(100_000)), &[])).contains("invalid type: sequence")
    );
    let many: Vec<_> = (0..=TENSORS_MAX)
        .map(|i| format!(r#""{i}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}"#))
        .collect();
    assert!(damaged(&file(&format!("{{{}}}", many.join(",")), &[])).ends_with("more than 256 tensors"));
    assert!(parse(&file(&format!("{{{}}}", many[1..].join(",")), &[])).is_ok());
}

#[test]
fn tensors_in_wrong_places_are_named() {
    let two = |x: [u64; 2], y: [u64; 2], data: usize| {
        let header = format!(
            r#"{{"x":{{"dtype":"U8","shape":[2],"data_offsets":{x:?}}},"y":{{"dtype":"U8","shape":[2],"data_offsets":{y:?}}}}}"#
        );
        parse(&file(&header, &vec![0; data])).map_err(|error| error.to_string())
    };
    assert!(two([2, 4], [0, 2], 4).is_ok());
    for (x, y, data, says) in [
        (
            [1, 3],
            [3, 5],
            5,
            "its tensor `x` begins at byte 1 of the data; the bytes from 0 on belong to no tensor",
        ),
        (
            [0, 2],
            [1, 3],
            3,
            "its tensor `y` begins at byte 1 of the data, within another tensor",
        ),
        (
            [0, 2],
            [2, 4],
            3,
            "its tensor `y` ends at byte 4 of the data, of which there are 3",
        ),
        ([0, 2], [2, 4], 6, "its last 2 bytes belong to no tensor"),
        ([0, 3], [3, 5], 5, "its tensor `x` is uint8 [2], and has 3 bytes"),
        (
            [0, 2],
            [2, 1],
            2,
            "its tensor `y` ends (byte 1 of the data) before it begins (byte 2)",
        ),
        (
            [0, u64::MAX],
            [0, 2],
            2,
            "its tensor `x` begins at byte 0 of the data, within another tensor",
        ),
    ] {
        assert_eq!(two(x, y, data).unwrap_err(), says);
    }
    let huge = r#"{"x":{"dtype":"F64","shape":[4294967296,4294967296,2],"data_offsets":[0,0]}}"#;
    assert_eq!(
        why(&file(huge, &[])),
        "its tensor `x` is float64 [4294967296, 4294967296, 2], and has 0 bytes"
    );
}

#[test]
fn sound_files_that_are_not_taken_name_the_tensor() {
    let x = r#""x":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}"#;
    let error = parse(&file(&format!("{{{x}}}"), &[0])).unwrap_err();
    assert_eq!(
        (error.tensor(), error.to_string().as_str()),
        (Some("x"), "has elements of the type F8_E4M3, which no input has")
    );
    let error = parse(&file(&format!("{{{x},{x}}}"), &[0])).unwrap_err();
    assert_eq!(
        (error.tensor(), error.to_string().as_str()),
        (Some("x"), "is in the file twice")
    );
    let deep = format!(
        r#"{{"x":{{"dtype":"U8","shape":{:?},"data_offsets":[0,1]}}}}"#,
        [1; 17]
    );
    let error = parse(&file(&deep, &[0])).unwrap_err();
    assert_eq!(
        (error.tensor(), error.to_string().as_str()),
        (Some("x"), "has 17 dimensions; a tensor has at most 16")
    );
    let long = format!(
        r#"{{"{0}":{{"dtype":"X","shape":[],"data_offsets":[0,0]}}}}"#,
        "é".repeat(1000)
    );
    assert_eq!(
        parse(&file(&long, &[]))
            .unwrap_err()
            .tensor()
            .unwrap()
            .chars()
            .count(),
        131
    );
}

#[test]
fn the_name_of_the_metadata_is_no_tensors() {
    let tensor = Tensor::new(DType::Uint8, vec![], Bytes::from_static(&[1])).unwrap();
    assert_eq!(
        write(&TensorSet(vec![("__metadata__".into(), tensor)])),
        Err(NoSafetensorsForm)
    );
}
