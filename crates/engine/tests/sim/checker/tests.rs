use std::time::Duration;

use cresset_engine::{Residue, Stopped};
use cresset_task::{Attempt, Code, InstanceId, State, TaskId, TaskRecord, Timestamp};

use super::tale::{Tale, done, failed, order, result, revoked};
use crate::history::{May, Order, What};

#[test]
fn a_good_history_is_good() {
    let mut tale = Tale::new();
    let task = done(&mut tale);
    tale.looks(7, task.id, Some(Duration::from_secs(5)));
    tale.looked(7, &task);
    tale.predicts(2);
    tale.took(2, &[2]);
    tale.left(2);
    tale.predicted(2, Ok(2));
    assert_eq!(tale.offences(), Vec::<String>::new());
}

#[test]
fn what_is_accepted_is_stored_and_ends() {
    let mut tale = Tale::new();
    tale.tell(What::Submitting {
        call: 1,
        order: order(1),
    });
    tale.told_accepted(1, TaskId::fresh());
    tale.offends("accepted and not stored");
    tale.offends("is lost");
    let mut tale = Tale::new();
    tale.accepted(order(1));
    tale.offends("has not ended");
}

#[test]
fn nothing_is_stored_that_nobody_submitted_or_that_was_refused() {
    let mut other = Tale::new();
    let task = other.accepted(order(1));
    let mut tale = Tale::new();
    tale.changed(&task);
    tale.offends("nobody submitted it");
    let mut tale = Tale::new();
    let (call, serial, code) = (1, 1, Code::StoreUnavailable);
    tale.tell(What::Submitting {
        call,
        order: order(1),
    });
    tale.tell(What::Refused { call, serial, code });
    tale.changed(&task);
    tale.offends("was refused, and is stored");
}

#[test]
fn one_submit_is_one_task_with_what_was_asked_of_it() {
    let mut tale = Tale::new();
    tale.accepted(order(1));
    tale.accepted(order(1));
    tale.offends("made two tasks");
    let mut tale = Tale::new();
    let due = Order {
        due_at: Some(Timestamp::from_micros(5)),
        ..order(1)
    };
    tale.tell(What::Submitting { call: 1, order: due });
    let mut other = Tale::new();
    let task = other.accepted(order(1));
    tale.changed(&task);
    tale.offends("asked for");
}

#[test]
fn a_task_ends_once_and_its_attempts_only_grow() {
    let mut tale = Tale::new();
    let mut task = done(&mut tale);
    tale.ended(&mut task, result(1));
    tale.offends("was SUCCESS, and is SUCCESS");
    let mut tale = Tale::new();
    let mut task = tale.accepted(order(1));
    tale.started(&mut task);
    task.attempts = Attempt(0);
    tale.changed(&task);
    tale.offends("attempts");
}

#[test]
fn an_end_is_that_of_its_own_input() {
    for (outcome, what) in [
        (result(2), "result of another"),
        (failed(Code::ModelError), "should not fail"),
        (failed(Code::InstanceDied), "should not fail"),
        (revoked("it expired"), "no such time"),
        (revoked("its deadline passed"), "no such time"),
    ] {
        let mut tale = Tale::new();
        let mut task = tale.accepted(order(1));
        tale.started(&mut task);
        tale.ended(&mut task, outcome);
        tale.offends(what);
    }
    let mut tale = Tale::new();
    let poison = May {
        die: true,
        ..May::default()
    };
    let mut task = tale.accepted(Order {
        may: poison,
        ..order(1)
    });
    tale.started(&mut task);
    tale.ended(&mut task, result(1));
    tale.offends("cannot succeed");
}

#[test]
fn only_what_is_leased_runs_and_only_once_at_a_time() {
    let mut tale = Tale::new();
    tale.accepted(order(1));
    tale.took(1, &[1]);
    tale.offends("runs, and its task is [Pending]");
    let mut tale = Tale::new();
    done(&mut tale);
    tale.took(2, &[1]);
    tale.offends("runs, and its task is [Success]");
    let mut tale = Tale::new();
    let mut task = tale.accepted(order(1));
    tale.started(&mut task);
    tale.took(1, &[1]);
    tale.took(2, &[1]);
    tale.offends("in two batches at once");
    tale.left(3);
    tale.offends("was not given");
}

#[test]
fn what_was_cancelled_does_not_run() {
    for is_told in [false, true] {
        let mut tale = Tale::new();
        let mut task = tale.accepted(order(1));
        tale.started(&mut task);
        tale.ended(&mut task, revoked("it was cancelled"));
        if is_told {
            tale.cancelled(task.id, Stopped::During, State::Revoked);
        }
        tale.took(1, &[1]);
        tale.left(1);
        assert_eq!(
            tale.offences().is_empty(),
            !is_told,
            "who is not told may be late"
        );
    }
    let mut tale = Tale::new();
    let task = done(&mut tale);
    tale.cancelled(task.id, Stopped::Before, State::Revoked);
    tale.offends("is told REVOKED, and it is SUCCESS");
}

#[test]
fn nothing_starts_before_it_is_due_by_any_clock_that_was_shown() {
    for jump in [0, 60_000_000] {
        let mut tale = Tale::new();
        let due_at = Some(tale.wall().plus(Duration::from_secs(30)));
        let mut task = tale.accepted(Order { due_at, ..order(1) });
        tale.jumped = jump;
        tale.tell(What::Jumps(jump));
        tale.jumped = 0;
        tale.started(&mut task);
        tale.ended(&mut task, result(1));
        let offences = tale.offences();
        assert_eq!(offences.is_empty(), jump > 0, "{offences:?}");
    }
}

#[test]
fn nothing_starts_or_stays_after_it_has_expired() {
    let expiring = |tale: &Tale| Order {
        expires_at: Some(tale.wall().plus(Duration::from_secs(1))),
        ..order(1)
    };
    let mut tale = Tale::new();
    let mut task = tale.accepted(expiring(&tale));
    tale.pass(2);
    tale.tell(What::Mended);
    tale.pass(20);
    tale.started(&mut task);
    tale.offends("starts after it has expired");
    let mut tale = Tale::new();
    let mut task = tale.accepted(expiring(&tale));
    tale.ended(&mut task, revoked("it expired"));
    tale.offends("expires too soon");
    for trouble in [false, true] {
        let mut tale = Tale::new();
        let mut task = tale.accepted(expiring(&tale));
        tale.pass(2);
        tale.tell(What::Mended);
        tale.pass(20);
        if trouble {
            tale.tell(What::Fault("expire"));
        }
        tale.ended(&mut task, revoked("it expired"));
        let offences = tale.offences();
        assert_eq!(offences.is_empty(), trouble, "{offences:?}");
    }
}

#[test]
fn nothing_runs_past_its_deadline() {
    let mut tale = Tale::new();
    let deadline_at = Some(tale.wall().plus(Duration::from_secs(1)));
    let mut task = tale.accepted(Order {
        deadline_at,
        ..order(1)
    });
    tale.started(&mut task);
    tale.pass(2);
    tale.tell(What::Mended);
    tale.pass(20);
    tale.took(1, &[1]);
    tale.offends("run after its deadline");
    tale.ended(&mut task, revoked("its deadline passed"));
    tale.offends("stopped too late");
}

#[test]
fn what_is_shown_is_what_is_stored_and_never_less_than_before() {
    let mut tale = Tale::new();
    let task = done(&mut tale);
    tale.looks(7, task.id, None);
    let was = TaskRecord {
        state: State::Started,
        outcome: None,
        ..task.clone()
    };
    tale.looked(7, &was);
    tale.offends("had ended, and is shown as STARTED");
    let mut tale = Tale::new();
    let task = done(&mut tale);
    tale.looks(7, task.id, None);
    let other = TaskRecord {
        retries: 3,
        ..task.clone()
    };
    tale.looked(7, &other);
    tale.offends("and is shown as");
    let mut tale = Tale::new();
    let task = tale.accepted(order(1));
    tale.looks(7, task.id, None);
    tale.tell(What::NotShown {
        call: 7,
        code: Code::UnknownTask,
    });
    tale.offends("a read is answered unknown_task");
}

#[test]
fn a_wait_is_answered_at_the_end_of_its_task_or_of_its_time() {
    let wait = Some(Duration::from_secs(300));
    let mut tale = Tale::new();
    let mut task = tale.accepted(order(1));
    tale.looks(7, task.id, wait);
    tale.started(&mut task);
    tale.ended(&mut task, result(1));
    tale.pass(200);
    tale.looked(7, &task);
    tale.offends("a wait is answered");
    let mut tale = Tale::new();
    let task = tale.accepted(order(1));
    tale.looks(7, task.id, wait);
    tale.looked(7, &task);
    tale.offends("is answered PENDING after");
    let mut tale = Tale::new();
    let task = tale.accepted(order(1));
    tale.looks(7, task.id, wait);
    tale.pass(400);
    tale.looked(7, &task);
    tale.offends("a wait is answered");
}

#[test]
fn who_follows_is_shown_what_is_new_and_the_end_in_time() {
    let follow =
        |tale: &mut Tale, task: &TaskRecord, seen: Option<&TaskRecord>, late, shown: Option<&TaskRecord>| {
            let seen = seen.map(TaskRecord::revision);
            let (call, id) = (7, task.id);
            tale.tell(What::Following { call, id, seen });
            tale.pass(late);
            let record = shown.cloned().map(Box::new);
            tale.tell(What::Followed { call, record });
        };
    let mut tale = Tale::new();
    let task = done(&mut tale);
    follow(&mut tale, &task, None, 0, Some(&task));
    follow(&mut tale, &task, Some(&task), 0, None);
    assert_eq!(tale.offences(), Vec::<String>::new());
    follow(&mut tale, &task, None, 0, None);
    tale.offends("is not shown its end");
    follow(&mut tale, &task, Some(&task), 0, Some(&task));
    tale.offends("again what it has seen");
    follow(&mut tale, &task, None, 60, Some(&task));
    tale.offends("and not at");
    let (call, id, seen) = (8, task.id, None);
    tale.tell(What::Following { call, id, seen });
    tale.pass(60);
    tale.tell(What::Unanswered { call });
    tale.offends("is not shown its end in time");
}

#[test]
fn a_prediction_is_answered_once_in_time_with_its_own_result() {
    let mut tale = Tale::new();
    tale.predicts(1);
    assert_eq!(tale.offences(), Vec::<String>::new(), "the server has died");
    tale.tell(What::Stopped);
    tale.offends("never answered");
    tale.predicted(1, Ok(2));
    tale.offends("answered Ok(2)");
    tale.predicted(1, Ok(1));
    tale.offends("answered twice");
    tale.took(1, &[1]);
    tale.offends("nobody waits for it");
    for code in [
        Code::ModelError,
        Code::InstanceDied,
        Code::PredictTimeout,
        Code::Internal,
    ] {
        let mut tale = Tale::new();
        tale.predicts(1);
        tale.predicted(1, Err(code));
        tale.offends("is answered Err");
    }
    let mut tale = Tale::new();
    tale.predicts(1);
    tale.pass(2);
    tale.predicted(1, Ok(1));
    tale.offends("late");
}

#[test]
fn an_instance_is_told_what_nobody_wants() {
    for told in [false, true] {
        let mut tale = Tale::new();
        let mut task = tale.accepted(order(1));
        tale.started(&mut task);
        tale.predicts(2);
        tale.took(1, &[1, 2]);
        tale.ended(&mut task, revoked("it was cancelled"));
        tale.cancelled(task.id, Stopped::During, State::Revoked);
        tale.tell(What::Unanswered { call: 2 });
        if told {
            tale.told(1, 1);
            tale.told(1, 2);
        }
        tale.pass(1);
        tale.left(1);
        let offences = tale.offences();
        assert_eq!(offences.len(), if told { 0 } else { 2 }, "{offences:?}");
    }
}

#[test]
fn no_more_are_let_in_than_a_bound_allows() {
    let mut tale = Tale::new();
    for serial in 1..4 {
        tale.accepted(order(serial));
    }
    tale.offends("3 tasks are queued, and 2 may be");
}

#[test]
fn nothing_waits_beside_an_idle_instance() {
    let up = What::Up {
        model: 0,
        instance: InstanceId(0),
    };
    for (busy, trouble) in [(false, false), (true, false), (false, true)] {
        let mut tale = Tale::new();
        tale.tell(up.clone());
        let mut task = tale.accepted(order(1));
        if busy {
            tale.took(9, &[7]);
        }
        tale.pass(20);
        if trouble {
            tale.tell(What::Fault("lease"));
        }
        tale.started(&mut task);
        tale.ended(&mut task, result(1));
        let offences = tale.offences();
        assert_eq!(offences.is_empty(), busy || trouble, "{offences:?}");
    }
}

#[test]
fn at_rest_nothing_is_left() {
    let rest = |residue, leased, queued| What::Rest {
        residue,
        leased,
        queued,
        unwell: None,
    };
    let ill = What::Rest {
        residue: Residue::default(),
        leased: 0,
        queued: 0,
        unwell: Some("it stalls".into()),
    };
    let waiter = Residue {
        waiters: 1,
        ..Residue::default()
    };
    for (what, told) in [
        (rest(waiter, 0, 0), "at rest it holds"),
        (rest(Residue::default(), 1, 0), "1 tasks are leased"),
        (rest(Residue::default(), 0, 1), "1 are queued"),
        (ill, "it is not ready: it stalls"),
        (What::Stuck("it does not stop"), "does not stop"),
        (What::Spins("lease"), "again and again"),
    ] {
        let mut tale = Tale::new();
        tale.tell(what);
        tale.offends(told);
    }
}
