"""Writes docs/reference/python.md, the Python API, from the docstrings of python/cresset.

    python3 scripts/python_api.py             fails when the page is stale, and says what to do
    python3 scripts/python_api.py --update    writes it

Reads the sources and imports nothing: what is installed, and which Python runs this, changes nothing in the page. What
is public is what the package says (`__all__`). Needs nothing but the standard library.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from dataclasses import dataclass
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
SOURCES = REPO / "python" / "cresset" / "src"
PAGE = REPO / "docs" / "reference" / "python.md"
HEAD = """<!-- Written by `python3 scripts/python_api.py --update` from the docstrings; do not edit. -->

# Python API

`pip install ./python/cresset`; Python 3.10 or newer. Importing `cresset` imports neither torch nor numpy nor Django.
"""
PARTS = {
    "In a model's folder": (
        "cresset._model",
        "cresset._current",
        "cresset._again",
        "cresset._specs",
        "cresset._file",
        "cresset.logs",
    ),
    "The client": ("cresset.client",),
    "What the client gives": (
        "cresset.records",
        "cresset._batches",
        "cresset._failure",
        "cresset._health",
        "cresset._policy",
    ),
    "What happens to a task": ("cresset.events",),
    "Exceptions": ("cresset.errors",),
}
"""Headings for the names of `cresset`, by the modules that they come from."""
MODULES = ("cresset.webhooks", "cresset.testing", "cresset.django", "cresset.django.views", "cresset.django.rest")
SECTION = re.compile(r"^(Args|Attributes|Returns|Yields|Raises):$")
GIVEN = {"Context", "TaskHandle", "AsyncTaskHandle", "Stream", "AsyncStream"}
"""Classes that callers are given and never make: how they are made is nobody's affair."""
NAMES = re.compile(r"[\w*, ]+(?: \([^)]*\))?")
"""What stands before the colon of an argument or an exception."""
WIDTH = 100
"""A signature of more characters gets a line for each parameter."""

Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Found:
    """A definition, and the module that has it."""

    node: Definition
    module: str


class Package:
    """The sources, read once."""

    def __init__(self, root: Path) -> None:
        """Of the package below `root`."""
        self.root = root
        self._trees: dict[str, ast.Module] = {}

    def tree(self, module: str) -> ast.Module:
        """A module's source."""
        if module not in self._trees:
            path = self.root / module.replace(".", "/")
            file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
            self._trees[module] = ast.parse(file.read_text())
        return self._trees[module]

    def public(self, module: str) -> list[str]:
        """What `__all__` has, or else what does not begin with an underscore."""
        tree = self.tree(module)
        for node in tree.body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                return list(ast.literal_eval(node.value))
        return [node.name for node in tree.body if isinstance(node, Definition) and not node.name.startswith("_")]

    def find(self, module: str, name: str) -> Found | None:
        """Where a name of a module is defined; None for what is no class and no function."""
        for node in ast.walk(self.tree(module)):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("cresset"):
                if any((alias.asname or alias.name) == name for alias in node.names):
                    return self.find(node.module, name)
            elif isinstance(node, Definition) and node.name == name:
                return Found(node, module)
        return None


def escaped(line: str) -> str:
    """A line of text in which `<` outside of code begins no tag."""
    parts = re.split(r"(`[^`]*`)", line)
    return "".join(part if part.startswith("`") else part.replace("<", "&lt;") for part in parts)


def entries(lines: list[str], *, named: bool) -> list[str]:
    """The lines of `Args:` and the like as a list."""
    text = inspect.cleandoc("\n".join(lines)).splitlines()
    if not named:
        return [escaped(line) for line in text]
    found: list[str] = []
    for line in text:
        if line.startswith(" ") and found:
            found[-1] += " " + line.strip()
        elif line.strip():
            name, colon, rest = line.partition(": ")
            found.append(f"- `{name}`: {rest}" if colon and NAMES.fullmatch(name) else f"- {line}")
    return [escaped(entry) for entry in found]


def rendered(doc: str) -> str:
    """A docstring as Markdown."""
    out: list[str] = []
    lines = inspect.cleandoc(doc).splitlines()
    at, in_code = 0, False
    while at < len(lines):
        line = lines[at]
        at += 1
        section = None if in_code else SECTION.match(line)
        if section:
            below: list[str] = []
            while at < len(lines) and (not lines[at].strip() or lines[at].startswith(" ")):
                below.append(lines[at])
                at += 1
            named = section[1] in {"Args", "Attributes", "Raises"}
            out += [f"*{section[1]}*", "", *entries(below, named=named), ""]
            continue
        in_code ^= line.startswith("```")
        out.append(line if in_code or line.startswith("```") else escaped(line))
    return "\n".join(out).strip()


def signature(node: ast.FunctionDef | ast.AsyncFunctionDef, name: str, *, bound: bool) -> str:
    """What a call looks like."""
    words = ast.unparse(node.args)
    if bound:
        words = re.sub(r"^(self|cls)(, )?", "", words)
    back = f" -> {ast.unparse(node.returns)}" if node.returns and not name[0].isupper() else ""
    head = ("async " if isinstance(node, ast.AsyncFunctionDef) else "") + name
    line = f"{head}({words}){back}"
    if len(line) <= WIDTH:
        return line
    parts = ast.parse(f"def f({words}): ...").body[0]
    assert isinstance(parts, ast.FunctionDef)
    return f"{head}(\n" + "".join(f"    {each},\n" for each in each_parameter(parts.args)) + f"){back}"


def each_parameter(args: ast.arguments) -> list[str]:
    """The parameters, each as it is written."""
    found: list[str] = []
    plain = [*args.posonlyargs, *args.args]
    defaults: list[ast.expr | None] = [None] * (len(plain) - len(args.defaults)) + list(args.defaults)

    def add(arg: ast.arg, default: ast.expr | None, stars: str = "") -> None:
        text = stars + arg.arg + (f": {ast.unparse(arg.annotation)}" if arg.annotation else "")
        equals = " = " if arg.annotation else "="
        found.append(text + (equals + ast.unparse(default) if default else ""))

    for arg, default in zip(plain, defaults, strict=True):
        add(arg, default)
        if args.posonlyargs and arg is args.posonlyargs[-1]:
            found.append("/")
    if args.vararg:
        add(args.vararg, None, "*")
    elif args.kwonlyargs:
        found.append("*")
    for arg, default in zip(args.kwonlyargs, args.kw_defaults, strict=True):
        add(arg, default)
    if args.kwarg:
        add(args.kwarg, None, "**")
    return found


def decorated(node: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    """The names of its decorators."""
    return {ast.unparse(each).rpartition(".")[2] for each in node.decorator_list}


def members(package: Package, found: Found, seen: frozenset[str] = frozenset()) -> dict[str, str]:
    """Public methods and properties with docstrings, those of private bases in this package among them."""
    node = found.node
    assert isinstance(node, ast.ClassDef)
    out: dict[str, str] = {}
    for each in node.body:
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef) and not each.name.startswith("_"):
            doc, marks = ast.get_docstring(each), decorated(each)
            if doc and not marks & {"overload", "setter"}:
                call = each.name if marks & {"property", "cached_property"} else signature(each, each.name, bound=True)
                out[each.name] = f"```python\n{call}\n```\n\n{rendered(doc)}"
    for base in node.bases:
        name = ast.unparse(base).partition("[")[0]
        if name.startswith("_") and name not in seen and (above := package.find(found.module, name)):
            out = members(package, above, seen | {name}) | out
    return out


def fields(node: ast.ClassDef) -> str:
    """The fields of a record, each with the text below it."""
    out: list[str] = []
    for each, after in zip(node.body, [*node.body[1:], None], strict=True):
        if isinstance(each, ast.AnnAssign) and not ast.unparse(each.target).startswith("_"):
            line = f"- `{ast.unparse(each.target)}: {ast.unparse(each.annotation)}`"
            if (
                isinstance(after, ast.Expr)
                and isinstance(after.value, ast.Constant)
                and isinstance(after.value.value, str)
            ):
                line += ": " + escaped(" ".join(inspect.cleandoc(after.value.value).split()))
            out.append(line)
    return "\n".join(out)


def constructor(node: ast.ClassDef) -> str | None:
    """How one is made, where callers make one themselves."""
    for each in node.body:
        if isinstance(each, ast.FunctionDef) and each.name == "__init__":
            return signature(each, node.name, bound=True)
    return None


def entry(package: Package, module: str, name: str, level: int) -> str | None:
    """One name's part of the page."""
    found = package.find(module, name)
    if found is None or not (doc := ast.get_docstring(found.node)):
        return None
    node = found.node
    out = [f"{'#' * level} `{name}`"]
    if isinstance(node, ast.ClassDef):
        if any(ast.unparse(base).endswith(("Error", "Exception")) for base in node.bases) or "errors" in found.module:
            out.append(f"An exception: `{'`, `'.join(ast.unparse(base) for base in node.bases)}`.")
        elif name not in GIVEN and (made := constructor(node)):
            out.append(f"```python\n{made}\n```")
        out.append(rendered(doc))
        if listed := fields(node):
            out.append(listed)
        out += [f"{'#' * (level + 1)} `{name}.{key}`\n\n{text}" for key, text in members(package, found).items()]
    else:
        out += [f"```python\n{signature(node, name, bound=False)}\n```", rendered(doc)]
    return "\n\n".join(out)


def home(package: Package, name: str) -> str | None:
    """The heading of `PARTS` for a name of `cresset`; None for one that is no class and no function."""
    found = package.find("cresset", name)
    if found is None:
        return None
    fitting = [title for title, homes in PARTS.items() if found.module.startswith(homes)]
    if not fitting:
        raise SystemExit(f"error: {name} comes from {found.module}, which PARTS of scripts/python_api.py does not have")
    return fitting[0]


def page() -> str:
    """The whole page."""
    package = Package(SOURCES)
    out = [HEAD]
    names = package.public("cresset")
    for title in PARTS:
        parts = [entry(package, "cresset", name, 3) for name in names if home(package, name) == title]
        out += [f"## {title}\n", *(f"{part}\n" for part in parts if part)]
    for module in MODULES:
        out.append(f"## `{module}`\n")
        if doc := ast.get_docstring(package.tree(module)):
            out.append(rendered(doc) + "\n")
        parts = [entry(package, module, name, 3) for name in package.public(module)]
        out += [f"{part}\n" for part in parts if part]
    return "\n".join(out)


def main() -> int:
    """Checks or writes."""
    text = page()
    if "--update" in sys.argv[1:]:
        PAGE.write_text(text)
    if not PAGE.exists() or PAGE.read_text() != text:
        print("docs/reference/python.md is stale: run python3 scripts/python_api.py --update", file=sys.stderr)
        return 1
    print(f"docs/reference/python.md is what the docstrings say: {text.count(chr(10) + '### ')} names")
    return 0


if __name__ == "__main__":
    sys.exit(main())
