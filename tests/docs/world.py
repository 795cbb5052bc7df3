"""What pages take for granted around the server: a Redis at its usual port, a certificate, an nginx, a name in the DNS,
a systemd, a PostgreSQL on another machine.

Each gives the texts of a page that mean something else on this machine, and ends with the page.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import django_site
import served
from support.application import redis_or_skip
from support.postgres import postgres_or_skip
from support.programs import needed

HOST = "ml.example.com"
CERTIFICATES = f"/etc/letsencrypt/live/{HOST}"
AROUND = django_site.AROUND.replace("site.conf", "*.conf")
KINDS = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


@dataclass
class World:
    """Where a page's texts lead on this machine."""

    texts: dict[str, str] = field(default_factory=dict)
    """Each text of the page, and what stands in its place."""
    environ: dict[str, str] = field(default_factory=dict)
    """More for the page's commands."""
    listens: bool = True
    """Whether the server is told where to listen; else the page's settings say it."""


def with_redis(folder: Path, stack: ExitStack) -> World:
    """A Redis where everybody's is."""
    redis = redis_or_skip(folder)
    stack.callback(redis.stop)
    return World({"127.0.0.1:6379": f"127.0.0.1:{redis.port}"})


def on_the_internet(folder: Path, stack: ExitStack) -> World:
    """A machine that has a name in the DNS, a certificate for it, and an nginx that serves nothing yet."""
    # A socket's path may have 107 bytes, and those of pytest's folders are long.
    short = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cresset-")))
    conf = folder / "nginx"
    conf.mkdir()
    certificate(folder)
    world, ports = World(listens=False), {}
    for text, form in [("0.0.0.0:8443", "{}"), ("listen 443 ssl", "listen {} ssl")]:
        address = served.free_address()
        ports["8443" if "8443" in text else "443"] = address
        world.texts[text] = form.format(address)
    world.texts |= {"/run/cresset/": f"{short}/", f"{CERTIFICATES}/": f"{folder}/", "/etc/nginx/conf.d/": f"{conf}/"}
    # To curl the name is this machine.
    lines = [f'connect-to = "{HOST}:{port}:{address}"' for port, address in ports.items()]
    (folder / ".curlrc").write_text("\n".join([*lines, f'cacert = "{folder / "ca.pem"}"', ""]))
    world.environ = {"CURL_HOME": str(folder)}
    if django_site.program("nginx") is not None:
        nginx(folder, conf, stack)
    return world


def certificate(folder: Path) -> None:
    """A certificate for the name, and the authority that signed it."""
    openssl = needed("openssl")
    new = [openssl, "req", "-x509", "-nodes", "-days", "2", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    authority = ["-subj", "/CN=ca", "-keyout", "ca.key", "-out", "ca.pem"]
    names = ["-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST}", "-addext", "basicConstraints=CA:FALSE"]
    signed = [*names, "-CA", "ca.pem", "-CAkey", "ca.key", "-keyout", "privkey.pem", "-out", "fullchain.pem"]
    for more in (authority, signed):
        subprocess.run([*new, *more], cwd=folder, check=True, capture_output=True)


def nginx(folder: Path, conf: Path, stack: ExitStack) -> None:
    """The machine's own nginx, started with nothing to serve; `nginx` of the page's commands is this one."""
    program = needed("nginx")
    temporary = "\n    ".join(f"{kind}_temp_path {folder}/{kind};" for kind in KINDS)
    user = "user root;" if os.geteuid() == 0 else ""
    types = "types { text/html html; }"
    text = AROUND.replace("include {mime};", types.replace("{", "{{").replace("}", "}}"))
    config = folder / "nginx.conf"
    config.write_text(text.format(folder=conf, user=user, temporary=temporary))
    wrapper = folder / "bin" / "nginx"
    wrapper.write_text(f'#!/bin/sh\nexec "{program}" -c "{config}" -e "{conf}/nginx.log" "$@"\n')
    wrapper.chmod(0o755)
    process = subprocess.Popen([wrapper], stdin=subprocess.DEVNULL, stdout=sys.stderr, stderr=sys.stderr)
    stack.callback(served.stop, process)


SYSTEMCTL = """#!/bin/sh -e
# `systemctl` where no systemd runs: it stops the page's server, and starts it again.
[ "$2" = cresset ]
at="{folder}/pid"
runs() {{ readlink "/proc/$(cat "$at")/exe" >/dev/null 2>&1; }}
case "$1" in
stop) kill "$(cat "$at")"; while runs; do sleep 0.05; done ;;
start)
    setsid cresset serve echo --data-dir data >"{folder}/systemd.log" 2>&1 </dev/null &
    echo $! >"$at"
    until curl -fs "$CRESSET_URL/health/ready" >/dev/null; do runs; sleep 0.05; done ;;
*) exit 1 ;;
esac
"""


def with_systemd(folder: Path, stack: ExitStack) -> World:
    """A machine on which systemd has the page's server; its folders are the page's."""
    systemctl = folder / "bin" / "systemctl"
    systemctl.write_text(SYSTEMCTL.format(folder=folder))
    systemctl.chmod(0o755)

    def end() -> None:
        process, pause = int((folder / "pid").read_text()), threading.Event()
        while Path(f"/proc/{process}/fd/0").exists():
            os.kill(process, signal.SIGTERM)
            pause.wait(0.05)

    stack.callback(end)
    return World({"/backups/today": "backup", "/var/lib/cresset": "data"})


def with_postgresql(_folder: Path, stack: ExitStack) -> World:
    """A PostgreSQL of all machines, and a gateway that has a name; both are this one."""
    database = postgres_or_skip()
    stack.callback(database.drop)
    gateway = served.free_address()
    at_gateway = dict.fromkeys(("0.0.0.0:8700", "gateway-1:8700", "127.0.0.1:8700"), gateway)
    return World({"postgresql://cresset@db.internal/cresset": database.url, **at_gateway})


WORLDS = {
    "from-celery.md": with_redis,
    "behind-a-proxy.md": on_the_internet,
    "operate.md": with_systemd,
    "scale.md": with_postgresql,
}
"""The pages that take something for granted."""
