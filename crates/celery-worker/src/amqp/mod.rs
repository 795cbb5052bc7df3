//! RabbitMQ, as Celery uses it over AMQP 0-9-1: a durable queue for tasks, its messages held until they are acknowledged, results and
//! follow-ups through the default exchange, broadcasts through a fanout exchange. Real workers and producers share it with us.
//!
//! One connection is known as an epoch. What an epoch was given is the broker's again when it ends: a receipt of an earlier
//! epoch acknowledges nothing, and its message is delivered once more.
//!
//! Nothing here knows what a task is.

mod address;
mod back;
mod broker;
mod consume;
mod guard;
mod ledger;
mod link;
mod live;
mod message;
mod park;
mod post;
mod publish;
mod sent;
mod settle;
mod table;
mod tame;
mod topology;
mod wire;

pub(crate) use broker::AmqpBroker;
