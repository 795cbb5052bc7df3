"""What pages take for granted around the server: a Redis at its usual port, a certificate, an nginx, a name in the DNS.

Each gives the texts of a page that mean something else on this machine, and ends with the page.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import django_site
import served
from support.application import redis_or_skip
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


WORLDS = {"from-celery.md": with_redis, "behind-a-proxy.md": on_the_internet}
"""The pages that take something for granted."""
