//! What follows a task: callbacks, the next step of a chain, a group, a chord's header and its body, error callbacks; as the
//! messages that are to be sent.

use cresset_task::Timestamp;
use serde_json::{Map, Value, json};

use crate::body::Embed;
use crate::head::Head;
use crate::message::{Message, Properties};
use crate::python::{cut, repr, repr_args};
use crate::signature::{BadSignature, Signature};
use crate::time::{parse_time, show_time};

/// Messages that one task may lead to at once.
pub const CANVAS_MAX: usize = 10_000;
/// The task that looks whether all parts of a chord have ended, where nothing counts them; every real worker has it.
pub const UNLOCK: &str = "celery.chord_unlock";
/// When it looks first, in seconds, as in Celery.
const UNLOCK_AFTER: u32 = 1;
/// Groups in chains in groups, at most.
const NESTING_MAX: usize = 8;

/// A message to be sent to a queue.
#[derive(Clone, Debug, PartialEq)]
pub struct Outgoing {
    /// The queue.
    pub queue: String,
    /// The message.
    pub message: Message,
}

/// A chord whose header is about to be sent: what is to be known before that.
#[derive(Clone, Debug, PartialEq)]
pub struct ChordSize {
    /// The group's id.
    pub group: String,
    /// How many parts its header has.
    pub size: usize,
    /// The parts, as a result tells of its children.
    pub parts: Value,
    /// What is to follow them.
    pub body: Value,
}

/// What is to be done, in this order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// To be stored first.
    pub sizes: Vec<ChordSize>,
    /// To be sent then.
    pub sends: Vec<Outgoing>,
    /// The tasks that were started, as a result tells of them.
    pub children: Vec<Value>,
}

/// Sends on for a task that has ended.
pub struct Next<'a> {
    /// That task.
    pub head: &'a Head,
    /// Our name.
    pub node: &'a str,
    /// The queue for a task of this name that names none.
    pub queue_of: &'a dyn Fn(&str) -> String,
    /// Chords are not counted: [`UNLOCK`] is sent with the header of each.
    pub unlocks: bool,
    /// Makes ids.
    pub new_id: &'a mut dyn FnMut() -> String,
    /// Now.
    pub now: Timestamp,
}

/// What a message is given beside its signature.
#[derive(Clone, Default)]
struct With {
    group: Option<(String, Option<usize>)>,
    chord: Option<Value>,
    /// The steps after it; the next is the last.
    chain: Option<Vec<Value>>,
}

impl Next<'_> {
    /// What follows a success: `result` is JSON text.
    pub fn after_success(&mut self, embed: &Embed, result: &str) -> Result<Plan, BadSignature> {
        let mut plan = Plan::default();
        match embed.callbacks.as_deref() {
            None | Some([]) => {}
            Some([one]) => {
                let child = self.send(one, Some(result), With::default(), &mut plan, 0)?;
                plan.children.push(child);
            }
            Some(several) => {
                let group = (self.new_id)();
                let child = self.group(several, group, Some(result), None, &mut plan, 0)?;
                plan.children.push(child);
            }
        }
        if let Some((next, rest)) = embed.chain.as_deref().and_then(<[_]>::split_last) {
            let with = With {
                chain: Some(rest.to_vec()),
                ..With::default()
            };
            let child = self.send(next, Some(result), with, &mut plan, 0)?;
            plan.children.push(child);
        }
        Ok(plan)
    }

    /// What follows a failure.
    pub fn after_failure(&mut self, errbacks: Option<&[Value]>) -> Result<Plan, BadSignature> {
        let mut plan = Plan::default();
        if let Some(errbacks) = errbacks.filter(|errbacks| !errbacks.is_empty()) {
            let group = (self.new_id)();
            let failed = json!(self.head.id).to_string();
            self.group(errbacks, group, Some(&failed), None, &mut plan, 0)?;
        }
        Ok(plan)
    }

    /// The body of a chord whose parts have all been done: `results` is a JSON array as text.
    pub fn chord_body(&mut self, body: &Value, results: &str) -> Result<Plan, BadSignature> {
        let mut plan = Plan::default();
        self.send(body, Some(results), With::default(), &mut plan, 0)?;
        Ok(plan)
    }

    /// Adds the messages of any signature, and gives what a result tells of them.
    fn send(
        &mut self,
        value: &Value,
        first: Option<&str>,
        with: With,
        plan: &mut Plan,
        depth: usize,
    ) -> Result<Value, BadSignature> {
        if depth > NESTING_MAX {
            return Err(BadSignature(format!(
                "it is nested deeper than {NESTING_MAX} levels"
            )));
        }
        let signature = Signature::of(value)?;
        match signature.task.as_str() {
            "celery.chain" => self.chain(&signature, first, with, plan, depth),
            "celery.group" => {
                let tasks = list(&signature, "tasks")?;
                let id = signature.id().map_or_else(|| (self.new_id)(), str::to_owned);
                match with.chain.as_deref().and_then(<[_]>::split_last) {
                    // A step after a group waits for all of it: that makes the two a chord.
                    Some((body, rest)) => self.chord(&tasks, body, id, rest.to_vec(), first, plan, depth),
                    None if with.chord.is_some() => Err(nested("a group")),
                    None => self.group(&tasks, id, first, None, plan, depth),
                }
            }
            "celery.chord" => {
                if with.chord.is_some() {
                    return Err(nested("a chord"));
                }
                let header = signature.kwargs.get("header").cloned().unwrap_or_default();
                let (tasks, id) = match &header {
                    Value::Array(tasks) => (tasks.clone(), None),
                    other => {
                        let group = Signature::of(other)?;
                        (list(&group, "tasks")?, group.id().map(str::to_owned))
                    }
                };
                let body = signature.kwargs.get("body").cloned().unwrap_or_default();
                let id = id.unwrap_or_else(|| (self.new_id)());
                self.chord(
                    &tasks,
                    &body,
                    id,
                    with.chain.unwrap_or_default(),
                    first,
                    plan,
                    depth,
                )
            }
            _ => self.task(signature, first, with, plan),
        }
    }

    fn chain(
        &mut self,
        signature: &Signature,
        first: Option<&str>,
        with: With,
        plan: &mut Plan,
        depth: usize,
    ) -> Result<Value, BadSignature> {
        let mut tasks = list(signature, "tasks")?;
        let rest = with.chain.unwrap_or_default();
        // Whoever waits for the chain waits for its last step.
        if let Some(options) = tasks.last_mut().and_then(Value::as_object_mut) {
            let options = options.entry("options").or_insert_with(|| json!({}));
            if let Some(options) = options.as_object_mut() {
                if let Some((group, index)) = &with.group {
                    options.insert("group_id".into(), json!(group));
                    options.insert("group_index".into(), json!(index));
                }
                if let Some(chord) = &with.chord {
                    options.insert("chord".into(), chord.clone());
                }
            }
        }
        let Some((step, others)) = tasks.split_first() else {
            return Err(BadSignature("a chain without steps".into()));
        };
        let steps = rest.into_iter().chain(others.iter().rev().cloned()).collect();
        let with = With {
            chain: Some(steps),
            ..With::default()
        };
        self.send(step, first, with, plan, depth + 1)
    }

    fn group(
        &mut self,
        tasks: &[Value],
        id: String,
        first: Option<&str>,
        chord: Option<&Value>,
        plan: &mut Plan,
        depth: usize,
    ) -> Result<Value, BadSignature> {
        let mut children = Vec::with_capacity(tasks.len());
        for (index, task) in tasks.iter().enumerate() {
            let with = With {
                group: Some((id.clone(), Some(index))),
                chord: chord.cloned(),
                chain: None,
            };
            children.push(self.send(task, first, with, plan, depth + 1)?);
        }
        Ok(json!([[id, null], children]))
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "private; a struct would only rename them"
    )]
    fn chord(
        &mut self,
        tasks: &[Value],
        body: &Value,
        id: String,
        rest: Vec<Value>,
        first: Option<&str>,
        plan: &mut Plan,
        depth: usize,
    ) -> Result<Value, BadSignature> {
        Signature::of(body)?;
        let mut body = body.clone();
        if let Some(map) = body.as_object_mut() {
            let options = map.entry("options").or_insert_with(|| json!({}));
            if let Some(options) = options.as_object_mut() {
                options.insert("group_id".into(), json!(id));
                options.insert("chain".into(), json!(rest));
                options.insert("root_id".into(), json!(self.root()));
            }
        }
        if tasks.is_empty() {
            return self.send(&body, Some("[]"), With::default(), plan, depth + 1);
        }
        let child = self.group(tasks, id.clone(), first, Some(&body), plan, depth + 1)?;
        plan.sizes.push(ChordSize {
            group: id,
            size: tasks.len(),
            parts: child.get(1).cloned().unwrap_or_default(),
            body,
        });
        if self.unlocks
            && let Some(size) = plan.sizes.last()
        {
            let unlock = json!({"task": UNLOCK, "args": [size.group, size.body], "kwargs": {"result": size.parts},
                "options": {"countdown": UNLOCK_AFTER, "ignore_result": true}, "immutable": true});
            self.task(Signature::of(&unlock)?, None, With::default(), plan)?;
        }
        Ok(child)
    }

    fn root(&self) -> &str {
        self.head.root_id.as_deref().unwrap_or(&self.head.id)
    }

    /// One message.
    fn task(
        &mut self,
        signature: Signature,
        first: Option<&str>,
        with: With,
        plan: &mut Plan,
    ) -> Result<Value, BadSignature> {
        if plan.sends.len() == CANVAS_MAX {
            return Err(BadSignature(format!("it is more than {CANVAS_MAX} messages")));
        }
        let id = signature.id().map_or_else(|| (self.new_id)(), str::to_owned);
        let first = first.filter(|_| !signature.immutable);
        let args: Vec<String> = first
            .map(str::to_owned)
            .into_iter()
            .chain(signature.args.iter().map(Value::to_string))
            .collect();
        let embed = json!({
            "callbacks": signature.linked("link"),
            "errbacks": signature.linked("link_error"),
            "chain": with.chain.as_ref().map(|steps| json!(steps)).or_else(|| signature.option("chain").cloned()),
            "chord": with.chord.as_ref().or(signature.option("chord")),
        });
        let kwargs = Value::Object(signature.kwargs.clone());
        let body = format!("[[{}], {kwargs}, {embed}]", args.join(", "));
        let queue = signature.text("queue").or_else(|| {
            let direct = signature.text("exchange").is_none();
            signature.text("routing_key").filter(|_| direct)
        });
        let queue = queue.map_or_else(|| (self.queue_of)(&signature.task), str::to_owned);
        let properties = Properties {
            correlation_id: Some(id.clone()),
            reply_to: signature
                .text("reply_to")
                .map(str::to_owned)
                .or_else(|| self.head.reply_to.clone()),
            priority: Some(signature.option("priority").and_then(Value::as_i64).unwrap_or(0)),
            delivery_mode: Some(2),
            redelivered: false,
            delivered: 0,
        };
        let headers = self.headers(&signature, &id, &with, &args)?;
        plan.sends.push(Outgoing {
            queue,
            message: Message::json(headers, properties, body.into_bytes()),
        });
        Ok(json!([[id, null], null]))
    }

    fn headers(
        &self,
        signature: &Signature,
        id: &str,
        with: &With,
        args: &[String],
    ) -> Result<Map<String, Value>, BadSignature> {
        let (group, index) = match &with.group {
            Some((group, index)) => (json!(group), json!(index)),
            None => {
                let of = |name: &str| signature.option(name).cloned().unwrap_or_default();
                (of("group_id"), of("group_index"))
            }
        };
        let stamps = match signature.option("stamped_headers").and_then(Value::as_array) {
            Some(names) => {
                let of = |name: &str| {
                    signature
                        .option(name)
                        .cloned()
                        .map(|value| (name.to_owned(), value))
                };
                let stamps: Map<_, _> = names.iter().filter_map(Value::as_str).filter_map(of).collect();
                (json!(names), stamps)
            }
            None if !self.head.stamped_headers.is_empty() => {
                (json!(self.head.stamped_headers), self.head.stamps.clone())
            }
            None => (Value::Null, Map::new()),
        };
        let limit = |name: &str| signature.option(name).cloned().unwrap_or_default();
        let mut headers = signature
            .option("headers")
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default();
        let mut add = |name: &str, value: Value| drop(headers.insert(name.into(), value));
        add("lang", json!("py"));
        add("task", json!(signature.task));
        add("id", json!(id));
        add("shadow", Value::Null);
        add("eta", json!(self.time(signature, "eta", "countdown")?));
        add("expires", json!(self.time(signature, "expires", "expires")?));
        add("group", group);
        add("group_index", index);
        add("retries", json!(0));
        add(
            "timelimit",
            json!([limit("time_limit"), limit("soft_time_limit")]),
        );
        add("root_id", json!(self.root()));
        add("parent_id", json!(self.head.id));
        add("argsrepr", json!(repr_args(args)));
        add(
            "kwargsrepr",
            json!(cut(repr(&Value::Object(signature.kwargs.clone())))),
        );
        add("origin", json!(self.node));
        add("ignore_result", limit("ignore_result"));
        add("replaced_task_nesting", json!(0));
        add("stamped_headers", stamps.0);
        add("stamps", Value::Object(stamps.1));
        Ok(headers)
    }

    /// A time under `at`, or so many seconds from now under `after`.
    fn time(&self, signature: &Signature, at: &str, after: &str) -> Result<Option<String>, BadSignature> {
        if let Some(seconds) = signature.option(after).and_then(Value::as_f64) {
            let micros = (seconds * 1e6).clamp(-1e18, 1e18) as i64;
            let at = self.now.as_micros().saturating_add(micros);
            return Ok(Some(show_time(Timestamp::from_micros(at))));
        }
        match signature.option(at) {
            None => Ok(None),
            Some(value) => {
                let read = value.as_str().and_then(parse_time);
                let read = read.ok_or_else(|| BadSignature(format!("`{at}` is no time")))?;
                Ok(Some(show_time(read)))
            }
        }
    }
}

fn nested(what: &str) -> BadSignature {
    BadSignature(format!("{what} inside of a chord's header is not expanded here"))
}

fn list(signature: &Signature, name: &str) -> Result<Vec<Value>, BadSignature> {
    let tasks = signature.kwargs.get(name).and_then(Value::as_array).cloned();
    tasks.ok_or_else(|| BadSignature(format!("`{}` without `{name}`", signature.task)))
}
