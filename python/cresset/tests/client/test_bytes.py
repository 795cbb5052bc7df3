"""Arrays that travel as bytes: which do, what is sent, and what comes back."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any

import httpx
import pytest

import cresset
from cresset._specs import TensorSpec
from cresset.client import _inputs
from cresset.client._arrays import unpacked
from cresset.client._safetensors import Packed, pack, unpack

if TYPE_CHECKING:
    from collections.abc import Callable

MEDIA = "application/x-safetensors"


def packed(value: Any, dtype: str = "float32", shape: tuple[int, ...] = (-1,)) -> Packed | None:
    made = _inputs.packed(value, (TensorSpec("x", dtype, shape),))
    return None if made is None else made["x"]


class Fake:
    """A server whose model declares inputs. It gives the tensors back that it got, in the form that is accepted."""

    def __init__(self, *inputs: tuple[str, str]) -> None:
        self.inputs = inputs
        self.requests: list[httpx.Request] = []

    def client(self) -> cresset.Client:
        return cresset.Client(transport=httpx.MockTransport(self.answer), retries=0)

    def asked(self) -> list[str]:
        return [f"{one.method} {one.url.raw_path.decode()}" for one in self.requests]

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if request.method == "GET" and request.url.path.startswith("/v1/models/"):
            specs = [{"name": name, "dtype": dtype, "shape": [-1]} for name, dtype in self.inputs]
            info = {"name": "m", "version": "1", "kind": "tensor", "state": "ready", "inputs": specs, "outputs": []}
            return httpx.Response(200, json=info)
        if request.headers.get("content-type") != MEDIA:
            body = json.loads(request.content)
            return httpx.Response(200, json={"result": body["input"], "model": "m", "version": "1", "task_id": "t"})
        tensors = unpack(request.content)
        if {name: tensor.dtype for name, tensor in tensors.items()} != dict(self.inputs):
            problem = {"code": "invalid_input", "errors": [{"field": "input.x", "message": "no"}]}
            return httpx.Response(422, json=problem)
        if request.url.path.endswith("/tasks"):
            return httpx.Response(202, json={"task_id": "t"})
        if MEDIA in request.headers["accept"]:
            return httpx.Response(200, content=request.content, headers={"content-type": MEDIA})
        return httpx.Response(200, json={"result": sorted(tensors), "model": "m", "version": "1"})


def test_a_file_is_what_the_format_says_and_is_read_back():
    tensors = {"b": Packed("uint8", (1, 3), b"\1\2\3"), 'é"': Packed("float32", (), struct.pack("<f", 0.5))}
    content = pack(tensors)
    (length,) = struct.unpack_from("<Q", content)
    assert length % 8 == 0
    assert json.loads(content[8 : 8 + length]) == {
        "b": {"dtype": "U8", "shape": [1, 3], "data_offsets": [4, 7]},
        'é"': {"dtype": "F32", "shape": [], "data_offsets": [0, 4]},
    }
    assert unpack(content) == tensors
    assert unpack(pack({})) == {}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x03\0\0\0\0\0\0\0{}",
        b"\x02\0\0\0\0\0\0\0[]",
        b"\x02\0\0\0\0\0\0\0{,",
        *(
            struct.pack("<Q", len(text)) + text + b"\0" * 4
            for text in (
                b'{"x":1}',
                b'{"x":{"dtype":"F8","shape":[1],"data_offsets":[0,1]}}',
                b'{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}',
                b'{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}',
                b'{"x":{"dtype":"F32","shape":[-1],"data_offsets":[4,0]}}',
            )
        ),
    ],
)
def test_what_is_no_file_is_an_answer_that_is_not_cressets(content: bytes):
    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=content, headers={"content-type": MEDIA}))
    with cresset.Client(transport=transport) as client, pytest.raises(cresset.BadAnswer):
        client.predict("m", 1, as_="numpy")


@pytest.mark.torch
def test_files_are_those_of_the_formats_own_library():
    import torch

    load_save = pytest.importorskip("safetensors.torch")
    tensors = {
        "half": torch.tensor([[1.0, -2.0]], dtype=torch.bfloat16),
        "mask": torch.tensor([True, False, True]),
        "empty": torch.zeros(0, 4, dtype=torch.int64),
        "scale": torch.tensor(0.5),
    }
    specs = tuple(TensorSpec(name, str(t.dtype).removeprefix("torch."), (-1,)) for name, t in tensors.items())
    made = _inputs.packed(tensors, specs)
    assert made is not None
    read = load_save.load(pack(made))
    assert read.keys() == tensors.keys()
    assert all(torch.equal(read[name], tensor) for name, tensor in tensors.items())
    back = unpacked(unpack(load_save.save(tensors, metadata={"made by": "it"})), "torch")
    assert all(torch.equal(back[name], tensor) and back[name].dtype == tensor.dtype for name, tensor in tensors.items())


def test_numpy_arrays_go_as_they_are():
    import numpy as np

    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert packed(array) == Packed("float32", (2, 3), array.tobytes())
    assert packed(array.T) == Packed("float32", (3, 2), array.T.tobytes(order="C"))
    assert packed(array.astype(">f4")) == Packed("float32", (2, 3), array.tobytes())
    assert packed(np.array(7, np.int16), "int16") == Packed("int16", (), b"\7\0")
    assert packed(np.zeros((0, 2), np.float32)) == Packed("float32", (0, 2), b"")
    assert packed(np.array([np.nan], np.float32)) == Packed("float32", (1,), np.float32(np.nan).tobytes())
    assert packed(np.array([True]), "bool") == Packed("bool", (1,), b"\1")


def numpy_cases() -> list[tuple[Any, str, bool]]:
    import numpy as np

    return [
        # the array, the declared dtype, whether it goes as bytes
        (np.array([0.1, np.inf]), "float32", True),
        (np.array([1e39]), "float32", False),
        (np.array([70000.0]), "float16", False),
        (np.array([1, 2]), "float32", True),
        (np.array([70000]), "float16", False),
        (np.array([255]), "uint8", True),
        (np.array([256]), "uint8", False),
        (np.array([-1]), "uint64", False),
        (np.array([2**63], np.uint64), "int64", False),
        (np.array([], np.int64), "uint8", True),
        (np.array([1.0]), "int64", False),
        (np.array([True]), "float32", False),
        (np.array([1]), "bool", False),
        (np.array([1j]), "float32", False),
        (np.array(["1"]), "float32", False),
        (np.array([None]), "float32", False),
        (np.array([1.0], np.float32), "bfloat16", False),
        (np.ma.masked_array([1.0], mask=[True]), "float32", False),
    ]


@pytest.mark.parametrize("number", range(18))
def test_numbers_of_another_type_go_as_bytes_when_they_fit(number: int):
    import numpy as np

    array, dtype, fits = numpy_cases()[number]
    made = packed(array, dtype)
    assert (made is not None) == fits
    if made is not None:
        assert made == Packed(dtype, array.shape, array.astype(dtype).tobytes())
        assert np.frombuffer(made.data, dtype).shape == array.shape


def test_numbers_and_lists_beside_an_array_go_with_it():
    import numpy as np

    specs = tuple(TensorSpec(name, dtype, ()) for name, dtype in (("x", "float32"), ("n", "int64"), ("on", "bool")))
    array = np.zeros(1, np.float32)
    made = _inputs.packed({"x": array, "n": 7, "on": True}, specs)
    assert made is not None
    assert (made["n"].data, made["on"].data) == (struct.pack("<q", 7), b"\1")
    made = _inputs.packed({"x": np.float64(0.5), "n": [1, 2], "on": array == 0}, specs)
    assert made is not None
    assert (made["x"], made["n"].shape) == (Packed("float32", (), struct.pack("<f", 0.5)), (2,))
    for odd in (
        {"x": 1e39, "n": 7, "on": True},
        {"x": array, "n": 0.5, "on": True},
        {"x": array, "n": True, "on": True},
        {"x": array, "n": 7, "on": 1},
        {"x": array, "n": [[1], [1, 2]], "on": True},
        {"x": array, "n": "7", "on": True},
        {"x": array, "n": None, "on": True},
        {"x": array, "n": 7},
        {"x": array, "n": 7, "on": True, "more": 1},
        array,
    ):
        assert _inputs.packed(odd, specs) is None


@pytest.mark.torch
def test_torch_tensors_go_as_they_are():
    import torch

    tensor = torch.arange(6.0).reshape(2, 3)
    made = packed(tensor.T)
    assert made is not None
    assert made == Packed("float32", (3, 2), struct.pack("<6f", 0, 3, 1, 4, 2, 5))
    assert packed(torch.ones(2, requires_grad=True)) == Packed("float32", (2,), struct.pack("<2f", 1, 1))
    assert packed(torch.ones(1).bfloat16(), "bfloat16") == Packed("bfloat16", (1,), b"\x80\x3f")
    assert packed(torch.ones(1), "bfloat16") == Packed("bfloat16", (1,), b"\x80\x3f")
    assert packed(torch.zeros(0, 2)) == Packed("float32", (0, 2), b"")
    negated = torch.tensor([1 + 2j]).conj().imag
    assert negated.is_neg()
    assert packed(negated) == Packed("float32", (1,), struct.pack("<f", -2))
    for fits, one, dtype in (
        (True, torch.tensor([1, 2]), "float32"),
        (True, torch.tensor([255]), "uint8"),
        (False, torch.tensor([256]), "uint8"),
        (False, torch.tensor([-1]), "uint8"),
        (False, torch.tensor([1e39], dtype=torch.float64), "float32"),
        (False, torch.tensor([1.0]), "int64"),
        (False, torch.tensor([True]), "float32"),
        (False, torch.tensor([1]), "bool"),
        (False, torch.tensor([1j]), "float32"),
        (False, torch.ones(2).to_sparse(), "float32"),
        (False, torch.ones(2, device="meta"), "float32"),
    ):
        assert (packed(one, dtype) is not None) == fits, (one, dtype)


def test_an_array_for_a_tensor_model_is_sent_and_given_back_as_bytes():
    import numpy as np

    fake = Fake(("x", "float32"))
    array = np.array([0.5, np.nan], np.float32)
    with fake.client() as client:
        for _ in range(2):
            out = client.predict("m", array, timeout=1.5, as_="numpy")
            assert (out.dtype, out.tobytes(), out.flags.writeable) == (np.float32, array.tobytes(), True)
        assert client.predict("m", {"x": array}) == ["x"]
    predict = "POST /v1/models/m/predict"
    # The declaration is asked for once.
    assert fake.asked() == ["GET /v1/models/m", f"{predict}?timeout=1500ms", f"{predict}?timeout=1500ms", predict]
    assert fake.requests[1].headers["accept"] == f"{MEDIA}, application/json;q=0.5"
    assert fake.requests[3].headers["accept"] == "application/json"


def test_several_arrays_come_back_by_name():
    import numpy as np

    fake = Fake(("x", "float32"), ("n", "int64"))
    with fake.client() as client:
        out = client.predict("m", {"x": np.ones(2), "n": 3}, as_="numpy")
    assert (out["x"].dtype, out["x"].tolist()) == (np.float32, [1.0, 1.0])
    assert (out["n"].dtype, out["n"].shape, int(out["n"])) == (np.int64, (), 3)


def test_priority_and_metadata_go_beside_the_bytes():
    import numpy as np

    fake = Fake(("x", "float32"))
    array = np.zeros(1, np.float32)
    with fake.client() as client:
        client.submit("m", array, priority=-3, metadata={"wer": "größe", "n": [1]})
        client.submit("m", array, metadata={"long": "x" * 5000})
    first, second = fake.requests[1:]
    assert first.url.raw_path == b"/v1/models/m/tasks?priority=-3"
    assert first.headers["cresset-metadata"] == r'{"wer":"gr\u00f6\u00dfe","n":[1]}'
    # Too long for a header.
    assert second.headers["content-type"] == "application/json"
    assert json.loads(second.content)["metadata"] == {"long": "x" * 5000}


def test_what_cannot_go_as_bytes_goes_as_json():
    import numpy as np

    fake = Fake(("x", "float32"))
    with fake.client() as client:
        assert client.predict("m", np.array([True])) == [True]
        assert client.predict("m", {"x": np.zeros(1), "odd": 1}) == {"x": [0.0], "odd": 1}
        assert client.predict("m", [1, 2]) == [1, 2]
        with pytest.raises(ValueError, match=r"input\[0\] is nan"):
            client.predict("m", [float("nan")])
    assert fake.asked().count("GET /v1/models/m") == 1
    plain = Fake()
    with plain.client() as client:
        assert client.predict("m", np.ones(1)) == [1.0]


def test_a_model_that_is_declared_otherwise_by_now_is_asked_again_once():
    import numpy as np

    fake = Fake(("x", "float32"))
    with fake.client() as client:
        client.predict("m", np.zeros(1))
        fake.inputs = (("x", "float64"),)
        assert client.predict("m", np.zeros(1), as_="numpy").dtype == np.float64
        asked = len(fake.requests)
        fake.inputs = (("y", "float64"),)
        # Both forms are told the same: the name is wrong, and stays so.
        assert client.predict("m", {"x": np.zeros(1)}) == {"x": [0.0]}
    assert fake.asked()[asked:] == [
        "POST /v1/models/m/predict",
        "GET /v1/models/m",
        "POST /v1/models/m/predict",
    ]


def test_an_input_that_stays_wrong_is_told_and_not_sent_again():
    import numpy as np

    fake = Fake(("x", "float32"))
    answer: Callable[[httpx.Request], httpx.Response] = fake.answer

    def refuse(request: httpx.Request) -> httpx.Response:
        answered = answer(request)
        if request.method == "GET":
            return answered
        return httpx.Response(422, json={"code": "invalid_input", "errors": [{"field": "input.x", "message": "no"}]})

    with cresset.Client(transport=httpx.MockTransport(refuse), retries=0) as client:
        for _ in range(2):
            with pytest.raises(cresset.InvalidInput) as error:
                client.predict("m", np.zeros(1))
            assert error.value.errors[0].field == "input.x"
    get, post = "GET /v1/models/m", "POST /v1/models/m/predict"
    assert fake.asked() == [get, post, post, get]


def test_bfloat16_is_float32_in_numpy():
    import numpy as np

    out = unpacked({"x": Packed("bfloat16", (2,), b"\x80\x3f\x00\xc0")}, "numpy")
    assert (out.dtype, out.tolist()) == (np.float32, [1.0, -2.0])
