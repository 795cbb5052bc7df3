//! Which broker it is, by its address; and whether it is there.

use std::sync::Arc;
use std::time::Duration;

use cresset_config::Celery;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::amqp::AmqpBroker;
use crate::node::default_node;
use crate::options::{Options, StartError};
use crate::redis::{RedisBroker, Server};
use crate::transport::Transport;

/// A broker that says nothing by then is not there.
const LOOK_PATIENCE: Duration = Duration::from_secs(10);

/// Whether the broker of these settings answers and lets us in; or why not.
pub async fn look(settings: &Celery) -> Result<(), String> {
    let (house, leave) = (TaskTracker::new(), CancellationToken::new());
    let options = Options {
        settings: Celery {
            queues: Vec::new(),
            ..settings.clone()
        },
        node: default_node(),
        routes: Default::default(),
        drain_timeout: Duration::ZERO,
        is_fleet: false,
    };
    let (closing, ending) = (leave.clone(), leave.clone());
    let transport = connect(&options, None, 1, &house, closing, ending).map_err(|error| error.to_string())?;
    house.close();
    let looked = tokio::time::timeout(LOOK_PATIENCE, transport.check()).await;
    leave.cancel();
    house.wait().await;
    match looked {
        Ok(Ok(())) => Ok(()),
        Ok(Err(trouble)) => Err(trouble.why),
        Err(_) => Err(format!("it does not answer within {LOOK_PATIENCE:?}")),
    }
}

/// The broker that the settings name, which connects in the background. `house` owns what that takes, until `leave`; from `closing` on
/// nothing more is taken. `unused_for`: the queues are ours, for results, and go when nobody has used them for so long.
pub(crate) fn connect(
    options: &Options,
    unused_for: Option<Duration>,
    prefetch: usize,
    house: &TaskTracker,
    closing: CancellationToken,
    leave: CancellationToken,
) -> Result<Arc<dyn Transport>, StartError> {
    let url = options.settings.broker.as_ref().ok_or(StartError::NoBroker)?;
    Ok(match url.is_redis() {
        true => {
            let server = Server::open("broker", url, &options.settings, house, &leave)?;
            Arc::new(RedisBroker::new(server, options, house, closing)?)
        }
        false => Arc::new(AmqpBroker::new(
            options, unused_for, prefetch, house, closing, leave,
        )?),
    })
}
