use super::*;
use proptest::prelude::*;

/// A file of a version with this header text.
fn file(version: u8, text: &str, data: &[u8]) -> Bytes {
    let mut file = MAGIC.to_vec();
    file.extend([version, 0]);
    if version == 1 {
        file.extend((text.len() as u16).to_le_bytes());
    } else {
        file.extend((text.len() as u32).to_le_bytes());
    }
    file.extend(text.as_bytes());
    file.extend(data);
    file.into()
}

fn any_tensor() -> impl Strategy<Value = Tensor> {
    let dtypes: Vec<_> = DType::ALL
        .iter()
        .copied()
        .filter(|d| kind(*d).is_some())
        .collect();
    (
        proptest::sample::select(dtypes),
        proptest::collection::vec(0_usize..5, 0..5),
    )
        .prop_map(|(dtype, shape)| {
            let len = dtype.size() * shape.iter().product::<usize>();
            Tensor::new(dtype, shape, (0..len).map(|i| i as u8).collect()).unwrap()
        })
}

proptest! {
    #[test]
    fn a_tensor_survives_its_file(tensor in any_tensor()) {
        let file = Bytes::from(write(&tensor).unwrap());
        prop_assert_eq!((file.len() - tensor.data.len()) % ALIGNMENT, 0);
        let (dtype, shape, data) = parse(&file).unwrap();
        prop_assert_eq!((dtype, &shape, &data), (tensor.dtype, &tensor.shape, &tensor.data));
        prop_assert!(data.is_empty() || file.as_ptr_range().contains(&data.as_ptr()), "shared, not copied");
    }

    #[test]
    fn mutated_files_never_panic(
        tensor in any_tensor(),
        version in 0_u8..5,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut: prop::sample::Index,
        whole: bool,
    ) {
        let mut bytes = write(&tensor).unwrap();
        bytes[6] = version;
        for (at, byte) in changes {
            let at = at.index(bytes.len().min(140));
            bytes[at] = byte;
        }
        if !whole { bytes.truncate(cut.index(bytes.len())); }
        let file = Bytes::from(bytes);
        match parse(&file) {
            Ok((dtype, shape, data)) => prop_assert!(Tensor::new(dtype, shape, data).is_ok()),
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }

    #[test]
    fn foreign_headers_never_panic(text in "[{}()\\[\\]'\",: a-zL0-9<>|\\\\é]{0,80}", version in 1_u8..4) {
        let _ = parse(&file(version, &text, &[0; 8]));
    }

    #[test]
    fn a_cut_file_is_refused(tensor in any_tensor(), cut: prop::sample::Index) {
        let whole = Bytes::from(write(&tensor).unwrap());
        prop_assert!(parse(&whole.slice(..cut.index(whole.len()))).is_err());
    }
}

#[test]
fn a_header_is_what_numpy_writes() {
    for (dtype, shape, says) in [
        (
            DType::Float32,
            vec![2],
            "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }",
        ),
        (
            DType::Int64,
            vec![1, 2],
            "{'descr': '<i8', 'fortran_order': False, 'shape': (1, 2), }",
        ),
        (
            DType::Uint8,
            vec![2, 1, 1],
            "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 1, 1), }",
        ),
        (
            DType::Bool,
            vec![],
            "{'descr': '|b1', 'fortran_order': False, 'shape': (), }",
        ),
    ] {
        let size = dtype.size() * shape.iter().product::<usize>();
        let tensor = Tensor::new(dtype, shape, vec![1; size].into()).unwrap();
        let want = [
            b"\x93NUMPY\x01\x00\x76\x00",
            format!("{says:<117}\n").as_bytes(),
            &tensor.data,
        ]
        .concat();
        assert_eq!(write(&tensor).unwrap(), want, "{says}");
    }
}

#[test]
fn every_version_and_spelling_is_read() {
    for text in [
        "{'descr': '<i2', 'fortran_order': False, 'shape': (1, 2), }    \n",
        "{\"shape\":(1L,2L),\"descr\":\"<i2\",\"fortran_order\":False}",
        " { 'fortran_order' : False , 'shape' : ( 1 , 2 , ) , 'descr' : '<i2' } ",
    ] {
        for version in 1..=3 {
            let read = parse(&file(version, text, &[1, 0, 2, 0])).unwrap();
            assert_eq!(
                read,
                (DType::Int16, vec![1, 2], Bytes::from_static(&[1, 0, 2, 0])),
                "{version} {text}"
            );
        }
    }
    for one_byte in ["|u1", "u1", "<u1", ">u1"] {
        let text = format!("{{'descr': '{one_byte}', 'fortran_order': False, 'shape': ()}}");
        assert_eq!(
            parse(&file(1, &text, &[7])).unwrap().0,
            DType::Uint8,
            "{one_byte}"
        );
    }
}

#[test]
fn sound_files_that_are_not_taken_say_what_to_do() {
    let of = |descr: &str, fortran: &str| {
        let text = format!("{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': (2, 2), }}");
        parse(&file(1, &text, &[0; 16])).unwrap_err()
    };
    for (error, says) in [
        (of("'<f4'", "True"), "ascontiguousarray"),
        (of("'>f4'", "False"), "big-endian (>f4)"),
        (of("'<U3'", "False"), "NumPy's type <U3"),
        (of("'|V2'", "False"), "NumPy's type |V2"),
        (of("'=f4'", "False"), "NumPy's type =f4"),
        (
            of("[('a', '<f4'), ('b', '<i4', (2,))]", "False"),
            "NumPy's type [('a",
        ),
        (of("'|O'", "False"), "NumPy's type |O"),
    ] {
        let text = error.to_string();
        assert!(
            error.is_sound() && text.replace('\\', "").contains(says),
            "{text}"
        );
    }
}

#[test]
fn damaged_files_say_where() {
    let error = |file: &Bytes| {
        let error = parse(file).unwrap_err();
        assert!(!error.is_sound());
        error.to_string()
    };
    assert_eq!(
        error(&Bytes::from_static(b"PK\x03\x04")),
        "it does not begin with the bytes \\x93NUMPY"
    );
    assert_eq!(
        error(&Bytes::from_static(b"\x93NUMPY\x01\x00\xff\xff{")),
        "it ends within its header"
    );
    assert_eq!(
        error(&file(4, "", &[])),
        "it has version 4.0; known are 1.0, 2.0 and 3.0"
    );
    let short = "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 8, 8), }";
    assert_eq!(
        error(&file(1, short, &[0; 255])),
        "its header says float32 [1, 8, 8]: 256 bytes of data, got 255"
    );
    assert_eq!(
        error(&file(1, "{'descr': '<f4', 'colour': 1}", &[])),
        "its header is wrong at byte 27: the keys are descr, fortran_order and shape, each once"
    );
    let missing = error(&file(1, "{'descr': '<f4'}", &[]));
    assert!(
        missing.ends_with("descr, fortran_order or shape is missing"),
        "{missing}"
    );
    for shape in [
        "(99999999999999999999,)",
        "(9999999999, 9999999999, 9)",
        "(1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1)",
    ] {
        let text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}");
        assert_eq!(parse(&file(1, &text, &[])), Err(NpyError::Shape), "{shape}");
    }
}

#[test]
fn bfloat16_has_no_file() {
    let tensor = Tensor::new(DType::Bfloat16, vec![1], Bytes::from_static(&[0, 0])).unwrap();
    assert_eq!(write(&tensor), Err(NoNpyForm(DType::Bfloat16)));
}
