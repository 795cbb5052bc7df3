"""Batches for a device that is not the CPU, with a stand-in for CUDA that writes down what is asked of it.

No GPU is needed and none is used: the stand-in's device is the CPU, its copies are at once, and what is tested is which
calls are made, and in which order.
"""

from __future__ import annotations

import json
import mmap
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from cresset._current import Marks
from cresset.runner import _wire as wire
from cresset.runner._device import Carrier, CudaCarrier, carrier
from cresset.runner._discover import Served
from cresset.runner._failure import is_device_lost
from cresset.runner._hello import read_hello, read_resize
from cresset.runner._soft import SoftLimit
from cresset.runner._tensors import TensorRunner
from reference import Slab, tensor_spec

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

pytestmark = pytest.mark.torch


class Log(list[str]):
    """What was asked, in order."""

    def taken(self) -> list[str]:
        """Give it, and begin anew."""
        taken = list(self)
        self.clear()
        return taken


class Stream:
    """A stream that knows when it is waited for."""

    def __init__(self, log: Log, number: int) -> None:
        self.log, self.number, self.failure = log, number, ""

    def synchronize(self) -> None:
        self.log.append(f"wait for stream {self.number}")
        if self.failure:
            raise RuntimeError(self.failure)


class Runtime:
    """The CUDA runtime, and `torch.cuda`."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.codes: dict[str, int] = {}
        self.streams: list[Stream] = []

    def cudart(self) -> Runtime:
        return self

    def cudaHostRegister(self, address: int, size: int, flags: int) -> int:  # noqa: N802
        assert address % mmap.PAGESIZE == 0
        assert flags == 1
        self.log.append(f"register {size}")
        return self.codes.get("register", 0)

    def cudaHostUnregister(self, address: int) -> int:  # noqa: N802
        assert address % mmap.PAGESIZE == 0
        self.log.append("unregister")
        return self.codes.get("unregister", 0)

    def cudaGetErrorString(self, code: int) -> str:  # noqa: N802
        return f"error {code}"

    def synchronize(self, device: str) -> None:
        self.log.append(f"wait for {device}")

    def current_device(self) -> int:
        return 0

    def Stream(self, device: str) -> Stream:  # noqa: N802
        self.streams.append(Stream(self.log, len(self.streams)))
        self.log.append(f"make a stream on {device}")
        return self.streams[-1]

    @contextmanager
    def stream(self, stream: Stream) -> Generator[None, None, None]:
        self.log.append(f"on stream {stream.number}:")
        yield
        self.log.append("off")


class Torch:
    """torch, but for its CUDA. Tensors in shared memory say when they are copied; the device is in truth the CPU."""

    def __init__(self, log: Log) -> None:
        import torch

        self.cuda = Runtime(log)
        self.log = log

        class Spy(torch.Tensor):
            @classmethod
            def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
                kwargs = kwargs or {}
                at_once = "" if kwargs.get("non_blocking") else ", waiting"
                if func is torch.Tensor.to:
                    log.append(f"copy to {args[1]}{at_once}")
                    return args[0].as_subclass(torch.Tensor).clone()
                if func is torch.Tensor.copy_:
                    log.append(f"copy to the slab{at_once}")
                return super().__torch_function__(func, types, args, kwargs)

        self._spy = Spy
        self._real = torch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def frombuffer(self, *args: Any, **kwargs: Any) -> Any:
        return self._real.frombuffer(*args, **kwargs).as_subclass(self._spy)

    def device(self, *args: Any) -> Any:
        return self._real.device(*args)

    def zeros(self, count: int, device: str) -> None:
        self.log.append(f"a kernel on {device}")
        raise RuntimeError("CUDA error: out of memory")  # what the runtime kept for whoever asks next


class House:
    """A runner of one model on `device`, with its slab and what it noted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, predict: Callable[[Any], Any], **codes: int) -> None:
        self.log = Log()
        self.torch = Torch(self.log)
        self.torch.cuda.codes = codes
        self.notes: list[str] = []
        self.slab = Slab()
        monkeypatch.setattr("cresset.runner._tensors.import_torch", lambda: self.torch)
        x = tensor_spec("x", "float32", 2)
        message = {
            "protocol": 2,
            "model": {
                "name": "toy",
                "version": "7",
                "dir": "/",
                "entry": "model.py",
                "kind": "tensor",
                "inputs": [x],
                "outputs": [{**x, "name": "y"}],
                "max_batch_size": 8,
                "allow_pickle": False,
                "copy_inputs": False,
            },
            "instance": {"id": 0, "device": "cuda:0", "threads": 1},
            "slab": self.slab.json(),
            "board": {"size": 128, "slots": [{"offset": 0, "len": 64}, {"offset": 64, "len": 64}]},
        }

        def watched(batch: Any) -> Any:
            self.log.append("predict")
            return predict(batch)

        hello = read_hello(json.dumps(message).encode())
        self.runner = TensorRunner(hello, os.dup(self.slab.fd), Served(watched), SoftLimit(None), self.notes.append)

    def run(self, slot: int, *values: float) -> list[float]:
        """Run one item; gives what lies in the slab afterwards, as the server would read it."""
        import struct

        base = slot * self.slab.slot_len
        self.slab.memory[base : base + 8] = struct.pack("<2f", *values)
        place = wire.Descriptor(wire.DTYPE_NAMES.index("float32"), (1, 2), base, 8)
        body = wire.pack_descriptors([place])
        header = wire.Header(len(body), wire.RUN, 0, 1, 1, slot, 1, 0)
        _, parts = self.runner.run(header, memoryview(body), Marks(bytes(header.batch)))
        (answer,) = wire.unpack_descriptors(memoryview(b"".join(parts)), 1)
        return list(struct.unpack_from("<2f", self.slab.memory, answer.offset))


BATCH = ["copy to cuda:0", "predict", "copy to the slab, waiting", "off"]
"""The stand-in's results lie on the CPU, from where copies always wait."""


def test_the_slab_is_registered_once_and_each_slot_has_its_stream(monkeypatch: pytest.MonkeyPatch):
    house = House(monkeypatch, lambda batch: batch * 2)
    assert house.log.taken() == ["wait for cuda:0", f"register {house.slab.size}"]
    assert house.run(0, 1, 2) == [2, 4]
    assert house.log.taken() == ["make a stream on cuda:0", "on stream 0:", *BATCH, "wait for stream 0"]
    assert house.run(1, 3, 4) == [6, 8]
    assert house.log.taken() == ["make a stream on cuda:0", "on stream 1:", *BATCH, "wait for stream 1"]
    for slot in (0, 1, 0):
        assert house.run(slot, 5, slot) == [10, 2 * slot]
        assert house.log.taken() == [f"on stream {slot}:", *BATCH, f"wait for stream {slot}"]
    assert house.notes == []


def test_a_larger_slab_is_registered_instead_of_the_one_before(monkeypatch: pytest.MonkeyPatch):
    house = House(monkeypatch, lambda batch: batch * 2)
    house.run(0, 1, 2)
    house.log.clear()
    house.slab = Slab(input_len=1 << 16)
    layout = read_resize(json.dumps({"slab": house.slab.json()}).encode())
    house.runner.resize(layout, os.dup(house.slab.fd))
    assert house.log.taken() == ["unregister", f"register {house.slab.size}"]
    assert house.run(1, 1, 2) == [2, 4]
    house.log.clear()
    house.runner.close()
    house.runner.close()
    assert house.log.taken() == ["unregister"]


def test_a_batch_that_fails_is_waited_for_too(monkeypatch: pytest.MonkeyPatch):
    def fail(_: Any) -> Any:
        raise ValueError("no")

    house = House(monkeypatch, fail)
    with pytest.raises(ValueError, match="no"):
        house.run(0, 1, 2)
    assert house.log.taken()[-3:] == ["copy to cuda:0", "predict", "wait for stream 0"]
    # When the device has failed besides, that decides whether the process may go on.
    house.torch.cuda.streams[0].failure = "CUDA error: device-side assert triggered"
    with pytest.raises(RuntimeError, match="device-side assert") as error:
        house.run(0, 1, 2)
    assert is_device_lost(error.value)


def test_memory_that_cannot_be_registered_is_noted_once_and_used_as_it_is(monkeypatch: pytest.MonkeyPatch):
    house = House(monkeypatch, lambda batch: batch * 2, register=2)
    (note,) = house.notes
    assert "cannot be pinned (cudaHostRegister: error 2)" in note
    # The error that the runtime keeps is taken away before a batch can meet it.
    assert house.log.taken()[-1] == "a kernel on cuda:0"
    assert house.run(0, 1, 2) == [2, 4]
    layout = read_resize(json.dumps({"slab": house.slab.json()}).encode())
    house.runner.resize(layout, os.dup(house.slab.fd))
    house.runner.close()
    assert len(house.notes) == 1
    assert "unregister" not in house.log


def test_a_torch_without_the_call_is_no_reason_not_to_serve(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delattr(Runtime, "cudaHostRegister")
    house = House(monkeypatch, lambda batch: batch * 2)
    assert "cudaHostRegister" in house.notes[0]
    assert house.run(0, 1, 2) == [2, 4]


def test_an_unregistering_that_fails_is_let_go(monkeypatch: pytest.MonkeyPatch):
    house = House(monkeypatch, lambda batch: batch * 2, unregister=4)
    house.runner.close()
    assert house.notes == []


class Value:
    """An output, as far as copying asks."""

    def __init__(self, device: Any) -> None:
        self.device = device


class Target:
    """A place in the slab."""

    def __init__(self) -> None:
        self.non_blocking: list[bool] = []

    def copy_(self, _: Value, *, non_blocking: bool = False) -> None:
        self.non_blocking.append(non_blocking)


@pytest.mark.parametrize("device", ["cuda:0", "cuda"])
def test_only_outputs_on_our_own_device_are_not_waited_for(device: str):
    import torch

    target = Target()
    made = CudaCarrier(Torch(Log()), device, lambda _: None)  # pyright: ignore[reportArgumentType]
    for where in ("cuda:0", "cuda:1", "cpu"):
        made.to_slab(target, Value(torch.device(where)))
    assert target.non_blocking == [True, False, False]


def test_every_kind_of_device_has_its_carrier():
    import torch

    def note(_: str) -> None:
        raise AssertionError

    assert carrier(torch, "cpu", note) is None
    assert type(carrier(torch, "meta", note)) is Carrier
    stand_in: Any = Torch(Log())
    assert type(carrier(stand_in, "cuda:0", note)) is CudaCarrier


def test_the_runtimes_calls_are_as_the_stand_in_has_them():
    import torch

    runtime: Any = getattr(torch._C, "_cudart", None)
    if runtime is None:
        pytest.skip("this torch is built without CUDA")
    # Without a driver, or of no memory, each fails; but it is there, takes these arguments and gives a code.
    for result in (runtime.cudaHostRegister(0, 0, 1), runtime.cudaHostUnregister(0)):
        assert int(result) != 0
        assert runtime.cudaGetErrorString(result)
