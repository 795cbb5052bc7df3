"""Weights are data: a pickled module is refused unless model.toml allows it."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from reference import Child

    Start = Callable[..., Child]

pytestmark = pytest.mark.torch

MODEL = """
import cresset
import torch

class Model(cresset.Model):
    def load(self):
        self.weights = {call}

    def predict(self, batch):
        weights = self.weights
        return [dict(weights) if isinstance(weights, dict) else type(weights).__name__ for _ in batch]
"""
THROUGH_US = "self.load_weights('w.pt')"
PLAIN = "torch.load('w.pt', weights_only=False)"


def save(folder: Path, *, module: bool) -> None:
    import torch

    torch.manual_seed(1)
    net = torch.nn.Linear(1, 1)
    with torch.no_grad():
        net.weight.fill_(2.0)
        net.bias.fill_(0.5)  # pyright: ignore[reportOptionalMemberAccess]
    torch.save(net if module else net.state_dict(), folder / "w.pt")


@pytest.mark.parametrize("call", [THROUGH_US, "torch.load('w.pt')", PLAIN])
def test_a_state_dict_loads(call: str, start: Start):
    child = start(MODEL.format(call=call))
    save(child.folder, module=False)
    child.ready()
    assert child.run_objects(0).items == [(0, {"weight": [[2.0]], "bias": [0.5]})]


@pytest.mark.parametrize("call", [THROUGH_US, "torch.load('w.pt')", PLAIN])
def test_a_pickled_module_is_refused_with_a_list_of_what_it_wanted(call: str, start: Start):
    child = start(MODEL.format(call=call))
    save(child.folder, module=True)
    failure = child.failed()
    assert (failure["stage"], failure["type"]) == ("load", "UnpicklingError")
    assert "w.pt holds pickled code" in failure["message"]
    assert "torch.nn.modules.linear.Linear" in failure["message"]
    assert "allow_pickle = true" in failure["hint"]
    assert "in load" in failure["traceback"]


@pytest.mark.parametrize("call", [THROUGH_US, PLAIN])
def test_a_pickled_module_loads_when_it_is_allowed(call: str, start: Start):
    child = start(MODEL.format(call=call))
    save(child.folder, module=True)
    child.ready(allow_pickle=True)
    assert child.run_objects(0).items == [(0, "Linear")]


def test_code_in_a_file_is_not_run(start: Start, tmp_path: Path):
    import torch

    child = start(MODEL.format(call=PLAIN))
    mark = tmp_path / "ran"

    class Evil:
        def __reduce__(self):
            import os

            return os.mkdir, (str(mark),)

    torch.save(Evil(), child.folder / "w.pt")
    failure = child.failed()
    assert "posix.mkdir" in failure["message"]
    assert not mark.exists()


def test_a_file_that_is_not_there_is_named_with_what_is(start: Start):
    child = start(MODEL.format(call="self.load_weights('other.pt')"))
    save(child.folder, module=False)
    failure = child.failed()
    assert failure["message"] == f"other.pt is not in {child.folder}; weight files there: w.pt"


def test_safetensors_are_read_by_extension(start: Start):
    child = start(MODEL.format(call="self.load_weights('w.safetensors')"))
    if importlib.util.find_spec("safetensors") is None:
        (child.folder / "w.safetensors").write_bytes(b"")
        failure = child.failed()
        assert failure["hint"] == "add safetensors to requirements.txt in the model's folder"
        return
    import torch
    from safetensors.torch import save_file  # pyright: ignore[reportMissingImports]

    save_file({"weight": torch.tensor([1.5])}, child.folder / "w.safetensors")
    child.ready()
    assert child.run_objects(0).items == [(0, {"weight": [1.5]})]
