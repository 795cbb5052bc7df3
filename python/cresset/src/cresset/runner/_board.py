"""The board: memory in which the server marks items that nobody wants any more, while we run them. Read only."""

from __future__ import annotations

import mmap
import os
from typing import TYPE_CHECKING

from cresset._current import Marks
from cresset.runner import _wire as wire

if TYPE_CHECKING:
    from cresset.runner._hello import BoardLayout
    from cresset.runner._progress import Reporter


class Board:
    """The mapping. Never closed, only let go of: what a model keeps of it may outlive the batch."""

    def __init__(self, layout: BoardLayout, fd: int) -> None:
        """Map the memory behind `fd`, and close `fd`.

        Raises:
            ProtocolError: the memory is smaller than the layout says.
        """
        try:
            actual = os.fstat(fd).st_size
            if actual < layout.size or layout.size <= 0:
                raise wire.ProtocolError(f"the board has {actual} bytes, the layout says {layout.size}")
            self._memory = memoryview(mmap.mmap(fd, layout.size, access=mmap.ACCESS_READ))
        finally:
            os.close(fd)
        self._slots = layout.slots
        self.reporter: Reporter | None = None
        """Who takes what is said of the batches, once there is somebody."""

    def marks(self, header: wire.Header) -> Marks:
        """Give the marks of a batch.

        Raises:
            ProtocolError: the board has no place for it.
        """
        if header.slot >= len(self._slots) or header.batch > self._slots[header.slot].len:
            raise wire.ProtocolError(f"the board has no place for {header.batch} items in slot {header.slot}")
        start = self._slots[header.slot].offset
        return Marks(self._memory[start : start + header.batch], None, header, self.reporter)
