"""The comparison's model in a process of the site's or of its Celery worker's: the code that Cresset serves too."""

from __future__ import annotations

import sys
from functools import cache
from importlib import util
from pathlib import Path
from typing import Any

MODEL = Path(__file__).resolve().parents[1] / "models" / "slow" / "model.py"


@cache
def slow_model() -> Any:
    """The model, loaded once in each process."""
    spec = util.spec_from_file_location("slow_model", MODEL)
    assert spec is not None
    assert spec.loader is not None
    module = util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
