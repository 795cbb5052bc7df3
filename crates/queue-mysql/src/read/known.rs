//! Known idempotency keys: what a submit under one is answered.

use std::collections::HashMap;

use cresset_queue::kit::state_of;
use cresset_queue::{Idempotency, Submitted};
use cresset_task::{ModelName, Timestamp};

use crate::connect::{Answer, Conn};
use crate::error::{StoreError, col, id};
use crate::sql::sql;

/// So many keys are asked for in one statement.
const KEYS_MAX: usize = 128;

const RECALL: &str = "\
SELECT k.model, k.word, k.digest, t.id, t.state, t.created_at FROM idempotency AS k JOIN tasks AS t ON t.id = k.task WHERE ";

/// The answers in the order of the questions; `None` where the key is free.
pub(crate) async fn recall(
    conn: &Conn,
    questions: &[(&ModelName, &Idempotency)],
) -> Result<Vec<Option<Submitted>>, StoreError> {
    let found = conn
        .all("cannot look up idempotency keys", &recalling(questions))
        .await?;
    recalled(found, questions)
}

/// The statements that ask.
pub(crate) fn recalling(questions: &[(&ModelName, &Idempotency)]) -> Vec<String> {
    let statement = |some: &[(&ModelName, &Idempotency)]| {
        let one = |(model, idempotency): &(&ModelName, &Idempotency)| {
            sql!(
                "(k.model = ? AND k.word = ?)",
                model.as_str(),
                idempotency.key.as_str()
            )
        };
        let each: Vec<String> = some.iter().map(one).collect();
        format!("{RECALL}{}", each.join(" OR "))
    };
    questions.chunks(KEYS_MAX).map(statement).collect()
}

/// What they gave.
pub(crate) fn recalled(
    found: Vec<Answer>,
    questions: &[(&ModelName, &Idempotency)],
) -> Result<Vec<Option<Submitted>>, StoreError> {
    let mut known = HashMap::new();
    for row in found.iter().flat_map(|answer| &answer.rows) {
        let (model, word, digest): (String, String, Vec<u8>) = (col(row, 0)?, col(row, 1)?, col(row, 2)?);
        let replayed = Submitted::Replayed {
            id: id(row, 3)?,
            state: state_of(col(row, 4)?)?,
            created_at: Timestamp::from_micros(col(row, 5)?),
        };
        known.insert((model, word), (digest, replayed));
    }
    let answer = |(model, idempotency): &(&ModelName, &Idempotency)| {
        let key = (model.as_str().to_owned(), idempotency.key.as_str().to_owned());
        let (digest, replayed) = known.get(&key)?;
        Some(if digest[..] == idempotency.digest[..] {
            *replayed
        } else {
            Submitted::KeyReused
        })
    };
    Ok(questions.iter().map(answer).collect())
}
