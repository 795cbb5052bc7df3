//! Several results in one message, for a server of ours: a broker's work is by the message. Each is as it would be stored, whose it is
//! among it, behind its length in four bytes, the most significant one first.

use crate::message::{Message, Properties};
use crate::told::{Told, read_published, read_sent};

/// The content type.
const JOINED: &str = "application/x-cresset-results";
/// Bytes of a length.
const LENGTH: usize = 4;

/// What results take once they are joined.
#[must_use]
pub fn joined_len<'a>(bodies: impl IntoIterator<Item = &'a [u8]>) -> usize {
    bodies.into_iter().map(|body| LENGTH + body.len()).sum()
}

/// Joins the bodies of results that were to be messages of their own. All are what the properties, those of one of them, say: kept or not,
/// as urgent as it is.
///
/// Each has to be less than 4 GiB; a larger one would be cut, and is not taken by any broker anyway.
#[must_use]
pub fn join(properties: Properties, results: &[&[u8]]) -> Message {
    let mut body = Vec::with_capacity(joined_len(results.iter().copied()));
    for one in results {
        let length = u32::try_from(one.len()).unwrap_or(u32::MAX);
        body.extend_from_slice(&length.to_be_bytes());
        body.extend(one.iter().take(length as usize));
    }
    Message {
        properties: Properties {
            correlation_id: None,
            ..properties
        },
        content_type: JOINED.into(),
        content_encoding: "binary".into(),
        body,
        ..Message::default()
    }
}

/// What a message says of tasks, and whose each is. Of joined results that end too early those before the end are there.
#[must_use]
pub fn read_answers(message: &Message) -> Vec<(Option<String>, Told)> {
    if message.content_type != JOINED {
        return vec![read_sent(message)];
    }
    let (mut told, mut rest) = (Vec::new(), message.body.as_slice());
    while let Some((length, behind)) = rest.split_first_chunk::<LENGTH>() {
        let length = u32::from_be_bytes(*length) as usize;
        let (one, after) = behind.split_at(length.min(behind.len()));
        told.push(read_published(one));
        rest = after;
    }
    told
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn result(id: &str, value: &str) -> Message {
        let body = format!(r#"{{"task_id": "{id}", "status": "SUCCESS", "result": {value}}}"#);
        let properties = Properties {
            correlation_id: Some(id.into()),
            delivery_mode: Some(2),
            ..Properties::default()
        };
        Message::json(Default::default(), properties, body.into_bytes())
    }

    #[test]
    fn one_that_is_alone_is_read_as_ever() {
        let told = read_answers(&result("a", "[1.50]"));
        assert_eq!(told, [(Some("a".into()), Told::Success("[1.50]".into()))]);
    }

    #[test]
    fn what_ends_too_early_tells_what_is_there_and_of_the_rest_that_it_cannot_be_read() {
        let (one, other) = (result("a", "1"), result("b", "2"));
        let whole = join(one.properties.clone(), &[&one.body, &other.body]);
        assert_eq!(whole.properties.delivery_mode, Some(2));
        for cut in 0..whole.body.len() {
            let mut message = whole.clone();
            message.body.truncate(cut);
            let told = read_answers(&message);
            let ends = |at: usize| told.get(at).map(|(id, told)| (id.as_deref(), told.is_end()));
            let first = LENGTH + result("a", "1").body.len();
            if cut >= first {
                assert_eq!(ends(0), Some((Some("a"), true)), "{cut}");
            }
            assert!(
                told.iter()
                    .skip(usize::from(cut >= first))
                    .all(|(id, _)| id.is_none()),
                "{cut}"
            );
        }
    }

    proptest! {
        #[test]
        fn each_comes_back_in_its_order(ids in prop::collection::vec("[a-z]{1,9}", 1..40)) {
            let results: Vec<_> = ids.iter().enumerate().map(|(at, id)| result(id, &at.to_string())).collect();
            let bodies: Vec<_> = results.iter().map(|one| one.body.as_slice()).collect();
            let message = join(Properties::default(), &bodies);
            prop_assert_eq!(message.body.len(), joined_len(bodies));
            let alone: Vec<_> = results.iter().map(read_sent).collect();
            prop_assert_eq!(read_answers(&message), alone);
        }

        #[test]
        fn garbage_is_read_without_harm(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let message = Message { content_type: JOINED.into(), body, ..Message::default() };
            prop_assert!(read_answers(&message).len() <= message.body.len());
        }
    }
}
