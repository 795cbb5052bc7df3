"""numpy arrays and torch tensors go in and come out, and neither is imported by us."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import httpx
import pytest

import cresset
from cresset.client._arrays import convert
from cresset.testing import MockServer
from reference import SRC

ECHO = MockServer({"echo": lambda x: x})


def declared(result: Any, *outputs: tuple[str, str]) -> httpx.MockTransport:
    """A server whose model declares outputs."""

    def handle(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            return httpx.Response(200, json={"result": result, "model": "m", "version": "1"})
        specs = [{"name": name, "dtype": dtype, "shape": [-1]} for name, dtype in outputs]
        info = {"name": "m", "version": "1", "kind": "tensor", "state": "ready", "inputs": specs, "outputs": specs}
        return httpx.Response(200, json=info)

    return httpx.MockTransport(handle)


def test_numpy_goes_in_at_any_depth():
    import numpy as np

    value = {"a": np.arange(4).reshape(2, 2), "b": [np.float32(0.5), np.int64(3), np.bool_(True)]}
    with ECHO.client() as client:
        assert client.predict("echo", value) == {"a": [[0, 1], [2, 3]], "b": [0.5, 3, True]}
        assert client.submit("echo", np.ones(2)).result() == [1.0, 1.0]
        with pytest.raises(ValueError, match=r"input.a\[1\] is nan"):
            client.predict("echo", {"a": np.array([0.0, float("nan")])})


def test_numpy_comes_out_with_the_declared_dtype():
    import numpy as np

    with cresset.Client(transport=declared([1, 2], ("y", "float32"))) as client:
        for _ in range(2):
            out = client.predict("m", 0, as_="numpy")
            assert (out.dtype, out.tolist()) == (np.float32, [1.0, 2.0])
    two = declared({"y": [1, 2], "z": 3}, ("y", "bfloat16"), ("z", "bool"))
    with cresset.Client(transport=two) as client:
        out = client.predict("m", 0, as_="numpy")
        assert (out["y"].dtype, out["z"].dtype, out["z"].shape) == (np.float32, np.bool_, ())


def test_undeclared_results_get_the_librarys_dtype():
    import numpy as np

    assert convert([[1, 2]], "numpy", ()).dtype == np.int64
    mixed = convert({"embedding": [0.5], "label": "cat", "n": 3}, "numpy", ())
    assert mixed["embedding"].tolist() == [0.5]
    assert (mixed["label"], mixed["n"]) == ("cat", 3)
    for wrong in ([[1], [1, 2]], "text", [None]):
        with pytest.raises(ValueError, match="cannot be turned into an array"):
            convert(wrong, "numpy", ())


@pytest.mark.torch
def test_torch_goes_in_and_comes_out():
    import torch

    with ECHO.client() as client:
        value = {"x": torch.tensor([[1.5]], requires_grad=True), "n": torch.tensor(3), "h": torch.ones(1).bfloat16()}
        assert client.predict("echo", value) == {"x": [[1.5]], "n": 3, "h": [1.0]}
        assert torch.equal(client.predict("echo", torch.arange(3), as_="torch"), torch.arange(3))
    with cresset.Client(transport=declared([1, 2], ("y", "bfloat16"))) as client:
        assert client.predict("m", 0, as_="torch").dtype == torch.bfloat16


def test_neither_library_is_imported_by_the_client():
    code = (
        "import sys\n"
        "from cresset.testing import MockServer\n"
        "with MockServer({'m': lambda x: x}).client() as client:\n"
        "    assert client.submit('m', [1, 2]).result() == [1, 2]\n"
        "sys.exit(', '.join({'torch', 'numpy', 'django'} & set(sys.modules)) or None)"
    )
    env = {"PYTHONPATH": str(SRC), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
