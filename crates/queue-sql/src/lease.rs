//! Leasing as its caller sees it: the rows from the writer, then the files of those whose input is in one, read beside the
//! writer and the runtime.
//!
//! Until it is answered the leases belong to [`Given`], which gives them back when the caller goes away or the disk says
//! no. A file that is missing or damaged is told by its lease, as an unreadable row is.

use cresset_queue::kit::IntoQueueError as _;
use cresset_queue::{Lease, LeaseRequest, QueueError};

use crate::error::StoreError;
use crate::op::{Op, Slot};
use crate::returns::Given;
use crate::store::SqliteStore;

const OPERATION: &str = "lease";

impl SqliteStore {
    pub(crate) async fn lease_whole(&self, request: LeaseRequest) -> Result<Vec<Lease>, QueueError> {
        let (slot, reply) = Slot::new();
        let mut given: Given = self.write(OPERATION, Op::Lease { request, slot }, reply).await?;
        self.read_files(&mut given)
            .await
            .map_err(|e| e.into_queue(OPERATION))?;
        Ok(given.take().into_iter().map(|leased| leased.lease).collect())
    }

    async fn read_files(&self, given: &mut Given) -> Result<(), StoreError> {
        let in_files = given
            .leases_mut()
            .iter_mut()
            .filter(|leased| leased.file.is_some());
        let mut in_files: Vec<_> = in_files.collect();
        if in_files.is_empty() {
            return Ok(());
        }
        let files = in_files.iter().filter_map(|leased| leased.file);
        let contents = self
            .files()
            .read_all(files.map(|(_, file)| file).collect())
            .await?;
        for (leased, content) in in_files.iter_mut().zip(contents) {
            leased.fill(content)?;
        }
        Ok(())
    }
}
