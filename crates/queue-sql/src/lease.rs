//! Leasing as its caller sees it: the rows from the writer, then the files of those whose input is in one, read beside the
//! writer and the runtime.
//!
//! Until it is answered the leases belong to [`Given`], which gives them back when the caller goes away or the disk says
//! no. A task whose file is missing or damaged ends as a failure, as one with an unreadable row does: at the head of a
//! queue it would block every task behind it.

use cresset_queue::kit::IntoQueueError as _;
use cresset_queue::{Lease, LeaseRequest, QueueError};
use cresset_task::Timestamp;

use crate::error::StoreError;
use crate::op::{Ending, Op, Slot};
use crate::returns::{Given, Leased};
use crate::store::SqliteStore;

const OPERATION: &str = "lease";

fn leases(given: Given) -> Vec<Lease> {
    given.take().into_iter().map(|leased| leased.lease).collect()
}

impl SqliteStore {
    pub(crate) async fn lease_whole(&self, request: LeaseRequest) -> Result<Vec<Lease>, QueueError> {
        loop {
            let (slot, reply) = Slot::new();
            let request = request.clone();
            let now = request.now;
            let mut given: Given = self.write(OPERATION, Op::Lease { request, slot }, reply).await?;
            if !given.leases().iter().any(|leased| leased.file.is_some()) {
                return Ok(leases(given));
            }
            self.read_files(&mut given, now).await?;
            // An empty answer says that the queue is empty, so nothing but unreadable tasks is not the answer.
            if !given.leases().is_empty() {
                return Ok(leases(given));
            }
        }
    }

    async fn read_files(&self, given: &mut Given, now: Timestamp) -> Result<(), QueueError> {
        let wanted = given.leases().iter().filter_map(|leased| leased.file);
        let files = wanted.map(|(_, file)| file).collect();
        let read = self.files().read_all(files).await;
        let mut contents = read.map_err(|e| e.into_queue(OPERATION))?.into_iter();
        let mut endings = Vec::new();
        for leased in given.leases_mut() {
            let Some((kind, _)) = leased.file else {
                continue;
            };
            let content = contents
                .next()
                .unwrap_or_else(|| Err(StoreError::Damaged("it was not read".into())));
            match leased.fill(kind, content) {
                Ok(()) => {}
                Err(damage @ StoreError::Damaged(_)) => {
                    let ending = Ending::unreadable(&leased.lease, now, &damage);
                    endings.push(ending.map_err(|e| StoreError::from(e).into_queue(OPERATION))?);
                }
                Err(trouble) => return Err(trouble.into_queue(OPERATION)),
            }
        }
        if !endings.is_empty() {
            let (slot, reply) = Slot::new();
            self.write(OPERATION, Op::Finish { endings, slot }, reply).await?;
            given.leases_mut().retain(Leased::is_whole);
        }
        Ok(())
    }
}
