"""A tiny instance that speaks the runner protocol and misbehaves when told to. Standard library only.

How it starts is told by the variable FAKE_START, and for the n-th process of a model folder by FAKE_STARTS, JSON from n
to such a word. What it does with a batch is told by the batch: an item of an object model may be `{"do": ...}`; a
tensor model follows FAKE_TENSOR, and in the first process of its folder FAKE_HOSTILE (see `hostile`). Without being
told anything it answers a batch with its input.
"""

import json
import mmap
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

HEADER = struct.Struct("<IBBHQIIII")
HELLO, READY, FAILED, RUN, RUN_OBJECTS, DONE, DONE_OBJECTS, ERROR, PING, PONG, RESIZE, SHUTDOWN, NOTE = range(1, 14)
SIZES = [1, 1, 1, 2, 4, 8, 2, 2, 4, 8, 2, 4, 8]
INLINE, NAMED = 1, 2

SKIPPED = object()
LEAKED = []

sock = socket.socket(fileno=3)


def read(n):
    data = bytearray()
    while len(data) < n:
        piece = sock.recv(n - len(data))
        if not piece:
            os._exit(0)
        data += piece
    return bytes(data)


def receive():
    head, fds, _, _ = socket.recv_fds(sock, HEADER.size, 2)
    if not head:
        os._exit(0)
    if len(head) < HEADER.size:
        head += read(HEADER.size - len(head))
    fields = HEADER.unpack(head)
    return fields, read(fields[0]), fds


def send(kind, body=b"", flags=0, n_tensors=0, seq=0, slot=0, batch=0):
    sock.sendall(HEADER.pack(len(body), kind, flags, n_tensors, seq, slot, batch, 0, 0) + body)


def send_json(kind, value, **fields):
    send(kind, json.dumps(value).encode(), **fields)


def failure(stage, type_, message, **more):
    return {"stage": stage, "type": type_, "message": message, "traceback": "Traceback: there", **more}


def leave_grandchild():
    """A process in our group that keeps the channel and our output open."""
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], pass_fds=[3])


def count_start():
    """Which process in this folder this is, from 1."""
    with open("starts", "a") as file:
        file.write(".")
        return file.tell()


def begin(how):
    if how == "gate":
        while not os.path.exists("go"):
            time.sleep(0.01)
    if how == "exit":
        print("about to leave", file=sys.stderr)
        os._exit(3)
    if how == "failed":
        send_json(FAILED, failure("load", "FileNotFoundError", "no weights.pth", hint="run train.py first"))
        os._exit(1)
    if how == "failed_and_stays":
        send_json(FAILED, failure("import", "ImportError", "no torch"))
        time.sleep(600)
    if how == "never":
        time.sleep(600)
    if how == "garbage":
        sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n-------")
        time.sleep(600)
    if how == "ignore_term":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if how == "notes":
        for i in range(200):
            send_json(NOTE, {"level": "warning", "message": f"note {i}"})
    ready = {
        "protocol": 1 if how == "version" else 2,
        "pid": os.getpid(),
        "runtime": "fake 1.0",
        "device": "cpu",
        "load_ms": 0.5,
        "warmup_ms": 0.25,
        "returns": "object" if OBJECTS or how == "returns_object" else "tensor",
    }
    send_json(READY, ready)
    if how == "exit_when_ready":
        os._exit(4)


def answer_objects(seq, slot, results, batch=None):
    """Each result is a JSON text, a failure as a dict, or nothing: skipped."""
    texts = [
        (2, b"") if r is SKIPPED else (1, json.dumps(r).encode()) if isinstance(r, dict) else (0, r.encode())
        for r in results
    ]
    body = b"".join(struct.pack("<BBHI", status, 0, 0, len(text)) for status, text in texts)
    send(DONE_OBJECTS, body + b"".join(text for _, text in texts), seq=seq, slot=slot, batch=batch or len(results))


def do(order, seq, slot, batch):
    """Follows an order; gives the item's result, if it gets that far."""
    what = order["do"]
    if "say" in order:
        print(order["say"], flush=True)
    if what == "exit":
        os._exit(order["status"])
    if what == "signal":
        os.kill(os.getpid(), order["number"])
    if what == "hang":
        time.sleep(600)
    if what == "sleep":
        time.sleep(order["seconds"])
    if what == "wait":
        while not os.path.exists(order["for"]):
            time.sleep(0.001)
    if what == "garbage":
        sock.sendall(b"\xff" * 64)
        time.sleep(600)
    if what == "too_long":
        sock.sendall(HEADER.pack((1 << 30) + 1, DONE_OBJECTS, 0, 0, seq, slot, batch, 0, 0))
        time.sleep(600)
    if what == "wrong_seq":
        answer_objects(seq + 1, slot, ["1"] * batch)
        time.sleep(600)
    if what == "wrong_kind":
        send(PONG)
        time.sleep(600)
    if what == "close":
        sock.close()
        time.sleep(600)
    if what == "close_and_exit":
        sock.close()
        os._exit(5)
    if what == "half_frame":
        sock.sendall(HEADER.pack(100, DONE_OBJECTS, 0, 0, seq, slot, batch, 0, 0) + b"half")
        os._exit(6)
    if what == "grandchild":
        leave_grandchild()
        os._exit(7)
    if what == "answer_then_die":
        leave_grandchild()
        answer_objects(seq, slot, ['"last words"'] * batch)
        os._exit(8)
    if what == "last":
        # What follows stays in the socket, unread.
        time.sleep(order["seconds"])
        body = json.dumps(failure("predict", "RuntimeError", "CUDA error")).encode()
        sock.sendall(HEADER.pack(len(body), ERROR, 4, 0, seq, slot, batch, 0, 0) + body)
        os._exit(75)
    if what == "raw":
        # Frames before the answer, as the order says; each may lie.
        for frame in order["frames"]:
            body = bytes.fromhex(frame.get("hex", "")) or json.dumps(frame.get("json")).encode()
            head = {"seq": seq, "slot": slot, "batch": batch, "flags": 0, **frame.get("head", {})}
            for _ in range(frame.get("times", 1)):
                send(frame["kind"], body, **head)
    if what == "raise":
        send_json(ERROR, failure("predict", "ValueError", "bad batch"), seq=seq, slot=slot, batch=batch)
        return None
    if what == "until_marked":
        open("running", "w").close()
        while not any(marks(slot, batch)):
            time.sleep(0.001)
    if what in ("marks", "until_marked"):
        return json.dumps(list(marks(slot, batch)))
    if what == "skip":
        return SKIPPED
    if what == "give_up":
        send_json(ERROR, failure("predict", "Cancelled", "given up"), flags=8, seq=seq, slot=slot, batch=batch)
        return None
    if what == "fail":
        return failure("preprocess", "KeyError", "'text'")
    if what == "not_json":
        return "NaN"
    if what == "leak":
        LEAKED.append(b"x" * order["bytes"])
    if what == "flood":
        os.write(1, b"x" * order["bytes"])
    if what == "print":
        print("\n".join(f"line {i}" for i in range(order["lines"])))
    if what == "env":
        return json.dumps({**os.environ, "cwd": os.getcwd(), "stdin": os.readlink("/proc/self/fd/0")})
    if what == "fds":
        return json.dumps(sorted(int(fd) for fd in os.listdir("/proc/self/fd")))
    if what == "pid":
        return json.dumps({"pid": os.getpid(), "pgid": os.getpgid(0), "ppid": os.getppid()})
    return json.dumps(what)


def run_objects(fields, body):
    _, _, _, _, seq, slot, batch, deadline_ms, _ = fields
    lengths = struct.unpack_from(f"<{batch}I", body)
    at, results = 4 * batch, []
    for length in lengths:
        text = body[at : at + length].decode()
        at += length
        value = json.loads(text)
        if isinstance(value, dict) and "do" in value:
            result = do(value, seq, slot, batch)
            if result is None:
                return
            results.append(result)
        else:
            results.append(text)
    answer_objects(seq, slot, results)


def run_tensors(fields, body, slab, layout):
    _, _, _, count, seq, slot, batch, _, _ = fields
    at, inputs = 0, []
    for _ in range(count):
        dtype, rank = body[at], body[at + 1]
        dims = struct.unpack_from(f"<{rank}q", body, at + 8)
        offset, nbytes = struct.unpack_from("<QQ", body, at + 8 + 8 * rank)
        at += 24 + 8 * rank
        assert offset % 64 == 0 and dims[0] == batch
        inputs.append((dtype, list(dims), slab[offset : offset + nbytes]))
    how = os.environ.get("FAKE_TENSOR", "")
    if how == "object":
        answer_objects(seq, slot, [str(slot)] * batch)
        return
    region = layout["slots"][slot]
    inline = how in ("inline", "named") or sum(len(i[2]) + 64 for i in inputs) > region["output_len"]
    offset = 0 if inline else region["output_offset"]
    out, data = b"", b""
    for dtype, dims, raw in inputs:
        if how == "shape":
            dims = [*dims, 1]
        if how == "nan":
            raw = struct.pack("<f", float("nan")) + raw[4:]
        out += struct.pack("<BBHI", dtype, len(dims), 0, 0) + struct.pack(f"<{len(dims)}q", *dims)
        out += struct.pack("<QQ", offset, len(raw))
        if inline:
            data += raw
            offset += len(raw)
        else:
            slab[offset : offset + len(raw)] = raw
            offset = (offset + len(raw) + 63) // 64 * 64
    flags = INLINE if inline else 0
    if how == "named":
        flags |= NAMED
        names = [f"out{i}".encode() for i in range(count)]
        out = struct.pack("<H", count) + b"".join(struct.pack("<H", len(n)) + n for n in names) + out
    send(DONE, out + data, flags=flags, n_tensors=count, seq=seq, slot=slot, batch=batch)


def hostile(recipe, fields, slab, layout):
    """Answers a batch of one tensor with what FAKE_HOSTILE changes of the right answer: parts of the header, of the one
    descriptor, bytes behind the body (`tail`), how much of it is sent at all (`cut`), and what is done beside it."""
    _, _, _, _, seq, slot, batch, _, _ = fields
    region = layout["slots"][slot]
    if recipe.pop("scribble", False):
        threading.Thread(target=scribble, args=(slab,), daemon=True).start()
    if recipe.get("truncate"):
        try:
            os.ftruncate(SLAB_FD, 0)
            os._exit(9)
        except PermissionError:
            pass
    tensor = {
        "dtype": 8,
        "rank": 2,
        "pad": 0,
        "dims": [batch, 2],
        "offset": region["output_offset"],
        "nbytes": 8 * batch,
    }
    tensor.update(recipe.get("tensor", {}))
    out = struct.pack("<BBHI", tensor["dtype"], tensor["rank"], tensor["pad"], 0)
    out += struct.pack(f"<{len(tensor['dims'])}q", *tensor["dims"])
    out += struct.pack("<QQ", tensor["offset"], tensor["nbytes"])
    out = bytes.fromhex(recipe.get("head", "")) + out + bytes.fromhex(recipe.get("tail", ""))
    out = bytes.fromhex(recipe["body"]) if "body" in recipe else out
    frame = {"kind": DONE, "flags": 0, "n_tensors": 1, "seq": seq, "slot": slot, "batch": batch, "reserved": 0}
    frame.update(recipe.get("frame", {}))
    frame["seq"] += recipe.get("seq_plus", 0)
    head = HEADER.pack(
        frame.get("len", len(out)),
        frame["kind"],
        frame["flags"],
        frame["n_tensors"],
        frame["seq"],
        frame["slot"],
        frame["batch"],
        0,
        frame["reserved"],
    )
    whole = (head + out) * recipe.get("times", 1)
    sock.sendall(whole[: recipe.get("cut", len(whole))])
    if "sleep" in recipe:
        time.sleep(recipe["sleep"])


def scribble(slab):
    while True:
        for byte in range(256):
            slab[:] = bytes([byte]) * len(slab)


def marks(slot, batch):
    at = hello["board"]["slots"][slot]["offset"]
    return board[at : at + batch]


def map_memory(fd, layout):
    memory = mmap.mmap(fd, layout["size"])
    os.close(fd)
    return memory


fields, body, fds = receive()
hello = json.loads(body)
OBJECTS = hello["model"]["kind"] == "object"
layout = hello["slab"]
board = map_memory(fds.pop(), hello["board"])
SLAB_FD = os.dup(fds[0]) if fds else None
slab = map_memory(fds.pop(), layout) if fds else None
START = count_start()
HOW = json.loads(os.environ.get("FAKE_STARTS", "{}")).get(str(START), os.environ.get("FAKE_START", ""))
HOSTILE = json.loads(os.environ.get("FAKE_HOSTILE", "null")) if START == 1 else None
begin(HOW)
while True:
    fields, body, fds = receive()
    kind = fields[1]
    if kind == RUN and HOSTILE is not None:
        hostile(HOSTILE, fields, slab, layout)
    elif kind == RUN:
        run_tensors(fields, body, slab, layout)
    elif kind == RUN_OBJECTS:
        run_objects(fields, body)
    elif kind == RESIZE:
        layout = json.loads(body)["slab"]
        slab.close()
        slab = map_memory(fds[0], layout)
    elif kind == SHUTDOWN:
        if HOW == "ignore_term":
            time.sleep(600)
        os._exit(0)
    else:
        os._exit(70)
