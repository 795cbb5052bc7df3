//! Our codec against the golden messages of tests/golden/runner, which the Python side is tested against too.

use std::path::PathBuf;

use bytes::{Bytes, BytesMut};
use cresset_task::{DType, TensorSpec};
use serde_json::Value;

use super::*;

fn folder(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "../../tests/golden/runner", name]
        .iter()
        .collect()
}

fn load(folder: PathBuf) -> Vec<Value> {
    let mut all: Vec<Value> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .map(|path| serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap())
        .collect();
    all.sort_by_key(|v| v["name"].as_str().unwrap().to_owned());
    assert!(all.len() > 20, "the golden messages are missing");
    all
}

fn bytes_of(hex: &Value) -> Vec<u8> {
    let hex = hex.as_str().unwrap();
    (0..hex.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap())
        .collect()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

fn header_of(golden: &Value, kind: Kind) -> Header {
    let h = &golden["header"];
    Header {
        body_len: number(&h["body_len"]) as u32,
        kind,
        flags: number(&h["flags"]) as u8,
        n_tensors: number(&h["n_tensors"]) as u16,
        seq: number(&h["seq"]),
        slot: number(&h["slot"]) as u32,
        batch: number(&h["batch"]) as u32,
        deadline_ms: number(&h["deadline_ms"]) as u32,
    }
}

fn descriptors_of(body: &Value) -> Vec<Descriptor> {
    let list = |v: &Value| v.as_array().unwrap().clone();
    list(&body["tensors"])
        .iter()
        .map(|t| Descriptor {
            dtype: t["dtype"].as_str().unwrap().parse().unwrap(),
            dims: list(&t["shape"]).iter().map(|d| d.as_i64().unwrap()).collect(),
            offset: number(&t["offset"]),
            nbytes: number(&t["nbytes"]),
        })
        .collect()
}

fn specs_of(list: &Value) -> Vec<TensorSpec> {
    list.as_array()
        .unwrap()
        .iter()
        .map(|s| TensorSpec {
            name: s["name"].as_str().unwrap().into(),
            dtype: s["dtype"].as_str().unwrap().parse::<DType>().unwrap(),
            shape: s["shape"]
                .as_array()
                .unwrap()
                .iter()
                .map(|d| d.as_i64().unwrap())
                .collect(),
            allow_non_finite: s["allow_non_finite"].as_bool().unwrap(),
            pad: None,
        })
        .collect()
}

fn slab_of(slab: &Value) -> Option<SlabInfo> {
    let slots = slab.get("slots")?.as_array()?.iter().map(|s| SlotInfo {
        input_offset: number(&s["input_offset"]),
        input_len: number(&s["input_len"]),
        output_offset: number(&s["output_offset"]),
        output_len: number(&s["output_len"]),
    });
    Some(SlabInfo {
        size: number(&slab["size"]),
        slots: slots.collect(),
    })
}

fn board_of(board: &Value) -> BoardInfo {
    let slots = board["slots"].as_array().unwrap().iter().map(|s| BoardSlot {
        offset: number(&s["offset"]),
        len: number(&s["len"]),
    });
    BoardInfo {
        size: number(&board["size"]),
        slots: slots.collect(),
    }
}

fn texts_of(texts: &Value) -> Vec<&str> {
    texts
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

/// The body that we write from the golden's decoded form; `None` for kinds that only instances write.
fn our_body(kind: Kind, body: &Value) -> Option<Vec<u8>> {
    let json = &body["json"];
    match kind {
        Kind::Hello => {
            let (model, instance) = (&json["model"], &json["instance"]);
            let (inputs, outputs) = (specs_of(&model["inputs"]), specs_of(&model["outputs"]));
            let kinds = ["tensor", "object"];
            let hello = Hello {
                protocol: number(&json["protocol"]) as u32,
                model: ModelInfo {
                    name: model["name"].as_str()?,
                    version: model["version"].as_str()?,
                    dir: model["dir"].as_str()?,
                    entry: model["entry"].as_str()?.to_owned(),
                    kind: kinds.into_iter().find(|k| model["kind"] == **k)?,
                    inputs: &inputs,
                    outputs: &outputs,
                    max_batch_size: number(&model["max_batch_size"]) as usize,
                    allow_pickle: model["allow_pickle"].as_bool()?,
                    copy_inputs: model["copy_inputs"].as_bool()?,
                    soft_timeout_ms: model["soft_timeout_ms"].as_u64(),
                    stream: model["stream"].as_bool()?,
                    files: model["files"].as_bool()?,
                    content_types: texts_of(&model["content_types"]),
                },
                instance: InstanceInfo {
                    id: number(&instance["id"]) as u32,
                    device: instance["device"].as_str()?,
                    threads: number(&instance["threads"]) as usize,
                    progress_ms: number(&instance["progress_ms"]),
                    logs: instance["logs"].as_bool()?,
                    spool: instance["spool"].as_str(),
                },
                slab: slab_of(&json["slab"]),
                board: board_of(&json["board"]),
            };
            Some(serde_json::to_vec(&hello).unwrap())
        }
        Kind::Resize => Some(
            serde_json::to_vec(&Resize {
                slab: &slab_of(&json["slab"])?,
            })
            .unwrap(),
        ),
        Kind::Run => {
            let mut out = BytesMut::new();
            encode_descriptors(&descriptors_of(body), &mut out);
            Some(out.to_vec())
        }
        Kind::RunObjects => {
            let items: Vec<Bytes> = body["items"]
                .as_array()?
                .iter()
                .map(|i| i.as_str().unwrap().to_owned().into())
                .collect();
            let mut out = BytesMut::new();
            encode_items(&items.iter().collect::<Vec<_>>(), &mut out).unwrap();
            Some(out.to_vec())
        }
        Kind::Traces => {
            let trace = |trace: &Value| {
                let parent = trace.get("traceparent")?.as_str().unwrap();
                let state = trace["tracestate"].as_str().map(|state| format!(" {state}"));
                let text = parent.to_owned() + &state.unwrap_or_default();
                Some(text.parse().unwrap())
            };
            let traces = json["traces"].as_array()?.iter().map(trace).collect();
            Some(serde_json::to_vec(&Traces::of(traces)).unwrap())
        }
        Kind::Ping | Kind::Shutdown => Some(Vec::new()),
        _ => None,
    }
}

fn check_decoded(kind: Kind, header: &Header, raw: &[u8], body: &Value) {
    let shared = Bytes::copy_from_slice(raw);
    match kind {
        Kind::Ready => {
            let ready = Ready::decode(kind, raw).unwrap();
            let json = &body["json"];
            assert_eq!(u64::from(ready.protocol), number(&json["protocol"]));
            assert_eq!(u64::from(ready.pid), number(&json["pid"]));
            assert_eq!(ready.runtime, json["runtime"]);
            assert_eq!(ready.device, json["device"]);
            assert_eq!(
                (Some(ready.load_ms), Some(ready.warmup_ms)),
                (json["load_ms"].as_f64(), json["warmup_ms"].as_f64())
            );
            assert_eq!(ready.returns == Returns::Object, json["returns"] == "object");
            assert_eq!(ready.traces, json["traces"] == true);
        }
        Kind::Failed | Kind::Error => check_failure(WireFailure::decode(kind, raw).unwrap(), &body["json"]),
        Kind::Note => {
            let note = Note::decode(kind, raw).unwrap();
            assert_eq!(
                (note.level.as_str(), note.message.as_str()),
                ("warning", body["json"]["message"].as_str().unwrap())
            );
        }
        Kind::Done => {
            let answer = decode_answer(header, &shared).unwrap();
            assert_eq!(answer.tensors, descriptors_of(body));
            let names = body.get("names").map(|n| n.as_array().unwrap().clone());
            assert_eq!(
                answer.names.map(|n| n.into_iter().map(Value::from).collect()),
                names
            );
            assert_eq!(
                answer.inline.map(|b| b.to_vec()),
                body.get("inline_hex").map(bytes_of)
            );
        }
        Kind::DoneObjects => {
            let answers = decode_answers(header, &shared).unwrap();
            let want = body["items"].as_array().unwrap();
            assert_eq!(answers.len(), want.len());
            for (answer, want) in answers.into_iter().zip(want) {
                match answer {
                    ItemAnswer::Result(text) => {
                        assert_eq!(want["status"], 0);
                        assert_eq!(serde_json::from_slice::<Value>(&text).unwrap(), want["json"]);
                    }
                    ItemAnswer::Skipped => assert_eq!(want["status"], 2),
                    ItemAnswer::Failure(text) => {
                        assert_eq!(want["status"], 1);
                        check_failure(WireFailure::decode(kind, &text).unwrap(), &want["json"]);
                    }
                }
            }
        }
        Kind::Progress => {
            let reports = decode_progress(header, raw).unwrap();
            let want = body["json"]["reports"].as_array().unwrap();
            assert_eq!(reports.len(), want.len());
            for (report, want) in reports.iter().zip(want) {
                assert_eq!(serde_json::json!(report.items), want["items"]);
                assert_eq!(Some(report.fraction), want["fraction"].as_f64());
                assert_eq!(report.message.as_deref(), want["message"].as_str());
            }
        }
        Kind::Logs => {
            let lines = decode_lines(header, raw).unwrap();
            let want = body["json"]["lines"].as_array().unwrap();
            assert_eq!(lines.len(), want.len());
            for (line, want) in lines.iter().zip(want) {
                assert_eq!(serde_json::json!(line.items), want["items"]);
                assert_eq!(line.level.name(), want["level"]);
                assert_eq!(line.text, want["text"]);
            }
        }
        Kind::Chunks => {
            let chunks = decode_chunks(header, raw).unwrap();
            let want = body["chunks"].as_array().unwrap();
            assert_eq!(chunks.len(), want.len());
            for (chunk, want) in chunks.iter().zip(want) {
                assert_eq!(
                    (u64::from(chunk.item), u64::from(chunk.number)),
                    (number(&want["item"]), number(&want["number"]))
                );
                assert_eq!(
                    serde_json::from_slice::<Value>(&chunk.text).unwrap(),
                    want["json"]
                );
            }
        }
        Kind::Pong => assert!(raw.is_empty()),
        _ => panic!("an instance does not send {}", kind.name()),
    }
}

fn check_failure(failure: WireFailure, json: &Value) {
    let failure = failure.into_failure();
    assert_eq!(failure.stage.unwrap().name(), json["stage"]);
    assert_eq!(failure.type_, json["type"]);
    assert!(failure.message.starts_with(json["message"].as_str().unwrap()));
    assert_eq!(failure.traceback.as_deref(), json["traceback"].as_str());
    assert_eq!(
        failure.code.name(),
        json["code"].as_str().unwrap_or("model_error")
    );
}

#[test]
fn golden_messages_are_written_and_read_to_the_byte() {
    let mut seen = Vec::new();
    for golden in load(folder("")) {
        let name = golden["name"].as_str().unwrap();
        let frame = bytes_of(&golden["hex"]);
        let (head, raw) = frame.split_first_chunk::<HEADER_LEN>().unwrap();
        let header = Header::decode(head).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(header.kind.name(), golden["header"]["kind_name"], "{name}");
        assert_eq!(header, header_of(&golden, header.kind), "{name}");
        assert_eq!(&header.encode(), head, "{name}");
        if golden["direction"] == "to_instance" {
            let ours =
                our_body(header.kind, &golden["body"]).unwrap_or_else(|| panic!("{name}: not ours to write"));
            assert_eq!(
                String::from_utf8_lossy(&ours),
                String::from_utf8_lossy(raw),
                "{name}"
            );
            assert_eq!(ours, raw, "{name}");
        } else {
            check_decoded(header.kind, &header, raw, &golden["body"]);
        }
        seen.push(header.kind);
    }
    for kind in Kind::ALL {
        assert!(seen.contains(kind), "no golden message for {}", kind.name());
    }
}

#[test]
fn bad_golden_messages_from_an_instance_are_refused() {
    for golden in load(folder("bad")) {
        let frame = bytes_of(&golden["hex"]);
        let (head, raw) = frame.split_first_chunk::<HEADER_LEN>().unwrap();
        let Ok(header) = Header::decode(head) else {
            continue;
        };
        let body = Bytes::copy_from_slice(raw);
        let refused = match header.kind {
            Kind::Done => decode_answer(&header, &body).err(),
            Kind::DoneObjects => decode_answers(&header, &body).err(),
            Kind::Ready => Ready::decode(header.kind, raw).err(),
            Kind::Note => Note::decode(header.kind, raw).err(),
            Kind::Progress => decode_progress(&header, raw).err(),
            Kind::Chunks => decode_chunks(&header, raw).err(),
            Kind::Logs => decode_lines(&header, raw).err(),
            // For the other side; ours never reads them.
            Kind::Run | Kind::RunObjects | Kind::Traces => continue,
            other => panic!("{}: nobody refuses {}", golden["name"], other.name()),
        };
        assert!(
            refused.is_some(),
            "{} was read: {}",
            golden["name"],
            golden["error"]
        );
    }
}
