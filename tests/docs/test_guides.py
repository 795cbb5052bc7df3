"""Every command of the guides is run as it stands, against the real program, and prints what the guide says."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

import dev_env
import django_site
import pages
import pytest
import served
from support.server import LONG, REPOSITORY, program
from world import WORLDS, World

DOCS = REPOSITORY / "docs"
PAGES = (DOCS / "tutorial.md", DOCS / "django.md", *sorted((DOCS / "guides").glob("*.md")))
RUN = [page for page in PAGES if pages.steps(page)]
ADDRESS = re.compile(r"(?P<at>127\.0\.0\.1:\d+)")
LISTEN = re.compile(r"--listen (?P<at>\S+)")
SERVER = "127.0.0.1:8700"
"""Where guides have the server."""
SLOW = 240.0
"""Seconds that one command may take: the first use of a model with torch builds an environment from the cache."""
NEEDS_DJANGO = {"django.md", "from-uwsgi.md"}
ELSEWHERE = {
    "make django": "tests/site",
    "make django-compare": "tests/site",
    "git clone https://github.com/cresset/cresset": "tests/docs/test_from_clone.py",
    "cd cresset": "tests/docs/test_from_clone.py",
    "cargo build --release -p cresset": "tests/docs/test_from_clone.py",
    "export PATH=$PWD/target/release:$PATH": "tests/docs/test_from_clone.py",
    "cresset gateway --broker redis://redis.internal:6379/0 --listen 0.0.0.0:8700": "tests/spine/test_brokers.py",
    "cresset worker models --broker redis://redis.internal:6379/0": "tests/spine/test_brokers.py",
    "cresset gateway --broker amqp://cresset@rabbit.internal/cresset"
    " --results postgresql://cresset@db.internal/cresset --listen 0.0.0.0:8700": "tests/spine/test_parcels.py",
    "cresset worker models --broker amqp://cresset@rabbit.internal/cresset"
    " --results postgresql://worker@db.internal/cresset": "tests/spine/test_parcels.py",
}
"""Commands that no page runs, as they build a release first; and what does with a build that takes less time."""


class Desk:
    """A folder to follow one page in, with addresses of its own instead of the page's."""

    def __init__(self, folder: Path, page: Path, stack: ExitStack) -> None:
        """Prepares it; `stack` ends what the page leaves running."""
        self.folder, self.page, self.stack = folder, page, stack
        self.addresses: dict[str, str] = {}
        self.running: dict[str, ExitStack] = {}
        """What runs, by the address at which it listens."""
        python = Path(dev_env.build("site", sys.executable) if page.name in NEEDS_DJANGO else sys.executable)
        (folder / "bin").mkdir()
        (folder / "bin" / "cresset").symlink_to(program())
        (folder / "here").mkdir()
        for name in ("examples", "python"):
            (folder / "here" / name).symlink_to(REPOSITORY / name)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("CRESSET_")}
        kept.pop("PYTHONPATH", None)
        self.world = WORLDS[page.name](folder, stack) if page.name in WORLDS else World()
        self.environ = kept | {
            # A page that makes an environment goes on in it.
            "PATH": f"{folder / 'bin'}:{folder / 'here' / 'venv' / 'bin'}:{python.parent}:{os.environ['PATH']}",
            "CRESSET_CACHE_DIR": str(dev_env.cache()),
            "CRESSET_URL": f"http://{self.here(SERVER)}",
            "NO_COLOR": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        self.environ |= self.world.environ
        if self.world.listens:
            self.environ["CRESSET_LISTEN"] = self.here(SERVER)

    def here(self, text: str) -> str:
        """The text with this desk's addresses."""

        def mine(match: re.Match[str]) -> str:
            return self.addresses.setdefault(match[0], served.free_address())

        kept: dict[str, str] = {}
        for at, (said, meant) in enumerate(self.world.texts.items()):
            # Out of the way of the addresses, which what stands in its place may have.
            kept[f"\0{at}\0"] = meant
            text = text.replace(said, f"\0{at}\0")
        text = ADDRESS.sub(mine, text)
        for mark, meant in kept.items():
            text = text.replace(mark, meant)
        return text

    def there(self, text: str) -> str:
        """What was printed, with the page's addresses."""
        for said, mine in self.addresses.items():
            text = text.replace(mine, said)
        return text

    def write(self, step: pages.Step) -> None:
        """Writes a file, or adds to it."""
        path = self.folder / "here" / self.here(step.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a" if step.kind == "append" else "x") as file:
            file.write(self.here(step.text))

    def run(self, step: pages.Step) -> None:
        """Runs a command to its end and holds it to what the page says."""
        done = subprocess.run(
            ["bash", "-c", self.here(step.text)],
            cwd=self.folder / "here",
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SLOW,
            check=False,
        )
        printed = self.there(done.stdout)
        where = f"docs/{self.page.relative_to(DOCS)}:{step.line}: {step.text}"
        assert done.returncode == 0, f"{where}\nended with {done.returncode}:\n{printed}\n{self.logs()}"
        assert pages.fits(printed, step.prints), f"{where}\nprinted:\n{printed}\nand not:\n{step.prints}"

    def logs(self) -> str:
        """The ends of what runs."""
        return "\n".join(path.read_text(errors="replace")[-2000:] for path in sorted(self.folder.glob("*.log")))

    def serve(self, step: pages.Step) -> None:
        """Starts a command and waits until it answers; what listened at its address before is stopped first."""
        is_cresset = step.text.split()[0] == "cresset"
        # The address of a broker may be there as well.
        said = LISTEN.search(self.here(step.text)) if is_cresset else ADDRESS.search(self.here(step.text))
        address = said["at"] if said else self.here(SERVER)
        if address in self.running:
            self.running.pop(address).close()
        log = self.folder / f"{step.line}.log"
        with log.open("wb") as sink:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {self.here(step.text)}"],
                cwd=self.folder / "here",
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
            )
        owner = self.stack.enter_context(ExitStack())
        owner.callback(served.stop, process)
        self.running[address] = owner
        (self.folder / "pid").write_text(str(process.pid))
        if is_cresset:
            served.wait_ready(process, address, log)
        else:
            assert said, f"{step.text}: no address of the form 127.0.0.1:PORT to wait for"
            self.wait_open(address, process, log)

    @staticmethod
    def wait_open(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
        """Waits until somebody listens."""
        host, port = address.split(":")
        pause = threading.Event()
        for _ in range(int(LONG / 0.05)):
            with socket.socket() as probe:
                if probe.connect_ex((host, int(port))) == 0:
                    return
            assert process.poll() is None, log.read_text(errors="replace")
            pause.wait(0.05)
        raise AssertionError(f"nobody listens on {address}:\n{log.read_text(errors='replace')}")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("page", RUN, ids=lambda page: page.stem)
def test_the_guide_does_what_it_says(page: Path, tmp_path: Path) -> None:
    with ExitStack() as stack:
        desk = Desk(tmp_path, page, stack)
        left_out: list[pages.Step] = []
        for step in pages.steps(page):
            if step.needs and django_site.program(step.needs) is None:
                if step.needs in os.environ.get("CI_HAS", "").split():
                    pytest.fail(f"{step.needs} is missing; .ci/run installs it", pytrace=False)
                left_out.append(step)
                continue
            if step.kind in {"file", "append"}:
                desk.write(step)
            elif step.kind == "serve":
                desk.serve(step)
            else:
                desk.run(step)
        if left_out:
            told = ", ".join(f"{step.line} ({step.needs} is not installed)" for step in left_out)
            pytest.skip(f"all of {page.name} but the commands at {told}")


def test_no_console_of_a_guide_is_left_out() -> None:
    """A block with `$` that is not run would be one that nobody knows to work."""
    for page in PAGES:
        for match in re.finditer(r"^ *```console(.*)$", page.read_text(), re.MULTILINE):
            words = [word for word in match[1].split() if not word.startswith("with=")]
            assert words in (["run"], ["serve"]), f"{page.name}: {match[0]}"


def test_what_no_page_runs_is_run_elsewhere() -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    for page in PAGES:
        for match in re.finditer(r"^ *```(?:sh|bash|shell)\b.*\n((?:.*\n)*?) *```$", page.read_text(), re.MULTILINE):
            for line in match[1].splitlines():
                command = line.split("#")[0].strip()
                assert command in ELSEWHERE, f"{page.name}: {command}"
                assert (REPOSITORY / ELSEWHERE[command]).exists()
                words = command.split()
                assert words[0] != "make" or re.search(rf"^{words[1]}:", makefile, re.MULTILINE), command


def test_the_guides_that_are_run_are_these() -> None:
    """So that a page does not lose its marks unseen."""
    assert {page.stem for page in RUN} == {
        "batching",
        "behind-a-proxy",
        "django",
        "from-celery",
        "from-torchserve",
        "from-uwsgi",
        "operate",
        "scale",
        "secure",
        "tutorial",
        "your-model",
    }
