"""Object models, driven over a real channel in a real process. No torch here."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from reference import Child

    Start = Callable[..., Child]

ECHO = """
import cresset

class Echo(cresset.Model):
    def predict(self, batch):
        return batch
"""


def test_an_object_model_answers_each_item_in_order(start: Start):
    child = start("""
        import cresset

        class Shout(cresset.Model):
            def load(self):
                self.mark = "!"
            def preprocess(self, payload):
                return payload["text"].strip()
            def predict(self, batch):
                assert isinstance(batch, list)
                return [text.upper() for text in batch]
            def postprocess(self, output):
                return {"shout": output + self.mark}
    """)
    ready = child.ready()
    assert ready.json["protocol"] == 2
    assert ready.json["pid"] == child.process.pid
    assert ready.json["returns"] == "object"
    assert ready.json["device"] == "cpu"
    assert ready.json["runtime"].startswith("python 3.")
    assert "torch" not in ready.json["runtime"]
    answer = child.run_objects({"text": " a "}, {"text": "naïve ✓"}, seq=41)
    assert (answer.kind, answer.seq, answer.batch) == ("DONE_OBJECTS", 41, 2)
    assert answer.items == [(0, {"shout": "A!"}), (0, {"shout": "NAÏVE ✓!"})]
    child.shut_down()


def test_a_plain_function_serves(start: Start):
    child = start("def predict(batch):\n    return [x * 2 for x in batch]")
    child.ready()
    assert child.run_objects(1, "a", [1]).items == [(0, 2), (0, "aa"), (0, [1, 1])]


def test_the_attributes_are_there_before_init(start: Start):
    child = start("""
        import cresset

        class Model(cresset.Model):
            def __init__(self):
                self.seen = [self.name, self.version, self.dir.name, self.device, self.threads, self.max_batch_size,
                             self.instance, self.inputs, self.outputs, self.allow_pickle]
            def predict(self, batch):
                import os
                return [[*self.seen, os.path.basename(os.getcwd())] for _ in batch]
    """)
    child.ready(threads=2)
    (item,) = child.run_objects(None).items
    assert item == (0, ["toy", "7", "model0", "cpu", 2, 8, 0, [], [], False, "model0"])


def test_one_item_that_fails_in_preprocess_fails_alone(start: Start):
    child = start("""
        import cresset

        class Model(cresset.Model):
            def preprocess(self, payload):
                return 10 / payload
            def predict(self, batch):
                return [len(batch)] * len(batch)
    """)
    child.ready()
    first, second, third = child.run_objects(1, 0, 2).items
    assert first == (0, 2)
    assert third == (0, 2)
    status, failure = second
    assert status == 1
    assert failure["stage"] == "preprocess"
    assert failure["type"] == "ZeroDivisionError"
    assert failure["message"] == "division by zero"
    assert failure["code"] == "model_error"
    assert "return 10 / payload" in failure["traceback"]


def test_predict_is_not_called_when_every_item_failed_before(start: Start):
    child = start("""
        import cresset

        class Model(cresset.Model):
            def preprocess(self, payload):
                raise ValueError("no")
            def predict(self, batch):
                raise AssertionError("called with nothing")
    """)
    child.ready()
    assert [(status, f["type"]) for status, f in child.run_objects(1, 2).items] == [(1, "ValueError")] * 2


def test_one_item_that_fails_in_postprocess_fails_alone(start: Start):
    child = start("""
        import cresset

        class Model(cresset.Model):
            def predict(self, batch):
                return batch
            def postprocess(self, output):
                if output == 2:
                    raise SystemExit(3)
                return output
    """)
    child.ready()
    first, second, third = child.run_objects(1, 2, 3).items
    assert (first, third) == ((0, 1), (0, 3))
    assert second[1]["stage"] == "postprocess"
    assert second[1]["type"] == "SystemExit"


def test_a_batch_that_raises_is_an_error_and_the_instance_goes_on(start: Start):
    child = start("""
        import cresset

        def inner(batch):
            raise RuntimeError("bad item")

        class Model(cresset.Model):
            def predict(self, batch):
                if "bad" in batch:
                    inner(batch)
                return batch
    """)
    child.ready()
    answer = child.run_objects("bad", "good", seq=9)
    assert (answer.kind, answer.seq, answer.batch) == ("ERROR", 9, 2)
    assert list(answer.json) == ["stage", "type", "message", "traceback", "code", "hint", "retry"]
    assert answer.json["stage"] == "predict"
    assert (answer.json["type"], answer.json["message"]) == ("RuntimeError", "bad item")
    trace = answer.json["traceback"]
    assert "in predict" in trace
    assert "in inner" in trace
    assert "cresset/runner" not in trace
    assert child.run_objects("good").items == [(0, "good")]


def test_exit_and_interrupts_in_predict_are_errors(start: Start):
    child = start("""
        import sys

        def predict(batch):
            if batch[0] == "exit":
                sys.exit(4)
            if batch[0] == "interrupt":
                raise KeyboardInterrupt
            return batch
    """)
    child.ready()
    answer = child.run_objects("exit")
    assert (answer.kind, answer.json["type"]) == ("ERROR", "SystemExit")
    assert "exit(4)" in answer.json["message"]
    assert child.run_objects("interrupt").json["type"] == "KeyboardInterrupt"
    assert child.run_objects("fine").items == [(0, "fine")]


def test_running_out_of_memory_is_an_error_with_a_hint(start: Start):
    child = start("def predict(batch):\n    raise MemoryError")
    child.ready()
    answer = child.run_objects(1)
    assert answer.json["type"] == "MemoryError"
    assert "max_batch_size" in answer.json["hint"]


def test_a_list_of_another_length_is_a_bad_output(start: Start):
    child = start("def predict(batch):\n    return batch[1:]")
    child.ready()
    answer = child.run_objects(1, 2, 3)
    assert answer.kind == "ERROR"
    assert (answer.json["stage"], answer.json["code"]) == ("output", "bad_output")
    assert answer.json["message"] == "predict returned 2 outputs for a batch of 3"
    assert answer.json["traceback"] is None


def test_what_is_not_a_list_is_a_bad_output(start: Start):
    child = start("""
        def predict(batch):
            return {"none": None, "dict": {}, "gen": (x for x in batch), "text": "ab"}[batch[0]]
    """)
    child.ready()
    for payload, kind in (("none", "None"), ("dict", "dict"), ("gen", "generator"), ("text", "str")):
        answer = child.run_objects(payload)
        assert answer.json["code"] == "bad_output"
        assert answer.json["message"].startswith(f"predict returned a {kind},")


def test_a_result_that_is_not_json_fails_its_item_and_names_the_path(start: Start):
    child = start("""
        class Thing:
            pass

        def predict(batch):
            values = {
                "thing": {"a": [1, {"b": Thing()}]},
                "set": {1, 2},
                "bytes": b"x",
                "key": {(1, 2): 3},
                "nan": {"scores": [0.5, float("nan")]},
                "inf": [[float("-inf")]],
                "surrogate": ["\\ud800"],
                "fine": {"a": (1, 2.5, None, True)},
            }
            values["loop"] = []
            values["loop"].append(values["loop"])
            return [values[name] for name in batch]
    """)
    child.ready()
    names = ["thing", "set", "bytes", "key", "nan", "inf", "surrogate", "loop", "fine"]
    ends = dict(zip(names, child.run_objects(*names).items, strict=True))
    assert ends["fine"] == (0, {"a": [1, 2.5, None, True]})
    expected = {
        "thing": ("bad_output", "result.a[1].b is a model.Thing"),
        "set": ("bad_output", "result is a set"),
        "bytes": ("bad_output", "result is a bytes"),
        "key": ("bad_output", "result has the key (1, 2) of type tuple"),
        "nan": ("non_finite_output", "result.scores[1] is nan"),
        "inf": ("non_finite_output", "result[0][0] is -inf"),
        "surrogate": ("bad_output", "result[0] is text with a lone surrogate"),
        "loop": ("bad_output", "nested deeper"),
    }
    for name, (code, text) in expected.items():
        status, failure = ends[name]
        assert (status, failure["code"], failure["stage"]) == (1, code, "output"), name
        assert text in failure["message"], name


def test_a_payload_that_python_cannot_decode_fails_alone(start: Start):
    child = start("def predict(batch):\n    return batch")
    child.ready()
    deep = b"[" * 200_000 + b"]" * 200_000
    first, second, third = child.run_objects(b"1", deep, b"3").items
    assert (first, third) == ((0, 1), (0, 3))
    assert second[1]["stage"] == "preprocess"
    assert "cannot be decoded" in second[1]["message"]


def test_large_payloads_and_results_pass_whole(start: Start):
    child = start("def predict(batch):\n    return batch")
    child.ready()
    big = "x" * 3_000_000
    assert child.run_objects(big, "small").items == [(0, big), (0, "small")]
    assert child.run_objects("after").items == [(0, "after")]


def test_two_batches_in_flight_are_answered_in_order(start: Start):
    child = start("def predict(batch):\n    return batch")
    child.ready()
    for seq in range(50):
        child.send_objects(seq, seq=2 * seq)
        child.send_objects(-seq, seq=2 * seq + 1)
        first, second = child.receive(), child.receive()
        assert (first.seq, first.items) == (2 * seq, [(0, seq)])
        assert (second.seq, second.items) == (2 * seq + 1, [(0, -seq)])


def test_long_texts_are_cut_in_the_middle(start: Start):
    child = start("""
        def predict(batch):
            raise ValueError("START" + "é" * 100_000 + "END")
    """)
    child.ready()
    failure = child.run_objects(1).json
    assert len(failure["message"].encode()) <= 8 * 1024
    assert failure["message"].startswith("START")
    assert failure["message"].endswith("END")
    assert len(failure["traceback"].encode()) <= 32 * 1024


def test_an_exception_whose_text_raises_is_still_told(start: Start):
    child = start("""
        class Odd(Exception):
            def __str__(self):
                raise RuntimeError("ha")

        def predict(batch):
            raise Odd
    """)
    child.ready()
    failure = child.run_objects(1).json
    assert failure["type"] == "model.Odd"
    assert "__str__ raised RuntimeError" in failure["message"]


def test_a_surrogate_in_an_exception_does_not_break_the_answer(start: Start):
    child = start("def predict(batch):\n    raise ValueError('\\udc80')")
    child.ready()
    assert child.run_objects(1).json["message"] == "\\udc80"


FILE = {"$file": {"content_type": "image/png", "filename": "a.png", "data": "iVBORw=="}}

TURN = """
import cresset

class Turn(cresset.Model):
    def preprocess(self, payload):
        if isinstance(payload, cresset.File):
            with payload.as_path() as path:
                assert path.suffix == ".png" and path.read_bytes() == payload.data
                self.seen = path
            assert not self.seen.exists()
            return cresset.File(payload.data[::-1], "image/x-turned", payload.filename)
        return type(payload).__name__

    def predict(self, batch):
        return batch
"""


def test_a_model_that_takes_files_is_given_them_and_may_give_some(start: Start):
    child = start(TURN)
    child.ready(files=True)
    turned = {"$file": {"content_type": "image/x-turned", "filename": "a.png", "data": "R05QiQ=="}}
    assert child.run_objects(FILE, {**FILE, "more": 1}, [FILE]).items == [(0, turned), (0, "dict"), (0, "list")]


def test_a_file_that_is_none_is_its_item_s_failure_and_names_what_is_wrong(start: Start):
    child = start(TURN)
    child.ready(files=True)
    wrong = [{"$file": 1}, {"$file": {"data": "%"}}, {"$file": {}}, {"$file": {"data": "", "name": "a"}}]
    items = child.run_objects(*wrong, FILE).items
    assert [status for status, _ in items] == [1, 1, 1, 1, 0]
    for (_, failure), words in zip(
        items, ["must be an object", "not base64", "must have `data`", "'name'"], strict=False
    ):
        assert words in failure["message"]


def test_a_model_that_takes_no_files_is_given_what_was_sent(start: Start):
    child = start(ECHO)
    child.ready()
    assert child.run_objects(FILE).items == [(0, FILE)]
