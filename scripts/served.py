"""Runs a command beside a Cresset server of its own, and stops the server when the command has ended.

    python3 scripts/served.py examples/digits -- python examples/digits/demo.py --url {url}

The server gets a free port and an empty data directory that is deleted afterwards; `{url}` in the command becomes its
address. Its log goes to a file, shown when something fails. With --keep the server stays until Ctrl-C. Needs nothing
but the standard library. The exit status is 0 when the command's was, 130 when it was interrupted, else 1.
"""

from __future__ import annotations

import argparse
import errno
import http.client
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
SERVER = REPO / "target" / "release" / "cresset"
SECONDS_TO_READY = 120.0
"""Import of torch from a cold disk, load and warm-up; the environment has been built before."""
SECONDS_TO_STOP = 40.0
"""The server's own drain takes 30 s at most."""
SECONDS_BETWEEN_LOOKS = 0.02
PORTS = range(10_240, 32_768)
"""Below those that Linux and macOS give to outgoing connections."""
LINES_OF_LOG = 30
INTERRUPTED = 130
"""What shells mean by an end with Ctrl-C."""


def free_port() -> int:
    """A port of this machine that nobody had a moment ago, and that no outgoing connection is given meanwhile."""
    while True:
        port = PORTS.start + secrets.randbelow(len(PORTS))
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                    raise
            else:
                return port


def free_address() -> str:
    """An address of this machine at such a port."""
    return f"127.0.0.1:{free_port()}"


def is_ready(address: str) -> bool:
    """Whether every model of the server has a live, warmed instance."""
    connection = http.client.HTTPConnection(address, timeout=5)
    try:
        connection.request("GET", "/health/ready")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def wait_ready(server: subprocess.Popen[bytes], address: str, log: Path) -> float:
    """The seconds until the server was ready. Ends the program, with the log's end, when it never is."""
    started = time.monotonic()
    while not is_ready(address):
        waited = time.monotonic() - started
        if server.poll() is not None:
            fail(f"the server ended with status {server.returncode} before it was ready", log)
        if waited > SECONDS_TO_READY:
            stop(server)
            fail(f"the server was not ready after {waited:.0f} s", log)
        time.sleep(SECONDS_BETWEEN_LOOKS)
    return time.monotonic() - started


def stop(server: subprocess.Popen[bytes]) -> None:
    """A polite stop, and a hard one when that takes too long."""
    server.terminate()
    try:
        server.wait(SECONDS_TO_STOP)
    except subprocess.TimeoutExpired:
        say(f"the server did not stop within {SECONDS_TO_STOP:.0f} s; killing it")
        server.kill()
        server.wait()


def fail(text: str, log: Path) -> None:
    """Ends the program with what happened and the last lines of the server's log."""
    say(f"error: {text}; the end of its log:")
    for line in log.read_text(errors="replace").splitlines()[-LINES_OF_LOG:]:
        say(f"  {line}")
    raise SystemExit(1)


def say(text: str) -> None:
    """A line for people."""
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    """Starts, waits, runs, stops."""
    parser = argparse.ArgumentParser(description="Run a command beside a Cresset server of its own.")
    parser.add_argument("models", help="a model folder, or a folder of them")
    parser.add_argument("--listen", default=None, help="an address (default: a free port of 127.0.0.1)")
    parser.add_argument("--keep", action="store_true", help="serve on after the command, until Ctrl-C")
    parser.add_argument("command", nargs="+", help="after --, the command; {url} stands for the server's address")
    wanted = parser.parse_args()

    # So that a kill of this program stops the server too, and a Ctrl-C also when a shell started it in the background.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    ended = False
    address: str = wanted.listen or free_address()
    with tempfile.TemporaryDirectory(prefix="cresset-demo-") as folder:
        log = Path(folder) / "server.log"
        arguments = [SERVER, "serve", wanted.models, "--listen", address, "--data-dir", Path(folder) / "data"]
        with log.open("wb") as sink:
            # Its own session: a Ctrl-C at the terminal is ours to pass on, once.
            server = subprocess.Popen(
                arguments, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, start_new_session=True
            )
        try:
            say(f"serving {wanted.models} at http://{address}: ready after {wait_ready(server, address, log):.1f} s")
            url = f"http://{address}"
            status = subprocess.run([word.replace("{url}", url) for word in wanted.command], check=False).returncode
            if status:
                fail(f"exit status {status} of: {' '.join(wanted.command)}. Nothing may be wrong with the server", log)
            ended = True
            if wanted.keep:
                say(f"still serving at {url}; Ctrl-C stops it")
                server.wait()
                fail(f"the server ended by itself with status {server.returncode}", log)
        except KeyboardInterrupt:
            say("stopping")
        finally:
            if server.poll() is None:
                stop(server)
    return 0 if ended else INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
