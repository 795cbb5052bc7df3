//! Closed loop: each connection sends its next request when the last one is answered.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::Failure;
use crate::client::Client;
use crate::options::Closed;
use crate::run::{Loads, Start, lock, share};
use crate::tally::{Kind, Tally};

/// The pause after an exchange that came to nothing, so that a server that is gone is not asked in a tight circle.
pub(crate) const AFTER_ERROR: Duration = Duration::from_millis(10);

/// Connections for each thread.
pub(crate) fn start(options: &Closed, start: Start) -> Result<Loads, Failure> {
    let common = &options.common;
    let start = Arc::new(start);
    let mut loads = Loads::default();
    for index in 0..common.threads {
        let (start, connections) = (
            Arc::clone(&start),
            share(common.connections, common.threads, index),
        );
        loads.loads.push(Box::new(move |set, tally| {
            for number in 0..connections {
                set.spawn(connection(Arc::clone(&start), number, Arc::clone(tally)));
            }
            Ok(())
        }));
    }
    Ok(loads)
}

/// One caller. Answers that come within the window count.
async fn connection(start: Arc<Start>, number: usize, tally: Arc<Mutex<Tally>>) {
    let mut client = Client::new(start.target.address);
    let requests = start.requests.iter().cycle().skip(number % start.requests.len());
    tokio::time::sleep_until(start.first.into()).await;
    for request in requests {
        let began = Instant::now();
        match client.exchange(request).await {
            Ok(answer) => {
                let now = Instant::now();
                let kind = Kind::of(answer.status);
                let mut tally = lock(&tally);
                if start.window.holds(now) {
                    tally.answered(kind, answer.status, now - began, now);
                }
                if kind == Kind::Error {
                    tally.show(answer.status, answer.body);
                }
            }
            Err(error) => {
                if start.window.holds(Instant::now()) {
                    lock(&tally).failed(&error);
                }
                tokio::time::sleep(AFTER_ERROR).await;
            }
        }
    }
}
