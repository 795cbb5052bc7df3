//! What the other servers did, on its way into the counts and to whoever asks for news.

use cresset_queue::News;
use cresset_queue::kit::remote::{Writer, answered};
use cresset_queue::kit::{Change, Word};

use super::Postgres;
use crate::error::StoreError;
use crate::group::{count, look_up};
use crate::listen::Heard;
use crate::op::Op;

pub(super) async fn take_in(writer: &mut Writer<Postgres>, all: Vec<Heard>) {
    let (mut change, mut news, mut ended) = (Change::default(), Vec::new(), Vec::new());
    let (mut is_anew, mut is_told) = (false, false);
    for heard in all {
        match heard {
            Heard::Missed => is_anew = true,
            Heard::Silent(ids) => ended.extend(ids),
            Heard::Note(note) if note.server == writer.database.member.id => {}
            Heard::Note(note) => {
                is_anew |= note.is_anew;
                let is_counted = writer
                    .database
                    .counted
                    .get(&note.server)
                    .is_some_and(|last| note.commit <= *last);
                for word in note.words {
                    if let Word::Model {
                        model, tasks: 1.., ..
                    } = &word
                    {
                        news.push(News::Work(model.clone()));
                    }
                    if !is_counted {
                        change.say(&word);
                        is_told = true;
                    }
                }
                news.extend(note.moved.into_iter().map(|moved| News::Moved {
                    id: moved.id,
                    model: moved.model,
                    state: moved.state,
                    was_leased: moved.was_leased,
                }));
                if note.is_said {
                    news.push(News::Members);
                }
                if note.is_gone {
                    news.push(News::LookAgain);
                }
            }
        }
    }
    let counted = if is_anew {
        news = vec![News::LookAgain];
        count_anew(writer).await
    } else if is_told {
        count_in(writer, change).await
    } else {
        Ok(())
    };
    if let Err(error) = counted {
        // Everything is counted anew with the next one.
        writer.lose(error);
        news = vec![News::LookAgain];
    }
    writer.database.board.pin(news);
    ended.retain(|id| *id != writer.database.member.id);
    ended.sort_unstable();
    ended.dedup();
    if !ended.is_empty() {
        let requeued = 0;
        writer.carry_out(vec![Op::Reap { ids: ended, requeued }]).await;
        // What they looked after is ours to look after, like everybody's.
        writer.database.board.pin(vec![News::LookAgain]);
    }
}

async fn count_anew(writer: &mut Writer<Postgres>) -> Result<(), StoreError> {
    let Some(conn) = writer.conn().cloned() else {
        return Ok(()); // a new one begins with that
    };
    let (counted, commits) = answered(count(&conn)).await?;
    writer.depths().recount(counted);
    writer.database.counted = commits;
    Ok(())
}

async fn count_in(writer: &mut Writer<Postgres>, mut change: Change) -> Result<(), StoreError> {
    let Some(conn) = writer.conn().cloned() else {
        return Ok(());
    };
    answered(look_up(&conn, &mut change)).await?;
    writer.depths().apply(change);
    Ok(())
}
