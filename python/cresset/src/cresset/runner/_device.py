"""How a batch gets from the slab to a device, and its results back, when the device is not the CPU.

On CUDA (and on ROCm, which torch calls `cuda` too) the slab is registered with the driver once, so that the device
reads and writes it directly and copies need not wait. Each slot has a stream of its own, on which its inputs are
copied, `predict` runs, and its outputs are copied back. Whatever happens, the stream is waited for before the batch is
answered: from then on the slot is the server's, and nothing may read or write it here.

Memory that cannot be registered is used as it is: the driver then copies through a buffer of its own, which is slower
and otherwise the same. Every other kind of device gets plain copies, which wait.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from types import ModuleType

    from cresset.runner._slab import Slab

_PORTABLE: Final = 1
"""`cudaHostRegisterPortable`: pinned for every device of the process, should the model use more than its own."""


def carrier(torch: ModuleType, device: str, note: Callable[[str], None]) -> Carrier | None:
    """Choose how batches get to `device`; `None` for the CPU, where they are already."""
    if device == "cpu":
        return None
    if torch.device(device).type == "cuda":
        return CudaCarrier(torch, device, note)
    return Carrier(device)


class Carrier:
    """Plain copies, each of which waits for the device. Main thread only."""

    def __init__(self, device: str) -> None:
        self._device = device

    def adopt(self, slab: Slab) -> None:
        """Take over this slab; the one before is not used any more."""

    def release(self) -> None:
        """Let go of the slab. May be called twice."""

    @contextmanager
    def turn(self, _slot: int) -> Generator[None, None, None]:
        """Do within it everything that one batch in this slot needs; when it ends, nothing of it is under way."""
        yield

    def to_device(self, tensor: Any) -> Any:
        """Give an input on the device."""
        return tensor.to(self._device)

    def to_slab(self, target: Any, value: Any) -> None:
        """Copy an output into its place in the slab; it is there when the turn has ended."""
        target.copy_(value)


class CudaCarrier(Carrier):
    """Copies that do not wait, on a stream for each slot, from and to pinned memory."""

    def __init__(self, torch: ModuleType, device: str, note: Callable[[str], None]) -> None:
        super().__init__(device)
        self._torch = torch
        place = torch.device(device)
        self._place = place if place.index is not None else torch.device(place.type, torch.cuda.current_device())
        self._note = note
        self._has_noted = False
        self._streams: dict[int, Any] = {}
        self._registered: int | None = None
        # What `load` and `warmup` began on the default stream is not waited for by streams of their own.
        torch.cuda.synchronize(device)

    def adopt(self, slab: Slab) -> None:
        """Register the slab's memory, instead of the one before."""
        self.release()
        failure = self._register(slab.address, slab.size)
        if failure is None:
            self._registered = slab.address
        elif not self._has_noted:
            self._has_noted = True
            self._note(
                f"the memory shared with the server cannot be pinned ({failure}): the model is served all the same, "
                f"but copies to and from {self._device} are slower than they could be"
            )

    def release(self) -> None:
        """Undo the registration. Nothing may be under way: every turn has ended."""
        if self._registered is not None:
            # A driver that refuses has nothing registered any more: it is lost, or shutting down.
            self._call("cudaHostUnregister", self._registered)
            self._registered = None

    @contextmanager
    def turn(self, slot: int) -> Generator[None, None, None]:
        """Run on the slot's stream, and wait for it, also when the batch has failed: its copies may be under way."""
        stream = self._streams.get(slot)
        if stream is None:
            stream = self._streams[slot] = self._torch.cuda.Stream(device=self._device)
        try:
            with self._torch.cuda.stream(stream):
                yield
        finally:
            stream.synchronize()

    def to_device(self, tensor: Any) -> Any:
        """Begin to copy an input to the device."""
        return tensor.to(self._device, non_blocking=True)

    def to_slab(self, target: Any, value: Any) -> None:
        """Begin to copy an output; one that lies on another device is waited for, as its stream is not ours."""
        target.copy_(value, non_blocking=value.device == self._place)

    def _register(self, address: int, size: int) -> str | None:
        """Pin memory; gives why that failed, if it did."""
        failure = self._call("cudaHostRegister", address, size, _PORTABLE)
        if failure is not None:
            # The runtime keeps the error for whoever asks next, and torch asks after every kernel: the first batch
            # would fail for it. A device that is really lost says so again.
            with suppress(RuntimeError):
                self._torch.zeros(1, device=self._device)
        return failure

    def _call(self, name: str, *arguments: int) -> str | None:
        """Call the CUDA runtime; gives why it failed, if it did."""
        try:
            runtime = self._torch.cuda.cudart()
            result = getattr(runtime, name)(*arguments)
            return None if int(result) == 0 else f"{name}: {runtime.cudaGetErrorString(result)}"
        except (AttributeError, AssertionError, RuntimeError, TypeError) as error:
            return f"{name}: {error}"
