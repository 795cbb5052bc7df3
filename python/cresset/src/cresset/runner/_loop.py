"""The life of an instance: HELLO, start, READY, then batch after batch until the server says stop or goes away.

```text
waiting for HELLO -> starting -> serving -> exit 0      SHUTDOWN, SIGTERM, or the server has gone
                         |          |-----> exit 70     a message that the protocol does not have
                         |          |-----> exit 75     the device is lost; the answer was sent before
                         |-----> FAILED, exit 1
```
"""

from __future__ import annotations

import gc
import os
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from cresset._current import Cancelled, SoftTimeout, enter
from cresset.runner import _failure, _process, _start, _torch, _wire as wire
from cresset.runner._board import Board
from cresset.runner._files import Files
from cresset.runner._hello import Hello, read_hello, read_resize
from cresset.runner._objects import ObjectRunner
from cresset.runner._progress import Reporter
from cresset.runner._soft import SoftLimit
from cresset.runner._streams import Streams
from cresset.runner._tensors import TensorRunner

if TYPE_CHECKING:
    from cresset._current import Marks, Traces
    from cresset.runner._channel import Channel, Frame


class Instance:
    """One model in this process. Main thread only."""

    def __init__(self, channel: Channel, stop: _process.StopSignal) -> None:
        self._channel = channel
        self._stop = stop
        self._tensors: TensorRunner | None = None
        self._objects: ObjectRunner | None = None
        self._board: Board | None = None
        self._soft = SoftLimit(None)
        self._modes = ExitStack()
        self._traces: tuple[int, Traces] | None = None
        """Of the batch of this number, which comes next."""
        self._in_inference_mode = False

    def run(self) -> int:
        """Serve until there is nothing more to serve; gives the exit status.

        Raises:
            ProtocolError: the server sent something that the protocol does not have.
            Stopping: SIGTERM came before READY.
            BrokenPipeError: the server has gone.
        """
        frame = self._channel.receive()
        if frame is None or frame.header.kind == wire.SHUTDOWN:
            return _process.EXIT_OK
        if frame.header.kind != wire.HELLO:
            raise wire.ProtocolError(f"{wire.kind_name(frame.header.kind)} came before HELLO")
        hello = read_hello(frame.body)
        if len(frame.fds) != 1 + hello.is_tensor:
            raise wire.ProtocolError(
                f"{len(frame.fds)} descriptors came with HELLO: a tensor model's carries the slab's and the board's, "
                "an object model's the board's"
            )
        self._board = Board(hello.board, frame.fds[-1])
        if not self._bring_up(hello, frame.fds[0] if hello.is_tensor else None):
            return _process.EXIT_FAILED
        # What is loaded stays for good: the collector need not look at it again.
        gc.collect()
        gc.freeze()
        try:
            with self._modes:
                return self._serve()
        finally:
            if self._tensors is not None:
                self._tensors.close()

    def _bring_up(self, hello: Hello, fd: int | None) -> bool:
        start = _start.Start(hello)
        try:
            served = start.run()
            self._soft = SoftLimit(hello.soft_timeout)
            if fd is not None:
                self._tensors = TensorRunner(hello, fd, served, self._soft, self._note)
            else:
                streams = Streams(self._channel, self._soft, served.join) if hello.stream else None
                files = Files(hello.content_types, hello.spool) if hello.files else None
                self._objects = ObjectRunner(served, self._soft, streams, files=files)
            if hello.progress is not None and self._board is not None:
                self._board.reporter = Reporter(self._channel, self._soft, hello.progress, logs=hello.logs)
            self._soft.watch()
        except (_process.Stopping, wire.ProtocolError):
            raise
        except BaseException as error:  # noqa: BLE001  # SystemExit in the author's module is a failure of the model
            if self._stop.requested:
                raise _process.Stopping from None
            failure = _failure.of_exception(start.stage, error)
            _report(hello, failure)
            self._send_json(wire.FAILED, failure)
            return False
        self._stop.defer()
        self._send_json(
            wire.READY,
            {
                "protocol": wire.PROTOCOL,
                "pid": os.getpid(),
                "runtime": _torch.runtime_text(),
                "device": hello.device,
                "load_ms": start.load_ms,
                "warmup_ms": start.warmup_ms,
                "returns": "object" if self._objects is not None or served.postprocess is not None else "tensor",
                "traces": True,
            },
        )
        return True

    def _serve(self) -> int:
        while not self._stop.requested:
            frame = self._channel.receive()
            if frame is None:
                break
            kind = frame.header.kind
            if kind in (wire.RUN, wire.RUN_OBJECTS):
                if not self._batch(frame):
                    return _process.EXIT_DEVICE_LOST
            elif kind == wire.TRACES:
                self._traces = (frame.header.seq, wire.unpack_traces(frame.body, frame.header.batch))
            elif kind == wire.PING:
                self._channel.send(wire.pack_header(wire.PONG))
            elif kind == wire.RESIZE and self._tensors is not None and frame.fds:
                self._tensors.resize(read_resize(frame.body), frame.fds[0])
            elif kind == wire.SHUTDOWN:
                break
            else:
                raise wire.ProtocolError(f"{wire.kind_name(kind)} does not belong here")
        return _process.EXIT_OK

    def _batch(self, frame: Frame) -> bool:
        """Run a batch and answer it; false when the device is lost."""
        header = frame.header
        if not self._in_inference_mode and "torch" in sys.modules:
            self._modes.enter_context(_torch.inference_mode())
            self._in_inference_mode = True
        assert self._board is not None  # made before READY
        marks = self._board.marks(header)
        marks.traces = self._traces_of(header)
        marks.until = self._soft.begin()
        lost = False
        try:
            head, parts = self._run(header, frame.body, marks)
        except wire.ProtocolError:
            raise
        except BaseException as error:  # noqa: BLE001  # exit() and interrupts in the author's code fail the batch too
            lost = _failure.is_device_lost(error)
            failure = _failure.of_exception("predict", error)
            flags = wire.FLAG_LAST if lost else 0
            if isinstance(error, SoftTimeout) and marks.timed_out():
                failure |= self._soft.failure()
            if isinstance(error, Cancelled) and marks.any():
                failure |= {"message": "the work was cancelled", "hint": None}
                flags |= wire.FLAG_CANCELLED
            body = wire.pack_json(failure)
            head = wire.pack_header(
                wire.ERROR, len(body), flags=flags, seq=header.seq, slot=header.slot, batch=header.batch
            )
            parts = (body,)
            if _failure.is_out_of_memory(error):
                _free_device_memory()
        finally:
            self._soft.end()
            enter(None)
            if marks.reporter is None:
                marks.close()
            else:
                marks.reporter.end(marks)
        self._channel.send(head, *parts)
        if lost:
            sys.stderr.write(
                "cresset.runner: the device is in an error state; exiting so that a new process starts clean\n"
            )
        return not lost

    def _traces_of(self, header: wire.Header) -> Traces | None:
        """Give what TRACES said of this batch, if it came."""
        if self._traces is None:
            return None
        seq, traces = self._traces
        self._traces = None
        if seq != header.seq or len(traces) != header.batch:
            raise wire.ProtocolError(f"TRACES of batch {seq} came before batch {header.seq}")
        return traces

    def _run(self, header: wire.Header, body: memoryview, marks: Marks) -> tuple[bytes, tuple[bytes | bytearray, ...]]:
        if header.kind == wire.RUN and self._tensors is not None:
            return self._tensors.run(header, body, marks)
        if header.kind == wire.RUN_OBJECTS and self._objects is not None:
            return self._objects.run(header, body, marks)
        raise wire.ProtocolError(f"{wire.kind_name(header.kind)} does not suit the model's kind")

    def _note(self, message: str) -> None:
        self._send_json(wire.NOTE, {"level": "warning", "message": message})

    def _send_json(self, kind: int, value: dict[str, Any]) -> None:
        body = wire.pack_json(value)
        self._channel.send(wire.pack_header(kind, len(body)), body)


def _report(hello: Hello, failure: dict[str, Any]) -> None:
    """Write a failed start to the log as well: it is the first place where people look."""
    text = f"cannot serve {hello.name}: {failure['stage']} failed: {failure['type']}: {failure['message']}\n"
    if failure["hint"]:
        text += f"hint: {failure['hint']}\n"
    sys.stderr.write((failure["traceback"] or "") + text)


def _free_device_memory() -> None:
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
