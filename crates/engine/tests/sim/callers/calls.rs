//! One call each: noted when it begins and when it is answered, and given up when the caller's patience ends.

use std::sync::Mutex;
use std::time::Duration;

use cresset_engine::{Client, Engine, Event, LetterQuery, Place, PredictTerms, Predicted, Submission};
use cresset_queue::conformance::Dice;
use cresset_task::TaskId;
use tokio::time::sleep;

use super::{Asked, Caller, Wanted, input, submission, with};
use crate::history::{CallId, Order, What};
use crate::plan::millis;
use crate::pool;
use crate::world::World;

/// How long a caller waits for an answer before it hangs up.
#[derive(Clone, Copy, Debug)]
pub(super) enum Patience {
    Endless,
    Turns(usize),
    Time(Duration),
}

impl Patience {
    pub(super) fn draw(dice: &mut Dice) -> Self {
        match dice.below(100) {
            0..70 => Self::Endless,
            70..85 => Self::Turns(dice.below(12)),
            _ => Self::Time(millis(dice, 1, 3_000)),
        }
    }

    /// The answer, if it comes before the caller hangs up.
    async fn with<T>(self, call: impl Future<Output = T>) -> Option<T> {
        let gives_up = async {
            match self {
                Self::Endless => std::future::pending().await,
                Self::Turns(turns) => {
                    for _ in 0..turns {
                        tokio::task::yield_now().await;
                    }
                }
                Self::Time(time) => sleep(time).await,
            }
        };
        tokio::select! {
            biased;
            answer = call => Some(answer),
            () = gives_up => None,
        }
    }
}

/// A call under way: one that is dropped without an answer is noted as such.
struct Call<'w> {
    world: &'w World,
    id: CallId,
    answered: bool,
}

impl<'w> Call<'w> {
    fn begin(world: &'w World, what: impl FnOnce(CallId) -> What) -> Self {
        let id = world.next_call();
        world.note(what(id));
        Self {
            world,
            id,
            answered: false,
        }
    }

    fn answer(mut self, what: What) {
        self.answered = true;
        self.world.note(what);
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.world.note(What::Unanswered { call: self.id });
        }
    }
}

pub(super) async fn submit(
    caller: &Mutex<Caller>,
    world: &World,
    engine: &Engine,
    order: Order,
    wanted: Wanted,
    patience: Patience,
    client: Option<Client>,
) {
    let call = Call::begin(world, |call| What::Submitting {
        call,
        order: order.clone(),
    });
    let (id, serial) = (call.id, order.serial);
    let submission = Submission {
        client,
        ..wanted.submission.clone()
    };
    let is_done = match patience.with(engine.submit(submission)).await {
        Some(Ok(accepted)) => {
            call.answer(What::Accepted {
                call: id,
                serial,
                id: accepted.id,
                state: accepted.state,
                replayed: accepted.replayed,
            });
            world.know(accepted.id);
            true
        }
        Some(Err(error)) => {
            call.answer(What::Refused {
                call: id,
                serial,
                code: error.code(),
            });
            false
        }
        None => false,
    };
    if order.keyed && !is_done {
        with(caller, |caller| caller.again.push((order, wanted)));
    }
}

pub(super) async fn predict(
    world: &World,
    engine: &Engine,
    asked: Asked,
    patience: Patience,
    client: Option<Client>,
) {
    let Asked {
        model,
        kind,
        padding,
        limit,
        goes_on,
    } = asked;
    let may = kind.may_as_prediction();
    let longest = engine.declaration(model.as_str()).unwrap().limits.predict_timeout;
    let serial = world.new_input(kind);
    let order = goes_on.map(|(may, queue_max)| Order {
        serial,
        may,
        due_at: None,
        expires_at: None,
        deadline_at: None,
        keyed: false,
        queue_max,
    });
    let takes_a_task = order.is_some();
    let call = Call::begin(world, |call| What::Predicting {
        call,
        serial,
        may,
        limit: limit.map_or(longest, |limit| limit.min(longest)),
        goes_on: order,
    });
    let id = call.id;
    let input = input(serial, padding);
    let predicting = async {
        if takes_a_task {
            let submission = submission(model, input, serial);
            let submission = Submission { client, ..submission };
            return engine.predict_or_task(submission, limit).await;
        }
        let terms = PredictTerms {
            limit,
            client,
            ..PredictTerms::default()
        };
        engine.predict(&model, input, terms).await.map(Predicted::Ended)
    };
    let answer = match patience.with(predicting).await {
        None => return,
        Some(Ok(Predicted::Task(accepted))) => {
            call.answer(What::Accepted {
                call: id,
                serial,
                id: accepted.id,
                state: accepted.state,
                replayed: accepted.replayed,
            });
            return world.know(accepted.id);
        }
        Some(Ok(Predicted::Ended(prediction))) => Ok(pool::serial_of(&prediction.output)),
        Some(Err(error)) => Err(error.code()),
    };
    call.answer(What::Predicted {
        call: id,
        serial,
        answer,
    });
}

pub(super) async fn look(
    caller: &Mutex<Caller>,
    world: &World,
    engine: &Engine,
    wait: Option<Duration>,
    patience: Patience,
) {
    let Some(task) = with(caller, |caller| world.some_task(&mut caller.dice)) else {
        return;
    };
    let call = Call::begin(world, |call| What::Looking { call, id: task, wait });
    let id = call.id;
    let looking = async {
        match wait {
            Some(wait) => engine.wait(task, wait).await,
            None => engine.task(task).await,
        }
    };
    match patience.with(looking).await {
        Some(Ok(view)) => call.answer(What::Looked {
            call: id,
            record: Box::new(view.record),
        }),
        Some(Err(error)) => call.answer(What::NotShown {
            call: id,
            code: error.code(),
        }),
        None => {}
    }
}

/// Follows a task until its end, or until the caller has seen enough.
pub(super) async fn follow(caller: &Mutex<Caller>, world: &World, engine: &Engine, patience: Patience) {
    let Some(task) = with(caller, |caller| world.some_task(&mut caller.dice)) else {
        return;
    };
    let mut following = engine.follow(task, Place::default());
    let walk = async {
        let mut seen = None;
        loop {
            let call = Call::begin(world, |call| What::Following { call, id: task, seen });
            let id = call.id;
            match following.next().await {
                Ok(event) => {
                    let record = event.and_then(|event| match event {
                        Event::State(view) => Some(Box::new(view.record)),
                        // No model here says anything.
                        Event::Live(_) => None,
                    });
                    seen = record.as_ref().map(|record| record.revision());
                    call.answer(What::Followed { call: id, record });
                    if seen.is_none() {
                        return;
                    }
                }
                Err(error) => {
                    call.answer(What::NotShown {
                        call: id,
                        code: error.code(),
                    });
                    return;
                }
            }
        }
    };
    patience.with(walk).await;
}

pub(super) async fn cancel(caller: &Mutex<Caller>, world: &World, engine: &Engine, patience: Patience) {
    let Some(task) = with(caller, |caller| world.some_task(&mut caller.dice)) else {
        return;
    };
    let call = Call::begin(world, |call| What::Cancelling { call, id: task });
    let id = call.id;
    match patience.with(engine.cancel(task)).await {
        Some(Ok(cancelled)) => call.answer(What::Cancelled {
            call: id,
            id: task,
            stopped: cancelled.stopped,
            state: cancelled.state,
        }),
        Some(Err(error)) => call.answer(What::NotCancelled {
            call: id,
            code: error.code(),
        }),
        None => {}
    }
}

pub(super) async fn replay(world: &World, engine: &Engine, client: Option<Client>) {
    let query = LetterQuery {
        limit: 5,
        ..LetterQuery::default()
    };
    let Ok(page) = engine.dead_letters(query).await else {
        return;
    };
    let letters: Vec<TaskId> = page.letters.iter().map(|letter| letter.id).collect();
    let Some(letter) = letters.first() else {
        return;
    };
    world.note(What::Replaying { letter: *letter });
    if let Ok(replay) = engine.replay(*letter, client.as_ref()).await {
        world.know(replay.id);
    }
}
