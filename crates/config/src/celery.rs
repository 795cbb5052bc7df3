//! What Celery's parties must know of a server: where its broker is, and which tasks a model answers.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::field::{Refusal, quote};

/// Longer names of queues, tasks and nodes are slips; RabbitMQ takes no longer ones either.
const NAME_MAX: usize = 255;

/// Addresses of Redis.
pub(crate) const REDIS: [&str; 3] = ["redis", "rediss", "sentinel"];

/// Why an address that leads to Redis elsewhere does not here, where there is more to say than that.
#[must_use]
pub fn no_redis(scheme: &str) -> Option<&'static str> {
    Some(match scheme {
        "redis-sentinel" | "rediss-sentinel" | "redis+sentinel" | "rediss+sentinel" | "sentinels" => {
            "the address of Redis Sentinel is written as Celery has it: sentinel://HOST:26379/0;sentinel://OTHER:26379?master_name=NAME"
        }
        "redis-cluster" | "rediss-cluster" | "redis+cluster" | "rediss+cluster" | "rediscluster" => {
            "Redis Cluster is not spoken to: it keeps a queue, what is held of it and its results on different nodes, and a message goes from one \
             to the other in one step, which a cluster refuses. One server works, or a master with replicas behind Redis Sentinel (sentinel://)"
        }
        _ => return None,
    })
}

/// How the server is a Celery worker. Without queues it is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Celery {
    /// The queues that it takes tasks from.
    pub queues: Vec<String>,
    /// Where they are.
    pub broker: Option<ServiceUrl>,
    /// Where results go. `None`: nowhere.
    pub result_backend: Option<ServiceUrl>,
    /// Which model answers a task, for tasks that no model names itself, or that another one is to answer.
    pub tasks: BTreeMap<String, String>,
    /// Its name, `name@host`. Default `cresset@` and the machine's name.
    pub node: Option<String>,
    /// What a worker has taken and not acknowledged for so long goes to another one. Default 1 h, as in Celery.
    pub visibility_timeout: Duration,
    /// Where tasks go that follow one of ours, are not answered here, and name no queue. Default `celery`, as in Celery.
    pub default_queue: String,
    /// How long results are kept. Default 1 day; zero: for ever.
    pub result_expires: Duration,
    /// Say when a task has started. Default false, as in Celery.
    pub track_started: bool,
    /// Store a task's name and arguments beside its result. Default false, as in Celery.
    pub result_extended: bool,
    /// Tell of each task from the start, not only once somebody asks. Default false, as in Celery.
    pub events: bool,
    /// RabbitMQ: how a queue is declared that is not there. Default classic, as in Celery.
    pub queue_type: QueueType,
    /// RabbitMQ: the highest priority of a queue that is not there. `None`: it has no priorities.
    pub max_priority: Option<u8>,
    /// What every key at the broker begins with.
    pub broker_key_prefix: String,
    /// What every key of a result begins with.
    pub result_key_prefix: String,
    /// Redis Sentinel: what the sentinels call the master, for addresses that do not say it.
    pub master_name: Option<String>,
    /// In a fleet whose servers have a store: payloads of more bytes are left there, and messages say where. 0: never. Default 1 MiB.
    pub reference_above: usize,
}

impl Default for Celery {
    fn default() -> Self {
        Self {
            queues: Vec::new(),
            broker: None,
            result_backend: None,
            tasks: BTreeMap::new(),
            node: None,
            visibility_timeout: Duration::from_secs(3600),
            default_queue: "celery".into(),
            result_expires: Duration::from_secs(86_400),
            track_started: false,
            result_extended: false,
            events: false,
            queue_type: QueueType::Classic,
            max_priority: None,
            broker_key_prefix: String::new(),
            result_key_prefix: String::new(),
            master_name: None,
            reference_above: 1 << 20,
        }
    }
}

/// A kind of RabbitMQ's queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueType {
    /// On one node.
    Classic,
    /// On several, which agree.
    Quorum,
}

/// The address of a service, with what it may hold of secrets: shown without its password.
#[derive(Clone, PartialEq, Eq)]
pub struct ServiceUrl(String);

impl ServiceUrl {
    /// As it was written. Nobody has looked whether it is one.
    #[must_use]
    pub fn new(url: &str) -> Self {
        Self(url.to_owned())
    }

    /// All of it, to connect with.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// `redis`, `rediss`, `rpc` and so on.
    #[must_use]
    pub fn scheme(&self) -> &str {
        self.0.split_once("://").map_or("", |(scheme, _)| scheme)
    }

    /// Each of several: Celery puts a `;` between them.
    #[must_use]
    pub fn addresses(&self) -> Vec<&str> {
        let next = format!(";{}://", self.scheme());
        let starts = self.0.match_indices(&next).map(|(at, _)| at);
        let (mut from, mut all) = (0, Vec::new());
        for end in starts.chain([self.0.len()]) {
            all.push(self.0.get(from..end).unwrap_or_default());
            from = end + 1;
        }
        all
    }

    /// Whether it leads to Redis, by itself or by sentinels that know where it is.
    #[must_use]
    pub fn is_redis(&self) -> bool {
        REDIS.contains(&self.scheme())
    }
}

/// One address without its password.
fn shown(address: &str) -> String {
    let shown = without_user_password(address);
    let Some((before, query)) = shown.split_once('?') else {
        return shown.into_owned();
    };
    let query: Vec<_> = query.split('&').map(without_password).collect();
    format!("{before}?{}", query.join("&"))
}

fn without_user_password(address: &str) -> Cow<'_, str> {
    let all = Cow::Borrowed(address);
    let Some((scheme, rest)) = address.split_once("://") else {
        return all;
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let authority = rest.get(..end).unwrap_or_default();
    // A password may have any character but these; where somebody forgot to write it as `%2F` it ends later.
    let at = authority.rfind('@');
    match at.or_else(|| rest.rfind('@').filter(|_| authority.contains(':'))) {
        None => all,
        Some(at) => {
            let (user, host) = rest.split_at(at);
            let user = user.split(':').next().unwrap_or_default();
            Cow::Owned(format!("{scheme}://{user}:***{host}"))
        }
    }
}

impl fmt::Display for ServiceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: Vec<_> = self.addresses().into_iter().map(shown).collect();
        f.write_str(&shown.join(";"))
    }
}

/// A part of a query; databases take a password there too.
fn without_password(part: &str) -> Cow<'_, str> {
    match part.split_once('=') {
        Some((name, _)) if name.to_ascii_lowercase().contains("pass") => Cow::Owned(format!("{name}=***")),
        _ => Cow::Borrowed(part),
    }
}

impl fmt::Debug for ServiceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A model that Celery workers run: each of its items is a task of theirs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CeleryCall {
    /// The task's name.
    pub task: String,
    /// Where it is sent. `None`: to [`Celery::default_queue`].
    pub queue: Option<String>,
    /// How an input becomes arguments. Default spread.
    pub arguments: Arguments,
    /// Items at the broker and the workers at once. Default 64, 1 to 1,024.
    pub concurrency: usize,
    /// A result is waited for as long as that. Default 1 h.
    pub timeout: Duration,
    /// A cancelled task that runs is ended with its process. Default false, as in Celery.
    pub terminate: bool,
    /// The hard limit of time that the worker is told: `limits.timeout`, where the file says it. `None`: the task's own.
    pub hard_limit: Option<Duration>,
    /// The soft one: `limits.soft_timeout`.
    pub soft_limit: Option<Duration>,
}

impl Default for CeleryCall {
    fn default() -> Self {
        Self {
            task: String::new(),
            queue: None,
            arguments: Arguments::Spread,
            concurrency: 64,
            timeout: Duration::from_secs(3600),
            terminate: false,
            hard_limit: None,
            soft_limit: None,
        }
    }
}

/// How an input becomes a task's arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arguments {
    /// An object is the named ones, an array those in order, anything else the only one.
    Spread,
    /// It is the only one.
    One,
}

/// Which Celery tasks a model answers, and how it takes their arguments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CeleryTasks {
    /// Their names.
    pub tasks: Vec<String>,
    /// The parameters of the function that it stands in for. Empty: those of the model's own inputs.
    pub parameters: Vec<CeleryParameter>,
    /// Celery workers run it. `None`: it runs here.
    pub call: Option<CeleryCall>,
}

/// A parameter of a task's function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CeleryParameter {
    /// Its name.
    pub name: String,
    /// It may be left out.
    pub optional: bool,
}

/// A name of a queue, a task or a node, as people write it.
pub(crate) fn name(text: &str) -> Result<String, Refusal> {
    let text = text.trim();
    if text.is_empty() || text.len() > NAME_MAX || text.chars().any(char::is_control) {
        return Err(Refusal::new(format!(
            "must be a name of 1 to {NAME_MAX} bytes without control characters, is {}",
            quote(text)
        )));
    }
    Ok(text.to_owned())
}

impl Celery {
    /// Whether the server is to be a Celery worker.
    #[must_use]
    pub fn is_on(&self) -> bool {
        !self.queues.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        for (url, shown) in [
            ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
            ("redis://:se@cret@host/1", "redis://:***@host/1"),
            ("amqp://guest:guest@host//", "amqp://guest:***@host//"),
            ("amqp://guest:sec/r?t@host/v", "amqp://guest:***@host/v"),
            ("amqp://host:5672/v", "amqp://host:5672/v"),
            ("rpc://", "rpc://"),
            (
                "sentinel://a:26379/0;sentinel://:secret@b:26379/0;sentinel://u:sec/ret@c?master_name=m&sentinel_password=secret",
                "sentinel://a:26379/0;sentinel://:***@b:26379/0;sentinel://u:***@c?master_name=m&sentinel_password=***",
            ),
            (
                "amqp://a:5672/v;amqp://u:secret@b",
                "amqp://a:5672/v;amqp://u:***@b",
            ),
            ("amqp://u:sec;ret://x@host/v", "amqp://u:***@host/v"),
            (
                "db+postgresql://host/db?Password=sec%26ret&sslmode=require",
                "db+postgresql://host/db?Password=***&sslmode=require",
            ),
        ] {
            assert_eq!(ServiceUrl::new(url).to_string(), shown);
            assert_eq!(format!("{:?}", ServiceUrl::new(url)), shown);
        }
    }
}
