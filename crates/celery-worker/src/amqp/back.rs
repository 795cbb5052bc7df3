//! What came back, because there was no such queue: the queue is declared, as whoever sends a task in Celery does, and it is sent again.

use std::collections::HashSet;

use lapin::message::BasicReturnMessage;
use lapin::types::ShortString;
use lapin::{Channel, Confirmation};

use super::live::Live;
use super::sent::{Failed, send};
use super::topology::{self, QueueForm};

/// The queues that had to be declared for messages of one sender.
#[derive(Default)]
pub(super) struct Back(HashSet<ShortString>);

impl Back {
    /// Sends it again. What the broker says besides, on this channel, may be that another one came back.
    pub(super) async fn again(
        &mut self,
        live: &Live,
        channel: &Channel,
        back: BasicReturnMessage,
    ) -> Result<Confirmation, Failed> {
        let delivery = back.delivery;
        let queue = delivery.routing_key;
        if self.0.insert(queue.clone()) {
            topology::queue(&live.giving, &queue, &QueueForm::default()).await?;
        }
        send(channel, queue, &delivery.data, delivery.properties, false).await
    }
}
