"""Tensor models: batches through shared memory, and what happens when a model gives back something else."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from cresset._current import Marks
from cresset.runner import _wire as wire
from cresset.runner._discover import Served
from cresset.runner._failure import OutputError
from cresset.runner._hello import read_hello
from cresset.runner._soft import SoftLimit
from cresset.runner._tensors import TensorRunner
from reference import DTYPES, Slab, Tensor, tensor_spec

if TYPE_CHECKING:
    from collections.abc import Callable

    from reference import Child

    Start = Callable[..., Child]

pytestmark = pytest.mark.torch

X = [tensor_spec("x", "float32", 2)]
Y = [tensor_spec("y", "float32", 2)]
IDENTITY = "def predict(batch):\n    return batch * 2"


def x(*values: float) -> Tensor:
    """A batch of pairs."""
    return Tensor("float32", (len(values) // 2, 2), list(values))


def test_one_input_arrives_stacked_and_the_output_lies_in_the_slab(start: Start):
    child = start("""
        import cresset, torch

        class Model(cresset.Model):
            def load(self):
                self.net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Dropout(0.9))
                torch.nn.init.constant_(self.net[0].weight, 1.0)
                torch.nn.init.constant_(self.net[0].bias, 0.5)

            def warmup(self):
                assert torch.is_inference_mode_enabled()
                assert self.predict(self.example_batch(3)).shape == (3, 3)

            def predict(self, batch):
                assert isinstance(batch, torch.Tensor) and batch.dtype == torch.float32
                assert torch.is_inference_mode_enabled() and torch.get_num_threads() == 1
                return self.net(batch)
    """)
    ready = child.ready(inputs=X, outputs=[tensor_spec("y", "float32", 3)])
    assert ready.json["returns"] == "tensor"
    assert ", torch " in ready.json["runtime"]
    assert ready.json["load_ms"] > 0
    answer = child.run(x(1, 2, 3, 4), seq=7, slot=1)
    assert (answer.kind, answer.flags, answer.seq, answer.slot, answer.batch) == ("DONE", 0, 7, 1, 2)
    (output,) = answer.tensors
    assert output == Tensor("float32", (2, 3), [3.5] * 3 + [7.5] * 3)
    child.shut_down()


def test_several_inputs_come_by_name_and_outputs_go_in_declared_order(start: Start):
    child = start("""
        def predict(batch):
            assert list(batch) == ["a", "b"]
            return {"second": batch["b"], "first": batch["a"].sum(1)}
    """)
    child.ready(
        inputs=[tensor_spec("a", "int64", -1), tensor_spec("b", "bool", 2)],
        outputs=[tensor_spec("first", "int64"), tensor_spec("second", "bool", 2)],
    )
    a = Tensor("int64", (2, 3), [1, 2, 3, 4, 5, 6])
    b = Tensor("bool", (2, 2), [True, False, False, True])
    answer = child.run(a, b)
    assert answer.tensors == [Tensor("int64", (2,), [6, 15]), b]
    assert answer.places[1] == answer.places[0] + 64
    # Another batch of another shape in the same slot.
    answer = child.run(Tensor("int64", (1, 1), [9]), Tensor("bool", (1, 2), [True, True]), seq=2)
    assert answer.tensors == [Tensor("int64", (1,), [9]), Tensor("bool", (1, 2), [True, True])]


def test_a_tuple_is_matched_with_the_declared_outputs(start: Start):
    child = start("def predict(batch):\n    return batch, batch[:, 0].long()")
    child.ready(inputs=X, outputs=[*Y, tensor_spec("n", "int64")])
    assert child.run(x(1, 2)).tensors == [x(1, 2), Tensor("int64", (1,), [1])]


def test_undeclared_outputs_carry_their_names(start: Start):
    child = start("""
        def predict(batch):
            return {"scores": batch, "größe": batch.sum(1)} if batch[0, 0] else batch
    """)
    child.ready(inputs=X)
    answer = child.run(x(1, 2))
    assert (answer.flags, answer.names) == (2, ["scores", "größe"])
    assert answer.tensors == [x(1, 2), Tensor("float32", (1,), [3.0])]
    answer = child.run(x(0, 2))
    assert (answer.flags, answer.names, answer.tensors) == (2, ["output"], [x(0, 2)])


def test_every_element_type_goes_through(start: Start):
    child = start("def predict(batch):\n    return tuple(batch.values())")
    specs = [tensor_spec(name, name, 2) for name, _ in DTYPES]
    child.ready(inputs=specs, outputs=specs)
    tensors = [Tensor(name, (1, 2), [True, False] if name == "bool" else [1, 2]) for name, _ in DTYPES]
    assert child.run(*tensors).tensors == tensors


def test_outputs_that_do_not_fit_the_slab_are_sent_inline(start: Start):
    child = start("""
        import torch
        def predict(batch):
            n = len(batch)
            return {"a": torch.ones(n, 3, dtype=torch.uint8), "b": torch.arange(n * 5000.0).view(n, 5000).double(),
                    "c": torch.full((n,), -2, dtype=torch.int16)}
    """)
    child.ready(inputs=X)
    answer = child.run(x(1, 2, 3, 4))
    assert answer.flags == 3
    a, b, c = answer.tensors
    assert a == Tensor("uint8", (2, 3), [1] * 6)
    assert b == Tensor("float64", (2, 5000), [float(n) for n in range(10000)])
    assert c == Tensor("int16", (2,), [-2, -2])


def test_transposed_and_expanded_outputs_are_made_contiguous(start: Start):
    child = start("def predict(batch):\n    return batch.T.contiguous().T.flip(0), batch[:1, :1].expand(len(batch), 2)")
    child.ready(inputs=X, outputs=[*Y, tensor_spec("z", "float32", 2)])
    first, second = child.run(x(1, 2, 3, 4)).tensors
    assert first.values == [3, 4, 1, 2]
    assert second.values == [1, 1, 1, 1]


def test_empty_dimensions_go_through(start: Start):
    child = start("def predict(batch):\n    return batch")
    child.ready(inputs=[tensor_spec("x", "float32", -1)], outputs=[tensor_spec("y", "float32", -1)])
    empty = Tensor("float32", (2, 0), [])
    assert child.run(empty).tensors == [empty]


def test_numpy_arrays_are_taken(start: Start):
    child = start("def predict(batch):\n    return batch.numpy()[:, ::-1] + 1")
    child.ready(inputs=X, outputs=Y)
    assert child.run(x(1, 2)).tensors == [x(3, 2)]


BAD_OUTPUTS: dict[str, tuple[str, list[dict[str, Any]], str, str]] = {
    # name: expression, declared outputs, part of the message, part of the hint
    "a leading dimension that is not the batch": (
        "batch.sum(0)",
        Y,
        "output 'y' has shape [2] for a batch of 3; its first dimension must be 3",
        "one row for each item",
    ),
    "a scalar": ("batch.sum()", Y, "output 'y' has shape [] for a batch of 3", "batch dimension"),
    "another dtype": ("batch.double()", Y, "output 'y' is float64, model.toml says float32", "torch.float32"),
    "a complex dtype": ("batch + 1j", [], "output 'output' is of dtype complex64", "these can be sent"),
    "a sparse tensor": ("batch.to_sparse()", Y, "output 'y' is sparse", "dense"),
    "a float": ("1.5", Y, "output 'y' is a float, not a tensor", "return the tensor"),
    "nothing": ("None", Y, "output 'y' is a NoneType, not a tensor", ""),
    "a list of rows": ("list(batch)", Y, "predict returned a list of 3, model.toml declares 1 output ('y')", "stack"),
    "a tuple when nothing is declared": ("(batch, batch)", [], "predict returned a tuple of 2", "declare [[outputs]]"),
    "a missing name": (
        "{'z': batch}",
        Y,
        "predict returned the outputs 'z', model.toml declares 'y'; 'y' missing; 'z' not declared",
        "",
    ),
    "one tensor for two outputs": ("batch", [*Y, *X], "predict returned a Tensor, model.toml declares 2", "tuple"),
    "an empty dict": ("{}", [], "a dict of 0 outputs", ""),
    "a key that is no text": ("{1: batch}", [], "the key 1", ""),
    "too many dimensions": ("batch.view(3, *[1] * 17, 2)", [], "19 dimensions, at most 17", ""),
}


@pytest.mark.parametrize("case", BAD_OUTPUTS)
def test_a_bad_output_is_named(case: str):
    expression, outputs, message, hint = BAD_OUTPUTS[case]
    run = in_process(lambda batch: eval(expression, {"batch": batch}), outputs)
    with pytest.raises(OutputError) as error:
        run(x(1, 2, 3, 4, 5, 6))
    assert error.value.code == "bad_output"
    assert message in str(error.value)
    assert hint in (error.value.hint or "")


def in_process(predict: Callable[[Any], Any], outputs: list[dict[str, Any]]) -> Callable[[Tensor], Any]:
    """Make a `TensorRunner` in this process, where torch has been imported once for all cases."""
    slab = Slab()
    message = {
        "protocol": 2,
        "model": {
            "name": "toy",
            "version": "7",
            "dir": "/",
            "entry": "model.py",
            "kind": "tensor",
            "inputs": X,
            "outputs": outputs,
            "max_batch_size": 8,
            "allow_pickle": False,
            "copy_inputs": False,
        },
        "instance": {"id": 0, "device": "cpu", "threads": 1},
        "slab": slab.json(),
        "board": {"size": 128, "slots": [{"offset": 0, "len": 64}, {"offset": 64, "len": 64}]},
    }
    hello = read_hello(json.dumps(message).encode())
    runner = TensorRunner(hello, os.dup(slab.fd), Served(predict), SoftLimit(None), lambda _: None)

    def run(tensor: Tensor) -> Any:
        raw = tensor.raw()
        slab.memory[: len(raw)] = raw
        place = wire.Descriptor(wire.DTYPE_NAMES.index(tensor.dtype), tensor.shape, 0, len(raw))
        body = wire.pack_descriptors([place])
        header = wire.Header(len(body), wire.RUN, 0, 1, 1, 0, tensor.shape[0], 0)
        return runner.run(header, memoryview(body), Marks(bytes(header.batch)))

    return run


def test_a_bad_output_is_an_error_and_the_instance_goes_on(start: Start):
    child = start("def predict(batch):\n    return batch.sum() if batch[0, 0] == 1 else {'y': batch}")
    child.ready(inputs=X, outputs=Y)
    answer = child.run(x(1, 2, 3, 4, 5, 6), seq=3, slot=1)
    assert (answer.kind, answer.seq, answer.slot, answer.batch) == ("ERROR", 3, 1, 3)
    assert (answer.json["code"], answer.json["stage"], answer.json["traceback"]) == ("bad_output", "output", None)
    assert child.run(x(0, 2), seq=4).tensors == [x(0, 2)]


def test_a_batch_that_raises_is_an_error_and_the_instance_goes_on(start: Start):
    child = start("import torch\ndef predict(batch):\n    return batch @ torch.ones(int(batch[0, 0]), 2)")
    child.ready(inputs=X, outputs=Y)
    answer = child.run(x(3, 4))
    assert (answer.kind, answer.json["type"], answer.json["stage"]) == ("ERROR", "RuntimeError", "predict")
    assert "shapes cannot be multiplied" in answer.json["message"]
    assert child.run(x(2, 4)).tensors == [x(6, 6)]


def test_postprocess_turns_each_item_into_json(start: Start):
    child = start("""
        import cresset

        class Model(cresset.Model):
            def predict(self, batch):
                return batch.softmax(1)
            def postprocess(self, output):
                if output[0] < 0.4:
                    raise ValueError("unsure")
                return {"label": int(output.argmax()), "p": output}
    """)
    ready = child.ready(inputs=X, outputs=Y)
    assert ready.json["returns"] == "object"
    answer = child.run(x(5, 5, 0, 9, float("nan"), 1), seq=4, slot=1)
    assert (answer.kind, answer.seq, answer.slot, answer.batch) == ("DONE_OBJECTS", 4, 1, 3)
    first, second, third = answer.items
    assert first == (0, {"label": 0, "p": [0.5, 0.5]})
    assert (second[0], second[1]["stage"], second[1]["message"]) == (1, "postprocess", "unsure")
    assert (third[0], third[1]["code"]) == (1, "non_finite_output")
    assert "result.p[0]" in third[1]["message"]


def test_postprocess_gets_a_dict_when_there_are_several_outputs(start: Start):
    child = start("""
        import cresset

        class Model(cresset.Model):
            def predict(self, batch):
                return batch, batch.sum(1)
            def postprocess(self, output):
                return {name: value.shape for name, value in output.items()}
    """)
    child.ready(inputs=X, outputs=[*Y, tensor_spec("n", "float32")])
    assert child.run(x(1, 2)).items == [(0, {"y": [2], "n": []})]


def test_postprocess_is_not_given_a_wrong_shape(start: Start):
    child = start("""
        import cresset

        class Model(cresset.Model):
            def predict(self, batch):
                return batch[:, :1]
            def postprocess(self, output):
                return 1
    """)
    child.ready(inputs=X, outputs=Y)
    answer = child.run(x(1, 2))
    assert answer.json["message"] == "output 'y' has items of shape [1], model.toml says [2]"


def test_preprocess_on_a_tensor_model_is_refused(start: Start):
    failure = start("""
        import cresset

        class Model(cresset.Model):
            def preprocess(self, payload):
                return payload
            def predict(self, batch):
                return batch
    """).failed(inputs=X)
    assert "defines preprocess, but model.toml declares [[inputs]]" in failure["message"]
    assert "remove [[inputs]]" in failure["hint"]


def test_modules_in_attributes_and_containers_are_put_into_eval(start: Start):
    child = start("""
        import cresset, torch

        class Model(cresset.Model):
            def load(self):
                drop = lambda: torch.nn.Dropout(1.0)
                self.one, self.many, self.named, self.deep = drop(), [drop()], {"a": drop()}, {"b": [(drop(),)]}
                self.hidden = drop()
                self.returned = None
                made = drop()
                self.get = lambda: made
                return made
            def predict(self, batch):
                for net in (self.one, *self.many, self.named["a"], self.deep["b"][0][0], self.get()):
                    batch = net(batch)
                return batch
    """)
    child.ready(inputs=X, outputs=Y)
    assert child.run(x(1, 2)).tensors == [x(1, 2)]


def test_a_module_named_by_the_entry_serves(start: Start):
    child = start("import torch\nnet = torch.nn.Dropout(1.0)")
    child.ready(entry="model.py:net", inputs=X, outputs=Y)
    assert child.run(x(1, 2)).tensors == [x(1, 2)]


def test_a_device_that_is_not_there_is_named(start: Start):
    failure = start(IDENTITY).failed(inputs=X, device="cuda:7")
    assert failure["stage"] == "load"
    assert "device 'cuda:7'" in failure["message"]
    failure = start(IDENTITY).failed(inputs=X, device="toaster")
    assert "device 'toaster' cannot be used" in failure["message"]


def test_inputs_are_moved_to_a_device_that_is_not_the_cpu(start: Start):
    # The meta device is everywhere; it has no data, so only what predict sees can be checked.
    child = start("""
        import torch
        def predict(batch):
            assert batch.device.type == "meta"
            return torch.full(batch.shape, 3.0)
    """)
    child.ready(inputs=X, outputs=Y, device="meta")
    assert child.run(x(1, 2)).tensors == [x(3, 3)]


def test_a_lost_device_is_answered_and_then_ends_the_process(start: Start):
    child = start("def predict(batch):\n    raise RuntimeError('CUDA error: device-side assert triggered')")
    child.ready(inputs=X, outputs=Y)
    answer = child.run(x(1, 2))
    assert (answer.kind, answer.flags) == ("ERROR", wire.FLAG_LAST)
    assert child.wait() == 75


def test_torch_in_an_object_model_runs_under_inference_mode_and_results_become_lists(start: Start):
    child = start("""
        def predict(batch):
            import torch
            return [{"t": torch.tensor([1.5, 2.5]), "i": torch.tensor(3), "mode": torch.is_inference_mode_enabled()}
                    for _ in batch]
    """)
    child.ready()
    child.run_objects(1)
    assert child.run_objects(1).items == [(0, {"t": [1.5, 2.5], "i": 3, "mode": True})]


def test_a_tensor_with_a_row_for_each_item_is_a_list_of_outputs(start: Start):
    child = start("import torch\ndef predict(batch):\n    return torch.tensor(batch) * 2")
    child.ready()
    assert child.run_objects([1, 2], [3, 4]).items == [(0, [2, 4]), (0, [6, 8])]
