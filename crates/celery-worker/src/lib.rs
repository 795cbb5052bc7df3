//! The door for Celery applications: to them Cresset is a worker. Thin, as the other doors are: it takes messages from a broker,
//! binds their arguments to a model's input, asks the engine, and writes what came of it where the application looks.
//!
//! The broker is the durable thing. A message is acknowledged when its result has been written, and not before; until then the
//! broker has it, and gives it to another worker if this one dies. Nothing of it goes through Cresset's own store.
//!
//! A model of our own fleet is reached so, too ([`fleet`]): a gateway sends its items, a worker takes them, and each says what it is. What is large
//! goes by a store that both have (`depot`), and messages refer to it.
//!
//! And the other way round ([`send`]): a model whose items are tasks of Celery workers. To the engine it is an executor as others are.
//!
//! What text and bytes mean is in `cresset-celery`; which broker it is stays behind [`transport::Transport`].

mod after;
mod amqp;
mod answer;
mod arguments;
mod care;
mod catalog;
mod chord;
mod connect;
mod control;
mod depot;
mod events;
mod finished;
mod fleet;
mod held;
mod insist;
mod job;
mod node;
mod options;
mod parked;
mod redis;
mod referred;
mod results;
mod revoked;
mod rpc;
mod send;
mod sql;
mod stats;
mod take;
mod transport;
mod unlock;
mod worker;

pub use connect::look;
pub use fleet::{Doors, Fleet};
pub use node::{default_node, host_name};
pub use options::{Options, StartError};
pub use send::{CeleryPool, Courier};
pub use worker::{Worker, start};
