//! Those who use the server: they submit, again under the same key when they were not answered, predict, read, wait, cancel,
//! and hang up in the middle of any of it. What each still means to do outlives the servers.

mod calls;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cresset_engine::{Client, Engine, EngineError, Submission};
use cresset_queue::conformance::Dice;
use cresset_task::{CacheUse, ClientKey, Code, ModelName, Payload, Timestamp};
use tokio::time::sleep;

use self::calls::{Patience, cancel, follow, look, predict, replay, submit};
use crate::history::{May, Order};
use crate::plan::{Kind, millis};
use crate::world::World;

/// A caller over the whole run.
#[derive(Debug)]
pub(crate) struct Caller {
    number: usize,
    dice: Dice,
    left: usize,
    /// Submits under a key that were not answered, or that are sent once more for no reason.
    again: Vec<(Order, Wanted)>,
}

/// What is submitted.
#[derive(Clone, Debug)]
struct Wanted {
    submission: Submission,
}

/// A prediction.
#[derive(Debug)]
struct Asked {
    model: ModelName,
    kind: Kind,
    padding: usize,
    limit: Option<Duration>,
    /// It becomes a task at its limit; what may become of that, and how many may be queued.
    goes_on: Option<(May, u64)>,
}

/// What a caller does next, with all that is drawn for it.
#[derive(Debug)]
enum Act {
    Submit(Vec<(Order, Wanted)>, Patience),
    Predict(Asked, Patience),
    Look(Option<Duration>, Patience),
    Follow(Patience),
    Cancel(Patience),
    Replay,
}

impl Caller {
    pub(crate) fn all(world: &World) -> Vec<Arc<Mutex<Self>>> {
        let caller = |number| Self {
            number,
            dice: Dice::new(world.plan.seed ^ ((number as u64 + 1) << 32)),
            left: world.plan.acts,
            again: Vec::new(),
        };
        let all = (0..world.plan.clients).map(caller);
        all.map(|caller| Arc::new(Mutex::new(caller))).collect()
    }

    /// How long it thinks, and what it does then; `None` when it is done.
    fn next(&mut self, world: &World) -> Option<(Duration, Act)> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let think = match self.dice.below(10) {
            0..4 => Duration::ZERO,
            4..8 => millis(&mut self.dice, 1, 300),
            _ => millis(&mut self.dice, 300, 3_000),
        };
        let patience = Patience::draw(&mut self.dice);
        let act = match self.dice.below(100) {
            _ if !self.again.is_empty() && self.dice.chance(60) => {
                Act::Submit(vec![self.again.remove(0)], patience)
            }
            0..48 => Act::Submit(self.orders(world), patience),
            48..62 => {
                let ((model, at), kind) = (self.some_model(world), Kind::draw(&mut self.dice));
                let config = &world.plan.models[at].config;
                let asked = Asked {
                    model,
                    limit: self.dice.chance(50).then(|| millis(&mut self.dice, 10, 5_000)),
                    padding: self.dice.below(20),
                    goes_on: (self.dice.chance(60))
                        .then(|| (kind.may(&config.retry), config.limits.max_queue)),
                    kind,
                };
                Act::Predict(asked, patience)
            }
            62..69 => Act::Look(None, patience),
            69..72 => Act::Follow(Patience::Time(millis(&mut self.dice, 1, 20_000))),
            72..85 => Act::Look(Some(millis(&mut self.dice, 0, 30_000)), patience),
            85..97 => Act::Cancel(patience),
            _ => Act::Replay,
        };
        Some((think, act))
    }

    fn some_model(&mut self, world: &World) -> (ModelName, usize) {
        let at = self.dice.below(world.plan.models.len());
        (world.plan.models[at].config.name.clone(), at)
    }

    /// One or several submits at once.
    fn orders(&mut self, world: &World) -> Vec<(Order, Wanted)> {
        let count = if self.dice.chance(30) {
            1 + self.dice.below(6)
        } else {
            1
        };
        let mut orders = Vec::new();
        for _ in 0..count {
            let order = self.order(world);
            if order.0.keyed && self.dice.chance(15) {
                orders.push(order.clone());
            }
            if order.0.keyed && self.dice.chance(15) {
                self.again.push(order.clone());
            }
            orders.push(order);
        }
        orders
    }

    fn order(&mut self, world: &World) -> (Order, Wanted) {
        let (model, at) = self.some_model(world);
        let kind = Kind::draw(&mut self.dice);
        let policy = &world.plan.models[at].config.retry;
        let may = kind.may(policy);
        let serial = world.new_input(kind);
        let now = Timestamp::now();
        let mut some_time = |percent, longest| {
            let dice = &mut self.dice;
            dice.chance(percent).then(|| now.plus(millis(dice, 0, longest)))
        };
        let (due_at, expires_at, deadline_at) =
            (some_time(20, 9_000), some_time(20, 12_000), some_time(15, 12_000));
        let keyed = self.dice.chance(45);
        let input = input(serial, self.dice.below(20));
        let submission = Submission {
            priority: self.dice.below(7) as i8 - 3,
            due_at,
            expires_at,
            deadline_at,
            idempotency_key: keyed.then(|| format!("key-{serial}").parse().unwrap()),
            ..submission(model, input, serial)
        };
        let order = Order {
            serial,
            may,
            due_at,
            expires_at,
            deadline_at,
            keyed,
            queue_max: world.plan.models[at].config.limits.max_queue,
        };
        (order, Wanted { submission })
    }
}

/// Of nobody in particular, and with no more said of it than whose it is.
fn submission(model: ModelName, input: Payload, serial: u64) -> Submission {
    Submission {
        model,
        input,
        priority: 0,
        metadata: Some(format!("{{\"serial\":{serial}}}").into()),
        due_at: None,
        expires_at: None,
        deadline_at: None,
        idempotency_key: None,
        client: None,
        cache: CacheUse::Allowed,
        retry: None,
        trace: None,
        tenant: None,
        callback: None,
    }
}

fn input(serial: u64, padding: usize) -> Payload {
    Payload::Json(format!("\"{serial}:{}\"", "x".repeat(padding)).into())
}

fn with<T>(caller: &Mutex<Caller>, work: impl FnOnce(&mut Caller) -> T) -> T {
    work(&mut caller.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Lets a caller do what it means to, with this server.
pub(crate) async fn act(caller: Arc<Mutex<Caller>>, world: Arc<World>, engine: Engine) {
    while let Some((think, next)) = with(&caller, |caller| caller.next(&world)) {
        sleep(think).await;
        let client = client(&caller, &world, &engine);
        let Ok(client) = client else { continue };
        match next {
            Act::Submit(orders, patience) => {
                submit_all(&caller, &world, &engine, orders, patience, client).await
            }
            Act::Predict(asked, patience) => predict(&world, &engine, asked, patience, client).await,
            Act::Look(wait, patience) => look(&caller, &world, &engine, wait, patience).await,
            Act::Follow(patience) => follow(&caller, &world, &engine, patience).await,
            Act::Cancel(patience) => cancel(&caller, &world, &engine, patience).await,
            Act::Replay => replay(&world, &engine, client).await,
        }
    }
}

/// Callers are told apart where there are bounds on one of them.
fn client(caller: &Mutex<Caller>, world: &World, engine: &Engine) -> Result<Option<Client>, EngineError> {
    let bounds = &world.plan.admission.client;
    if *bounds == Default::default() {
        return Ok(None);
    }
    let number = with(caller, |caller| caller.number % 2);
    let key = ClientKey::named(&format!("client-{number}")).unwrap();
    engine.enter(key, None).map(Some)
}

async fn submit_all(
    caller: &Mutex<Caller>,
    world: &World,
    engine: &Engine,
    orders: Vec<(Order, Wanted)>,
    patience: Patience,
    client: Option<Client>,
) {
    let mut calls = futures_of(
        orders
            .into_iter()
            .map(|(order, wanted)| submit(caller, world, engine, order, wanted, patience, client.clone())),
    );
    std::future::poll_fn(|cx| calls.poll(cx)).await;
}

/// Several futures, polled together in their order.
struct Together<F>(Vec<Option<std::pin::Pin<Box<F>>>>);

fn futures_of<F: Future<Output = ()>>(futures: impl Iterator<Item = F>) -> Together<F> {
    Together(futures.map(|future| Some(Box::pin(future))).collect())
}

impl<F: Future<Output = ()>> Together<F> {
    fn poll(&mut self, cx: &mut std::task::Context<'_>) -> std::task::Poll<()> {
        for place in &mut self.0 {
            if let Some(future) = place
                && future.as_mut().poll(cx).is_ready()
            {
                *place = None;
            }
        }
        match self.0.iter().all(Option::is_none) {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        }
    }
}

/// What only trouble that passes is refused with.
pub(crate) fn is_passing(code: Code) -> bool {
    matches!(
        code,
        Code::QueueFull
            | Code::Overloaded
            | Code::ClientLimit
            | Code::ServerFull
            | Code::ModelUnavailable
            | Code::ShuttingDown
            | Code::StoreUnavailable
    )
}
