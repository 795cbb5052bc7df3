"""The classical stack: nginx, uWSGI with Django, Celery, Redis. Starts all of it and stays; ends all of it at SIGTERM.

Redis is a process of its own on a free port that writes nothing to disk. Without nginx on the PATH uWSGI's own HTTP
router stands in front, and a line says so.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
BIN = Path(sys.executable).parent
PORT = os.environ["BENCH_PORT"]
WORKERS = os.environ["BENCH_WORKERS"]
NGINX = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  keepalive_requests 1000000;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      uwsgi_pass unix:{folder}/uwsgi.sock;
      uwsgi_param QUERY_STRING $query_string;
      uwsgi_param REQUEST_METHOD $request_method;
      uwsgi_param CONTENT_TYPE $content_type;
      uwsgi_param CONTENT_LENGTH $content_length;
      uwsgi_param REQUEST_URI $request_uri;
      uwsgi_param PATH_INFO $document_uri;
      uwsgi_param SERVER_PROTOCOL $server_protocol;
      uwsgi_param SERVER_NAME $server_name;
      uwsgi_param SERVER_PORT $server_port;
    }}
  }}
}}
"""


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def commands(folder: Path, redis_port: int) -> list[list[str]]:
    """What makes up the stack, in the order of its start."""
    uwsgi = [str(BIN / "uwsgi"), "--chdir", str(HERE), "--module", "app:application", "--master", "--lazy-apps"]
    uwsgi += ["--processes", WORKERS, "--listen", "1024", "--disable-logging", "--die-on-term", "--need-app"]
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if nginx:
        uwsgi += ["--socket", str(folder / "uwsgi.sock"), "--chmod-socket=666"]
    else:
        print("nginx is not installed: uWSGI's own HTTP router stands in front", flush=True)
        uwsgi += ["--http", f"127.0.0.1:{PORT}", "--http-keepalive"]
    celery = [str(BIN / "python"), "-m", "celery", "--workdir", str(HERE), "--app", "tasks", "worker"]
    celery += ["--pool", "prefork", "--concurrency", WORKERS, "--loglevel", "WARNING"]
    celery += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    redis = ["redis-server", "--bind", "127.0.0.1", "--port", str(redis_port), "--save", "", "--appendonly", "no"]
    made = [[*redis, "--dir", str(folder)], uwsgi, celery]
    if nginx:
        (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=PORT))
        made.append([nginx, "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")])
    return made


def main() -> int:
    """Starts the parts and waits until one ends, or SIGTERM comes."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    parts: list[subprocess.Popen[bytes]] = []
    with tempfile.TemporaryDirectory(prefix="cresset-bench-") as folder:
        redis_port = free_port()
        os.environ["BENCH_REDIS"] = f"redis://127.0.0.1:{redis_port}/0"
        os.chmod(folder, 0o755)  # noqa: PTH101, S103 - nginx's workers run as another user
        try:
            parts.extend(subprocess.Popen(command) for command in commands(Path(folder), redis_port))
            while all(part.poll() is None for part in parts):
                time.sleep(0.2)
            return 1
        finally:
            for part in reversed(parts):
                part.terminate()
            for part in parts:
                part.wait(10)


if __name__ == "__main__":
    sys.exit(main())
