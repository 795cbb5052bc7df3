"""The tutorial's first block as it stands: a clone, a build of the program alone, the program on the PATH.

The clone comes from this repository, what has been committed of it. The release that is built there is not optimised,
which takes minutes less. `make demo` builds the real one.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from support.server import REPOSITORY

TUTORIAL = REPOSITORY / "docs" / "tutorial.md"
HOME = "https://github.com/cresset/cresset"
QUICK = """\
[profile.release]
opt-level = 0
debug = false
lto = "off"
codegen-units = 256
"""
LONGEST = 1200
"""Seconds: two cores that three other tests use as well."""


@pytest.mark.timeout(LONGEST)
def test_the_tutorial_begins_with_a_clone_that_builds(tmp_path: Path) -> None:
    if not (REPOSITORY / ".git").exists() or shutil.which("git") is None:
        if os.environ.get("CI"):
            pytest.fail("this is no git repository, or git is missing")
        pytest.skip("this is no git repository, or git is missing")
    block = re.search(r"^```sh\n(.*?)^```$", TUTORIAL.read_text(), re.MULTILINE | re.DOTALL)
    assert block is not None and block[1].startswith(f"git clone {HOME}\n")
    # Cargo reads it in each folder above the one it is called in.
    (tmp_path / ".cargo").mkdir()
    (tmp_path / ".cargo" / "config.toml").write_text(QUICK)
    ours = ("CARGO_TARGET_DIR", "CARGO_PROFILE_", "CARGO_BUILD_", "GIT_")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(ours)} | {
        "CARGO_INCREMENTAL": "0",
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{REPOSITORY}.insteadOf",
        "GIT_CONFIG_VALUE_0": HOME,
    }
    told = f"{block[1]}\ncommand -v cresset\ncresset --version\n"
    # At the end of the line: the other tests have clocks, and this one has time.
    command = ["nice", "-n", "10", "bash", "-ec", told]
    done = subprocess.run(
        command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=LONGEST, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    program, version = done.stdout.splitlines()
    assert program == str(tmp_path / "cresset" / "target" / "release" / "cresset")
    assert re.fullmatch(r"cresset \d+\.\d+\.\d+.*", version)
    shutil.rmtree(tmp_path / "cresset" / "target")
