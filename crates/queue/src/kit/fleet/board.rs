//! News for whoever asks: what other servers did. And what this one tells them of itself.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::{About, News, QueueError, QueueErrorKind};

/// What is more, unasked for, becomes "look again".
const NEWS_MAX: usize = 8_192;

/// Where they wait.
#[derive(Debug, Default)]
pub struct Board {
    news: Mutex<Vec<News>>,
    pinned: Notify,
    /// As it is in the server's row, or is to be in that of whom it comes back as.
    about: Mutex<Option<String>>,
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, Vec<News>> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What this server says of itself, as its row has it.
    #[must_use]
    pub fn about(&self) -> Option<String> {
        self.about.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes that, for whenever it is to be said again; as its row is to have it.
    ///
    /// # Errors
    ///
    /// `Internal` when it cannot be written down.
    pub fn introduce(&self, about: &About) -> Result<String, QueueError> {
        let about = serde_json::to_string(about).map_err(|error| {
            QueueError::new(
                QueueErrorKind::Internal,
                "introduce",
                "this cannot be written down",
            )
            .because(error)
        })?;
        *self.about.lock().unwrap_or_else(PoisonError::into_inner) = Some(about.clone());
        Ok(about)
    }

    /// Adds some.
    pub fn pin(&self, more: Vec<News>) {
        if more.is_empty() {
            return;
        }
        let mut news = self.lock();
        if news.len() + more.len() > NEWS_MAX {
            *news = vec![News::LookAgain];
        } else {
            news.extend(more);
        }
        drop(news);
        self.pinned.notify_one();
    }

    /// All there are, once there are any.
    pub async fn take(&self) -> Vec<News> {
        loop {
            let news = std::mem::take(&mut *self.lock());
            if !news.is_empty() {
                return news;
            }
            self.pinned.notified().await;
        }
    }
}
