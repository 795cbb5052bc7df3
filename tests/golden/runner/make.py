"""Writes the golden messages of the runner protocol, version 2.

Kept apart from both codecs on purpose: it packs every byte by hand from docs/reference/runner-protocol.md, so an error
shared by the Rust and the Python side would show here. The files it writes are committed; a change in them is a change
of the protocol.

    python3 tests/golden/runner/make.py

`*.json` are frames that both sides write exactly so (JSON bodies: keys in the documented order, no spaces, UTF-8 rather
than escapes) and read; `bad/*.json` are frames that the side named by `direction` must refuse.
"""

import json
import struct
from pathlib import Path

HERE = Path(__file__).parent
KINDS = ["", "HELLO", "READY", "FAILED", "RUN", "RUN_OBJECTS", "DONE", "DONE_OBJECTS", "ERROR", "PING", "PONG", "RESIZE",
         "SHUTDOWN", "NOTE", "PROGRESS", "CHUNKS", "TRACES", "LOGS"]
DTYPES = ["bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64", "uint16",
          "uint32", "uint64"]
SIZES = [1, 1, 1, 2, 4, 8, 2, 2, 4, 8, 2, 4, 8]
TO_INSTANCE = {"HELLO", "RUN", "RUN_OBJECTS", "PING", "RESIZE", "SHUTDOWN", "TRACES"}
INLINE, NAMED, LAST, CANCELLED = 1, 2, 4, 8


def text(value):
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def descriptor(tensor):
    dims = tensor["shape"]
    return struct.pack("<BBHI", DTYPES.index(tensor["dtype"]), len(dims), 0, 0) + b"".join(
        struct.pack("<q", d) for d in dims) + struct.pack("<QQ", tensor["offset"], tensor["nbytes"])


def tensor(dtype, shape, offset):
    nbytes = SIZES[DTYPES.index(dtype)]
    for d in shape:
        nbytes *= d
    return {"dtype": dtype, "shape": shape, "offset": offset, "nbytes": nbytes}


def names_block(names):
    out = struct.pack("<H", len(names))
    for name in names:
        raw = name.encode()
        out += struct.pack("<H", len(raw)) + raw
    return out


def header(body_len, kind, flags=0, n_tensors=0, seq=0, slot=0, batch=0, deadline_ms=0, reserved=0):
    return struct.pack("<IBBHQIIII", body_len, kind, flags, n_tensors, seq, slot, batch, deadline_ms, reserved)


def write(name, kind_name, description, body_bytes, body, where=HERE, error=None, body_len=None, kind=None, **fields):
    kind = KINDS.index(kind_name) if kind is None else kind
    length = len(body_bytes) if body_len is None else body_len
    frame = header(length, kind, **fields) + body_bytes
    record = {
        "name": name,
        "direction": "to_instance" if kind_name in TO_INSTANCE else "to_server",
        "description": description,
        "header": {"body_len": length, "kind": kind, "kind_name": kind_name,
                   **{k: fields.get(k, 0) for k in ("flags", "n_tensors", "seq", "slot", "batch", "deadline_ms", "reserved")}},
        "body": body,
    }
    if error:
        record["error"] = error
    record["hex"] = frame.hex()
    (where / f"{name}.json").write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n")


def js(name, kind, description, value, **fields):
    write(name, kind, description, text(value), {"json": value}, **fields)


def tensors(name, kind, description, descriptors, names=None, inline=None, **fields):
    flags = (INLINE if inline is not None else 0) | (NAMED if names is not None else 0)
    body = (names_block(names) if names is not None else b"") + b"".join(map(descriptor, descriptors)) + (inline or b"")
    value = {"tensors": descriptors}
    if names is not None:
        value["names"] = names
    if inline is not None:
        value["inline_hex"] = inline.hex()
    write(name, kind, description, body, value, n_tensors=len(descriptors), flags=flags, **fields)


PIXELS = {"name": "pixels", "dtype": "float32", "shape": [1, 8, 8], "allow_non_finite": False}
LOGITS = {"name": "logits", "dtype": "float32", "shape": [10], "allow_non_finite": False}
SLAB = {"size": 24576, "slots": [
    {"input_offset": 0, "input_len": 8192, "output_offset": 8192, "output_len": 4096},
    {"input_offset": 12288, "input_len": 8192, "output_offset": 20480, "output_len": 4096}]}

def board(size):
    return {"size": 2 * size, "slots": [{"offset": 0, "len": size}, {"offset": size, "len": size}]}


js("hello-tensor", "HELLO", "A tensor model with two slots; the memfds of slab and board travel with the first byte.", {
    "protocol": 2,
    "model": {"name": "digits", "version": "1", "dir": "/srv/models/digits", "entry": "model.py:Model", "kind": "tensor",
              "inputs": [PIXELS], "outputs": [LOGITS], "max_batch_size": 32, "allow_pickle": False, "copy_inputs": False,
              "soft_timeout_ms": None, "stream": False, "files": False, "content_types": []},
    "instance": {"id": 0, "device": "cpu", "threads": 1, "progress_ms": 100, "logs": True, "spool": None},
    "slab": SLAB,
    "board": board(32)})
js("hello-object", "HELLO", "An object model: no inputs, no slab; the board's memfd comes alone. The entry names a file only.", {
    "protocol": 2,
    "model": {"name": "embed", "version": "2026-11", "dir": "/srv/modèles/embed", "entry": "model.py", "kind": "object",
              "inputs": [], "outputs": [], "max_batch_size": 64, "allow_pickle": True, "copy_inputs": True,
              "soft_timeout_ms": 45000, "stream": True, "files": True, "content_types": ["image/*"]},
    "instance": {"id": 3, "device": "cuda:1", "threads": 4, "progress_ms": 100, "logs": True,
                 "spool": "/var/lib/cresset/model-files/embed-3-1"},
    "slab": None,
    "board": board(64)})
js("ready-tensor", "READY", "Warm; answers with tensors.", {
    "protocol": 2, "pid": 4242, "runtime": "python 3.11.7, torch 2.15.0", "device": "cpu", "load_ms": 12.5,
    "warmup_ms": 3.1, "returns": "tensor", "traces": True})
js("ready-object", "READY", "Warm; answers with JSON values. No torch in this one, and no TRACES wanted.", {
    "protocol": 2, "pid": 4243, "runtime": "python 3.12.1", "device": "cuda:1", "load_ms": 0.25, "warmup_ms": 0.5,
    "returns": "object"})
js("failed-import", "FAILED", "Importing the entry raised; the hint says what to do.", {
    "stage": "import", "type": "ModuleNotFoundError", "message": "No module named 'torchvision'",
    "traceback": "Traceback (most recent call last):\n  File \"model.py\", line 2, in <module>\n", "code": "model_error",
    "hint": "add torchvision to requirements.txt"})
js("failed-bare", "FAILED", "code and hint absent, no traceback: model_error, none.", {
    "stage": "warmup", "type": "RuntimeError", "message": "dépassé ✗", "traceback": None})
tensors("run-one", "RUN", "Three items of one float32 input in slot 0.", [tensor("float32", [3, 1, 8, 8], 0)],
        seq=1, slot=0, batch=3, deadline_ms=60000)
tensors("run-two-inputs", "RUN", "Two inputs in slot 1; the second starts at the next multiple of 64.",
        [tensor("int64", [2, 5], 12288), tensor("bool", [2, 5], 12416)], seq=2, slot=1, batch=2, deadline_ms=250)
tensors("run-empty-dimension", "RUN", "A free dimension that is 0: no bytes, and still an aligned offset.",
        [tensor("uint8", [1, 0], 64)], seq=18446744073709551615, slot=0, batch=1, deadline_ms=0)
tensors("run-scalars", "RUN", "Items that are scalars: only the batch dimension.", [tensor("float64", [4], 0)],
        seq=7, slot=0, batch=4, deadline_ms=4294967295)
ITEMS = ['{"text":"naïve"}', "[1,2.5,null]", '""']
RAW = [i.encode() for i in ITEMS]
write("run-objects", "RUN_OBJECTS", "Three JSON texts; the slot is one of the board.",
      b"".join(struct.pack("<I", len(r)) for r in RAW) + b"".join(RAW), {"items": ITEMS},
      seq=3, slot=1, batch=3, deadline_ms=1000)
tensors("done-slab", "DONE", "One output in slot 1's output region.", [tensor("float32", [2, 10], 20480)],
        seq=2, slot=1, batch=2)
tensors("done-two-outputs", "DONE", "Two outputs in slot 0's output region, aligned.",
        [tensor("bfloat16", [3, 4], 8192), tensor("uint64", [3], 8256)], seq=4, slot=0, batch=3)
tensors("done-inline", "DONE", "Flag 1: the bytes follow the descriptors, packed without gaps.",
        [tensor("float32", [1, 2], 0), tensor("uint8", [1, 3], 8), tensor("int16", [1], 11)],
        inline=struct.pack("<ff", 0.5, -1.0) + bytes([1, 2, 3]) + struct.pack("<h", -2), seq=5, slot=0, batch=1)
tensors("done-named", "DONE", "Flag 2: names before the descriptors, for a model without declared outputs.",
        [tensor("float32", [2, 2], 8192), tensor("int64", [2], 8256)], names=["scores", "größe"], seq=6, slot=0, batch=2)
tensors("done-inline-named", "DONE", "Both flags; inline offsets count from the end of the descriptors.",
        [tensor("float16", [1, 2], 0)], names=["output"], inline=bytes([0, 60, 0, 192]), seq=8, slot=1, batch=1)
FAILURE = {"stage": "postprocess", "type": "ValueError", "message": "Out of range float values are not JSON compliant: nan",
           "traceback": None, "code": "non_finite_output", "hint": None}
ENDS = [{"status": 0, "json": {"label": "sept", "p": 0.75}}, {"status": 1, "json": FAILURE}, {"status": 0, "json": None}]
RAW = [text(e["json"]) for e in ENDS]
write("done-objects", "DONE_OBJECTS", "A result, a failure of one item, and a null result, answering RUN_OBJECTS.",
      b"".join(struct.pack("<BBHI", e["status"], 0, 0, len(r)) for e, r in zip(ENDS, RAW)) + b"".join(RAW), {"items": ENDS},
      seq=3, slot=1, batch=3)
write("done-objects-skipped", "DONE_OBJECTS", "The first item was cancelled and not run to its end: no text.",
      struct.pack("<BBHI", 2, 0, 0, 0) + struct.pack("<BBHI", 0, 0, 0, 1) + b"7",
      {"items": [{"status": 2, "json": None}, {"status": 0, "json": 7}]}, seq=12, slot=0, batch=2)
write("done-objects-of-run", "DONE_OBJECTS", "The answer to a RUN in slot 1 of a model that defines postprocess.",
      struct.pack("<BBHI", 0, 0, 0, 1) + b"7", {"items": [{"status": 0, "json": 7}]}, seq=9, slot=1, batch=1)
js("error", "ERROR", "The batch as a whole raised.", {
    "stage": "predict", "type": "RuntimeError", "message": "mat1 and mat2 shapes cannot be multiplied (2x5 and 4x3)",
    "traceback": "Traceback (most recent call last):\n  File \"model.py\", line 9, in predict\n", "code": "model_error",
    "hint": None}, seq=2, slot=1, batch=2)
js("error-bad-output", "ERROR", "What the model gave back is no output at all.", {
    "stage": "output", "type": "TypeError", "message": "predict gave a str; it must give a tensor, a tuple or a dict of tensors",
    "traceback": None, "code": "bad_output", "hint": "return the tensor itself"}, seq=10, slot=0, batch=1)
js("error-last", "ERROR", "The device is lost, and the process exits.", {
    "stage": "predict", "type": "AcceleratorError", "message": "CUDA error: device-side assert triggered",
    "traceback": None, "code": "model_error", "hint": None}, flags=LAST, seq=11, slot=1, batch=3)
js("error-cancelled", "ERROR", "The model gave the batch up because items of it are cancelled.", {
    "stage": "predict", "type": "Cancelled", "message": "the work was cancelled", "traceback": None,
    "code": "model_error", "hint": None}, flags=CANCELLED, seq=13, slot=0, batch=2)
js("error-soft-timeout", "ERROR", "The model's code was interrupted at the soft time limit.", {
    "stage": "postprocess", "type": "SoftTimeout", "message": "the batch had not ended after 45 s, the soft time limit",
    "traceback": None, "code": "soft_timeout", "hint": "make the model faster"}, seq=14, slot=1, batch=4)
write("ping", "PING", "Are you there.", b"", None)
write("pong", "PONG", "Yes; between batches.", b"", None)
js("resize", "RESIZE", "A larger slab; carries the new memfd.", {"slab": {"size": 1064960, "slots": [
    {"input_offset": 0, "input_len": 528384, "output_offset": 528384, "output_len": 4096},
    {"input_offset": 532480, "input_len": 528384, "output_offset": 1060864, "output_len": 4096}]}})
write("shutdown", "SHUTDOWN", "Finish what was received before, then exit with status 0.", b"", None)
js("note", "NOTE", "For the operator's log.", {"level": "warning", "message": "the model ignores its device"})

js("progress", "PROGRESS", "Two items have come equally far, all of them another time, in words.", {"reports": [
    {"items": [0, 2], "fraction": 0.25, "message": None},
    {"items": None, "fraction": 1, "message": "größte Hälfte"}]}, seq=15, slot=1, batch=3)
js("logs", "LOGS", "A line about one item, and one about all of them.", {"lines": [
    {"items": [1], "level": "info", "text": "größer\nals gedacht"},
    {"items": None, "level": "error", "text": ""}]}, seq=15, slot=1, batch=2)


def chunks(name, description, pieces, **fields):
    raw = [text(p["json"]) for p in pieces]
    heads = [struct.pack("<III", p["item"], p["number"], len(r)) for p, r in zip(pieces, raw)]
    write(name, "CHUNKS", description, struct.pack("<I", len(pieces)) + b"".join(heads) + b"".join(raw),
          {"chunks": pieces}, **fields)


chunks("chunks", "A step of a batch of three: the second item has ended, the third gets two pieces.", [
    {"item": 0, "number": 7, "json": "né"}, {"item": 2, "number": 0, "json": {"a": [1]}},
    {"item": 2, "number": 1, "json": None}], seq=16, slot=0, batch=3)

js("traces", "TRACES", "Of three callers the first and the last have a trace; the RUN of this number follows.", {"traces": [
    {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}, None,
    {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", "tracestate": "rojo=1,congo=t61"}]},
   seq=17, slot=1, batch=3)

BAD = HERE / "bad"


def bad(name, kind_name, error, body, **fields):
    write(name, kind_name, error, body, None, where=BAD, error=error, **fields)


D = descriptor(tensor("float32", [1, 2], 0))
bad("unknown-kind", "PING", "kind 99 is not known", b"", kind=99)
bad("kind-zero", "PING", "kind 0 is not known", b"", kind=0)
bad("reserved", "PING", "reserved must be 0", b"", reserved=1)
bad("body-too-long", "RUN", "body_len is over 1 GiB (refused before the body is read)", b"", body_len=(1 << 30) + 1,
    n_tensors=1, seq=1, batch=1)
bad("too-many-tensors", "RUN", "n_tensors is over 256", b"", n_tensors=257, seq=1, batch=1)
bad("unknown-flag", "DONE", "flag bit 4 is not known", D, flags=4, n_tensors=1, seq=1, batch=1)
bad("flag-on-run", "RUN", "RUN has no flags", D, flags=1, n_tensors=1, seq=1, batch=1)
bad("batch-zero", "RUN", "a RUN has at least one item", D, n_tensors=1, seq=1)
bad("ping-with-body", "PING", "PING has no body", b"x")
bad("pong-with-body", "PONG", "PONG has no body", b"x")
bad("descriptors-cut", "RUN", "the descriptor goes past the body", D[:-1], n_tensors=1, seq=1, batch=1)
bad("descriptors-left-over", "RUN", "bytes after the last descriptor", D + b"\0", n_tensors=1, seq=1, batch=1)
bad("rank-over-17", "RUN", "rank is at most 17", struct.pack("<BBHI", 8, 18, 0, 0) + struct.pack("<18q", *[1] * 18)
    + struct.pack("<QQ", 0, 4), n_tensors=1, seq=1, batch=1)
bad("rank-zero", "RUN", "the first dimension is the batch, so rank is at least 1",
    struct.pack("<BBHIQQ", 8, 0, 0, 0, 0, 4), n_tensors=1, seq=1, batch=1)
bad("unknown-dtype", "DONE", "element type 13 is not known",
    struct.pack("<BBHIqQQ", 13, 1, 0, 0, 1, 0, 4), n_tensors=1, seq=1, batch=1)
bad("padding", "DONE", "the padding of a descriptor is 0",
    struct.pack("<BBHIqQQ", 8, 1, 1, 0, 1, 0, 4), n_tensors=1, seq=1, batch=1)
bad("negative-dimension", "DONE", "dimensions are not negative",
    struct.pack("<BBHIqqQQ", 8, 2, 0, 0, 1, -1, 0, 4), n_tensors=1, seq=1, batch=1)
bad("size-overflow", "DONE", "dims and element size do not make nbytes",
    struct.pack("<BBHI4qQQ", 9, 4, 0, 0, 1, 1 << 31, 1 << 31, 8, 0, 0), n_tensors=1, seq=1, batch=1)
bad("size-mismatch", "DONE", "dims and element size do not make nbytes",
    struct.pack("<BBHIqqQQ", 8, 2, 0, 0, 1, 2, 0, 12), n_tensors=1, seq=1, batch=1)
bad("unaligned-offset", "DONE", "slab offsets are multiples of 64",
    struct.pack("<BBHIqqQQ", 8, 2, 0, 0, 1, 2, 8200, 8), n_tensors=1, seq=1, batch=1)
bad("inline-gap", "DONE", "inline offsets are packed without gaps",
    struct.pack("<BBHIqqQQ", 8, 2, 0, 0, 1, 1, 4, 4) + bytes(8), flags=1, n_tensors=1, seq=1, batch=1)
bad("inline-cut", "DONE", "inline bytes go past the body",
    struct.pack("<BBHIqqQQ", 8, 2, 0, 0, 1, 2, 0, 8) + bytes(7), flags=1, n_tensors=1, seq=1, batch=1)
bad("names-not-utf8", "DONE", "names are UTF-8", struct.pack("<HH", 1, 1) + b"\xff" + D, flags=2, n_tensors=1, seq=1,
    batch=1)
bad("names-count", "DONE", "as many names as descriptors", names_block(["a", "b"]) + D, flags=2, n_tensors=1, seq=1, batch=1)
bad("items-cut", "RUN_OBJECTS", "item lengths go past the body", struct.pack("<II", 1, 2) + b"11", seq=1, batch=2)
bad("items-left-over", "RUN_OBJECTS", "bytes after the last item", struct.pack("<I", 1) + b"11", seq=1, batch=1)
bad("items-missing-lengths", "RUN_OBJECTS", "fewer lengths than items", struct.pack("<I", 0), seq=1, batch=1000000)
bad("status-unknown", "DONE_OBJECTS", "item status 3 is not known", struct.pack("<BBHI", 3, 0, 0, 1) + b"1", seq=1, batch=1)
bad("skipped-with-text", "DONE_OBJECTS", "a skipped item has no text", struct.pack("<BBHI", 2, 0, 0, 1) + b"1", seq=1,
    batch=1)
bad("status-left-over", "DONE_OBJECTS", "bytes after the last item", struct.pack("<BBHI", 0, 0, 0, 1) + b"11", seq=1,
    batch=1)
bad("traces-too-few", "TRACES", "one trace for each item", text({"traces": [None]}), seq=1, batch=2)
bad("traces-without-parent", "TRACES", "a trace has a traceparent", text({"traces": [{"tracestate": "a=1"}]}), seq=1, batch=1)
bad("not-json", "READY", "the body is JSON", b"{protocol: 1}")
bad("json-not-utf8", "NOTE", "the body is UTF-8", b'{"level":"warning","message":"\xff"}')
bad("progress-of-nobody", "PROGRESS", "there is no item 2 in a batch of two", text({"reports": [
    {"items": [2], "fraction": 0, "message": None}]}), seq=1, batch=2)
bad("progress-beyond", "PROGRESS", "a fraction is at most 1", text({"reports": [
    {"items": None, "fraction": 1.5, "message": None}]}), seq=1, batch=2)
bad("progress-without-batch", "PROGRESS", "a PROGRESS is of a batch", text({"reports": []}), seq=1)
bad("logs-of-nobody", "LOGS", "there is no item 2 in a batch of two", text({"lines": [
    {"items": [2], "level": "info", "text": ""}]}), seq=1, batch=2)
bad("logs-level", "LOGS", "there is no such level", text({"lines": [
    {"items": None, "level": "loud", "text": ""}]}), seq=1, batch=2)
bad("chunks-of-nobody", "CHUNKS", "there is no item 1 in a batch of one", struct.pack("<IIII", 1, 1, 0, 1) + b"1", seq=1,
    batch=1)
bad("chunks-cut", "CHUNKS", "the pieces go past the body", struct.pack("<IIII", 1, 0, 0, 2) + b"1", seq=1, batch=1)
bad("chunks-left-over", "CHUNKS", "bytes after the last piece", struct.pack("<IIII", 1, 0, 0, 1) + b"11", seq=1, batch=1)
bad("chunks-too-long", "CHUNKS", "the body of CHUNKS is at most 16 MiB (refused before it is read)", b"",
    body_len=(16 << 20) + 1, seq=1, batch=1)
