"""Finds the model in its folder: imports the entry file and picks the class or function in it.

Every way in which this can fail is the author's business, so each has its own message that says what was found and what
would be right.
"""

from __future__ import annotations

import difflib
import importlib.util
import inspect
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from cresset._model import Model
from cresset.runner._failure import StartError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import ModuleType

_SIGNATURES: Final = {
    "load": ("def load(self)", 0),
    "preprocess": ("def preprocess(self, payload)", 1),
    "predict": ("def predict(self, batch)", 1),
    "postprocess": ("def postprocess(self, output)", 1),
    "join": ("def join(self, chunks)", 1),
    "warmup": ("def warmup(self)", 0),
}


@dataclass(frozen=True)
class Found:
    """What the entry names: a class to be made an instance of, or a function."""

    module: ModuleType
    model_class: type[Model] | None
    function: Callable[[Any], Any] | None


@dataclass
class Served:
    """The author's code, ready to be called. A hook is `None` where the author wrote none."""

    predict: Callable[[Any], Any]
    preprocess: Callable[[Any], Any] | None = None
    postprocess: Callable[[Any], Any] | None = None
    join: Callable[[Any], Any] | None = None


def find_model(folder: Path, entry: str) -> Found:
    """Import the entry file and find the model in it.

    Args:
        folder: the model's folder, absolute; put first on `sys.path` so that the author's own modules are found.
        entry: `file.py` or `file.py:Name`, the file relative to the folder.

    Raises:
        StartError: with stage `import`, for everything that is wrong with the folder or the entry.
        BaseException: whatever the author's module raises while it is imported.
    """
    file, _, attribute = entry.partition(":")
    path = folder / file
    if not path.is_file():
        raise StartError(
            "import", "FileNotFoundError", _no_file(folder, file), "write it, or set `entry` in model.toml"
        )
    module = _import_file(folder, path)
    if not attribute:
        return _only_candidate(module, file)
    if not hasattr(module, attribute):
        raise StartError("import", "AttributeError", *_no_attribute(module, file, attribute))
    value = getattr(module, attribute)
    if isinstance(value, type):
        if not issubclass(value, Model) or value is Model:
            raise StartError(
                "import",
                "TypeError",
                f"{attribute} in {file} is a class that does not derive from cresset.Model",
                f"write `class {attribute}(cresset.Model):`",
            )
        return Found(module, value, None)
    if isinstance(value, Model):
        raise StartError(
            "import",
            "TypeError",
            f"{attribute} in {file} is an instance of {type(value).__name__}; the entry must name the class",
            f'set entry = "{file}:{type(value).__name__}" in model.toml',
        )
    if not callable(value):
        raise StartError(
            "import",
            "TypeError",
            f"{attribute} in {file} is a {type(value).__name__}, neither a subclass of cresset.Model nor a function",
        )
    return Found(module, None, value)


def check_signatures(found: Found, *, is_tensor: bool, streams: bool) -> None:
    """Make sure that what the author wrote can be called as we are going to call it.

    Raises:
        StartError: with stage `import`.
    """
    if found.function is not None:
        name = getattr(found.function, "__name__", type(found.function).__name__)
        _check_callable(found.function, name, f"def {name}(batch)", 1, may_yield=streams)
        return
    cls = found.model_class
    assert cls is not None  # Found has one or the other
    if not overrides(cls, "predict"):
        raise StartError(
            "import", "TypeError", f"{cls.__name__} has no predict method", "add `def predict(self, batch): ...`"
        )
    if is_tensor and overrides(cls, "preprocess"):
        raise StartError(
            "import",
            "TypeError",
            f"{cls.__name__} defines preprocess, but model.toml declares [[inputs]]: a tensor model gets its batches "
            "stacked, and there is no payload to preprocess",
            "prepare the tensor in predict, or remove [[inputs]] to get one decoded JSON payload per item",
        )
    for name, (wanted, count) in _SIGNATURES.items():
        if name == "join" and not streams:
            continue  # a name of the author's own
        may_yield = streams and name == "predict"
        method = inspect.getattr_static(cls, name)
        if overrides(cls, name) and not isinstance(method, (staticmethod, classmethod)):
            # Called with `self` in front, as a method of an instance is.
            _check_callable(getattr(cls, name), f"{cls.__name__}.{name}", wanted, count + 1, may_yield=may_yield)
        elif overrides(cls, name):
            _check_callable(getattr(cls, name), f"{cls.__name__}.{name}", wanted, count, may_yield=may_yield)


def overrides(cls: type[Model], name: str) -> bool:
    """Tell whether the author's class defines the method `name`."""
    return getattr(cls, name) is not getattr(Model, name)


def make_instance(cls: type[Model], attributes: dict[str, Any]) -> Model:
    """Make the model with its attributes set before `__init__`, which need not call `super().__init__()`.

    Raises:
        StartError: `__init__` needs arguments.
        BaseException: whatever `__init__` raises.
    """
    try:
        inspect.signature(cls).bind()
    except TypeError:
        raise StartError(
            "load",
            "TypeError",
            f"{cls.__name__}.__init__ needs arguments, but it is called without any",
            "give them defaults, and read what you need from self.dir in load()",
        ) from None
    except ValueError:
        pass  # a class written in C tells no signature; the call below will
    model = cls.__new__(cls)
    model.__dict__.update(attributes)
    cls.__init__(model)
    return model


def _import_file(folder: Path, path: Path) -> ModuleType:
    name = path.stem
    if name in sys.modules:
        raise StartError(
            "import",
            "ImportError",
            f"{path.name} has the name of the module {name!r}, which is already in use",
            "rename the file and set `entry` in model.toml, for example to model.py",
        )
    for place in dict.fromkeys((str(path.parent), str(folder))):
        if place not in sys.path:
            sys.path.insert(0, place)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise StartError("import", "ImportError", f"{path.name} is not a Python file", "name it with .py at the end")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _only_candidate(module: ModuleType, file: str) -> Found:
    classes: list[type[Any]] = [value for value in vars(module).values() if isinstance(value, type)]
    models = list(dict.fromkeys(c for c in classes if issubclass(c, Model) and c.__module__ == module.__name__))
    if len(models) == 1:
        return Found(module, models[0], None)
    if models:
        names = " and ".join(cls.__name__ for cls in models)
        raise StartError(
            "import",
            "LookupError",
            f"{file} defines {len(models)} models, {names}; which one is meant is not clear",
            f'set entry = "{file}:{models[-1].__name__}" in model.toml',
        )
    function = getattr(module, "predict", None)
    if callable(function) and not isinstance(function, type):
        return Found(module, None, function)
    hint = "write `class Model(cresset.Model):` with a predict method, or a function `def predict(batch):`"
    for cls in classes:
        if issubclass(cls, Model) and cls is not Model:
            hint = f'{cls.__name__} comes from another module; to serve it set entry = "{file}:{cls.__name__}"'
        elif cls.__module__ == module.__name__ and callable(vars(cls).get("predict")):
            hint = f"{cls.__name__} has predict but is no model: write `class {cls.__name__}(cresset.Model):`"
    raise StartError(
        "import", "LookupError", f"{file} defines no subclass of cresset.Model and no function predict(batch)", hint
    )


def _check_callable(
    function: Callable[..., Any], name: str, wanted: str, count: int, *, may_yield: bool = False
) -> None:
    # The signature of a plain function decides; of an object that is called, that of its __call__.
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise StartError("import", "TypeError", f"{name} is async; it is called without awaiting", f"write `{wanted}`")
    if inspect.isgeneratorfunction(function) and not may_yield:
        raise StartError(
            "import",
            "TypeError",
            f"{name} is a generator (it has `yield`)",
            "return the whole result instead; or, if it is predict of an object model, give it piece by piece with "
            "enabled = true under [stream] in model.toml",
        )
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return  # written in C: it tells no signature
    try:
        signature.bind(*range(count))
    except TypeError:
        raise StartError(
            "import", "TypeError", f"{name}{signature} cannot be called as it will be", f"write `{wanted}:`"
        ) from None


def _no_file(folder: Path, file: str) -> str:
    try:
        present = sorted(os.listdir(folder))
    except OSError as error:
        return f"the model's folder {folder} cannot be read: {error.strerror}"
    scripts = [name for name in present if name.endswith(".py")]
    beside = ", ".join(scripts) if scripts else "no .py file"
    return f"{file} is not in {folder}; the folder has {beside}"


def _no_attribute(module: ModuleType, file: str, attribute: str) -> tuple[str, str]:
    names = [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and callable(value) and getattr(value, "__module__", None) == module.__name__
    ]
    near = difflib.get_close_matches(attribute, names, 1)
    hint = f'set entry = "{file}:{near[0]}" in model.toml' if near else "mend `entry` in model.toml"
    return (
        f"{file} has no {attribute!r}; it defines {', '.join(names) if names else 'nothing that can be served'}",
        hint,
    )
