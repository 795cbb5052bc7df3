"""From HELLO to READY: import, load, eval, warm up."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any

from cresset.runner import _discover, _process, _torch, _weights
from cresset.runner._failure import StartError

if TYPE_CHECKING:
    from collections.abc import Callable

    from cresset._model import Model
    from cresset.runner._failure import Stage
    from cresset.runner._hello import Hello


class Start:
    """Brings one model up. `stage` says how far it came, for the failure if it raises."""

    def __init__(self, hello: Hello) -> None:
        self._hello = hello
        self.stage: Stage = "import"
        self.load_ms = 0.0
        self.warmup_ms = 0.0

    def run(self) -> _discover.Served:
        """Do it all.

        Raises:
            StartError: what is wrong with the model, as far as we can tell.
            BaseException: whatever the author's code raises.
        """
        hello = self._hello
        began = time.perf_counter()
        self._before_torch()
        if hello.is_tensor:
            _torch.import_torch()
        self._meet_torch()
        found = _discover.find_model(hello.dir, hello.entry)
        _discover.check_signatures(found, is_tensor=hello.is_tensor, streams=hello.stream)
        _process.default_logging()
        self._meet_torch()
        self.stage = "load"
        _torch.check_device(hello.device)
        served, model = self._load(found)
        self._meet_torch()
        self.load_ms = _ms_since(began)
        self.stage = "warmup"
        if model is not None and _discover.overrides(type(model), "warmup"):
            began = time.perf_counter()
            with _torch.inference_mode():
                model.warmup()
            self.warmup_ms = _ms_since(began)
        return served

    def _before_torch(self) -> None:
        hello = self._hello
        try:
            os.chdir(hello.dir)
        except OSError as error:
            raise StartError(
                "import", type(error).__name__, f"the model's folder {hello.dir} cannot be entered: {error.strerror}"
            ) from None
        # OpenMP reads these once, when torch is imported. Spinning threads of several processes on the same cores slow
        # each other down many times over.
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
            os.environ.setdefault(name, str(hello.threads))
        os.environ.setdefault("GOMP_SPINCOUNT", "0")
        if not hello.allow_pickle:
            _weights.forbid_pickle()

    def _meet_torch(self) -> None:
        """Set up torch if it has been imported by now; harmless to repeat."""
        torch = sys.modules.get("torch")
        if torch is None or not hasattr(torch, "set_num_threads"):
            return
        torch.set_num_threads(self._hello.threads)
        if not self._hello.allow_pickle:
            _weights.explain_refusals()

    def _load(self, found: _discover.Found) -> tuple[_discover.Served, Model | None]:
        hello = self._hello
        if found.function is not None:
            _torch.eval_modules((found.function, *vars(found.module).values()))
            return _discover.Served(found.function), None
        assert found.model_class is not None  # Found has one or the other
        model = _discover.make_instance(
            found.model_class,
            {
                "name": hello.name,
                "version": hello.version,
                "dir": hello.dir,
                "device": hello.device,
                "threads": hello.threads,
                "instance": hello.instance,
                "inputs": hello.inputs,
                "outputs": hello.outputs,
                "max_batch_size": hello.max_batch_size,
                "allow_pickle": hello.allow_pickle,
            },
        )
        loaded = model.load()
        _torch.eval_modules((model, loaded, *vars(model).values()))

        def hook(name: str) -> Callable[[Any], Any] | None:
            return getattr(model, name) if _discover.overrides(type(model), name) else None

        join = hook("join") if hello.stream else None
        return _discover.Served(model.predict, hook("preprocess"), hook("postprocess"), join), model


def _ms_since(began: float) -> float:
    return round((time.perf_counter() - began) * 1000, 3)
