//! The templates are valid as they are and with any one value switched on; they and the reference know every key.

use std::path::Path;
use std::time::Duration;

use cresset_config::{
    Effective, Folder, Mistake, ModelKind, SETTINGS, ServerConfig, SettingsFile, default_cresset_toml,
    default_model_toml, model_reference_markdown, parse_model, reference_markdown,
};

struct HasEverything;

impl Folder for HasEverything {
    fn dir(&self) -> &Path {
        Path::new("/srv/models/digits")
    }

    fn is_file(&self, _: &Path) -> bool {
        true
    }
}

fn parse_server(text: &str) -> Result<ServerConfig, Vec<Mistake>> {
    let file = SettingsFile {
        path: Path::new("cresset.toml"),
        text,
    };
    Effective::resolve(Some(file), [("HOME", "/h")], &[]).map(|e| e.config)
}

/// The lines that hold a switched-off value, by number.
fn switched_off(text: &str) -> Vec<usize> {
    let off = |line: &str| line.starts_with('#') && !line.starts_with("# ") && line.contains(" = ");
    text.lines()
        .enumerate()
        .filter(|(_, line)| off(line))
        .map(|(i, _)| i)
        .collect()
}

fn switch_on(text: &str, lines: &[usize]) -> String {
    let on = |(i, line): (usize, &str)| {
        if lines.contains(&i) {
            format!("{}\n", &line[1..])
        } else {
            format!("{line}\n")
        }
    };
    text.lines().enumerate().map(on).collect()
}

#[test]
fn the_default_settings_file_says_what_is_the_default_anyway() {
    let text = default_cresset_toml();
    insta::assert_snapshot!("cresset_toml", text);
    let defaults = parse_server("").unwrap();
    assert_eq!(parse_server(&text), Ok(defaults.clone()));
    let values = switched_off(&text);
    assert_eq!(values.len(), SETTINGS.len());
    let all = parse_server(&switch_on(&text, &values)).unwrap();
    // What has no value by default has an example.
    let bounds = &all.admission;
    assert!(bounds.max_queue.is_some() && bounds.client.max_requests.is_some());
    assert!(all.auth.keys.is_some() && !all.auth.enabled);
    let celery = &all.celery;
    assert!(celery.is_on() && celery.broker.is_some() && celery.tasks.len() == 1 && celery.node.is_some());
    assert!(all.webhooks.secrets_file.is_some() && !all.webhooks.allow.is_empty());
    assert_eq!(all.webhooks.retention, defaults.webhooks.retention);
    assert!(all.inbox && all.inbox_tenant.is_some());
    assert_eq!(
        all,
        ServerConfig {
            inbox_tenant: all.inbox_tenant.clone(),
            celery: celery.clone(),
            store: all.store.clone(),
            cache_dir: "/var/cache/cresset".into(),
            admin_listen: all.admin_listen.clone(),
            tls_cert: Some("/etc/cresset/cert.pem".into()),
            tls_key: Some("/etc/cresset/key.pem".into()),
            hsts: Some(Duration::from_secs(365 * 86_400)),
            trusted_proxies: all.trusted_proxies.clone(),
            cors_origins: all.cors_origins.clone(),
            admission: bounds.clone(),
            max_connections_per_address: Some(256),
            auth: all.auth.clone(),
            webhooks: all.webhooks.clone(),
            ..defaults
        }
    );
}

#[test]
fn the_model_templates_are_valid_as_written_and_with_each_value_switched_on() {
    for kind in [ModelKind::Tensor, ModelKind::Object] {
        let text = default_model_toml(kind);
        insta::assert_snapshot!(format!("model_toml_{}", kind.name()), text);
        assert_eq!(
            parse_model("model.toml", Some(&text), &HasEverything)
                .unwrap()
                .kind(),
            kind
        );
        for line in switched_off(&text) {
            // Types of files are of a model that takes some.
            if text.lines().nth(line).unwrap().starts_with("#content_types") {
                continue;
            }
            // A tensor is switched on as a whole.
            if kind == ModelKind::Object
                && ["#name = \"x\"", "#name = \"y\"", "#dtype", "#shape"]
                    .iter()
                    .any(|t| text.lines().nth(line).unwrap().starts_with(t))
            {
                continue;
            }
            if let Err(mistakes) = parse_model("model.toml", Some(&switch_on(&text, &[line])), &HasEverything)
            {
                panic!("{}", cresset_config::render_all(&mistakes));
            }
        }
    }
}

/// `### \`key\`` headings of a reference page.
fn documented(page: &str) -> Vec<&str> {
    page.lines()
        .filter_map(|l| l.strip_prefix("### `")?.strip_suffix('`'))
        .collect()
}

#[test]
fn templates_and_reference_have_the_same_keys() {
    let keys_of = |text: &str| {
        let mut keys = Vec::new();
        let mut table = String::new();
        for line in text.lines() {
            let line = line
                .strip_prefix('#')
                .filter(|l| !l.starts_with(' '))
                .unwrap_or(line);
            if let Some(name) = line.strip_prefix("[[").and_then(|l| l.strip_suffix("]]")) {
                keys.push(name.to_owned());
                table = "tensor".into();
            } else if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
                table = format!("{name}.");
            } else if let Some((name, _)) = line
                .split_once(" = ")
                .filter(|(name, _)| !name.contains('#') && table != "tensor")
            {
                keys.push(format!("{table}{name}"));
            }
        }
        keys
    };
    assert_eq!(
        keys_of(&default_cresset_toml()),
        documented(&reference_markdown())
    );
    let page = model_reference_markdown();
    let all = documented(&page);
    let (model, tensor) = all.split_at(all.len() - 5);
    // A model that Celery workers run has another file, which nobody needs a template for.
    let model: Vec<_> = model.iter().filter(|key| !key.starts_with("send.")).collect();
    let template = keys_of(&default_model_toml(ModelKind::Tensor));
    assert_eq!(template.iter().collect::<Vec<_>>(), model);
    assert_eq!(tensor, ["name", "dtype", "shape", "allow_non_finite", "pad"]);
}

#[test]
fn the_committed_reference_pages_are_fresh() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference");
    for (file, page) in [
        ("config.md", reference_markdown()),
        ("model-toml.md", model_reference_markdown()),
    ] {
        let committed = std::fs::read_to_string(docs.join(file)).unwrap_or_default();
        assert!(
            committed == page,
            "docs/reference/{file} is stale: run `cargo run -p cresset-config --example reference`"
        );
    }
}
