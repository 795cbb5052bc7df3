//! RabbitMQ as the broker.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cresset_celery::{Message, Outgoing, Properties, Target};
use futures_util::StreamExt as _;
use lapin::options::{BasicConsumeOptions, BasicPublishOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Consumer, ExchangeKind};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::address::Address;
use super::consume::{Consumers, give_back};
use super::link::{EVENTS, Link, OrTrouble as _};
use super::live::{Live, Tag};
use super::publish::{self, trouble};
use super::topology::{self, QueueForm};
use super::{message, park, wire};
use crate::options::{Options, StartError};
use crate::transport::{Content, Delivery, Receipt, Refused, Transport, Trouble};

/// What servers of a fleet tell each other.
const FLEET: &str = "cresset.fleet";
/// What one of them has not read by then is over: it is told again.
const WORDS_KEPT_MS: i32 = 10_000;
/// Broadcasts to workers.
const PIDBOX: &str = "celery.pidbox";
/// The queue of a node that listens no more goes after so many milliseconds, and a request that nobody hears, as in Celery.
const PIDBOX_KEPT_MS: i32 = 10_000;
const REQUEST_KEPT_MS: i32 = 300_000;

/// The broker.
pub(crate) struct AmqpBroker {
    link: Arc<Link>,
    node: String,
}

impl AmqpBroker {
    /// Connects in the background. `tracker` owns the connection, until `leave`; from `closing` on nothing more is taken.
    /// `unused_for`: the queues are no queues of tasks, but ours, for results.
    pub(crate) fn new(
        options: &Options,
        unused_for: Option<Duration>,
        prefetch: usize,
        tracker: &TaskTracker,
        closing: CancellationToken,
        leave: CancellationToken,
    ) -> Result<Self, StartError> {
        let settings = &options.settings;
        let url = settings.broker.as_ref().ok_or(StartError::NoBroker)?;
        let address = Address::read(url)?;
        let refused = |why: String| StartError::Url {
            setting: "broker",
            url: url.to_string(),
            why,
        };
        let tls = match address.is_secure() {
            true => Some(wire::tls().map_err(refused)?),
            false => None,
        };
        let queues = settings.queues.iter().map(|queue| {
            ShortString::try_new(queue.clone()).map_err(|error| refused(format!("a queue's name: {error}")))
        });
        let consumers = Consumers {
            queues: queues.collect::<Result<_, _>>()?,
            prefetch: u16::try_from(prefetch).unwrap_or(u16::MAX),
            inbox: Arc::default(),
            tracker: tracker.clone(),
        };
        let form = QueueForm {
            quorum: settings.queue_type == cresset_config::QueueType::Quorum,
            max_priority: settings.max_priority,
            unused_for,
        };
        let link = Arc::new(Link::new(address, tls, consumers, form, options.node.clone()));
        tracker.spawn(Arc::clone(&link).run(closing, leave));
        Ok(Self {
            link,
            node: options.node.clone(),
        })
    }

    /// The epoch of a receipt, if it is still that.
    fn of(&self, receipt: &Receipt) -> Option<(Arc<Live>, Tag)> {
        let live = self.link.now().filter(|live| live.epoch == receipt.epoch)?;
        Some((live, receipt.tag.parse().ok()?))
    }

    async fn say(&self, exchange: &str, routing_key: &str, message: &Message) -> Result<(), Trouble> {
        let unsendable = |why: String| Trouble {
            service: publish::SERVICE,
            why,
        };
        let short = |text: &str| ShortString::try_new(text).map_err(|error| unsendable(error.to_string()));
        let properties = message::write(message).map_err(unsendable)?;
        let channel = self.link.live().await?.teller().await.or_trouble()?;
        let options = BasicPublishOptions::default();
        channel
            .basic_publish(
                short(exchange)?,
                short(routing_key)?,
                options,
                &message.body,
                properties,
            )
            .await
            .or_trouble()?;
        Ok(())
    }

    /// What servers of the fleet tell.
    async fn hear_fleet(
        &self,
        live: &Live,
        words: &mpsc::Sender<Vec<u8>>,
        heard: &CancellationToken,
    ) -> lapin::Result<()> {
        let kept = [("x-message-ttl", WORDS_KEPT_MS)];
        // The broker gives the queue a name.
        let mut coming = overheard(live, FLEET, ShortString::default(), &kept).await?;
        heard.cancel();
        while let Some(delivery) = coming.next().await {
            if words.send(delivery?.data).await.is_err() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Requests of remote control.
    async fn hear(
        &self,
        live: &Live,
        requests: &mpsc::Sender<Message>,
        heard: &CancellationToken,
    ) -> lapin::Result<()> {
        let name = ShortString::try_new(format!("{}.{PIDBOX}", self.node)).unwrap_or_default();
        let kept = [("x-expires", PIDBOX_KEPT_MS), ("x-message-ttl", REQUEST_KEPT_MS)];
        let mut coming = overheard(live, PIDBOX, name, &kept).await?;
        heard.cancel();
        while let Some(delivery) = coming.next().await {
            let delivery = delivery?;
            let message = message::read(&delivery.properties, delivery.data, false);
            if requests.send(message).await.is_err() {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// What all are told by an exchange, from now on, by a queue that goes with this connection. `kept`: its arguments, in milliseconds.
async fn overheard(
    live: &Live,
    exchange: &'static str,
    name: ShortString,
    kept: &[(&'static str, i32)],
) -> lapin::Result<Consumer> {
    topology::exchange(&live.taking, exchange.into(), ExchangeKind::Fanout, false).await?;
    let channel = live.taking.create_channel().await?;
    let options = QueueDeclareOptions {
        exclusive: true,
        auto_delete: true,
        ..QueueDeclareOptions::default()
    };
    let mut arguments = FieldTable::default();
    for (argument, milliseconds) in kept {
        arguments.insert((*argument).into(), AMQPValue::LongInt(*milliseconds));
    }
    let queue = channel.queue_declare(name, options, arguments).await?;
    let (name, none) = (queue.name().clone(), QueueBindOptions::default());
    channel
        .queue_bind(
            name.clone(),
            exchange.into(),
            ShortString::default(),
            none,
            FieldTable::default(),
        )
        .await?;
    let options = BasicConsumeOptions {
        no_ack: true,
        ..BasicConsumeOptions::default()
    };
    channel
        .basic_consume(name, ShortString::default(), options, FieldTable::default())
        .await
}

#[async_trait]
impl Transport for AmqpBroker {
    async fn fetch(&self, max: usize) -> Result<Vec<Delivery>, Trouble> {
        self.link.live().await?;
        let consumers = &self.link.consumers;
        let arrived = consumers.inbox.take(max).into_iter();
        let delivery = arrived.map(|arrived| Delivery {
            epoch: arrived.epoch,
            tag: arrived.tag.to_string(),
            queue: consumers
                .queues
                .get(arrived.place)
                .map(|queue| queue.as_str().to_owned())
                .unwrap_or_default(),
            place: arrived.place,
            content: Content::Message(Box::new(arrived.message)),
        });
        Ok(delivery.collect())
    }

    async fn arrival(&self) {
        self.link.arrival().await;
    }

    /// The broker hears of it soon, together with others: nothing that could fail, or be tried again. If the connection is lost before,
    /// the message has gone back to it.
    async fn acknowledge(&self, receipt: &Receipt) -> Result<(), Trouble> {
        if let Some((live, tag)) = self.of(receipt) {
            live.settling.done(tag.delivery);
        }
        Ok(())
    }

    async fn give_back(&self, receipt: &Receipt) -> Result<(), Trouble> {
        if let Some((live, tag)) = self.of(receipt) {
            give_back(&live, tag).await;
        }
        Ok(())
    }

    fn epoch(&self) -> u64 {
        self.link.now().map_or(0, |live| live.epoch)
    }

    async fn set_aside(&self, receipt: &Receipt) {
        if let Some((live, tag)) = self.of(receipt) {
            self.link.consumers.set_aside(&live, tag, receipt.place).await;
        }
    }

    async fn park(&self, receipt: &Receipt, message: &Message, wait: Duration) -> Result<bool, Trouble> {
        let queue = self.link.consumers.queues.get(receipt.place);
        let (Some(step), Some(queue)) = (park::step(wait), queue) else {
            return Ok(false);
        };
        let Some((live, _)) = self.of(receipt) else {
            // With its connection it has gone back. Another copy would be one too many.
            return Ok(true);
        };
        park::put(&live, queue, &self.link.form, message, step).await
    }

    fn parks_for(&self, wait: Duration) -> Option<Duration> {
        park::step(wait)
    }

    /// A connection that lives keeps what it took.
    async fn keep(&self, _: &[Receipt]) -> Result<(), Trouble> {
        Ok(())
    }

    /// The broker does that by itself.
    async fn restore(&self) -> Result<usize, Trouble> {
        Ok(0)
    }

    async fn publish(&self, messages: &[Outgoing]) -> Result<(), Trouble> {
        publish::tasks(&*self.link.live().await?, messages).await
    }

    async fn offer(&self, message: &Outgoing) -> Result<Option<Refused>, Trouble> {
        publish::task(&*self.link.live().await?, message).await
    }

    async fn answer(
        &self,
        queue: &str,
        message: &Message,
        may_join: bool,
    ) -> Result<Option<Refused>, Trouble> {
        publish::result(&*self.link.live().await?, queue, message, may_join).await
    }

    /// What was taken goes back with its connection.
    async fn waiting(&self, queue: &str) -> Result<u64, Trouble> {
        let name = ShortString::try_new(queue).map_err(|error| Trouble {
            service: publish::SERVICE,
            why: format!("a queue's name: {error}"),
        })?;
        let live = self.link.live().await?;
        let count = topology::waiting(&live.taking, &name).await.or_trouble()?;
        Ok(count.map_or(0, u64::from))
    }

    fn refuses(&self, message: &Outgoing) -> Option<String> {
        publish::refuses(&message.message)
    }

    async fn broadcast(&self, message: &Message) -> Result<(), Trouble> {
        self.say(PIDBOX, "", message).await
    }

    async fn check(&self) -> Result<(), Trouble> {
        self.link.live().await.map(drop)
    }

    /// With each connection.
    async fn announce(&self) -> Result<(), Trouble> {
        Ok(())
    }

    async fn tell(&self, routing_key: &str, message: &Message) -> Result<(), Trouble> {
        self.say(EVENTS, routing_key, message).await
    }

    async fn reply(&self, target: &Target, message: &Message) -> Result<(), Trouble> {
        self.say(&target.exchange, &target.routing_key, message).await
    }

    async fn listen(
        &self,
        requests: &mpsc::Sender<Message>,
        heard: &CancellationToken,
    ) -> Result<(), Trouble> {
        let live = self.link.live().await?;
        self.hear(&live, requests, heard).await.map_err(trouble)
    }

    async fn call(&self, words: &[u8]) -> Result<(), Trouble> {
        let properties = Properties {
            delivery_mode: Some(1),
            ..Properties::default()
        };
        let message = Message::json(Default::default(), properties, words.to_vec());
        self.say(FLEET, "", &message).await
    }

    async fn overhear(
        &self,
        words: &mpsc::Sender<Vec<u8>>,
        heard: &CancellationToken,
    ) -> Result<(), Trouble> {
        let live = self.link.live().await?;
        self.hear_fleet(&live, words, heard).await.map_err(trouble)
    }

    fn describe(&self) -> Value {
        let address = &self.link.address;
        json!({"transport": "amqp", "hostname": address.host(), "port": address.port(),
            "virtual_host": address.uri.vhost, "userid": address.uri.authority.userinfo.username,
            "ssl": address.is_secure(), "heartbeat": address.uri.query.heartbeat})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_the_brokers_again_is_not_put_aside() {
        let broker = AmqpBroker {
            link: Arc::new(super::super::link::tests::link(1)),
            node: "n".into(),
        };
        let receipt = Receipt {
            epoch: 1,
            tag: "0.1".into(),
            place: 0,
        };
        let message = Message::json(Default::default(), Default::default(), Vec::new());
        let parked = broker.park(&receipt, &message, Duration::from_secs(7200));
        assert!(parked.await.unwrap());
    }
}
