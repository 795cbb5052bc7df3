"""deny.toml's rules, one by one, on made-up packages."""

from __future__ import annotations

from typing import Any

import check_deps
import pytest

ALLOWED = {"MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception"}


def package(name: str, version: str = "1.0.0", **more: Any) -> dict[str, Any]:
    """A package as cargo's metadata has it."""
    return {"name": name, "version": version, "license": "MIT", "source": None, "dependencies": [], **more}


@pytest.mark.parametrize(
    "expression",
    [
        "MIT",
        "MIT/GPL-3.0",
        "GPL-3.0 OR MIT",
        "MIT AND Apache-2.0",
        "(GPL-3.0 OR MIT) AND Apache-2.0",
        "Apache-2.0 WITH LLVM-exception",
        "GPL-3.0 AND BSL-1.0 OR MIT",
    ],
)
def test_a_licence_that_can_be_met_is_allowed(expression: str) -> None:
    assert check_deps.satisfied(expression, ALLOWED)


@pytest.mark.parametrize(
    "expression", ["GPL-3.0", "MIT AND GPL-3.0", "(GPL-3.0 OR MIT) AND GPL-3.0", "MIT WITH Classpath"]
)
def test_a_licence_that_cannot_be_met_is_not_allowed(expression: str) -> None:
    assert not check_deps.satisfied(expression, ALLOWED)


@pytest.mark.parametrize("expression", ["", "MIT OR", "(MIT", "MIT)", "MIT Apache-2.0", "OR MIT"])
def test_what_is_no_licence_expression_is_refused(expression: str) -> None:
    found = check_deps.licences([package("odd", license=expression)], {"allow": sorted(ALLOWED)})
    assert found == [f"odd 1.0.0: licence {expression!r} is not allowed"]


def test_a_package_without_a_licence_is_refused() -> None:
    assert check_deps.licences([package("bare", license=None)], {"allow": ["MIT"]})


def test_two_versions_of_a_crate_are_found_unless_one_is_excepted() -> None:
    both = [package("syn", "2.0.1"), package("syn", "3.0.0"), package("quote")]
    assert check_deps.duplicates(both, []) == ["syn: in 2 versions, 2.0.1, 3.0.0 (why: cargo tree -i syn@2.0.1)"]
    assert check_deps.duplicates(both, [{"crate": "syn@2", "reason": "others are slow"}]) == []


def test_an_exception_that_nothing_needs_any_more_is_found() -> None:
    entry = {"crate": "syn@2", "reason": "others are slow"}
    assert "remove it" in check_deps.duplicates([package("syn", "3.0.0")], [entry])[0]
    assert "remove it" in check_deps.duplicates([package("syn", "2.0.1")], [entry])[0]


def test_an_exception_needs_a_reason() -> None:
    both = [package("syn", "2.0.1"), package("syn", "3.0.0")]
    assert "without a reason" in check_deps.duplicates(both, [{"crate": "syn@2"}])[0]


def test_a_version_in_an_exception_means_whole_numbers() -> None:
    assert check_deps.matches(package("syn", "2.0.1"), {"crate": "syn@2"})
    assert check_deps.matches(package("syn", "2.0.1"), {"crate": "syn"})
    assert not check_deps.matches(package("syn", "20.0.1"), {"crate": "syn@2"})


def test_a_wildcard_version_is_found_and_a_path_of_ours_is_none() -> None:
    ours = package(
        "ours", dependencies=[{"name": "any", "req": "*"}, {"name": "house", "req": "*", "path": "../house"}]
    )
    assert check_deps.wildcards([ours]) == ["ours: depends on any version of any"]


def test_packages_from_elsewhere_are_found() -> None:
    rules: dict[str, list[str]] = {"allow-registry": ["https://registry"], "allow-git": ["https://forge/kept"]}
    good = [
        package("ours"),
        package("registered", source="registry+https://registry"),
        package("kept", source="git+https://forge/kept?rev=1#1"),
    ]
    bad = [package("git", source="git+https://forge/x#1"), package("other", source="registry+https://other")]
    assert check_deps.sources(good, rules) == []
    assert [line.split(":")[0] for line in check_deps.sources(bad, rules)] == ["git 1.0.0", "other 1.0.0"]


def test_a_banned_crate_is_found_with_its_reason() -> None:
    found = check_deps.banned([package("openssl-sys")], [{"crate": "openssl-sys", "reason": "rustls it is"}])
    assert found == ["openssl-sys 1.0.0: banned, rustls it is"]


def test_a_rule_that_would_do_nothing_is_an_error() -> None:
    found = check_deps.unknown_keys({"bans": {"features": []}, "output": {}})
    assert found == [
        "deny.toml: [output] is not known to scripts/check_deps.py",
        "deny.toml: bans.features is not known to scripts/check_deps.py",
    ]
