"""The memory shared with the server, and tensors that lie in it.

What keeps this safe:

- The mapping is never closed, only let go of. A tensor made by `torch.frombuffer` does not keep the buffer exported, so
  closing the mapping under it would be a crash; but it does keep a reference, so the last tensor frees the memory.
- Tensors are cached by the bytes that describe them and handed out as aliases, so that a model which changes the shape
of
  its input in place spoils only its own alias.
- Offsets and lengths from the server are checked against the slot before they become addresses.
"""

from __future__ import annotations

import gc
import mmap
import os
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from cresset.runner import _wire as wire
from cresset.runner._torch import torch_dtypes

if TYPE_CHECKING:
    from types import ModuleType

    from cresset.runner._hello import Layout, Slot

_MAX_CACHED: Final = 512
"""Tensor sets kept; two slots times the batch sizes that occur. Over it the cache starts anew."""


class Inputs(NamedTuple):
    """The input tensors of one slot and signature."""

    tensors: tuple[Any, ...]
    uses: tuple[tuple[int, int], ...]
    """For each tensor the address of its storage and its use count while nobody else holds it."""


class Outputs(NamedTuple):
    """Tensors in a slot's output region, and the descriptors that tell the server of them."""

    tensors: tuple[Any, ...]
    descriptors: bytes


class Slab:
    """One mapping of the shared memory. A RESIZE makes another one."""

    def __init__(self, torch: ModuleType, layout: Layout, fd: int) -> None:
        """Map the memory behind `fd`, and close `fd`.

        Raises:
            ProtocolError: the memory is smaller than the layout says.
        """
        try:
            actual = os.fstat(fd).st_size
            if actual < layout.size or layout.size <= 0:
                raise wire.ProtocolError(f"the slab has {actual} bytes, the layout says {layout.size}")
            # Read-write, although inputs are only read: torch takes no read-only memory without a fault on in-place
            # ops.
            self._memory = memoryview(mmap.mmap(fd, layout.size))
        finally:
            os.close(fd)
        self._torch = torch
        self._dtypes = torch_dtypes(torch)
        self._layout = layout
        self.size: Final = layout.size
        """Bytes of it."""
        self.address: Final[int] = torch.frombuffer(self._memory, dtype=torch.uint8, count=1).data_ptr()
        """Where it is mapped; at the start of a page."""
        self._inputs: dict[tuple[int, bytes], Inputs] = {}
        self._outputs: dict[tuple[int, tuple[Any, ...]], Outputs | None] = {}
        # Private to torch; without it a model that keeps its inputs cannot be noticed.
        self._use_count: Any = getattr(getattr(torch, "_C", None), "_storage_Use_Count", None)

    def inputs(self, header: wire.Header, body: memoryview) -> Inputs:
        """Give the tensors that a RUN describes, as they lie in the slab.

        Raises:
            ProtocolError: the descriptors do not fit the slot or the batch.
        """
        key = (header.slot, bytes(body))
        found = self._inputs.get(key)
        if found is None:
            slot = self._slot(header.slot)
            tensors = tuple(
                self._input(tensor, header.batch, slot) for tensor in wire.unpack_descriptors(body, header.n_tensors)
            )
            found = Inputs(tensors, tuple(self._uses(tensor) for tensor in tensors))
            _bound(self._inputs)
            self._inputs[key] = found
        elif len(found.tensors) != header.n_tensors or (found.tensors and len(found.tensors[0]) != header.batch):
            raise wire.ProtocolError("a RUN's header and descriptors disagree")
        return found

    def outputs(self, slot_number: int, signature: tuple[tuple[int, tuple[int, ...]], ...]) -> Outputs | None:
        """Give tensors in the slot's output region for (dtype code, shape) pairs; `None` when they do not fit."""
        key = (slot_number, signature)
        try:
            return self._outputs[key]
        except KeyError:
            pass
        slot = self._slot(slot_number)
        at = slot.output_offset
        tensors: list[Any] = []
        descriptors: list[wire.Descriptor] = []
        made: Outputs | None = None
        for dtype, shape in signature:
            count = _count(shape)
            nbytes = count * wire.DTYPE_SIZES[dtype]
            if at + nbytes > slot.output_offset + slot.output_len:
                break
            tensors.append(self._at(dtype, shape, at, count))
            descriptors.append(wire.Descriptor(dtype, shape, at, nbytes))
            at = wire.aligned(at + nbytes)
        else:
            made = Outputs(tuple(tensors), wire.pack_descriptors(descriptors))
        _bound(self._outputs)
        self._outputs[key] = made
        return made

    def is_kept(self, inputs: Inputs) -> bool:
        """Tell whether someone still holds one of the tensors handed out. Call after dropping all of one's own."""
        if self._use_count is None or all(self._use_count(at) <= count for at, count in inputs.uses):
            return False
        # A reference cycle (an exception with its frames, say) may hold it a little longer than the model means to.
        gc.collect()
        return any(self._use_count(at) > count for at, count in inputs.uses)

    def _slot(self, number: int) -> Slot:
        if number >= len(self._layout.slots):
            raise wire.ProtocolError(f"slot {number} does not exist; the slab has {len(self._layout.slots)}")
        return self._layout.slots[number]

    def _input(self, tensor: wire.Descriptor, batch: int, slot: Slot) -> Any:
        if tensor.dims[0] != batch:
            raise wire.ProtocolError(f"a tensor of dims {list(tensor.dims)} came in a batch of {batch}")
        if (
            not slot.input_offset
            <= tensor.offset
            <= tensor.offset + tensor.nbytes
            <= slot.input_offset + slot.input_len
        ):
            raise wire.ProtocolError(f"a tensor at {tensor.offset}, {tensor.nbytes} bytes, lies outside its slot")
        return self._at(tensor.dtype, tensor.dims, tensor.offset, _count(tensor.dims))

    def _at(self, dtype: int, shape: tuple[int, ...], offset: int, count: int) -> Any:
        if count == 0:  # frombuffer refuses an empty view
            return self._torch.empty(shape, dtype=self._dtypes[dtype])
        return self._torch.frombuffer(self._memory, dtype=self._dtypes[dtype], count=count, offset=offset).view(shape)

    def _uses(self, tensor: Any) -> tuple[int, int]:
        if self._use_count is None:
            return (0, 0)
        address = tensor.untyped_storage()._cdata  # noqa: SLF001  # private, and there is no public way
        return address, self._use_count(address)


def _count(shape: tuple[int, ...]) -> int:
    count = 1
    for dim in shape:
        count *= dim
    return count


def _bound(cache: dict[Any, Any]) -> None:
    if len(cache) >= _MAX_CACHED:
        cache.clear()
