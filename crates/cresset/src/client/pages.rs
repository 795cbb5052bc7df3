//! Lists that a server gives page by page, the newest first.

use reqwest::Method;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{CALL_TIMEOUT, CallError, Client};

/// Entries fetched at once: as many as a page has at most.
const PAGE: usize = 100;

#[derive(Debug, Deserialize)]
struct Page {
    /// As the server writes them.
    #[serde(alias = "tasks", alias = "letters", alias = "webhooks", alias = "batches")]
    entries: Vec<Box<RawValue>>,
    /// Where the next page begins.
    next: Option<String>,
}

impl Client {
    /// The newest entries of the list at `path` that match, as the server writes them, `limit` at most.
    pub(super) async fn newest(
        &self,
        path: &str,
        filter: &[(&str, Option<&str>)],
        limit: usize,
    ) -> Result<Vec<Box<RawValue>>, CallError> {
        let (mut entries, mut after) = (Vec::new(), None);
        loop {
            let room = limit.saturating_sub(entries.len());
            if room == 0 {
                return Ok(entries);
            }
            let size = room.min(PAGE).to_string();
            let place = [("limit", Some(&*size)), ("after", after.as_deref())];
            let request = self.request(Method::GET, path).query(&place).query(filter);
            let (page, _): (Page, _) = self.read(request.timeout(CALL_TIMEOUT)).await?;
            entries.extend(page.entries);
            after = page.next;
            if after.is_none() {
                return Ok(entries);
            }
        }
    }
}
