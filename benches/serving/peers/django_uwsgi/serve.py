"""Django under uWSGI: as many processes as BENCH_WORKERS says, each with the model, behind uWSGI's own HTTP router."""

from __future__ import annotations

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ARGUMENTS = [
    "--chdir",
    str(HERE),
    "--module",
    "app:application",
    "--http",
    f"127.0.0.1:{os.environ['BENCH_PORT']}",
    "--http-keepalive",
    "--master",
    "--lazy-apps",
    "--processes",
    os.environ["BENCH_WORKERS"],
    "--listen",
    "1024",
    "--disable-logging",
    "--die-on-term",
    "--need-app",
]
"""`--lazy-apps`: torch is imported after the fork. `--listen`: a caller for each connection may wait."""

if __name__ == "__main__":
    uwsgi = Path(sys.executable).parent / "uwsgi"
    os.execv(uwsgi, [str(uwsgi), *ARGUMENTS])
