//! What the other servers did, on its way into the counts and to whoever asks for news.

use cresset_queue::News;
use cresset_queue::kit::{Change, Word};

use super::State;
use crate::error::StoreError;
use crate::group::{answered, count, look_up};
use crate::listen::Heard;
use crate::op::Op;

impl State {
    pub(super) async fn hear(&mut self, all: Vec<Heard>) {
        let (mut change, mut news, mut ended) = (Change::default(), Vec::new(), Vec::new());
        let (mut is_anew, mut is_told) = (false, false);
        for heard in all {
            match heard {
                Heard::Missed => is_anew = true,
                Heard::Silent(ids) => ended.extend(ids),
                Heard::Note(note) if note.server == self.writer.member.id => {}
                Heard::Note(note) => {
                    is_anew |= note.is_anew;
                    let is_counted = self
                        .writer
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
            self.count_anew().await
        } else if is_told {
            self.take_in(change).await
        } else {
            Ok(())
        };
        if let Err(error) = counted {
            // Everything is counted anew with the next one.
            self.lose(error);
            news = vec![News::LookAgain];
        }
        self.writer.board.pin(news);
        ended.retain(|id| *id != self.writer.member.id);
        ended.sort_unstable();
        ended.dedup();
        if !ended.is_empty() {
            self.group(
                vec![Op::Reap {
                    ids: ended,
                    requeued: 0,
                }],
                0,
            )
            .await;
            // What they looked after is ours to look after, like everybody's.
            self.writer.board.pin(vec![News::LookAgain]);
        }
    }

    async fn count_anew(&mut self) -> Result<(), StoreError> {
        let Some(conn) = self.writer.conn.clone() else {
            return Ok(()); // a new one begins with that
        };
        let (counted, commits) = answered(count(&conn)).await?;
        self.writer.depths.recount(counted);
        self.writer.counted = commits;
        Ok(())
    }

    async fn take_in(&mut self, mut change: Change) -> Result<(), StoreError> {
        let Some(conn) = self.writer.conn.clone() else {
            return Ok(());
        };
        answered(look_up(&conn, &mut change)).await?;
        self.writer.depths.apply(change);
        Ok(())
    }
}
