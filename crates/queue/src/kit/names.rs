//! Names as the tables have them.

use cresset_task::{CallbackUrl, ClientKey, Event, EventId, ModelName, TaskId, Tenant};

use super::{Fault, Owner};

/// A model's name.
pub fn model_of(text: &str) -> Result<ModelName, Fault> {
    text.parse()
        .map_err(|_| Fault::Damaged(format!("a task is for {text:?}, which is not a model name")))
}

/// A client, if there is one.
pub fn client_of(text: Option<&str>) -> Result<Option<ClientKey>, Fault> {
    let read = |text: &str| {
        text.parse()
            .map_err(|_| Fault::Damaged(format!("a task is of {text:?}, which is not a client")))
    };
    text.map(read).transpose()
}

/// A tenant, if there is one.
pub fn tenant_of(text: Option<&str>) -> Result<Option<Tenant>, Fault> {
    let read = |text: &str| {
        text.parse()
            .map_err(|_| Fault::Damaged(format!("a task is of {text:?}, which is not a tenant")))
    };
    text.map(read).transpose()
}

/// Whose a task is.
pub fn owner_of(model: &str, client: Option<&str>) -> Result<Owner, Fault> {
    Ok(Owner {
        model: model_of(model)?,
        client: client_of(client)?,
    })
}

/// What a delivery tells of.
pub fn event_id(task: TaskId, event: u8, attempt: u32) -> Result<EventId, Fault> {
    let event = Event::from_code(event)
        .ok_or_else(|| Fault::Damaged(format!("the outbox tells of event {event} of task {task}")))?;
    Ok(EventId { task, event, attempt })
}

/// An address.
pub fn url_of(text: &str) -> Result<CallbackUrl, Fault> {
    text.parse()
        .map_err(|e| Fault::Damaged(format!("an address in the outbox {e}")))
}
