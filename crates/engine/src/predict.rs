//! Predicting: an input that is answered on its caller's connection and stored nowhere. It may be answered with a kept
//! result, or follow the computation of an equal one.

use std::sync::Arc;
use std::time::Duration;

use cresset_batch::Moment;
use cresset_task::{CacheUse, ModelName, Payload, Trace};
use tokio::sync::oneshot;

use crate::admission::{Client, Place};
use crate::api::{CacheStatus, EngineError, PredictTerms, Prediction};
use crate::cache::{Asker, Begun, Cache, End, Follow, Key, Lead};
use crate::engine::{Engine, invalid};
use crate::item::{Item, Origin, check_fit};
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
        self.ask(&served, input, limit, terms, feed).await
    }

    /// As [`Self::predict`], for work that another keeps until it is done, such as a broker: nobody waits on a connection, so
    /// `predict_timeout` does not apply. Over `limit` it is given up. A failure says whether its model wants it tried again
    /// ([`crate::retry_wait`]).
    pub async fn work(
        &self,
        model: &ModelName,
        input: Payload,
        limit: Option<Duration>,
    ) -> Result<Prediction, EngineError> {
        let served = self.open(model.as_str())?;
        let limit = limit.map_or(WORK_LIMIT_MAX, |l| l.min(WORK_LIMIT_MAX));
        self.ask(&served, input, limit, PredictTerms::default(), None)
            .await
    }

    async fn ask(
        &self,
        served: &Served,
        input: Payload,
        limit: Duration,
        terms: PredictTerms,
        feed: Option<Arc<Feed>>,
    ) -> Result<Prediction, EngineError> {
        served.check_available()?;
        check_fit(&input, &served.config).map_err(|why| invalid(&why))?;
        let PredictTerms {
            client, cache, trace, ..
        } = terms;
        let call = Call {
            feed,
            trace,
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
        self.compute(call, place, None).await
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
        }
    }

    /// Answers what is kept; or else computes, or follows who does.
    async fn look(
        &self,
        cache: &Arc<Cache>,
        call: Call<'_>,
        client: Option<Client>,
        use_: CacheUse,
    ) -> Result<Prediction, EngineError> {
        let (shared, served) = (&self.inner.shared, call.served);
        let (config, input) = (Arc::clone(&served.config), call.input.clone());
        let key = self
            .digest(input.weight(), move || Key::of(&config, &input))
            .await?;
        let mut place = None;
        loop {
            match cache.begin(key, Asker::Prediction, use_, shared.now()) {
                Begun::Kept(output) => return Ok(self.answered(&call, output, CacheStatus::Hit)),
                Begun::Lead(lead) => {
                    let place = match place {
                        Some(place) => place,
                        None => self.seat(served, call.input.weight(), client)?,
                    };
                    let mut prediction = self.compute(call, place, Some(lead)).await?;
                    prediction.cache = Some(match use_ {
                        CacheUse::Allowed => CacheStatus::Miss,
                        CacheUse::NoCache | CacheUse::NoStore => CacheStatus::Bypass,
                    });
                    return Ok(prediction);
                }
                Begun::Follow(follow) => {
                    if place.is_none() {
                        place = Some(self.seat(served, call.input.weight(), client.clone())?);
                    }
                    match self.see_led(&call, follow).await? {
                        Some(End::Done(output)) => {
                            cache.metrics.coalesced.inc();
                            return Ok(self.answered(&call, output, CacheStatus::Coalesced));
                        }
                        Some(End::Failed(failure)) => {
                            cache.metrics.coalesced.inc();
                            self.predicted(&call, false);
                            return Err(EngineError::Failed(failure));
                        }
                        // Who led has gone, or was out of time: that says nothing of the input.
                        None => served.check_available()?,
                    }
                }
            }
        }
    }

    /// Waits for the computation of another, as long as a call may take. `None` when that is given up.
    async fn see_led(&self, call: &Call<'_>, follow: Follow) -> Result<Option<End>, EngineError> {
        let served = call.served;
        let until = self.inner.shared.instant(call.deadline());
        // Before the place among the followers: it is dropped after it. Who began the computation may have gone by now.
        let hang_up = HangUp(Some(served));
        let ended = tokio::time::timeout_at(until, follow.end()).await;
        if let Ok(end) = ended {
            hang_up.did_not_happen();
            return Ok(end);
        }
        self.predicted(call, false);
        Err(served.late(call.limit))
    }

    /// Hands the input to the driver and waits for its end.
    async fn compute(
        &self,
        call: Call<'_>,
        place: Place,
        lead: Option<Box<Lead>>,
    ) -> Result<Prediction, EngineError> {
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
        };
        let mut item = Item::new(call.input, origin);
        item.lead = lead;
        item.trace = call.trace;
        item.voice = call.feed.map(|feed| Box::new(Voice::of_call(feed)));
        // The channel has a place for each permit: it can only be closed, by a driver that has drained.
        served
            .inbox
            .try_send(item)
            .map_err(|_| EngineError::ShuttingDown)?;
        // What waits leaves the queue at its deadline by itself; this is for what is in an instance by then.
        let answered = tokio::time::timeout_at(self.inner.shared.instant(deadline), answer).await;
        hang_up.did_not_happen();
        match answered {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(EngineError::ShuttingDown),
            Err(_) => Err(served.late(limit)),
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
