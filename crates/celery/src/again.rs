//! A task once more, and what is lost when it fails.

use cresset_task::Timestamp;
use serde_json::json;

use crate::body::{Body, Embed};
use crate::canvas::{CANVAS_MAX, Next, Outgoing};
use crate::message::{Message, Properties};
use crate::read::Task;
use crate::signature::Signature;
use crate::time::show_time;

impl Next<'_> {
    /// The task once more, at `eta`.
    #[must_use]
    pub fn again(&self, task: &Task, eta: Timestamp, queue: &str) -> Outgoing {
        let mut headers = task.headers.clone();
        headers.remove("compression");
        headers.insert("retries".into(), json!(task.head.retries.saturating_add(1)));
        headers.insert("eta".into(), json!(show_time(eta)));
        headers.insert("parent_id".into(), json!(task.head.id));
        let properties = Properties {
            correlation_id: Some(task.head.id.clone()),
            reply_to: task.head.reply_to.clone(),
            priority: Some(task.head.priority),
            delivery_mode: Some(2),
            redelivered: false,
            delivered: 0,
        };
        Outgoing {
            queue: queue.into(),
            message: Message::json(headers, properties, task.body.to_json().into_bytes()),
        }
    }
}

impl Embed {
    /// The ids of the steps that will not happen when this task fails.
    #[must_use]
    pub fn lost_steps(&self) -> Vec<String> {
        let steps = self.chain.iter().flatten().rev();
        let ids = steps.filter_map(|step| Signature::of(step).ok()?.id().map(str::to_owned));
        ids.take(CANVAS_MAX).collect()
    }
}

impl Body {
    /// The body as JSON text.
    #[must_use]
    pub fn to_json(&self) -> String {
        let args: Vec<_> = self.args.iter().map(|arg| arg.get()).collect();
        let kwargs: Vec<_> = self
            .kwargs
            .iter()
            .map(|(name, value)| format!("{}: {}", json!(name), value.get()))
            .collect();
        let Embed {
            callbacks,
            errbacks,
            chain,
            chord,
        } = &self.embed;
        let embed = json!({"callbacks": callbacks, "errbacks": errbacks, "chain": chain, "chord": chord});
        format!("[[{}], {{{}}}, {embed}]", args.join(", "), kwargs.join(", "))
    }
}
