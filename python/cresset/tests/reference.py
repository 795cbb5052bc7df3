"""A small server's side of the runner protocol, to drive a real child process with.

It decodes with code of its own, written from the protocol document, so that an error in `cresset.runner._wire` does not
cancel out.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import json
import mmap
import os
import signal
import socket
import struct
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

SRC = Path(__file__).parent.parent / "src"
KINDS = [
    "-", "HELLO", "READY", "FAILED", "RUN", "RUN_OBJECTS", "DONE", "DONE_OBJECTS", "ERROR", "PING", "PONG", "RESIZE",
    "SHUTDOWN", "NOTE", "PROGRESS", "CHUNKS", "TRACES", "LOGS",
]  # fmt: skip
"""By their numbers, from 0, which is none."""
DTYPES = [
    ("bool", "?"),
    ("uint8", "B"),
    ("int8", "b"),
    ("int16", "h"),
    ("int32", "i"),
    ("int64", "q"),
    ("float16", "e"),
    ("bfloat16", "H"),
    ("float32", "f"),
    ("float64", "d"),
    ("uint16", "H"),
    ("uint32", "I"),
    ("uint64", "Q"),
]
SKIPPED = 2
PAGE = 4096
ANSWER_TIMEOUT_S = 60.0


@dataclass
class Tensor:
    """A tensor as bytes on the wire; `values` are flat Python numbers."""

    dtype: str
    shape: tuple[int, ...]
    values: list[Any]

    def raw(self) -> bytes:
        letter = dict(DTYPES)[self.dtype]
        return struct.pack(f"<{len(self.values)}{letter}", *self.values)


@dataclass
class Answer:
    """One message from the child, decoded."""

    kind: str
    flags: int = 0
    seq: int = 0
    slot: int = 0
    batch: int = 0
    json: Any = None
    tensors: list[Tensor] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    names: list[str] | None = None
    items: list[tuple[int, Any]] = field(default_factory=list)
    chunks: list[tuple[int, int, Any]] = field(default_factory=list)


def tensor_spec(name: str, dtype: str, *shape: int) -> dict[str, Any]:
    return {"name": name, "dtype": dtype, "shape": list(shape), "allow_non_finite": False}


def sealed_memory(name: str, size: int) -> tuple[int, mmap.mmap]:
    """A memfd of a fixed size, and a mapping of it."""
    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, size)
    add_seals, shrink_grow_seal = 1033, 0x2 | 0x4 | 0x1
    fcntl.fcntl(fd, add_seals, shrink_grow_seal)
    return fd, mmap.mmap(fd, size)


class Board:
    """A byte for each of 64 items in each of two slots."""

    SLOT_LEN = 64

    def __init__(self) -> None:
        self.fd, self._memory = sealed_memory("board", 2 * self.SLOT_LEN)

    def close(self) -> None:
        os.close(self.fd)
        self._memory.close()

    def json(self) -> dict[str, Any]:
        slots = [{"offset": number * self.SLOT_LEN, "len": self.SLOT_LEN} for number in range(2)]
        return {"size": 2 * self.SLOT_LEN, "slots": slots}

    def clear(self, slot: int) -> None:
        self._memory[slot * self.SLOT_LEN : (slot + 1) * self.SLOT_LEN] = bytes(self.SLOT_LEN)

    def cancel(self, *items: int, slot: int = 0) -> None:
        for item in items:
            self._memory[slot * self.SLOT_LEN + item] = 1


class Slab:
    """A sealed memfd with two slots."""

    def __init__(self, input_len: int = PAGE, output_len: int = PAGE) -> None:
        self.input_len, self.output_len = input_len, output_len
        self.slot_len = input_len + output_len
        self.size = 2 * self.slot_len
        self.fd, self.memory = sealed_memory("slab", self.size)

    def close(self) -> None:
        os.close(self.fd)
        self.memory.close()

    def json(self) -> dict[str, Any]:
        return {
            "size": self.size,
            "slots": [
                {
                    "input_offset": number * self.slot_len,
                    "input_len": self.input_len,
                    "output_offset": number * self.slot_len + self.input_len,
                    "output_len": self.output_len,
                }
                for number in range(2)
            ],
        }


class Child:
    """A runner process and our end of its channel."""

    def __init__(self, folder: Path, *, env: dict[str, str] | None = None, parent_pid: int | None = None) -> None:
        self.folder = folder
        self.slab: Slab | None = None
        self.board = Board()
        self._buffer = b""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock = ours
        ours.settimeout(ANSWER_TIMEOUT_S)
        # A clean environment: nothing of the developer's shell decides a test.
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "HOME": os.environ.get("HOME", "/"),
            "PYTHONPATH": str(SRC),
            "PYTHONDONTWRITEBYTECODE": "1",
            "CRESSET_PARENT_PID": str(os.getpid() if parent_pid is None else parent_pid),
            "CRESSET_MODEL": "toy",
            "CRESSET_INSTANCE": "0",
            **(env or {}),
        }
        number = theirs.fileno()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cresset.runner"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            cwd="/",  # python -m puts the working directory first on the path: it must hold no modules
            start_new_session=True,
            pass_fds=(3,),
            preexec_fn=lambda: os.dup2(number, 3),  # noqa: PLW1509  # one system call, safe after a fork
        )
        theirs.close()

    def hello(
        self,
        *,
        entry: str = "model.py",
        inputs: list[dict[str, Any]] | None = None,
        outputs: list[dict[str, Any]] | None = None,
        slab: Slab | None = None,
        device: str = "cpu",
        threads: int = 1,
        allow_pickle: bool = False,
        copy_inputs: bool = False,
        soft_timeout_ms: int | None = None,
        stream: bool = False,
        files: bool = False,
        content_types: tuple[str, ...] = (),
        spool: Path | None = None,
        progress_ms: int | None = None,
        logs: bool = False,
        protocol: int = 2,
    ) -> None:
        if inputs and slab is None:
            slab = Slab()
        self.slab = slab
        instance: dict[str, Any] = {"id": 0, "device": device, "threads": threads, "spool": spool and str(spool)}
        said = {"progress_ms": progress_ms, "logs": logs or None}
        instance |= {name: value for name, value in said.items() if value is not None}
        message = {
            "protocol": protocol,
            "model": {
                "name": "toy",
                "version": "7",
                "dir": str(self.folder),
                "entry": entry,
                "kind": "tensor" if inputs else "object",
                "inputs": inputs or [],
                "outputs": outputs or [],
                "max_batch_size": 8,
                "allow_pickle": allow_pickle,
                "copy_inputs": copy_inputs,
                "soft_timeout_ms": soft_timeout_ms,
                "stream": stream,
                "files": files,
                **({"content_types": content_types} if content_types else {}),
                "a key of a later version": None,
            },
            "instance": instance,
            "slab": slab.json() if slab else None,
            "board": self.board.json(),
        }
        self.send("HELLO", json.dumps(message).encode(), fds=[slab.fd, self.board.fd] if slab else [self.board.fd])

    def ready(self, **hello: Any) -> Answer:
        """Say HELLO and expect READY."""
        self.hello(**hello)
        answer = self.receive()
        assert answer.kind == "READY", f"{answer.json}\n{self.logs()}"
        return answer

    def failed(self, **hello: Any) -> dict[str, Any]:
        """Say HELLO and expect FAILED and exit status 1."""
        self.hello(**hello)
        answer = self.receive()
        assert answer.kind == "FAILED", f"{answer}"
        assert self.wait() == 1
        return answer.json

    def send(self, kind: str, body: bytes = b"", *, fds: Sequence[int] = (), **fields: int) -> None:
        head = struct.pack(
            "<IBBHQIIII",
            len(body),
            KINDS.index(kind),
            fields.get("flags", 0),
            fields.get("n_tensors", 0),
            fields.get("seq", 0),
            fields.get("slot", 0),
            fields.get("batch", 0),
            fields.get("deadline_ms", 0),
            0,
        )
        self.send_raw(head + body, fds=fds)

    def send_raw(self, frame: bytes, *, fds: Sequence[int] = ()) -> None:
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        sent = self.sock.sendmsg([frame], ancillary)
        if sent < len(frame):  # an empty send would fail when the child has already answered by exiting
            self.sock.sendall(frame[sent:])

    def run(self, *tensors: Tensor, seq: int = 1, slot: int = 0, cancelled: Sequence[int] = ()) -> Answer:
        """Send a RUN and wait for what comes back."""
        self.send_run(*tensors, seq=seq, slot=slot, cancelled=cancelled)
        return self.receive()

    def send_run(self, *tensors: Tensor, seq: int = 1, slot: int = 0, cancelled: Sequence[int] = ()) -> None:
        assert self.slab is not None
        self.board.clear(slot)
        self.board.cancel(*cancelled, slot=slot)
        at = slot * self.slab.slot_len
        body = b""
        for tensor in tensors:
            raw = tensor.raw()
            self.slab.memory[at : at + len(raw)] = raw
            code = [name for name, _ in DTYPES].index(tensor.dtype)
            body += struct.pack(
                f"<BBHI{len(tensor.shape)}qQQ", code, len(tensor.shape), 0, 0, *tensor.shape, at, len(raw)
            )
            at = (at + len(raw) + 63) // 64 * 64
        self.send("RUN", body, n_tensors=len(tensors), seq=seq, slot=slot, batch=tensors[0].shape[0], deadline_ms=60000)

    def run_objects(self, *items: Any, seq: int = 1, slot: int = 0, cancelled: Sequence[int] = ()) -> Answer:
        """Send a RUN_OBJECTS with these values and wait for what comes back."""
        self.send_objects(*items, seq=seq, slot=slot, cancelled=cancelled)
        return self.receive()

    def send_objects(self, *items: Any, seq: int = 1, slot: int = 0, cancelled: Sequence[int] = ()) -> None:
        self.board.clear(slot)
        self.board.cancel(*cancelled, slot=slot)
        texts = [item if isinstance(item, bytes) else json.dumps(item).encode() for item in items]
        body = b"".join(struct.pack("<I", len(text)) for text in texts) + b"".join(texts)
        self.send("RUN_OBJECTS", body, seq=seq, slot=slot, batch=len(items))

    def streamed(self) -> tuple[list[tuple[int, int, Any]], Answer]:
        """Receive pieces up to the answer; gives them all, and that."""
        chunks: list[tuple[int, int, Any]] = []
        while (answer := self.receive()).kind == "CHUNKS":
            chunks += answer.chunks
        return chunks, answer

    def receive(self) -> Answer:
        head = self._exactly(32)
        assert head is not None, f"the child closed the channel; status {self.wait()}\n{self.logs()}"
        length, kind, flags, n_tensors, seq, slot, batch, deadline, reserved = struct.unpack("<IBBHQIIII", head)
        assert (deadline, reserved) == (0, 0)
        body = self._exactly(length) if length else b""
        assert body is not None
        answer = Answer(KINDS[kind], flags, seq, slot, batch)
        if answer.kind in ("READY", "FAILED", "ERROR", "NOTE", "PROGRESS", "LOGS"):
            answer.json = json.loads(body, parse_constant=_no_constants)
        elif answer.kind == "DONE":
            self._decode_done(answer, body, n_tensors)
        elif answer.kind == "CHUNKS":
            answer.chunks = _decode_chunks(body)
        elif answer.kind == "DONE_OBJECTS":
            answer.items = _decode_statuses(body, batch)
        return answer

    def _decode_done(self, answer: Answer, body: bytes, count: int) -> None:
        at = 0
        if answer.flags & 2:
            (names,) = struct.unpack_from("<H", body, at)
            at += 2
            answer.names = []
            for _ in range(names):
                (length,) = struct.unpack_from("<H", body, at)
                answer.names.append(body[at + 2 : at + 2 + length].decode())
                at += 2 + length
        found: list[tuple[int, tuple[int, ...], int, int]] = []
        for _ in range(count):
            code, rank, *zeros = struct.unpack_from("<BBHI", body, at)
            assert zeros == [0, 0]
            dims = struct.unpack_from(f"<{rank}q", body, at + 8)
            offset, nbytes = struct.unpack_from("<QQ", body, at + 8 + 8 * rank)
            at += 8 + 8 * rank + 16
            found.append((code, dims, offset, nbytes))
        inline_at = 0
        for code, dims, offset, nbytes in found:
            name, letter = DTYPES[code]
            if answer.flags & 1:
                assert offset == inline_at, "inline tensors are packed without gaps"
                inline_at += nbytes
                raw = body[at + offset : at + offset + nbytes]
            else:
                assert offset % 64 == 0
                assert self.slab is not None
                region = answer.slot * self.slab.slot_len + self.slab.input_len
                assert region <= offset <= offset + nbytes <= region + self.slab.output_len
                raw = self.slab.memory[offset : offset + nbytes]
            assert len(raw) == nbytes
            values = list(struct.unpack(f"<{nbytes // struct.calcsize(letter)}{letter}", raw))
            answer.tensors.append(Tensor(name, dims, values))
            answer.places.append(offset)
        assert at + inline_at == len(body)

    def _exactly(self, count: int) -> bytes | None:
        while len(self._buffer) < count:
            data = self.sock.recv(1 << 20)
            if not data:
                assert not self._buffer, "the child closed the channel inside a message"
                return None
            self._buffer += data
        data, self._buffer = self._buffer[:count], self._buffer[count:]
        return data

    def wait(self) -> int:
        """Wait for the exit; gives the status."""
        return self.process.wait(timeout=ANSWER_TIMEOUT_S)

    def logs(self) -> str:
        """Stop the child and give what it wrote to stdout and stderr."""
        with contextlib.suppress(ProcessLookupError):
            self.process.kill() if self.process.poll() is None else None
        out, err = self.process.communicate(timeout=ANSWER_TIMEOUT_S)
        return out.decode() + err.decode()

    def shut_down(self) -> tuple[str, str]:
        """Say SHUTDOWN, expect exit status 0; gives stdout and stderr."""
        self.send("SHUTDOWN")
        return self.finish()

    def finish(self) -> tuple[str, str]:
        """Expect exit status 0; gives stdout and stderr."""
        out, err = self.process.communicate(timeout=ANSWER_TIMEOUT_S)
        assert self.process.returncode == 0, err.decode()
        return out.decode(), err.decode()

    def close(self) -> None:
        self.sock.close()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()
        self.process.wait(timeout=ANSWER_TIMEOUT_S)
        self.board.close()
        if self.slab is not None:
            self.slab.close()


def _decode_chunks(body: bytes) -> list[tuple[int, int, Any]]:
    (count,) = struct.unpack_from("<I", body)
    at = 4 + 12 * count
    chunks: list[tuple[int, int, Any]] = []
    for item, number, length in struct.iter_unpack("<III", body[4:at]):
        chunks.append((item, number, json.loads(body[at : at + length], parse_constant=_no_constants)))
        at += length
    assert at == len(body)
    return chunks


def _decode_statuses(body: bytes, batch: int) -> list[tuple[int, Any]]:
    heads = [struct.unpack_from("<BBHI", body, 8 * index) for index in range(batch)]
    at = 8 * batch
    items: list[tuple[int, Any]] = []
    for status, zero8, zero16, length in heads:
        assert (zero8, zero16) == (0, 0)
        text = body[at : at + length]
        assert (status == SKIPPED) == (text == b"")
        items.append((status, json.loads(text, parse_constant=_no_constants) if text else None))
        at += length
    assert at == len(body)
    return items


def _no_constants(name: str) -> Any:
    raise AssertionError(f"{name} is not JSON")
