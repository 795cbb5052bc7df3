//! The body that nearly everybody sends for a model of tensors, `{"input": X}` with or without options behind it, read once.
//!
//! The ordinary way (`envelope`) goes over all of the body to find where the input ends, and then the tensor scanner goes over
//! the input: for an image as JSON half of what the door does. Here the scanner goes first. Whatever is not as expected, wrong
//! or only unusual, is left to the ordinary way, which alone knows how to refuse.

use bytes::Bytes;
use cresset_config::{ModelConfig, ModelKind};
use cresset_task::{Payload, json};

use super::{Form, Order, envelope, options_of};

/// Options longer than this are left to the ordinary way: they are copied here.
const OPTIONS_MAX: usize = 4 << 10;

/// The order, if the body is such a one and nothing is wrong with it.
pub(super) fn read(body: &Bytes, config: &ModelConfig, form: Form) -> Option<Order> {
    if config.kind() != ModelKind::Tensor {
        return None;
    }
    let rest = after(body, b'{')?;
    let rest = spaceless(rest).strip_prefix(b"\"input\"")?;
    let rest = after(rest, b':')?;
    let (set, len) = json::parse_first_inputs(rest, &config.inputs).ok()?;
    let rest = spaceless(rest.get(len..)?);
    let (end, rest) = rest.split_first()?;
    let options = match end {
        b'}' => spaceless(rest).is_empty().then(Default::default)?,
        b',' if rest.len() <= OPTIONS_MAX && spaceless(rest).first() == Some(&b'"') => {
            let others = [b"{", rest].concat();
            let envelope = envelope::read(&others, form).ok()?;
            if envelope.input.is_some() || !envelope.errors.is_empty() {
                return None;
            }
            let mut errors = Vec::new();
            let options = options_of(envelope.options, config, &mut errors);
            errors.is_empty().then_some(options)?
        }
        _ => return None,
    };
    Some(Order {
        input: Payload::Tensors(set),
        options,
    })
}

/// What follows `byte`, which must be next.
fn after(json: &[u8], byte: u8) -> Option<&[u8]> {
    spaceless(json)
        .split_first()
        .filter(|(first, _)| **first == byte)
        .map(|(_, rest)| rest)
}

/// Without the white space in front, as JSON means it.
fn spaceless(json: &[u8]) -> &[u8] {
    let spaces = json
        .iter()
        .take_while(|b| matches!(b, b' ' | b'\t' | b'\n' | b'\r'))
        .count();
    json.get(spaces..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fixture;
    use crate::order::parse_in_turn;

    const GOOD: &str = r#"{"pixels": [[1, 2], [3, 4]], "scale": 0.5}"#;

    /// Pieces that bodies are made of, good ones and others.
    fn piece() -> impl Strategy<Value = &'static str> {
        prop_oneof![
            Just(GOOD),
            Just(r#"{"scale":1e0,"pixels":[[-1,2.5],[3,4E1]]}"#),
            Just(r#"{"pixels": [[1, 2], [3]], "scale": 0.5}"#),
            Just("[1]"),
            Just("{"),
            Just("}"),
            Just(","),
            Just(":"),
            Just("\"input\""),
            Just("\"input\":"),
            Just("\"timeout\":1"),
            Just("\"timeout\": \"2s\""),
            Just("\"timeout\":null"),
            Just("\"timeout\":0"),
            Just("\"priority\":1"),
            Just("\"\\u0069nput\":1"),
            Just(" "),
            Just("\n\t\r"),
            Just("\u{a0}"),
            Just("\u{0}"),
            Just("null"),
        ]
    }

    /// A body in order but for the pieces put in between.
    fn body() -> impl Strategy<Value = String> {
        let between = || proptest::collection::vec(piece(), 0..2).prop_map(|pieces| pieces.concat());
        (between(), between(), between(), between(), 0..4).prop_map(|(a, b, c, d, how)| match how {
            0 => format!("{{{a}\"input\":{b}{GOOD}{c}}}{d}"),
            1 => format!("{{\"input\":{GOOD},{a}{b}}}"),
            2 => format!("{a}{b}{c}{d}"),
            _ => format!("{{\"input\": {GOOD} {a},{b}\"timeout\":1{c}}}{d}"),
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]
        /// What is read at once is what the ordinary way reads; it takes nothing that the ordinary way refuses.
        #[test]
        fn both_ways_say_the_same(body in body()) {
            let (body, config) = (Bytes::from(body), fixture::tensors("m"));
            for form in [Form::Predict, Form::Submit] {
                if let Some(order) = read(&body, &config, form) {
                    prop_assert_eq!(&order, &parse_in_turn(&body, &config, form).unwrap());
                }
            }
        }
    }

    #[test]
    fn ordinary_bodies_are_read_at_once() {
        for (body, form) in [
            (format!("{{\"input\":{GOOD}}}"), Form::Submit),
            (format!(" {{ \"input\" : {GOOD} }} \n"), Form::Predict),
            (
                format!("{{\"input\": {GOOD}, \"timeout\": \"2s\"}}"),
                Form::Predict,
            ),
            (
                format!("{{\"input\": {GOOD}, \"priority\": 3, \"metadata\": {{\"a\": [1]}}}}"),
                Form::Submit,
            ),
        ] {
            assert!(
                read(&Bytes::from(body.clone()), &fixture::tensors("m"), form).is_some(),
                "{body}"
            );
        }
    }

    #[test]
    fn what_must_be_refused_is_left_to_the_ordinary_way() {
        for rest in [
            "",
            ",",
            ",}",
            ", }",
            "}}",
            "} 1",
            ",\"input\":1}",
            ",\"timeout\":0}",
            ",\"timeout\":1,\"timeout\":1}",
            ",\"wrong\":1}",
            ",\"timeout\":1",
        ] {
            let body = Bytes::from(format!("{{\"input\":{GOOD}{rest}"));
            let config = fixture::tensors("m");
            assert_eq!(read(&body, &config, Form::Predict), None, "{rest}");
            assert!(parse_in_turn(&body, &config, Form::Predict).is_err(), "{rest}");
        }
    }
}
