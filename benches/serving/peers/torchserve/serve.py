"""TorchServe, with its dynamic batches. Needs Java on the PATH."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
BIN = Path(sys.executable).parent
sys.path.insert(0, str(HERE.parent))
import work

PORTS = ("management_address", "metrics_address")
GRPC = ("grpc_inference_port", "grpc_management_port")


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def settings(store: Path) -> dict[str, str]:
    """What config.properties says."""
    model = {
        "minWorkers": work.WORKERS,
        "maxWorkers": work.WORKERS,
        "batchSize": work.BATCH,
        "maxBatchDelay": work.WAIT_MS,
        "responseTimeout": 120,
        "marName": f"{work.MODEL}.mar",
    }
    return {
        "inference_address": f"http://127.0.0.1:{work.PORT}",
        **{name: f"http://127.0.0.1:{free_port()}" for name in PORTS},
        **{name: str(free_port()) for name in GRPC},
        "model_store": str(store),
        "load_models": f"{work.MODEL}.mar",
        "models": json.dumps({work.MODEL: {"1.0": {"defaultVersion": True, **model}}}),
        "job_queue_size": "1000",
        "disable_token_authorization": "true",
        "disable_system_metrics": "true",
    }


def main() -> None:
    """Packs the model and becomes the server."""
    if not shutil.which("java"):
        raise SystemExit("java is not on the PATH")
    folder = Path(tempfile.mkdtemp(prefix="torchserve-", dir=Path.cwd()))
    command = [str(BIN / "torch-model-archiver"), "--model-name", work.MODEL, "--version", "1.0"]
    command += ["--handler", str(HERE / "handler.py"), "--export-path", str(folder), "--force"]
    subprocess.run(command, check=True)
    config = folder / "config.properties"
    config.write_text("".join(f"{name}={value}\n" for name, value in settings(folder).items()))
    os.environ |= {"BENCH_PEERS": str(HERE.parent), "PATH": f"{BIN}:{os.environ['PATH']}", "TEMP": str(folder)}
    server = [str(BIN / "torchserve"), "--start", "--foreground", "--ncs", "--ts-config", str(config)]
    os.execv(BIN / "torchserve", server)


if __name__ == "__main__":
    main()
