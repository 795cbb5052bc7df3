"""A model that cannot be served says precisely why: FAILED with the stage, the reason, and what would be right."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from reference import SRC, tensor_spec

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from reference import Child

    Start = Callable[..., Child]

TWO = """
import cresset
class Base(cresset.Model):
    def predict(self, batch):
        return batch
class Derived(Base):
    pass
"""
MODEL = "import cresset\nclass Model(cresset.Model):\n    def predict(self, batch):\n        return batch\n"

CASES: dict[str, tuple[str | None, str, str, str, str, str]] = {
    # name: text, entry, stage, type, part of the message, part of the hint
    "the file is missing": (None, "model.py", "import", "FileNotFoundError", "the folder has no .py file", "entry"),
    "a syntax error": ("x = 1\ndef f(:\n", "model.py", "import", "SyntaxError", "model.py, line 2: ", ""),
    "a missing dependency": (
        "import nosuchthing.part",
        "model.py",
        "import",
        "ModuleNotFoundError",
        "No module named 'nosuchthing'",
        "add nosuchthing to requirements.txt",
    ),
    "a missing dependency whose package has another name": (
        "raise ModuleNotFoundError(\"No module named 'sklearn'\", name='sklearn')",
        "model.py",
        "import",
        "ModuleNotFoundError",
        "sklearn",
        "add scikit-learn to requirements.txt",
    ),
    "a relative import": (
        "from . import helper",
        "model.py",
        "import",
        "ImportError",
        "relative import",
        "`import helper`",
    ),
    "an import that raises": ("1 / 0", "model.py", "import", "ZeroDivisionError", "division by zero", ""),
    "an import that exits": ("import sys\nsys.exit('no GPU')", "model.py", "import", "SystemExit", "no GPU", ""),
    "two candidates": (TWO, "model.py", "import", "LookupError", "Base and Derived", 'entry = "model.py:Derived"'),
    "no candidate": (
        "x = 1",
        "model.py",
        "import",
        "LookupError",
        "no subclass of cresset.Model and no function predict(batch)",
        "class Model(cresset.Model)",
    ),
    "a class that forgot its base": (
        "class Net:\n    def predict(self, batch): ...",
        "model.py",
        "import",
        "LookupError",
        "no subclass",
        "class Net(cresset.Model)",
    ),
    "an entry that is not there": (
        MODEL,
        "model.py:Modle",
        "import",
        "AttributeError",
        "has no 'Modle'; it defines Model",
        'entry = "model.py:Model"',
    ),
    "an entry that is no model": (
        "class Net:\n    pass",
        "model.py:Net",
        "import",
        "TypeError",
        "does not derive from cresset.Model",
        "class Net(cresset.Model)",
    ),
    "an entry that is an instance": (
        MODEL + "it = Model()",
        "model.py:it",
        "import",
        "TypeError",
        "is an instance of Model",
        'entry = "model.py:Model"',
    ),
    "an entry that is a number": ("x = 1", "model.py:x", "import", "TypeError", "x in model.py is a int", ""),
    "a class without predict": (
        "import cresset\nclass M(cresset.Model):\n    def load(self): ...",
        "model.py",
        "import",
        "TypeError",
        "M has no predict method",
        "def predict(self, batch)",
    ),
    "a forgotten self": (
        "import cresset\nclass M(cresset.Model):\n    def predict(batch): ...",
        "model.py",
        "import",
        "TypeError",
        "M.predict(batch) cannot be called",
        "def predict(self, batch)",
    ),
    "a load with arguments": (
        MODEL + "    def load(self, path): ...",
        "model.py",
        "import",
        "TypeError",
        "Model.load(self, path)",
        "def load(self)",
    ),
    "an async predict": (
        "async def predict(batch): ...",
        "model.py",
        "import",
        "TypeError",
        "predict is async",
        "def predict(batch)",
    ),
    "a generator": (
        "def predict(batch):\n    yield 1",
        "model.py",
        "import",
        "TypeError",
        "predict is a generator",
        "return",
    ),
    "an init with arguments": (
        MODEL + "    def __init__(self, path): ...",
        "model.py",
        "load",
        "TypeError",
        "Model.__init__ needs arguments",
        "self.dir",
    ),
    "a load that raises": (
        MODEL + "    def load(self):\n        raise KeyError('w')",
        "model.py",
        "load",
        "KeyError",
        "'w'",
        "",
    ),
    "a load of weights that are not there": (
        MODEL + "    def load(self):\n        self.load_weights('w.pt')",
        "model.py",
        "load",
        "FileNotFoundError",
        "w.pt is not in",
        "",
    ),
    "a warmup that raises": (
        MODEL + "    def warmup(self):\n        raise OSError('cold')",
        "model.py",
        "warmup",
        "OSError",
        "cold",
        "",
    ),
    "a file named like a module in use": ("x = 1", "json.py", "import", "FileNotFoundError", "json.py is not in", ""),
}


@pytest.mark.parametrize("case", CASES)
def test_it_says_what_is_wrong(case: str, start: Start):
    text, entry, stage, type_, message, hint = CASES[case]
    failure = start(text).failed(entry=entry)
    assert (failure["stage"], failure["type"]) == (stage, type_)
    assert message in failure["message"]
    assert hint in (failure["hint"] or "")
    assert failure["code"] == "model_error"
    assert "cresset/runner" not in (failure["traceback"] or "")


def test_the_failure_is_in_the_log_too(start: Start):
    child = start("def helper():\n    raise RuntimeError('x' * 10)\nhelper()")
    failure = child.failed()
    assert "in helper" in failure["traceback"]
    logs = child.logs()
    assert "cannot serve toy: import failed: RuntimeError: xxxxxxxxxx" in logs
    assert "in helper" in logs


def test_a_file_that_hides_a_module_in_use_is_refused(start: Start):
    failure = start(None, files={"json.py": MODEL}).failed(entry="json.py")
    assert "already in use" in failure["message"]
    assert "rename" in failure["hint"]


def test_the_entry_chooses_between_candidates(start: Start):
    child = start(TWO)
    child.ready(entry="model.py:Derived")
    assert child.run_objects(5).items == [(0, 5)]


def test_helper_modules_beside_the_entry_are_found(start: Start):
    child = start(
        "import helper, part.more\ndef predict(batch):\n    return [helper.X + part.more.Y for _ in batch]",
        files={"helper.py": "X = 1"},
    )
    (child.folder / "part").mkdir()
    (child.folder / "part" / "__init__.py").write_text("")
    (child.folder / "part" / "more.py").write_text("Y = 2")
    child.ready()
    assert child.run_objects(0).items == [(0, 3)]


def test_an_entry_in_a_subfolder_finds_its_neighbours(start: Start):
    child = start(None)
    (child.folder / "code").mkdir()
    (child.folder / "code" / "serve.py").write_text("import near\ndef run(batch):\n    return [near.X] * len(batch)")
    (child.folder / "code" / "near.py").write_text("X = 4")
    child.ready(entry="code/serve.py:run")
    assert child.run_objects(0).items == [(0, 4)]


def test_imported_models_are_no_candidates(start: Start):
    child = start(
        "from helper import Other\n" + MODEL,
        files={"helper.py": MODEL.replace("class Model", "class Other")},
    )
    child.ready()
    assert child.run_objects(5).items == [(0, 5)]


def test_a_tensor_model_without_torch_says_so(start: Start, tmp_path: Path):
    missing = tmp_path / "without"
    missing.mkdir()
    (missing / "torch.py").write_text("raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')")
    child = start(MODEL, env={"PYTHONPATH": f"{SRC}:{missing}"})
    failure = child.failed(inputs=[tensor_spec("x", "float32", 2)])
    assert (failure["stage"], failure["type"]) == ("import", "ModuleNotFoundError")
    assert "No module named 'torch': model.toml declares [[inputs]]" in failure["message"]
    assert "add torch to requirements.txt" in failure["hint"]
