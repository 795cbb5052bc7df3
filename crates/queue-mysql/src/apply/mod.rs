//! A group of operations as SQL, inside a transaction that somebody else begins and ends.
//!
//! All operations of a group wait for their answers, so none of them has a claim to go before another: those of a kind
//! that come often go together, in a statement for all of them. An error returned from here means that the transaction can
//! no longer be trusted and must be rolled back. A refusal (a taken id, a stale attempt) is an answer, not an error.

mod bulk;
mod cancel;
mod ends;
mod gone;
mod inbox;
mod lease;
mod letters;
mod outbox;
mod purge;
mod submit;
mod tell;
mod undo;

pub(crate) use self::gone::end_leases;
pub(crate) use self::undo::undo;

use std::ops::Range;

use cresset_queue::Release;
use cresset_queue::kit::Ttl;
use cresset_queue::kit::fleet::Tally;

use crate::error::StoreError;
use crate::member;
use crate::op::Op;
use crate::tx::Tx;

/// Applies them, puts their answers into their slots, and notes what they come to.
pub(crate) async fn apply(
    tx: &mut Tx<'_>,
    ops: &mut [Op],
    ttl: Ttl,
    tally: &mut Tally,
) -> Result<(), StoreError> {
    releases(tx, ops, tally).await?;
    submits(tx, ops, tally).await?;
    finishes(tx, ops, tally).await?;
    retries(tx, ops, tally).await?;
    for op in ops {
        one(tx, op, ttl, tally).await?;
    }
    Ok(())
}

async fn releases(tx: &mut Tx<'_>, ops: &mut [Op], tally: &mut Tally) -> Result<(), StoreError> {
    let mut all: Vec<Release> = Vec::new();
    for op in ops {
        match op {
            Op::GiveBack { leases } => all.extend(leases.iter()),
            Op::Release { leases, slot } => {
                all.extend(leases.iter());
                slot.set(Ok(()));
            }
            _ => {}
        }
    }
    ends::release(tx, &all, tally).await
}

async fn submits(tx: &mut Tx<'_>, ops: &mut [Op], tally: &mut Tally) -> Result<(), StoreError> {
    let tasks = ops.iter().filter_map(|op| match op {
        Op::Submit { task, .. } => Some(&**task),
        _ => None,
    });
    let tasks: Vec<_> = tasks.collect();
    let mut answers = submit::submit(tx, &tasks, tally).await?.into_iter();
    for op in ops {
        if let Op::Submit { task, slot } = op {
            let answer = answers.next().flatten();
            slot.set(answer.ok_or_else(|| submit::taken(task.id)));
        }
    }
    Ok(())
}

async fn finishes(tx: &mut Tx<'_>, ops: &mut [Op], tally: &mut Tally) -> Result<(), StoreError> {
    let mut all = Vec::new();
    let mut parts: Vec<Range<usize>> = Vec::new();
    for op in ops.iter() {
        if let Op::Finish { endings, .. } = op {
            let from = all.len();
            all.extend(endings.iter());
            parts.push(from..all.len());
        }
    }
    let answers = ends::finish(tx, &all, tally).await?;
    let mut parts = parts.into_iter();
    for op in ops {
        if let Op::Finish { slot, .. } = op {
            let part = parts
                .next()
                .and_then(|part| answers.get(part))
                .unwrap_or_default();
            slot.set(Ok(part.to_vec()));
        }
    }
    Ok(())
}

async fn retries(tx: &mut Tx<'_>, ops: &mut [Op], tally: &mut Tally) -> Result<(), StoreError> {
    for op in ops {
        if let Op::Retry { retries, slot } = op {
            slot.set(Ok(ends::retry(tx, retries, tally).await?));
        }
    }
    Ok(())
}

async fn one(tx: &mut Tx<'_>, op: &mut Op, ttl: Ttl, tally: &mut Tally) -> Result<(), StoreError> {
    match op {
        // Above, all together.
        Op::Submit { .. }
        | Op::Release { .. }
        | Op::GiveBack { .. }
        | Op::Finish { .. }
        | Op::Retry { .. } => {}
        Op::Lease { request, slot } => slot.set(Ok(lease::lease(tx, request, tally).await?)),
        Op::Cancel {
            id,
            reason,
            now,
            slot,
        } => {
            slot.set(Ok(cancel::cancel(tx, *id, reason, *now, tally).await?));
        }
        Op::Expire { now, slot } => slot.set(Ok(cancel::expire(tx, *now, tally).await?)),
        Op::Purge { now, slot } => slot.set(Ok(purge::purge(tx, *now, ttl).await?)),
        Op::Replay { letter, task, slot } => slot.set(letters::replay(tx, *letter, task, tally).await?),
        Op::Discard { doom, slot } => slot.set(Ok(letters::discard(tx, doom).await?)),
        Op::OutboxLease { request, slot } => slot.set(Ok(outbox::lease(tx, request, tally).await?)),
        Op::OutboxSettle { tried, slot } => slot.set(Ok(outbox::settle(tx, tried, tally).await?)),
        Op::Redeliver { id, now, slot } => slot.set(Ok(outbox::redeliver(tx, *id, *now, tally).await?)),
        Op::BulkMake { new, slot } => slot.set(Ok(bulk::make(tx, new).await?)),
        Op::BulkAdd {
            id,
            first,
            lines,
            now,
            slot,
        } => slot.set(Ok(bulk::add(tx, (*id, *first), lines, *now, tally).await?)),
        Op::BulkSeal { id, total, slot } => slot.set(Ok(bulk::seal(tx, *id, *total).await?)),
        Op::BulkCancel { id, now, slot } => slot.set(Ok(bulk::cancel(tx, *id, *now).await?)),
        Op::InboxTake { entries, now, slot } => {
            slot.set(Ok(inbox::take(tx, entries, *now, tally).await?));
        }
        Op::Reap { ids, requeued } => *requeued = gone::reap(tx, ids, tally).await?,
        Op::Leave => gone::leave(tx, tally).await?,
        // The group itself writes a row.
        Op::Beat => {}
        Op::Introduce { about, is_news, slot } => {
            tally.is_said |= member::introduce(tx, tally.me, about).await? && *is_news;
            slot.set(Ok(()));
        }
        Op::Probe { slot } => slot.set(Ok(())),
    }
    Ok(())
}
