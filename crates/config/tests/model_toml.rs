//! What `model.toml` may say, and what is said about one that is wrong.

use std::path::{Path, PathBuf};
use std::time::Duration;

use cresset_config::{Cost, Folder, Mistake, ModelConfig, ModelKind, Priorities, parse_model, render_all};
use cresset_task::DType;
use proptest::prelude::*;

/// A folder named `dir` that holds these files.
struct Fake {
    dir: PathBuf,
    files: &'static [&'static str],
}

impl Folder for Fake {
    fn dir(&self) -> &Path {
        &self.dir
    }

    fn is_file(&self, path: &Path) -> bool {
        self.files
            .iter()
            .any(|file| self.dir.join(file) == self.dir.join(path))
    }
}

const FILES: &[&str] = &["model.py", "requirements.txt", "/opt/venv/bin/python"];

fn folder(name: &str, files: &'static [&'static str]) -> Fake {
    Fake {
        dir: Path::new("/srv/models").join(name),
        files,
    }
}

fn read(text: &str) -> Result<ModelConfig, Vec<Mistake>> {
    parse_model("digits/model.toml", Some(text), &folder("digits", FILES))
}

fn lines(mistakes: &[Mistake]) -> String {
    mistakes.iter().map(|m| format!("{m}\n")).collect()
}

fn complain(text: &str) -> String {
    lines(&read(text).expect_err("the text has a mistake"))
}

#[test]
fn a_folder_without_model_toml_is_an_object_model_with_all_defaults() {
    let model = parse_model("digits/model.toml", None, &folder("digits", &["model.py"])).unwrap();
    assert_eq!(model.kind(), ModelKind::Object);
    assert_eq!((model.name.as_str(), model.version.as_str()), ("digits", "1"));
    assert_eq!(
        (model.entry.file.as_str(), model.entry.attribute),
        ("model.py", None)
    );
    assert_eq!(model.batching.max_batch_size, 32);
    assert_eq!(model.instances.devices, ["cpu"]);
    assert_eq!(model.environment.requirements, None);
}

#[test]
fn every_key_reaches_its_field() {
    let model = read(
        r#"
        name = "other"
        version = "2024-05"
        description = "reads digits"
        entry = "model.py:Net"
        allow_pickle = true
        copy_inputs = true
        inputs = [{ name = "pixels", dtype = "float32", shape = [-1, 8, 8], pad = -0.5 }, { name = "k", dtype = "int64", shape = [] }]
        [[outputs]]
        name = "logits"
        dtype = "bfloat16"
        shape = [10]
        allow_non_finite = true
        [batching]
        max_batch_size = 0x40
        max_delay = "0s"
        max_batch_bytes = 4096
        max_batch_cost = 77
        cost = "padded"
        max_padding = 0.4
        priorities = "strict"
        priority_step = "7ms"
        [instances]
        count = 2
        devices = ["cuda:0", "cuda:1"]
        threads = 3
        max_tasks = 100000
        max_memory = "2GiB"
        idle_unload = "1.5h"
        [limits]
        timeout = "1.5s"
        soft_timeout = "1s"
        start_timeout = "1h"
        predict_timeout = "250ms"
        cancel_grace = "1500ms"
        max_queue = 7
        max_queue_bytes = "2GB"
        max_waiting = 9
        max_waiting_bytes = "3KiB"
        max_attempts = 1
        [environment]
        requirements = "requirements.txt"
        python_version = "3.11"
        [environment.variables]
        HF_HUB_OFFLINE = "1"
        "#,
    )
    .unwrap();
    assert_eq!(model.name.as_str(), "other");
    assert_eq!(model.version, "2024-05");
    assert_eq!(model.description.as_deref(), Some("reads digits"));
    assert_eq!(model.entry.attribute.as_deref(), Some("Net"));
    assert!(model.allow_pickle && model.copy_inputs);
    assert_eq!(model.kind(), ModelKind::Tensor);
    assert_eq!(
        (&model.inputs[0].shape, model.inputs[1].dtype),
        (&vec![-1, 8, 8], DType::Int64)
    );
    assert!(model.outputs[0].allow_non_finite && model.outputs[0].dtype == DType::Bfloat16);
    assert_eq!(
        (model.batching.max_batch_size, model.batching.max_delay),
        (64, Duration::ZERO)
    );
    let batching = &model.batching;
    assert_eq!(
        (batching.max_batch_bytes, batching.max_batch_cost, batching.cost),
        (4096, Some(77), Cost::Padded)
    );
    assert_eq!(
        (batching.max_padding, batching.priorities, batching.priority_step),
        (0.4, Priorities::Strict, Duration::from_millis(7))
    );
    assert_eq!(
        (&model.inputs[0].pad, &model.inputs[1].pad),
        (&Some((-0.5_f32).to_le_bytes().to_vec().into()), &None)
    );
    assert_eq!((model.instances.count, model.instances.threads), (2, Some(3)));
    assert_eq!(model.instances.devices, ["cuda:0", "cuda:1"]);
    assert_eq!(
        (model.instances.max_tasks, model.instances.max_memory),
        (Some(100_000), Some(2 << 30))
    );
    assert_eq!(model.instances.idle_unload, Some(Duration::from_secs(5400)));
    let limits = &model.limits;
    assert_eq!(
        (limits.timeout, limits.start_timeout),
        (Duration::from_millis(1500), Duration::from_secs(3600))
    );
    assert_eq!(
        (limits.predict_timeout, limits.max_queue),
        (Duration::from_millis(250), 7)
    );
    assert_eq!(
        (limits.max_queue_bytes, limits.max_waiting, limits.max_attempts),
        (2_000_000_000, 9, 1)
    );
    assert_eq!(
        (limits.max_waiting_bytes, limits.cancel_grace),
        (Some(3 << 10), Some(Duration::from_millis(1500)))
    );
    assert_eq!(limits.soft_timeout, Some(Duration::from_secs(1)));
    let requirements = Path::new("/srv/models/digits/requirements.txt");
    assert_eq!(model.environment.requirements.as_deref(), Some(requirements));
    assert_eq!(model.environment.python_version.as_deref(), Some("3.11"));
    assert_eq!(model.environment.variables["HF_HUB_OFFLINE"], "1");
}

#[test]
fn a_soft_timeout_comes_before_the_hard_one() {
    let soft = |limits: &str| read(&format!("[limits]\n{limits}")).map(|m| m.limits.soft_timeout);
    assert_eq!(soft(""), Ok(None));
    assert_eq!(
        soft("soft_timeout = \"10ms\""),
        Ok(Some(Duration::from_millis(10)))
    );
    for (limits, line) in [
        ("soft_timeout = \"60s\"", 2),
        ("soft_timeout = \"2m\"", 2),
        ("timeout = \"5s\"\nsoft_timeout = \"5s\"", 3),
    ] {
        let mistakes = soft(limits).unwrap_err();
        let said = lines(&mistakes);
        assert_eq!(mistakes.len(), 1, "{said}");
        assert!(said.contains(&format!("digits/model.toml:{line}:")), "{said}");
        assert!(
            said.contains("limits.soft_timeout: must be shorter than `limits.timeout`, which is "),
            "{said}"
        );
    }
    let said = lines(&soft("soft_timeout = \"1ms\"").unwrap_err());
    assert!(said.contains("must be 10ms to 1d, is 1ms"), "{said}");
    let said = lines(&soft("soft_timeout = \"70s\"\ntimeout = \"soon\"").unwrap_err());
    assert!(
        !said.contains("must be shorter"),
        "what was refused is not compared with: {said}"
    );
}

#[test]
fn a_cancelled_task_has_a_grace_or_none_ends_it() {
    let grace = |text: &str| read(&format!("[limits]\ncancel_grace = {text}")).map(|m| m.limits.cancel_grace);
    assert_eq!(grace("\"none\""), Ok(None));
    assert_eq!(grace("\"0s\""), Ok(Some(Duration::ZERO)));
    for bad in ["\"2d\"", "\"soon\"", "30", "\"\""] {
        let said = lines(&grace(bad).unwrap_err());
        assert!(said.contains("or \"none\", is"), "{said}");
    }
}

#[test]
fn a_padding_is_an_element_of_its_input() {
    let pad = |dtype: &str, pad: &str| {
        let text = format!("inputs = [{{ name = \"x\", dtype = \"{dtype}\", shape = [-1], pad = {pad} }}]");
        read(&text).map(|model| model.inputs[0].pad.clone().unwrap_or_default().to_vec())
    };
    assert_eq!(pad("int64", "-1").unwrap(), (-1_i64).to_le_bytes());
    assert_eq!(pad("uint8", "0xff").unwrap(), [255]);
    assert_eq!(pad("float32", "3").unwrap(), 3_f32.to_le_bytes());
    assert_eq!(pad("bfloat16", "1.0").unwrap(), [0x80, 0x3f]);
    assert_eq!(pad("bool", "true").unwrap(), [1]);
    let wrong = [
        ("uint8", "256"),
        ("int32", "0.5"),
        ("float16", "1e9"),
        ("float32", "inf"),
        ("int64", "\"0\""),
    ];
    let said = wrong.map(|(dtype, number)| lines(&pad(dtype, number).expect_err(number)));
    insta::assert_snapshot!(said.concat(), @r#"
    digits/model.toml:1:62: inputs[0].pad: 256 does not fit uint8 (0 to 255)
    digits/model.toml:1:62: inputs[0].pad: 0.5 is not an integer, and int32 holds nothing else
    digits/model.toml:1:64: inputs[0].pad: 1000000000.0 is too large for float16
    digits/model.toml:1:64: inputs[0].pad: must be a finite number, is the number inf
    digits/model.toml:1:62: inputs[0].pad: must be a finite number, is the text "0"
    "#);
}

#[test]
fn what_would_have_no_effect_on_batching_is_said() {
    insta::assert_snapshot!(
        complain("inputs = [{ name = \"x\", dtype = \"int8\", shape = [3], pad = 0 }]\n[batching]\ngroup_by_size = true\nmax_padding = 1\ncost = \"sums\""),
        @r#"
    digits/model.toml:1:60: inputs[0].pad: has no effect on a shape without a free dimension (-1)
    digits/model.toml:3:17: batching.group_by_size: is for models of JSON, this one declares tensors; give its inputs a `pad`
    digits/model.toml:4:15: batching.max_padding: must be a number, 0 to 0.9, is the integer 1
    digits/model.toml:5:8: batching.cost: must be "sum" or "padded", is the text "sums"; did you mean "sum"?
    "#
    );
    insta::assert_snapshot!(complain("outputs = [{ name = \"x\", dtype = \"int8\", shape = [-1], pad = 0 }]"), @"digits/model.toml:1:62: outputs[0].pad: is for inputs only");
    assert!(
        read("[batching]\ngroup_by_size = true\nmax_padding = 0")
            .unwrap()
            .batching
            .group_by_size
    );
}

#[test]
fn a_ready_interpreter_leaves_the_requirements_alone() {
    let model = read("[environment]\npython = \"/opt/venv/bin/python\"").unwrap();
    assert_eq!(
        model.environment.python.as_deref(),
        Some(Path::new("/opt/venv/bin/python"))
    );
    assert_eq!(model.environment.requirements, None);
    insta::assert_snapshot!(
        complain("[environment]\npython = \"/opt/venv/bin/python\"\nrequirements = \"requirements.txt\""),
        @r#"digits/model.toml:3:16: environment.requirements: a ready interpreter is used as it is, so this would have no effect; remove it, or remove `python`"#
    );
}

const FULL_OF_MISTAKES: &str = r#"name = "My Digits"
versoin = "2"
entry = "model:Net"
allow_pickle = "true"
timeout = "3s"

[batching]
max_batch_size = 0
max_batchsize = 8
max_delay = 2
max_batch_bytes = "64mb"

[instances]
count = "2"
devices = ["cpu", "gpu", "CUDA:1", "cuda:01", "cpu", 3]
threads = -1

[limits]
timeout = "0s"
max_queue = 99999999999999999999
max_queue_bytes = -1
max_attempts = 2.5

[environment]
python = "/nowhere/python"
python_version = 3.11

[environment.variables]
CRESSET_MODEL = "x"
OMP_NUM_THREADS = 1

[[inputs]]
name = "pixels"
dtype = "float"
shape = [0, 8, -2, "8"]
allow_non_finite = true

[[inputs]]
name = "pixels"
dtype = "float32"
shape = 64

[[inputs]]
nmae = "x"
dtype = "float32"
shape = [1]

[[inputs]]
name = "x"
dtype = "float32"
shape = [1]

[[inputs]]
name = "x"
dtype = "float32"
shape = [100000, 100000]

[outputs]
name = "logits"

[[extra]]
colour = 1
"#;

#[test]
fn a_file_full_of_mistakes_gets_one_report_with_all_of_them() {
    let mistakes = read(FULL_OF_MISTAKES).unwrap_err();
    insta::assert_snapshot!("report_in_lines", lines(&mistakes));
    insta::assert_snapshot!("report_for_a_terminal", render_all(&mistakes));
}

#[test]
fn all_syntax_errors_are_reported() {
    insta::assert_snapshot!(
        "syntax_errors",
        render_all(&read("name = digits\n[batching\nmax_delay = \"2ms\nx = 1 2\nx = [1,\n").unwrap_err())
    );
}

#[test]
fn what_the_folder_lacks_is_said() {
    let folder = folder("My Model", &["net.py"]);
    let missing = parse_model("My Model/model.toml", None, &folder).unwrap_err();
    let misnamed = parse_model("m/model.toml", Some("entry = \"net\"\n"), &folder).unwrap_err();
    let outside = parse_model(
        "m/model.toml",
        Some("name = \"m\"\nentry = \"../net.py\"\n"),
        &folder,
    )
    .unwrap_err();
    let requirements = parse_model(
        "m/model.toml",
        Some("name = \"m\"\nentry = \"net.py:1x\"\nenvironment.requirements = \"r.txt\""),
        &folder,
    )
    .unwrap_err();
    insta::assert_snapshot!(
        "folder_mistakes",
        [missing, misnamed, outside, requirements]
            .map(|m| lines(&m))
            .concat()
    );
}

#[test]
fn a_batch_must_hold_one_item() {
    insta::assert_snapshot!(
        complain("batching.max_batch_bytes = 100\ninputs = [{ name = \"x\", dtype = \"float32\", shape = [64] }]\n"),
        @"digits/model.toml:1:28: batching.max_batch_bytes: must hold at least one item, which has 256B, is 100B"
    );
}

#[test]
fn a_quoted_dotted_key_is_not_the_key_it_looks_like() {
    assert!(complain("\"batching.max_batch_size\" = 3").contains("unknown key"));
}

#[test]
fn hundreds_of_mistakes_are_cut_with_a_count() {
    let text: String = (0..300).map(|i| format!("zz{i} = 1\n")).collect();
    let mistakes = read(&text).unwrap_err();
    assert_eq!(mistakes.len(), 101);
    assert_eq!(
        mistakes.last().map(|m| m.message.as_str()),
        Some("200 more mistakes are not shown")
    );
}

fn pieces() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("[batching]\n".to_owned()),
        Just("[[inputs]]\n".to_owned()),
        Just("[environment.variables]\n".to_owned()),
        "(name|dtype|shape|max_delay|count|devices|entry|python|version|inputs|outputs|batching|limits) = ",
        "(1|-1|0x1F|1e9|nan|true|\"[a-z:0-9]{0,6}\"|\\[1, -1\\]|\\[\"cpu\"\\]|\\{ name = \"a\" \\}|2020-01-01|99999999999999999999)\n",
        "\\PC{0,8}",
    ];
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in "(?s).{0,80}") {
        if let Err(mistakes) = read(&text) {
            prop_assert!(!render_all(&mistakes).is_empty());
        }
    }

    #[test]
    fn nothing_that_looks_like_a_model_toml_makes_it_panic(text in pieces()) {
        if let Err(mistakes) = read(&text) {
            prop_assert!(!render_all(&mistakes).is_empty());
        }
    }
}

#[test]
fn a_retry_policy_lists_classes_of_exceptions() {
    let model = read(
        "[retry]\nmax_retries = 5\ndelay = \"2s\"\non = [\"TimeoutError\", \"requests.exceptions.ConnectionError\", \"*\"]",
    );
    let retry = model.unwrap().retry;
    assert_eq!((retry.max_retries, retry.delay), (5, Duration::from_secs(2)));
    assert_eq!(
        retry.on,
        ["TimeoutError", "requests.exceptions.ConnectionError", "*"]
    );
    assert!(read("").unwrap().retry.on.is_empty());
    insta::assert_snapshot!(
        complain("[retry]\non = [\"Timeout Error\", 5, \"\", \"a..b\"]\n")
            + &complain("[retry]\non = \"*\"\n")
    );
}
