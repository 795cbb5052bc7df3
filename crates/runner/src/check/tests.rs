use super::*;
use crate::layout::Regions;
use proptest::prelude::*;

fn slot() -> Slot {
    let (slab, _fd) = Slab::create(
        Regions {
            input: 4096,
            output: 4096,
        }
        .slab(),
    )
    .unwrap();
    Slot {
        number: 1,
        info: slab.info().slots[1],
        slab: Arc::new(slab),
    }
}

fn spec(name: &str, shape: &[i64]) -> TensorSpec {
    TensorSpec {
        name: name.into(),
        dtype: DType::Float32,
        shape: shape.to_vec(),
        allow_non_finite: false,
        pad: None,
    }
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// An inline answer of float32 tensors.
fn inline(tensors: &[(&[i64], &[f32])]) -> Answer {
    let (mut all, mut bytes) = (Vec::new(), Vec::new());
    for (dims, values) in tensors {
        let data = floats(values);
        let (offset, nbytes) = (bytes.len() as u64, data.len() as u64);
        all.push(Descriptor {
            dtype: DType::Float32,
            dims: dims.to_vec(),
            offset,
            nbytes,
        });
        bytes.extend(data);
    }
    Answer {
        tensors: all,
        names: None,
        inline: Some(bytes.into()),
    }
}

fn named(answer: Answer, names: &[&str]) -> Answer {
    Answer {
        names: Some(names.iter().map(|n| (*n).to_owned()).collect()),
        ..answer
    }
}

fn ends(specs: &[TensorSpec], answer: Answer, batch: usize) -> Vec<ItemEnd> {
    match tensors(specs, answer, &slot(), batch).unwrap() {
        JobEnd::Items(ends) => ends,
        other => panic!("{other:?}"),
    }
}

/// The one message that every item of the batch fails with.
fn complaint(specs: &[TensorSpec], answer: Answer, batch: usize) -> String {
    let ends = ends(specs, answer, batch);
    assert_eq!(ends.len(), batch);
    let messages: Vec<_> = ends
        .into_iter()
        .map(|end| match end {
            ItemEnd::Failed(f) => {
                assert_eq!((f.code, f.stage), (Code::BadOutput, Some(Stage::Output)));
                f.message
            }
            ItemEnd::Done(_) | ItemEnd::Skipped => panic!("an item passed"),
        })
        .collect();
    assert!(messages.iter().all(|m| *m == messages[0]));
    messages[0].clone()
}

#[test]
fn items_get_their_rows_from_the_slab() {
    let slot = slot();
    slot.slab
        .write(slot.info.output_offset + 64, &floats(&[1.0, 2.0, 3.0, 4.0]))
        .unwrap();
    let tensor = Descriptor {
        dtype: DType::Float32,
        dims: vec![2, 2],
        offset: slot.info.output_offset + 64,
        nbytes: 16,
    };
    let answer = Answer {
        tensors: vec![tensor],
        names: None,
        inline: None,
    };
    let JobEnd::Items(ends) = tensors(&[spec("y", &[2])], answer, &slot, 2).unwrap() else {
        panic!()
    };
    let rows: Vec<_> = ends
        .iter()
        .map(|end| match end {
            ItemEnd::Done(Payload::Tensors(set)) => (
                set.get("y").unwrap().shape.clone(),
                set.get("y").unwrap().data.to_vec(),
            ),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        rows,
        [(vec![2], floats(&[1.0, 2.0])), (vec![2], floats(&[3.0, 4.0]))]
    );
}

#[test]
fn each_kind_of_wrong_output_says_what_was_given_and_what_is_declared() {
    let two = [spec("a", &[2]), spec("b", &[-1])];
    let logits = [spec("logits", &[10])];
    let ten: Vec<f32> = (0..10).map(|i| i as f32).collect();
    assert_eq!(
        complaint(&logits, inline(&[(&[1, 10, 1], &ten)]), 1),
        "output `logits` has shape [10, 1], model.toml says [10]"
    );
    assert_eq!(
        complaint(&logits, inline(&[(&[1, 10], &ten)]), 3),
        "output `logits` has 1 row for a batch of 3; its first dimension is the batch"
    );
    assert_eq!(
        complaint(&two, inline(&[(&[1, 2], &[0.0; 2])]), 1),
        "the model gave 1 output, model.toml declares 2: `a`, `b`"
    );
    assert_eq!(
        complaint(&two, named(inline(&[(&[1, 2], &[0.0; 2])]), &["a"]), 1),
        "output `b` is missing, model.toml declares `a`, `b`"
    );
    assert_eq!(
        complaint(&two, named(inline(&[(&[1, 2], &[0.0; 2])]), &["c"]), 1),
        "the model gave an output `c`, model.toml declares `a`, `b`"
    );
    let mut wrong_type = inline(&[(&[1, 10], &ten)]);
    wrong_type.tensors[0].dtype = DType::Int32;
    assert_eq!(
        complaint(&logits, wrong_type, 1),
        "output `logits` is int32, model.toml says float32"
    );
    assert_eq!(complaint(&[], inline(&[]), 2), "the model gave no output");
    let twice = named(inline(&[(&[1], &[0.0]), (&[1], &[0.0])]), &["a", "a"]);
    assert_eq!(complaint(&[], twice, 1), "the model gave two outputs named `a`");
}

#[test]
fn named_outputs_are_put_into_declared_order() {
    let specs = [spec("a", &[1]), spec("b", &[1])];
    let answer = named(inline(&[(&[1, 1], &[2.0]), (&[1, 1], &[1.0])]), &["b", "a"]);
    let [ItemEnd::Done(Payload::Tensors(set))] = &ends(&specs, answer, 1)[..] else {
        panic!()
    };
    assert_eq!(set.0.iter().map(|(n, _)| &**n).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(set.get("a").unwrap().data, floats(&[1.0]));
}

#[test]
fn outputs_that_nobody_declared_keep_the_models_names() {
    let names = |answer| match &ends(&[], answer, 1)[..] {
        [ItemEnd::Done(Payload::Tensors(set))] => {
            set.0.iter().map(|(n, _)| n.to_string()).collect::<Vec<_>>()
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(names(inline(&[(&[1], &[0.0])])), ["output"]);
    assert_eq!(
        names(named(inline(&[(&[1], &[0.0]), (&[1], &[0.0])]), &["x", "y"])),
        ["x", "y"]
    );
    let nameless = inline(&[(&[1], &[0.0]), (&[1], &[0.0])]);
    assert_eq!(tensors(&[], nameless, &slot(), 1), Err(BrokenRules::NoNames(2)));
}

#[test]
fn only_the_items_that_hold_nan_or_infinity_fail() {
    let answer = || {
        inline(&[(
            &[4, 2],
            &[0.0, 1.0, f32::NAN, 0.0, 0.0, f32::INFINITY, f32::MAX, -0.0],
        )])
    };
    let messages = |specs: &[TensorSpec]| -> Vec<Option<String>> {
        ends(specs, answer(), 4)
            .into_iter()
            .map(|end| match end {
                ItemEnd::Failed(f) => {
                    assert_eq!(f.code, Code::NonFiniteOutput);
                    Some(f.message)
                }
                ItemEnd::Done(_) | ItemEnd::Skipped => None,
            })
            .collect()
    };
    let at = |i| Some(format!("output `y` is NaN or infinite at [{i}]"));
    assert_eq!(messages(&[spec("y", &[2])]), [None, at(0), at(1), None]);
    let lenient = TensorSpec {
        allow_non_finite: true,
        ..spec("y", &[2])
    };
    assert_eq!(messages(&[lenient]), [None, None, None, None]);
}

#[test]
fn non_finite_is_seen_in_every_floating_type_and_no_other() {
    for (dtype, fine, bad) in [
        (DType::Float16, vec![0xff, 0x7b], vec![0x00, 0xfc]),
        (DType::Bfloat16, vec![0x7f, 0x7f], vec![0xc0, 0x7f]),
        (
            DType::Float64,
            f64::MIN.to_le_bytes().to_vec(),
            f64::NEG_INFINITY.to_le_bytes().to_vec(),
        ),
        (
            DType::Float32,
            f32::MIN_POSITIVE.to_le_bytes().to_vec(),
            f32::NAN.to_le_bytes().to_vec(),
        ),
    ] {
        assert!(!has_non_finite(dtype, &fine), "{dtype}");
        assert!(has_non_finite(dtype, &[fine, bad].concat()), "{dtype}");
    }
    assert!(!has_non_finite(DType::Int32, &[0xff; 8]));
}

#[test]
fn an_output_outside_its_slots_region_is_the_instances_fault() {
    let slot = slot();
    let (start, end) = (
        slot.info.output_offset,
        slot.info.output_offset + slot.info.output_len,
    );
    for offset in [0, start - 64, end, u64::MAX - 63] {
        let tensor = Descriptor {
            dtype: DType::Uint8,
            dims: vec![1, 64],
            offset,
            nbytes: 64,
        };
        let answer = Answer {
            tensors: vec![tensor],
            names: None,
            inline: None,
        };
        assert!(
            matches!(
                tensors(&[], answer, &slot, 1),
                Err(BrokenRules::OutsideRegion { .. })
            ),
            "{offset}"
        );
    }
}

#[test]
fn results_that_are_not_json_fail_alone() {
    let results = ["1", "NaN", "{\"a\":1} x", "[", "\"ok\""].map(|t| ItemAnswer::Result(t.into()));
    let JobEnd::Items(ends) = objects(results.into()).unwrap() else {
        panic!()
    };
    let passed: Vec<_> = ends.iter().map(|e| matches!(e, ItemEnd::Done(_))).collect();
    assert_eq!(passed, [true, false, false, false, true]);
    assert!(objects(vec![ItemAnswer::Result(Bytes::from_static(b"\"\xff\""))]).is_ok());
    assert!(
        objects(vec![ItemAnswer::Failure("{}".into())]).is_err(),
        "a failure must be one"
    );
}

proptest! {
    #[test]
    fn what_is_finite_agrees_with_the_standard_library(values in proptest::collection::vec(any::<f32>(), 0..70)) {
        prop_assert_eq!(has_non_finite(DType::Float32, &floats(&values)), values.iter().any(|v| !v.is_finite()));
    }
}
