//! By turn, then first accepted first; and what `position` says of it.

use cresset_task::TaskId;

use std::time::Duration;

use super::world::{ALL, STEP, World, at, ids, prioritised, task};
use crate::POSITION_MAX;

pub(super) async fn first_accepted_is_first_leased(world: World) {
    let submitted = world.submit_many("digits", 20).await;
    let mut leased = ids(&world.lease("digits", 7).await);
    leased.extend(ids(&world.lease("digits", ALL).await));
    assert_eq!(leased, submitted);
}

/// Submits with these priorities and gives the ids in the order in which they should be leased.
async fn submit_by_priority(world: &World, priorities: &[i8]) -> Vec<TaskId> {
    let mut wanted = Vec::new();
    for priority in priorities {
        let id = world.submit(prioritised("digits", *priority, STEP, at(0))).await;
        wanted.push((-i32::from(*priority), id));
    }
    // Stable: the order of acceptance stays within a priority.
    wanted.sort_by_key(|(rank, _)| *rank);
    wanted.into_iter().map(|(_, id)| id).collect()
}

fn has_priorities(world: &World) -> bool {
    let capabilities = world.store.capabilities();
    if !capabilities.priorities {
        eprintln!("skipped: {} does not declare `priorities`", capabilities.name);
    }
    capabilities.priorities
}

pub(super) async fn higher_priority_goes_first(world: World) {
    if has_priorities(&world) {
        let wanted = submit_by_priority(&world, &[0, 5, -100, 100, 5, 0, -1, 100, 1]).await;
        assert_eq!(ids(&world.lease("digits", ALL).await), wanted);
    }
}

pub(super) async fn a_task_that_has_waited_long_enough_goes_before_a_higher_priority(world: World) {
    if !has_priorities(&world) {
        return;
    }
    // A point is worth a microsecond here: the old one overtakes what came ten later with nine points more, not eleven.
    let step = Duration::from_micros(1);
    let old = world.submit(prioritised("digits", 0, step, at(0))).await;
    let overtaken = world.submit(prioritised("digits", 9, step, at(10))).await;
    let overtaking = world.submit(prioritised("digits", 11, step, at(10))).await;
    let low = world.submit(prioritised("digits", -100, step, at(0))).await;
    let late = world.submit(prioritised("digits", 0, step, at(101))).await;
    let wanted = [overtaking, old, overtaken, low, late];
    for (ahead, id) in wanted.iter().enumerate() {
        assert_eq!(world.store.position(*id).await.unwrap(), Some(ahead as u64));
    }
    assert_eq!(ids(&world.lease("digits", ALL).await), wanted);
}

pub(super) async fn strict_priorities_are_not_overtaken_by_age(world: World) {
    if !has_priorities(&world) {
        return;
    }
    // A point is worth a year: what waits for a week is not served before.
    let (year, week) = (Duration::from_secs(365 * 86_400), 7 * 86_400 * 1_000_000);
    let low = world.submit(prioritised("digits", -100, year, at(0))).await;
    let high = world.submit(prioritised("digits", 100, year, at(week))).await;
    let middle = world.submit(prioritised("digits", 0, year, at(week))).await;
    assert_eq!(world.store.position(low).await.unwrap(), Some(2));
    assert_eq!(ids(&world.lease("digits", ALL).await), [high, middle, low]);
}

pub(super) async fn a_lease_tells_the_turn(world: World) {
    let tasks = [3, 0, -3].map(|priority| prioritised("digits", priority, STEP, at(0)));
    for task in &tasks {
        world.submit(task.clone()).await;
    }
    for lease in world.lease("digits", ALL).await {
        let task = tasks.iter().find(|task| task.id == lease.id).unwrap();
        assert_eq!((lease.turn, lease.priority), (task.turn, task.priority));
    }
}

pub(super) async fn each_model_has_its_own_queue(world: World) {
    let (mut digits, mut embed) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        digits.extend(world.submit_many("digits", 1).await);
        embed.extend(world.submit_many("embed", 2).await);
    }
    assert_eq!(ids(&world.lease("digits", ALL).await), digits);
    assert_eq!(ids(&world.lease("embed", ALL).await), embed);
    assert!(world.lease("other", ALL).await.is_empty());
}

pub(super) async fn order_survives_a_crash(world: World) {
    let priorities: &[i8] = if has_priorities(&world) {
        &[0, 3, 0, -3, 3]
    } else {
        &[0; 5]
    };
    let wanted = submit_by_priority(&world, priorities).await;
    // A lease that the crash ends must not lose its task's place.
    assert_eq!(ids(&world.lease("digits", 2).await), wanted[..2]);
    let world = world.crash().await;
    let later = world.submit(task("digits")).await;
    let leased = ids(&world.lease("digits", ALL).await);
    let old: Vec<_> = leased.iter().copied().filter(|id| *id != later).collect();
    assert_eq!(old, wanted);
    assert_eq!(leased.len(), wanted.len() + 1);
}

pub(super) async fn position_counts_those_that_go_before(world: World) {
    let priorities: &[i8] = if has_priorities(&world) {
        &[0, 5, -100, 100, 5, 0]
    } else {
        &[0; 6]
    };
    world.submit_many("embed", 3).await;
    let wanted = submit_by_priority(&world, priorities).await;
    for (ahead, id) in wanted.iter().enumerate() {
        assert_eq!(world.store.position(*id).await.unwrap(), Some(ahead as u64));
    }
    world.lease("digits", 2).await;
    assert_eq!(world.store.position(wanted[2]).await.unwrap(), Some(0));
    assert_eq!(world.store.position(wanted[5]).await.unwrap(), Some(3));
}

pub(super) async fn position_is_for_queued_tasks_only(world: World) {
    let queued = world.submit_many("digits", 2).await;
    let lease = world.lease_one("digits").await;
    assert_eq!(world.store.position(queued[0]).await.unwrap(), None);
    world.release(&[lease]).await;
    assert_eq!(world.store.position(queued[0]).await.unwrap(), Some(0));
    assert_eq!(world.store.position(queued[1]).await.unwrap(), Some(1));
}

pub(super) async fn position_is_counted_only_so_far(world: World) {
    // Half of them ahead by rank, half by age, so that neither alone reaches the limit.
    let high: i8 = if has_priorities(&world) { 1 } else { 0 };
    let mut submits = tokio::task::JoinSet::new();
    for number in 0..POSITION_MAX + 20 {
        let store = world.store.clone();
        let priority = if number % 2 == 0 { high } else { 0 };
        submits.spawn(async move {
            let task = prioritised("digits", priority, STEP, at(0));
            store.submit(task).await.unwrap()
        });
    }
    submits.join_all().await;
    let last = world.submit(task("digits")).await;
    assert_eq!(world.store.position(last).await.unwrap(), Some(POSITION_MAX));
}
