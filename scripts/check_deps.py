"""Holds Cargo.lock to deny.toml: licences, duplicates, wildcard versions, bans, sources; and names unused dependencies.

    python3 scripts/check_deps.py

It reads cargo-deny's own file and means the same by it, for the keys that we use; a key that it does not know is an
error, not a rule that silently does nothing. Why not cargo-deny itself: docs/decisions/0006-licence-check.md.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

REPO = Path(__file__).resolve().parent.parent

Package = dict[str, Any]

KNOWN = {
    "graph": {"targets", "all-features"},
    "advisories": {"yanked"},  # cargo-deny's alone: it needs the advisory database
    "licenses": {"allow", "private"},
    "bans": {"multiple-versions", "wildcards", "allow-wildcard-paths", "deny", "skip"},
    "sources": {"unknown-registry", "unknown-git", "allow-registry", "allow-git"},
}


def unknown_keys(rules: dict[str, Any]) -> list[str]:
    """Rules that this program would not apply."""
    found = [f"deny.toml: [{table}] is not known to scripts/check_deps.py" for table in rules if table not in KNOWN]
    for table, known in KNOWN.items():
        unknown = sorted(rules.get(table, {}).keys() - known)
        found += [f"deny.toml: {table}.{key} is not known to scripts/check_deps.py" for key in unknown]
    return found


def satisfied(expression: str, allowed: set[str]) -> bool:
    """Whether the licences of an SPDX expression can be met with allowed ones: OR takes either, AND needs both."""
    tokens = re.findall(r"\(|\)|[^\s()/]+|/", expression.replace("/", " OR "))
    value = _either(tokens, allowed)
    if tokens:
        raise ValueError(expression)
    return value


def _either(tokens: list[str], allowed: set[str]) -> bool:
    value = _both(tokens, allowed)
    while tokens[:1] == ["OR"]:
        tokens.pop(0)
        value = _both(tokens, allowed) or value
    return value


def _both(tokens: list[str], allowed: set[str]) -> bool:
    value = _one(tokens, allowed)
    while tokens[:1] == ["AND"]:
        tokens.pop(0)
        value = _one(tokens, allowed) and value
    return value


def _one(tokens: list[str], allowed: set[str]) -> bool:
    name = tokens.pop(0) if tokens else ""
    if name == "(":
        value = _either(tokens, allowed)
        if tokens[:1] != [")"]:
            raise ValueError(name)
        tokens.pop(0)
        return value
    if name in {"", "OR", "AND", "WITH", ")"}:
        raise ValueError(name)
    if tokens[:1] == ["WITH"]:
        name = " ".join([name, *tokens[:2]])
        del tokens[:2]
    return name in allowed


def licences(packages: list[Package], rules: dict[str, Any]) -> list[str]:
    """Packages whose licence is not allowed, missing, or not an expression."""
    allowed = set(rules["allow"])
    found: list[str] = []
    for package in packages:
        try:
            good = satisfied(package["license"] or "", allowed)
        except ValueError:
            good = False
        if not good:
            found.append(f"{package['name']} {package['version']}: licence {package['license']!r} is not allowed")
    return found


def matches(package: Package, entry: dict[str, str]) -> bool:
    """Whether `name` or `name@version` (or the first numbers of one) means this package."""
    name, _, version = entry["crate"].partition("@")
    return package["name"] == name and f"{package['version']}.".startswith(f"{version}." if version else "")


def duplicates(packages: list[Package], skip: list[dict[str, str]]) -> list[str]:
    """Crates in more than one version, and exceptions that nothing needs any more."""
    versions: dict[str, list[str]] = defaultdict(list)
    for package in packages:
        if not any(matches(package, entry) for entry in skip):
            versions[package["name"]].append(package["version"])
    found = [
        f"{name}: in {len(numbers)} versions, {', '.join(sorted(numbers))} (why: cargo tree -i {name}@{min(numbers)})"
        for name, numbers in sorted(versions.items())
        if len(numbers) > 1
    ]
    for entry in skip:
        name = entry["crate"].partition("@")[0]
        if not any(matches(package, entry) for package in packages) or not versions[name]:
            found.append(f"deny.toml: bans.skip has {entry['crate']}, which is no duplicate; remove it")
        if not entry.get("reason"):
            found.append(f"deny.toml: bans.skip has {entry['crate']} without a reason")
    return found


def wildcards(ours: list[Package]) -> list[str]:
    """Dependencies of ours on any version at all. Ones named by path have no version to name."""
    return [
        f"{package['name']}: depends on any version of {dependency['name']}"
        for package in ours
        for dependency in package["dependencies"]
        if dependency["req"] == "*" and not dependency.get("path")
    ]


def sources(packages: list[Package], rules: dict[str, Any]) -> list[str]:
    """Packages from anywhere but the allowed registries and repositories. Ours have no source."""
    allowed = {f"registry+{url}" for url in rules["allow-registry"]}
    allowed |= {f"git+{url}" for url in rules["allow-git"]}
    return [
        f"{package['name']} {package['version']}: comes from {package['source']}, which is not allowed"
        for package in packages
        if package["source"] and package["source"].partition("?")[0].partition("#")[0] not in allowed
    ]


def banned(packages: list[Package], deny: list[dict[str, str]]) -> list[str]:
    """Packages that must not be here at all."""
    return [
        f"{package['name']} {package['version']}: banned, {entry['reason']}"
        for package in packages
        for entry in deny
        if matches(package, entry)
    ]


def _elsewhere(path: Path) -> list[Path]:
    """The files that a source names by `#[path]`."""
    named = re.findall(r'#\[path = "([^"]+)"\]', path.read_text())
    return [file for name in named if (file := path.parent / name).is_file()]


def unused(ours: list[Package]) -> list[str]:
    """Dependencies of ours whose name stands nowhere in the crate's code: a word search, so it can only miss some."""
    found: list[str] = []
    for package in ours:
        folder = Path(package["manifest_path"]).parent
        files = list(folder.rglob("*.rs"))
        # Modules that lie elsewhere are the crate's code too.
        files += [found for path in files for found in _elsewhere(path)]
        code = "\n".join(path.read_text() for path in files)
        for dependency in package["dependencies"]:
            name: str = (dependency["rename"] or dependency["name"]).replace("-", "_")
            if not re.search(rf"\b{name}\b", code):
                found.append(f"{package['name']}: {dependency['name']} is not used")
    return sorted(set(found))


def metadata(targets: list[str]) -> dict[str, Any]:
    """What cargo would build for these targets with every feature."""
    command = ["cargo", "metadata", "--format-version", "1", "--locked", "--all-features"]
    command += [word for target in targets for word in ("--filter-platform", target)]
    return json.loads(subprocess.run(command, cwd=REPO, check=True, capture_output=True).stdout)


def main() -> int:
    """Applies every rule, prints every mistake."""
    rules = tomllib.loads((REPO / "deny.toml").read_text())
    found = unknown_keys(rules)
    if not found:
        read = metadata(rules["graph"]["targets"])
        reached = {node["id"] for node in read["resolve"]["nodes"]}
        packages = [package for package in read["packages"] if package["id"] in reached]
        ours = [package for package in packages if not package["source"]]
        bans = rules["bans"]
        found = [
            *licences(packages, rules["licenses"]),
            *duplicates(packages, bans["skip"]),
            *wildcards(ours),
            *banned(packages, bans["deny"]),
            *sources(packages, rules["sources"]),
            *unused(ours),
        ]
        if not found:
            print(
                f"{len(packages)} packages: licences, versions and sources as deny.toml allows, and every one is used"
            )
    for line in found:
        print(line, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
