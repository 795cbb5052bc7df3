"""The model as TorchServe's workers load it."""

from __future__ import annotations

import os
import sys
from typing import Any

sys.path.insert(0, os.environ["BENCH_PEERS"])
import work


class Handler:
    """Bytes in, bytes out."""

    def initialize(self, _context: Any) -> None:
        """Loads it."""
        self.work = work.Work()

    def handle(self, data: list[dict[str, Any]], _context: Any) -> list[bytes]:
        """A batch."""
        rows = [self.work.of_bytes(bytes(one["body"])) for one in data]
        return [row.tobytes() for row in self.work.run(work.np.stack(rows))]
