"""Runs a batch of a tensor model: tensors from the slab in, tensors to the slab (or JSON values) out.

This is the hot path: a batch costs one alias per input and one copy per output around the author's `predict`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cresset._current import Cancelled, Context, enter
from cresset.runner import _wire as wire
from cresset.runner._device import carrier
from cresset.runner._failure import OutputError
from cresset.runner._items import ItemEnd, finish_items
from cresset.runner._outputs import OutputReader
from cresset.runner._slab import Slab
from cresset.runner._torch import import_torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from cresset._current import Marks
    from cresset.runner._discover import Served
    from cresset.runner._hello import Hello, Layout
    from cresset.runner._soft import SoftLimit


class TensorRunner:
    """Answers RUN. One per process; main thread only."""

    def __init__(self, hello: Hello, fd: int, served: Served, soft: SoftLimit, note: Callable[[str], None]) -> None:
        assert hello.layout is not None  # read_hello gives every tensor model one
        self._torch = import_torch()
        self._predict = served.predict
        self._soft = soft
        self._postprocess = served.postprocess
        self._note = note
        self._slab = Slab(self._torch, hello.layout, fd)
        self._reader = OutputReader(self._torch, hello.outputs)
        self._has_names = bool(hello.outputs)
        self._input_names = tuple(spec.name for spec in hello.inputs)
        self._copy = hello.copy_inputs
        self._carrier = carrier(self._torch, hello.device, note)
        if self._carrier is not None:
            self._carrier.adopt(self._slab)

    def resize(self, layout: Layout, fd: int) -> None:
        """Change to a larger slab; the old memory goes when its last tensor does."""
        slab = Slab(self._torch, layout, fd)
        if self._carrier is not None:
            self._carrier.adopt(slab)
        self._slab = slab

    def close(self) -> None:
        """Let go of the slab. May be called twice; no batch may be run after it."""
        if self._carrier is not None:
            self._carrier.release()

    def run(self, header: wire.Header, body: memoryview, marks: Marks) -> tuple[bytes, tuple[bytes | bytearray, ...]]:
        """Run one batch; gives the answer's header and the parts of its body.

        Raises:
            ProtocolError: the RUN does not fit the slab or the model.
            OutputError: what the model gave cannot be answered with.
            Cancelled: every item is cancelled, before any of it was begun; or the model raised it.
            SoftTimeout: the batch's time is over, whichever of the author's code ran.
            BaseException: whatever the model raises.
        """
        inputs = self._slab.inputs(header, body)
        if len(inputs.tensors) != len(self._input_names):
            raise wire.ProtocolError(
                f"a RUN has {len(inputs.tensors)} tensors, the model {len(self._input_names)} inputs"
            )
        if marks.all():
            raise Cancelled
        enter(Context(marks))
        if self._carrier is not None:
            with self._carrier.turn(header.slot):
                return self._compute(header, inputs.tensors, marks)
        answer = self._compute(header, inputs.tensors, marks)
        if not self._copy and self._slab.is_kept(inputs):
            self._copy = True
            self._note(
                "the model keeps a reference to its input after predict has returned; that memory is overwritten by "
                "later batches, so the model gets copies from now on. Keep input.clone() instead, or set "
                "copy_inputs = true in model.toml"
            )
        return answer

    def _compute(
        self, header: wire.Header, tensors: tuple[Any, ...], marks: Marks
    ) -> tuple[bytes, tuple[bytes | bytearray, ...]]:
        """Run `predict` and make the answer."""
        named = self._reader.named(self._soft.call("predict", self._predict, self._batch(tensors)), header.batch)
        if self._postprocess is None:
            return self._answer(header, named)
        items = self._items(named, header.batch)
        del named
        ends = finish_items(self._soft, [ItemEnd(value=item) for item in items], self._postprocess, marks)
        body = wire.pack_statuses(ends)
        head = wire.pack_header(wire.DONE_OBJECTS, len(body), seq=header.seq, slot=header.slot, batch=header.batch)
        return head, (body,)

    def _batch(self, tensors: tuple[Any, ...]) -> Any:
        if self._carrier is not None:
            mine = [self._carrier.to_device(tensor) for tensor in tensors]
        elif self._copy:
            mine = [tensor.clone() for tensor in tensors]
        else:
            mine = [tensor.detach() for tensor in tensors]  # the cheapest alias with a shape of its own
        return mine[0] if len(mine) == 1 else dict(zip(self._input_names, mine, strict=True))

    def _answer(self, header: wire.Header, named: dict[str, Any]) -> tuple[bytes, tuple[bytes | bytearray, ...]]:
        signature = tuple((self._reader.codes[value.dtype], tuple(value.shape)) for value in named.values())
        flags = 0
        names = b""
        if not self._has_names:
            flags = wire.FLAG_NAMED
            names = wire.pack_names(list(named))
        place = self._slab.outputs(header.slot, signature)
        parts: tuple[bytes | bytearray, ...]
        if place is not None:
            for target, value in zip(place.tensors, named.values(), strict=True):
                if self._carrier is not None:
                    self._carrier.to_slab(target, value)
                else:
                    target.copy_(value)  # makes it contiguous
            parts = (names + place.descriptors,)
        else:
            flags |= wire.FLAG_INLINE
            parts = self._inline(names, signature, named)
        length = sum(map(len, parts))
        if length > wire.MAX_BODY_LEN:
            raise OutputError(f"the outputs of this batch take {length} bytes, at most {wire.MAX_BODY_LEN} can be sent")
        head = wire.pack_header(
            wire.DONE,
            length,
            flags=flags,
            n_tensors=len(named),
            seq=header.seq,
            slot=header.slot,
            batch=header.batch,
        )
        return head, parts

    def _inline(
        self, names: bytes, signature: tuple[tuple[int, tuple[int, ...]], ...], named: dict[str, Any]
    ) -> tuple[bytes | bytearray, ...]:
        descriptors: list[wire.Descriptor] = []
        bodies: list[bytearray] = []
        at = 0
        for (dtype, shape), value in zip(signature, named.values(), strict=True):
            nbytes = value.numel() * wire.DTYPE_SIZES[dtype]
            descriptors.append(wire.Descriptor(dtype, shape, at, nbytes))
            at += nbytes
            if at > wire.MAX_BODY_LEN:
                raise OutputError(f"the outputs of this batch take over {wire.MAX_BODY_LEN} bytes and cannot be sent")
            body = bytearray(nbytes)
            if nbytes:
                self._torch.frombuffer(body, dtype=value.dtype).view(shape).copy_(value)
            bodies.append(body)
        return (names + wire.pack_descriptors(descriptors), *bodies)

    def _items(self, named: dict[str, Any], batch: int) -> list[Any]:
        """Give each item's output for `postprocess`: a tensor, or a dict when there are several outputs."""
        self._reader.check_shapes(named)
        rows = {name: value.cpu().unbind(0) for name, value in named.items()}
        if len(rows) == 1:
            return list(next(iter(rows.values())))
        return [{name: values[index] for name, values in rows.items()} for index in range(batch)]
