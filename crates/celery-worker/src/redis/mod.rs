//! Redis, as Celery lays it out: a list for each step of priority of a queue, what is held in a hash and a sorted set, results
//! under their own keys, broadcasts by pub/sub. Real workers and producers share it with us. Which server it is, one address says, or sentinels do.

mod address;
mod backend;
mod broker;
mod connect;
mod keys;
mod lives;
mod scripts;
mod sentinel;
mod unacked;
mod wake;

pub(crate) use backend::RedisResults;
pub(crate) use broker::RedisBroker;
pub(crate) use connect::{ANSWER_TIMEOUT, Line, Server, late, trouble, unusable};
pub(crate) use keys::{reply_channel, result_key, result_prefix};
