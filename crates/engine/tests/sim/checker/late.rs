//! Histories of predictions that become tasks: a good one, and what may go wrong with it.

use cresset_task::{Attempt, State, TaskId};

use super::tale::{Tale, order, result};

#[test]
fn a_prediction_becomes_a_task_at_its_limit_that_runs_on() {
    let begun = || {
        let mut tale = Tale::new();
        tale.predicts_or_goes_on(1);
        tale.took(1, &[1]);
        tale
    };
    let stored = |tale: &mut Tale| {
        let mut task = tale.record(&order(1));
        task.attempts = Attempt(1);
        task.state = State::Started;
        tale.changed(&task);
        task
    };
    let mut tale = begun();
    tale.pass(1);
    let mut task = stored(&mut tale);
    tale.told_accepted(1, task.id);
    tale.left(1);
    tale.ended(&mut task, result(1));
    assert_eq!(tale.offences(), Vec::<String>::new());

    let mut tale = begun();
    let task = stored(&mut tale);
    tale.told_accepted(1, task.id);
    tale.offends("not at its limit");

    let mut tale = begun();
    tale.pass(1);
    let task = stored(&mut tale);
    tale.told_accepted(1, task.id);
    tale.took(2, &[1]);
    tale.offends("in two batches at once");
    tale.predicted(1, Ok(1));
    tale.offends("answered twice");

    let mut tale = begun();
    tale.pass(1);
    tale.told_accepted(1, TaskId::fresh());
    tale.offends("accepted and not stored");

    let mut tale = begun();
    tale.predicted(1, Ok(1));
    stored(&mut tale);
    tale.offends("was refused, and is stored");

    let mut tale = begun();
    tale.pass(30);
    let task = stored(&mut tale);
    tale.told_accepted(1, task.id);
    tale.offends("late");
}
