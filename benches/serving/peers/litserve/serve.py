"""LitServe, with its dynamic batches."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import litserve

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import work


class Api(litserve.LitAPI):
    """A tensor model."""

    def setup(self, device: str) -> None:  # noqa: ARG002 - LitServe's signature
        """Loads it."""
        self.work = work.Work()

    def decode_request(self, request) -> Any:  # noqa: ANN001 - a type here would be read as the body's schema
        """One request."""
        return request["input"]

    def batch(self, inputs: list[Any]) -> Any:
        """Requests to a batch."""
        return self.work.of_numbers(inputs)

    def predict(self, x: Any) -> Any:
        """A batch."""
        return self.work.run(x)

    def unbatch(self, output: Any) -> list[Any]:
        """A batch to answers."""
        return output.tolist()

    def encode_response(self, output: Any) -> dict[str, Any]:
        """One answer."""
        return {"result": output}


if __name__ == "__main__":
    os.environ.setdefault("LITSERVE_CHECK_VERSION", "0")
    api = Api(max_batch_size=work.BATCH, batch_timeout=work.WAIT_MS / 1000)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=work.WORKERS, timeout=60)
    server.run(host="127.0.0.1", port=work.PORT, log_level="warning", generate_client_file=False, num_api_servers=1)
