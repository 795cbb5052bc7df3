//! Nanoseconds a number, reading and writing, against a `serde_json::Value`. Run with `cargo bench -p cresset-task`.

use std::hint::black_box;
use std::time::Instant;

use cresset_task::json::{parse_tensor, write_tensor};
use cresset_task::{DType, TensorSpec};

/// Numbers read in one measurement; enough for a clock of any resolution.
const NUMBERS: usize = 4_000_000;
const ROUNDS: usize = 5;

fn main() {
    println!(
        "{:<12} {:<10} {:>10} {:>12} {:>10} {:>12}",
        "numbers", "text", "read", "serde Value", "write", "serde Value"
    );
    for shape in [vec![64_i64], vec![3, 64, 64]] {
        let count = shape.iter().product::<i64>() as usize;
        let values: Vec<f32> = (0..count)
            .map(|i| ((i * 7919 % 10_007) as f32 / 10_007.0 - 0.5) * 4.0)
            .collect();
        let spec = TensorSpec {
            name: "x".into(),
            dtype: DType::Float32,
            shape: shape.clone(),
            allow_non_finite: false,
            pad: None,
        };
        for (name, show) in [
            ("4 decimals", (|x| format!("{x:.4}")) as fn(f32) -> String),
            ("f32", |x| format!("{x:?}")),
            ("f64repr", |x| format!("{:?}", f64::from(x))),
        ] {
            let text = nested(&shape, &mut values.iter().map(|x| show(*x)));
            let tensor = parse_tensor(text.as_bytes(), &spec).expect("the text is a tensor");
            let value: serde_json::Value = serde_json::from_str(&text).expect("the text is JSON");
            let mut out = Vec::new();
            println!(
                "{count:<12} {name:<10} {:>8.1}ns {:>10.1}ns {:>8.1}ns {:>10.1}ns",
                best(count, || drop(black_box(parse_tensor(
                    black_box(text.as_bytes()),
                    &spec
                )))),
                best(count, || {
                    let value: serde_json::Value =
                        serde_json::from_slice(black_box(text.as_bytes())).expect("JSON");
                    let mut floats = Vec::with_capacity(count);
                    collect(&value, &mut floats);
                    black_box(floats);
                }),
                best(count, || {
                    out.clear();
                    write_tensor(black_box(&tensor), &mut out);
                }),
                best(count, || drop(black_box(serde_json::to_vec(black_box(&value))))),
            );
        }
    }
}

/// The best of several rounds: the others measure the neighbours.
fn best(count: usize, mut work: impl FnMut()) -> f64 {
    let times = NUMBERS / count;
    let round = |_| {
        let start = Instant::now();
        (0..times).for_each(|_| work());
        start.elapsed().as_nanos() as f64 / (times * count) as f64
    };
    (0..ROUNDS).map(round).fold(f64::MAX, f64::min)
}

fn collect(value: &serde_json::Value, into: &mut Vec<f32>) {
    match value {
        serde_json::Value::Array(inner) => inner.iter().for_each(|v| collect(v, into)),
        other => into.push(other.as_f64().unwrap_or(f64::NAN) as f32),
    }
}

fn nested(shape: &[i64], values: &mut dyn Iterator<Item = String>) -> String {
    match shape.split_first() {
        None => values.next().unwrap_or_default(),
        Some((size, inner)) => {
            let parts: Vec<String> = (0..*size).map(|_| nested(inner, values)).collect();
            format!("[{}]", parts.join(","))
        }
    }
}
