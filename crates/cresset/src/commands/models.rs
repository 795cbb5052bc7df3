//! `cresset models`: what a server serves, and how it is getting on.

use clap::Args;

use crate::args::{self, ServerArgs};
use crate::client::{Batching, Instance, Model, Tensor};
use crate::exit::{Exit, Trouble};
use crate::out::{self, Table};

/// Lists the models that a server serves; or shows one of them.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    cresset models\n  \
    cresset models digits\n  \
    cresset models --json | jq -r '.models[].name'")]
pub(crate) struct ModelsArgs {
    /// Show this model only, with its inputs and outputs
    name: Option<String>,
    /// Print the server's JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) fn run(args: &ModelsArgs) -> Result<Exit, Trouble> {
    let client = args.server.client()?;
    args::block_on(async {
        let (document, text) = match &args.name {
            Some(name) => {
                let (model, document) = client.model(name).await.map_err(|error| error.trouble())?;
                (document, one(&model))
            }
            None => {
                let (models, document) = client.models().await.map_err(|error| error.trouble())?;
                (document, table(&models.models))
            }
        };
        if args.json {
            out::line(&String::from_utf8_lossy(&document))?;
        } else {
            out::raw(text.as_bytes())?;
        }
        Ok(Exit::OK)
    })
}

/// What the server does not say.
const UNSAID: &str = "-";

fn table(models: &[Model]) -> String {
    let mut table = Table::new(&[
        "MODEL",
        "VERSION",
        "KIND",
        "STATE",
        ">INSTANCES",
        ">QUEUED",
        ">RUNNING",
        ">ITEMS/S",
    ]);
    for model in models {
        let ready = model
            .instances
            .iter()
            .filter(|instance| instance.state == "ready")
            .count();
        table.row([
            model.name.clone(),
            text(model.version.as_deref()),
            text(model.kind.as_deref()),
            text(model.state.as_deref()),
            format!("{ready}/{}", model.instances.len()),
            number(model.queue.as_ref().map(|queue| queue.tasks)),
            number(model.running),
            rate(model),
        ]);
    }
    table.render()
}

fn one(model: &Model) -> String {
    let mut items = vec![
        ("model", model.name.clone()),
        ("version", text(model.version.as_deref())),
    ];
    items.extend(
        model
            .description
            .clone()
            .map(|description| ("about", description)),
    );
    items.push(("kind", text(model.kind.as_deref())));
    items.push(("state", text(model.state.as_deref())));
    items.extend(
        model
            .last_failure
            .clone()
            .map(|failure| ("last failure", failure)),
    );
    items.extend(model.inputs.iter().map(|tensor| ("input", tensor_text(tensor))));
    items.extend(model.outputs.iter().map(|tensor| ("output", tensor_text(tensor))));
    items.extend(model.batching.as_ref().map(|batching| {
        let Batching {
            max_batch_size,
            max_delay_ms,
        } = batching;
        (
            "batches",
            format!("up to {max_batch_size} items, held back {max_delay_ms} ms at most"),
        )
    }));
    items.push(("queued", number(model.queue.as_ref().map(|queue| queue.tasks))));
    items.push(("running", number(model.running)));
    items.push(("waiting", number(model.waiting)));
    items.push(("items/s", rate(model)));
    let mut out = out::pairs(items);
    if !model.instances.is_empty() {
        let mut table = Table::new(&[
            ">INSTANCE",
            "STATE",
            "DEVICE",
            ">PID",
            ">RESTARTS",
            ">RECYCLED",
            "RUNTIME",
        ]);
        for instance in &model.instances {
            table.row([
                instance.id.to_string(),
                instance.state.clone(),
                text(instance.device.as_deref()),
                number(instance.pid.map(u64::from)),
                number(instance.restarts),
                number(instance.recycled),
                remark(instance),
            ]);
        }
        out.push('\n');
        out.push_str(&table.render());
    }
    out
}

/// Why it is down, or what is to replace it, or what it runs on.
fn remark(instance: &Instance) -> String {
    let Some(replacement) = &instance.replacement else {
        return text(instance.reason.as_deref().or(instance.runtime.as_deref()));
    };
    let mut remark = format!("is being replaced, it {}", replacement.reason);
    if let (failures @ 1.., Some(why)) = (replacement.failures, &replacement.last_failure) {
        remark.push_str(&format!("; {failures} did not come up, the last {why}"));
    }
    remark
}

fn tensor_text(tensor: &Tensor) -> String {
    let shape: Vec<String> = tensor
        .shape
        .iter()
        .map(|size| if *size < 0 { "any".into() } else { size.to_string() })
        .collect();
    format!("{}: {} [{}]", tensor.name, tensor.dtype, shape.join(", "))
}

fn rate(model: &Model) -> String {
    model
        .items_per_second
        .map_or_else(|| UNSAID.to_owned(), |rate| format!("{rate:.1}"))
}

fn text(text: Option<&str>) -> String {
    text.unwrap_or(UNSAID).to_owned()
}

fn number(number: Option<u64>) -> String {
    number.map_or_else(|| UNSAID.to_owned(), |number| number.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn models() -> Vec<Model> {
        let digits = r#"{"name":"digits","version":"1","description":"Handwritten digits","kind":"tensor","state":"ready","last_failure":null,
            "inputs":[{"name":"pixels","dtype":"float32","shape":[1,-1,8]}],"outputs":[{"name":"logits","dtype":"float32","shape":[10]}],
            "batching":{"max_batch_size":32,"max_delay_ms":2.0,"max_batch_bytes":67108864},
            "instances":[{"id":0,"device":"cpu","pid":4711,"state":"ready","reason":null,"since":"2026-11-23T10:00:00.000000Z","restarts":0,"recycled":3,"runtime":"python 3.11.7, torch 2.15.0"},
                         {"id":1,"device":"cpu","pid":null,"state":"waiting","reason":"was ended by signal 9","since":"2026-11-23T10:00:00.000000Z","restarts":12,"runtime":null}],
            "queue":{"tasks":1250,"bytes":80000},"running":64,"waiting":3,"items_per_second":812.345}"#;
        [digits, r#"{"name":"old"}"#]
            .iter()
            .map(|text| serde_json::from_str(text).unwrap())
            .collect()
    }

    #[test]
    fn many_models_are_a_table() {
        insta::assert_snapshot!(table(&models()));
    }

    #[test]
    fn one_model_says_what_it_takes_and_how_it_is() {
        insta::assert_snapshot!(one(&models()[0]));
    }
}
