//! Known idempotency keys: what a submit under one is answered.

use cresset_queue::kit::state_of;
use cresset_queue::{Idempotency, Submitted};
use cresset_task::{ModelName, Timestamp};

use super::id;
use crate::connect::Conn;
use crate::error::{StoreError, col};

const RECALL: &str = "\
SELECT q.ord, k.digest, t.id, t.state, t.created_at
FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS q (model, key, ord)
JOIN idempotency AS k ON k.model = q.model AND k.key = q.key JOIN tasks AS t ON t.seq = k.seq";

/// The answers in the order of the questions; `None` where the key is free.
pub(crate) async fn recall(
    conn: &Conn,
    questions: &[(&ModelName, &Idempotency)],
) -> Result<Vec<Option<Submitted>>, StoreError> {
    let models: Vec<&str> = questions.iter().map(|(model, _)| model.as_str()).collect();
    let keys: Vec<&str> = questions
        .iter()
        .map(|(_, idempotency)| idempotency.key.as_str())
        .collect();
    let mut answers = vec![None; questions.len()];
    for row in conn
        .rows("cannot look up idempotency keys", RECALL, &[&models, &keys])
        .await?
    {
        let place = usize::try_from(col::<i64>(&row, 0)? - 1).unwrap_or(usize::MAX);
        let (Some(answer), Some((_, asked))) = (answers.get_mut(place), questions.get(place)) else {
            continue;
        };
        *answer = Some(if col::<&[u8]>(&row, 1)? == asked.digest {
            Submitted::Replayed {
                id: id(&row, 2)?,
                state: state_of(i64::from(col::<i16>(&row, 3)?))?,
                created_at: Timestamp::from_micros(col(&row, 4)?),
            }
        } else {
            Submitted::KeyReused
        });
    }
    Ok(answers)
}
