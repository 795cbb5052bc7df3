//! Predicting: an input that is answered on its caller's connection and stored nowhere, unless it becomes a task at its limit
//! (see `late`). It may be answered with a kept result, or follow the computation of an equal one.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cresset_batch::Moment;
use cresset_task::{CacheUse, ModelName, Payload, Timestamp, Trace};
use tokio::sync::oneshot;

use crate::admission::{Client, Place};
use crate::api::{CacheStatus, EngineError, PredictTerms, Predicted, Prediction, Submission};
use crate::cache::{Asker, Begun, Cache, End, Follow, Key, Lead};
use crate::engine::{Engine, invalid};
use crate::item::{Answer, Item, Origin, check_fit};
use crate::late::Late;
use crate::live::{Feed, Voice};
use crate::served::Served;

/// What nobody has set a limit to is given up after a day: by then it is no work any more, but a fault.
const WORK_LIMIT_MAX: Duration = Duration::from_secs(86_400);

/// A prediction on its way.
struct Call<'a> {
    served: &'a Served,
    input: Payload,
    since: Moment,
    limit: Duration,
    is_canary: bool,
    /// Where the model says what it says of this input, if the caller reads along.
    feed: Option<Arc<Feed>>,
    /// The trace that the caller follows.
    trace: Option<Box<Trace>>,
    /// It becomes a task at its limit.
    goes_on: bool,
}

/// What comes of a call.
enum Come {
    /// A result.
    Done(Prediction),
    /// Its limit, of one that goes on.
    Late(Late),
}

/// What comes of a computation that a call follows.
enum Led {
    Ended(Option<End>),
    Late(Late),
}

impl Call<'_> {
    fn deadline(&self) -> Moment {
        self.since.saturating_add(self.limit)
    }
}

impl Engine {
    /// Gives the result of one input: at most `limit` later, and never later than the model's `predict_timeout`.
    /// Dropping the future takes the input out of the queue, at once.
    pub async fn predict(
        &self,
        model: &ModelName,
        input: Payload,
        terms: PredictTerms,
    ) -> Result<Prediction, EngineError> {
        self.predict_with(model, input, terms, None).await
    }

    /// As [`Engine::predict`], for a caller who reads along where there is a feed.
    pub(crate) async fn predict_with(
        &self,
        model: &ModelName,
        input: Payload,
        terms: PredictTerms,
        feed: Option<Arc<Feed>>,
    ) -> Result<Prediction, EngineError> {
        let served = self.open(model.as_str())?;
        let longest = served.config.limits.predict_timeout;
        let limit = terms.limit.map_or(longest, |l| l.min(longest));
        if served.is_by_store() {
            return self.predict_elsewhere(&served, input, limit, terms).await;
        }
        self.answer(&served, input, limit, terms, feed).await
    }

    /// As [`Engine::predict`], for a caller who takes a task: what has not ended at its limit goes on as one, and is not run a
    /// second time. In time it has nothing to do with the store, and an idempotency key says nothing.
    pub async fn predict_or_task(
        &self,
        mut submission: Submission,
        limit: Option<Duration>,
    ) -> Result<Predicted, EngineError> {
        let served = self.open(submission.model.as_str())?;
        let longest = served.config.limits.predict_timeout;
        let limit = limit.map_or(longest, |l| l.min(longest));
        if served.is_by_store() {
            return self.predict_or_task_elsewhere(&served, submission, limit).await;
        }
        let terms = PredictTerms {
            limit: Some(limit),
            client: submission.client.clone(),
            cache: submission.cache,
            trace: submission.trace.clone(),
            tenant: submission.tenant.clone(),
        };
        let input = std::mem::replace(&mut submission.input, Payload::Json(Bytes::new()));
        let since = self.inner.shared.now();
        let late = match self.ask(&served, input, limit, terms, None, true).await? {
            Come::Done(prediction) => return Ok(Predicted::Ended(prediction)),
            Come::Late(late) => late,
        };
        let (engine, model) = (self.clone(), Arc::clone(&served));
        let goes_on = async move { engine.go_on(&model, submission, late).await };
        let accepted = self.see_through(goes_on).await;
        match accepted {
            Ok(accepted) => {
                served.metrics.went_on();
                Ok(Predicted::Task(accepted))
            }
            Err(refusal) => {
                let took = self.inner.shared.now().saturating_sub(since);
                served.metrics.predicted(false, took);
                Err(served.late(limit, Some(&refusal)))
            }
        }
    }

    /// As [`Self::predict`], for work that another keeps until it is done, such as a broker: nobody waits on a connection, so
    /// `predict_timeout` does not apply. Over `limit` it is given up. A failure says whether its model wants it tried again
    /// ([`crate::retry_wait`]).
    pub async fn work(
        &self,
        model: &ModelName,
        input: Payload,
        limit: Option<Duration>,
        trace: Option<Box<Trace>>,
    ) -> Result<Prediction, EngineError> {
        let served = self.open(model.as_str())?;
        let limit = limit.map_or(WORK_LIMIT_MAX, |l| l.min(WORK_LIMIT_MAX));
        let terms = PredictTerms {
            trace,
            ..PredictTerms::default()
        };
        self.answer(&served, input, limit, terms, None).await
    }

    /// Of a call that ends at its limit.
    async fn answer(
        &self,
        served: &Served,
        input: Payload,
        limit: Duration,
        terms: PredictTerms,
        feed: Option<Arc<Feed>>,
    ) -> Result<Prediction, EngineError> {
        match self.ask(served, input, limit, terms, feed, false).await? {
            Come::Done(prediction) => Ok(prediction),
            Come::Late(_) => Err(served.late(limit, None)),
        }
    }

    async fn ask(
        &self,
        served: &Served,
        input: Payload,
        limit: Duration,
        terms: PredictTerms,
        feed: Option<Arc<Feed>>,
        goes_on: bool,
    ) -> Result<Come, EngineError> {
        served.check_available()?;
        check_fit(&input, &served.config).map_err(|why| invalid(&why))?;
        let PredictTerms {
            client, cache, trace, ..
        } = terms;
        let call = Call {
            feed,
            trace,
            goes_on,
            ..self.call(served, input, limit, false)
        };
        match &served.cache {
            Some(kept) if cache != CacheUse::NoStore => self.look(kept, call, client, cache).await,
            _ => {
                let place = self.seat(served, call.input.weight(), client)?;
                self.compute(call, place, None).await
            }
        }
    }

    /// The answer to a canary that has its place. No cache has to do with it: it is to show that the model can compute.
    pub(crate) async fn answer_canary(
        &self,
        served: &Served,
        input: Payload,
        place: Place,
    ) -> Result<Prediction, EngineError> {
        let limit = served.config.limits.predict_timeout;
        let call = self.call(served, input, limit, true);
        match self.compute(call, place, None).await? {
            Come::Done(prediction) => Ok(prediction),
            Come::Late(_) => Err(served.late(limit, None)),
        }
    }

    fn call<'a>(&self, served: &'a Served, input: Payload, limit: Duration, is_canary: bool) -> Call<'a> {
        Call {
            served,
            input,
            since: self.inner.shared.now(),
            limit,
            is_canary,
            feed: None,
            trace: None,
            goes_on: false,
        }
    }

    /// Answers what is kept; or else computes, or follows who does.
    async fn look(
        &self,
        cache: &Arc<Cache>,
        call: Call<'_>,
        client: Option<Client>,
        use_: CacheUse,
    ) -> Result<Come, EngineError> {
        let (shared, served) = (&self.inner.shared, call.served);
        let (config, input) = (Arc::clone(&served.config), call.input.clone());
        let key = self
            .digest(input.weight(), move || Key::of(&config, &input))
            .await?;
        let mut place = None;
        loop {
            match cache.begin(key, Asker::Prediction, use_, shared.now()) {
                Begun::Kept(output) => return Ok(Come::Done(self.answered(&call, output, CacheStatus::Hit))),
                Begun::Lead(lead) => {
                    let place = match place {
                        Some(place) => place,
                        None => self.seat(served, call.input.weight(), client)?,
                    };
                    let mut come = self.compute(call, place, Some(lead)).await?;
                    if let Come::Done(prediction) = &mut come {
                        prediction.cache = Some(match use_ {
                            CacheUse::Allowed => CacheStatus::Miss,
                            CacheUse::NoCache | CacheUse::NoStore => CacheStatus::Bypass,
                        });
                    }
                    return Ok(come);
                }
                Begun::Follow(follow) => {
                    if place.is_none() {
                        place = Some(self.seat(served, call.input.weight(), client.clone())?);
                    }
                    match self.see_led(&call, follow).await? {
                        // Its place goes before it is submitted, and so does that among the followers.
                        Led::Late(late) => return Ok(Come::Late(late)),
                        Led::Ended(Some(End::Done(output))) => {
                            cache.metrics.coalesced.inc();
                            return Ok(Come::Done(self.answered(&call, output, CacheStatus::Coalesced)));
                        }
                        Led::Ended(Some(End::Failed(failure))) => {
                            cache.metrics.coalesced.inc();
                            self.predicted(&call, false);
                            return Err(EngineError::Failed(failure));
                        }
                        // Who led has gone, or was out of time: that says nothing of the input.
                        Led::Ended(None) => served.check_available()?,
                    }
                }
            }
        }
    }

    /// Waits for the computation of another, as long as a call may take.
    async fn see_led(&self, call: &Call<'_>, follow: Follow) -> Result<Led, EngineError> {
        let served = call.served;
        let until = self.inner.shared.instant(call.deadline());
        // Before the place among the followers: it is dropped after it. Who began the computation may have gone by now.
        let hang_up = HangUp(Some(served));
        let ended = tokio::time::timeout_at(until, follow.end()).await;
        if let Ok(end) = ended {
            hang_up.did_not_happen();
            return Ok(Led::Ended(end));
        }
        if call.goes_on {
            // As a task it follows the same computation, if that is still under way when its turn comes.
            let shared = &self.inner.shared;
            let since = Timestamp::now().before(shared.now().saturating_sub(call.since));
            return Ok(Led::Late(Late::Waited(call.input.clone(), since)));
        }
        self.predicted(call, false);
        Err(served.late(call.limit, None))
    }

    /// Hands the input to the driver and waits for its end.
    async fn compute(
        &self,
        call: Call<'_>,
        place: Place,
        lead: Option<Box<Lead>>,
    ) -> Result<Come, EngineError> {
        let (served, limit, deadline) = (call.served, call.limit, call.deadline());
        // Before the channel: it is dropped after it, and so tells of a receiver that has gone.
        let hang_up = HangUp(Some(served));
        let (reply, answer) = oneshot::channel();
        let origin = Origin::Caller {
            reply,
            place,
            since: call.since,
            is_canary: call.is_canary,
            limit,
            deadline,
            goes_on: call.goes_on,
        };
        let goes_on = call.goes_on;
        let mut item = Item::new(call.input, origin);
        item.lead = lead;
        item.trace = call.trace;
        item.voice = call.feed.map(|feed| Box::new(Voice::of_call(feed)));
        // The channel has a place for each permit: it can only be closed, by a driver that has drained.
        served
            .inbox
            .try_send(item)
            .map_err(|_| EngineError::ShuttingDown)?;
        // What waits leaves the queue at its deadline by itself, and what goes on is handed over then; the time here is for what is in
        // an instance by then and does not.
        let answered = if goes_on {
            Ok(answer.await)
        } else {
            tokio::time::timeout_at(self.inner.shared.instant(deadline), answer).await
        };
        hang_up.did_not_happen();
        match answered {
            Ok(Ok(Answer::Ended(answer))) => answer.map(Come::Done),
            Ok(Ok(Answer::Late(late))) => Ok(Come::Late(late)),
            Ok(Err(_)) => Err(EngineError::ShuttingDown),
            Err(_) => Err(served.late(limit, None)),
        }
    }

    fn answered(&self, call: &Call<'_>, output: Payload, status: CacheStatus) -> Prediction {
        self.predicted(call, true);
        Prediction {
            output,
            version: call.served.config.version.clone(),
            queued: self.inner.shared.now().saturating_sub(call.since),
            compute: Duration::ZERO,
            cache: Some(status),
        }
    }

    fn predicted(&self, call: &Call<'_>, ok: bool) {
        let took = self.inner.shared.now().saturating_sub(call.since);
        call.served.metrics.predicted(ok, took);
    }
}

/// Tells the driver that a caller has hung up, unless it did not.
struct HangUp<'a>(Option<&'a Served>);

impl HangUp<'_> {
    fn did_not_happen(mut self) {
        self.0 = None;
    }
}

impl Drop for HangUp<'_> {
    fn drop(&mut self) {
        if let Some(served) = self.0 {
            served.hung_up.notify_one();
        }
    }
}
