//! Whom to tell of its tasks, where their submitters do not say.

use cresset_task::Events;

use super::{Draft, key, words};
use crate::field::{Field, Key, Refusal};

/// In the order of the template.
pub(super) const KEYS: &[Key<Draft>] = &[
    words(
        key(
            "webhook.url",
            Field::Text {
                form: "an address in quotes, such as \"https://example.com/hooks/cresset\"",
                get: |m| m.webhook_url.as_ref().map(|url| url.as_str().to_owned()),
                set: set_url,
            },
            "Who is told of tasks of this model, unless a submit says `callback_url` itself. The server must have webhook secrets.",
        ),
        "nobody",
        r#""https://example.com/hooks/cresset""#,
    ),
    key(
        "webhook.events",
        Field::Text {
            form: "events in one text, parted by commas: started, retried, succeeded, failed, revoked",
            get: |m| Some(names(m.webhook_events)),
            set: set_events,
        },
        "Of what: of `started, retried, succeeded, failed, revoked`.",
    ),
];

fn names(events: Events) -> String {
    let names: Vec<_> = events.iter().map(cresset_task::Event::name).collect();
    names.join(", ")
}

fn set_url(m: &mut Draft, text: &str) -> Result<(), Refusal> {
    m.webhook_url = Some(text.parse().map_err(|error| Refusal::new(format!("{error}")))?);
    Ok(())
}

fn set_events(m: &mut Draft, text: &str) -> Result<(), Refusal> {
    let words = text.split([',', ' ']).filter(|word| !word.is_empty());
    m.webhook_events = Events::read(words).map_err(|error| Refusal::new(error.to_string()))?;
    Ok(())
}
