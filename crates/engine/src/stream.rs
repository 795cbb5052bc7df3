//! Predictions whose results come piece by piece, to the one who called.

use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use cresset_task::{Attempt, ModelName, Payload, Timestamp};
use tokio::sync::watch;

use crate::api::{EngineError, PredictTerms, Prediction};
use crate::engine::Engine;
use crate::live::{Feed, Piece, Seen};

type Answer = Pin<Box<dyn Future<Output = Result<Prediction, EngineError>> + Send>>;

/// What comes of a prediction.
#[derive(Debug)]
pub enum PredictEvent {
    /// The model has said something.
    Live(Piece),
    /// The result whole, or why there is none. The last.
    End(Box<Result<Prediction, EngineError>>),
}

/// A prediction under way. Dropping it is hanging up.
pub struct PredictStream {
    answer: Option<Answer>,
    end: Option<Box<Result<Prediction, EngineError>>>,
    feed: Arc<Feed>,
    bell: watch::Receiver<()>,
    seen: Seen,
}

impl Engine {
    /// As [`Engine::predict`], for a caller who reads the result as it comes. What is refused at once, such as an input that
    /// does not fit or one for which there is no room, is an error here; whatever goes wrong later is the stream's end.
    pub async fn predict_stream(
        &self,
        model: &ModelName,
        input: Payload,
        terms: PredictTerms,
    ) -> Result<PredictStream, EngineError> {
        let keeps = self.declaration(model.as_str())?.stream.replay_bytes;
        let budget = Arc::clone(&self.inner.shared.feeds.budget);
        let feed = Arc::new(Feed::new(budget, keeps, Attempt(1), Timestamp::now()));
        let (engine, model, said) = (self.clone(), model.clone(), Arc::clone(&feed));
        let answer = async move { engine.predict_with(&model, input, terms, Some(said)).await };
        let mut stream = PredictStream {
            answer: Some(Box::pin(answer)),
            end: None,
            bell: feed.bell(),
            feed,
            seen: Seen::default(),
        };
        stream.begin().await;
        match stream.end.take().map(|end| *end) {
            Some(Err(error)) => Err(error),
            end => {
                stream.end = end.map(Box::new);
                Ok(stream)
            }
        }
    }
}

impl PredictStream {
    /// Goes as far as it goes without waiting: an input is let in or refused by then, unless it is large and of a model with a
    /// result cache.
    async fn begin(&mut self) {
        std::future::poll_fn(|context| {
            if let Some(answer) = &mut self.answer
                && let Poll::Ready(end) = answer.as_mut().poll(context)
            {
                self.answer = None;
                self.end = Some(Box::new(end));
            }
            Poll::Ready(())
        })
        .await;
    }

    /// What is next; `None` after the end. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<PredictEvent> {
        loop {
            // Before it is read: what comes meanwhile rings again.
            self.bell.borrow_and_update();
            if let Some(piece) = self.feed.next(&mut self.seen) {
                return Some(PredictEvent::Live(piece));
            }
            if let Some(end) = self.end.take() {
                return Some(PredictEvent::End(end));
            }
            let answer = self.answer.as_mut()?;
            tokio::select! {
                biased;
                end = answer => {
                    // Its last pieces were there before it, and go first.
                    self.answer = None;
                    self.end = Some(Box::new(end));
                }
                // It fails when the feed is dropped, and we hold it.
                Ok(()) = self.bell.changed() => {}
            }
        }
    }
}
