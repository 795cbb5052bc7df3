"""The blocking client's own connections, against a server that is told byte for byte what to answer."""

from __future__ import annotations

import gzip
import json
import signal
import socket
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest

import cresset
from cresset.client._lines import route
from cresset.client._pools import base_options
from cresset.errors import ApiError, ConnectionFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

Answer = bytes | None
"""What is sent for a request; `None` ends the connection instead."""
MODELS = b'{"models":[]}'
UNKNOWN_SIZE = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


def sized(body: bytes = MODELS, *more: bytes, status: bytes = b"200 OK") -> bytes:
    head = b"".join(line + b"\r\n" for line in (b"content-length: %d" % len(body), *more))
    return b"HTTP/1.1 " + status + b"\r\n" + head + b"\r\n" + body


class Server:
    """Answers from a script, whoever asks; says how many connections there were, and what they sent."""

    def __init__(self, listener: socket.socket, script: list[Answer | Callable[[socket.socket], None]]) -> None:
        self.listener = listener
        self.script = script
        self.connections = 0
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.closed = threading.Semaphore(0)
        """Released for each connection that this side has ended."""

    @property
    def url(self) -> str:
        name = self.listener.getsockname()
        return f"unix:{name}" if isinstance(name, str) else f"http://127.0.0.1:{name[1]}"

    def run(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            with connection:
                self.serve(connection)
            self.closed.release()

    def serve(self, connection: socket.socket) -> None:
        while self.script:
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                byte = connection.recv(1)
                if not byte:
                    return
                head += byte
            answer = self.script.pop(0)
            self.heads.append(head)
            if callable(answer):
                answer(connection)
                return
            lines = head.lower().split(b"\r\n")
            length = next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), 0)
            body = b""
            while len(body) < length:
                body += connection.recv(length - len(body))
            self.bodies.append(body)
            if answer is None:
                return
            connection.sendall(answer)
            if b"connection: close" in answer:
                return


@contextmanager
def serving(*script: Answer | Callable[[socket.socket], None], at: Path | None = None) -> Generator[Server, None, None]:
    """Such a server, on a port of its own or at a path."""
    if at is None:
        listener = socket.create_server(("127.0.0.1", 0))
    else:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(at))
        listener.listen()
    server = Server(listener, list(script))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield server
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def test_one_connection_carries_request_after_request():
    with serving(sized(), sized(), sized()) as server, cresset.Client(server.url) as client:
        assert [client.models() for _ in range(3)] == [[], [], []]
    assert server.connections == 1
    assert all(head.startswith(b"GET /v1/models HTTP/1.1\r\nhost: 127.0.0.1:") for head in server.heads)
    assert all(b"\r\nuser-agent: cresset-python/" in head.lower() for head in server.heads)


def test_a_connection_that_the_server_has_ended_meanwhile_is_made_anew_without_an_error():
    with serving(sized(), sized(MODELS, b"connection: close"), sized()) as server:
        server.script.insert(1, lambda connection: connection.close())
        with cresset.Client(server.url, retries=0) as client:
            client.models()
            with pytest.raises(ConnectionFailed):  # ended between the request and its answer: that is an error
                client.models()
            server.closed.acquire()
            client.models()
            server.closed.acquire()
            client.models()
    assert server.connections == 3


def test_a_server_that_ends_idle_connections_costs_no_request():
    def answer_and_end(connection: socket.socket) -> None:
        connection.sendall(sized())  # and it does not say that it will end it

    with serving(*[answer_and_end] * 5) as server, cresset.Client(server.url, retries=0) as client:
        for _ in range(5):
            client.models()
            server.closed.acquire()
    assert server.connections == 5


@pytest.mark.parametrize(
    "answer",
    [
        UNKNOWN_SIZE + b'5\r\n{"mod\r\n8\r\nels":[]}\r\n0\r\n\r\n',
        sized(gzip.compress(MODELS), b"content-encoding: gzip"),
        b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n" + MODELS,
        b"HTTP/1.1 100 Continue\r\n\r\n" + sized(),
        b"HTTP/1.0 200 OK\r\ncontent-length: 13\r\n\r\n" + MODELS,
    ],
    ids=["chunked", "gzip", "until its end", "after 100", "HTTP/1.0"],
)
def test_an_answer_is_read_in_whichever_form_it_comes(answer: bytes):
    with serving(answer, sized()) as server, cresset.Client(server.url) as client:
        assert client.models() == []


@pytest.mark.parametrize(
    "answer",
    [
        sized()[:-3],
        UNKNOWN_SIZE + b'5\r\n{"mod\r\n',
        UNKNOWN_SIZE + b"zz\r\n",
        sized(gzip.compress(MODELS)[:-9], b"content-encoding: gzip"),
        sized(b"not gzip at all", b"content-encoding: gzip"),
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 200 + b"\r\n",
        b"",
    ],
    ids=["short", "cut chunk", "bad chunk", "cut gzip", "no gzip", "ssh", "no status", "heads", "nothing"],
)
def test_half_an_answer_is_no_answer_and_its_connection_is_not_used_again(answer: bytes):
    def say(connection: socket.socket) -> None:
        connection.sendall(answer)

    with serving(say, sized()) as server, cresset.Client(server.url, retries=0) as client:
        with pytest.raises(ConnectionFailed, match=r"the connection broke: .*127\.0\.0\.1"):
            client.models()
        assert client.models() == []
    assert server.connections == 2


def test_a_refusal_that_comes_before_the_body_is_read_is_heard():
    problem = json.dumps(
        {"code": "payload_too_large", "status": 413, "title": "T", "detail": "16 MiB at most"}
    ).encode()

    def refuse(connection: socket.socket) -> None:
        answer = sized(problem, b"content-type: application/problem+json", status=b"413 Content Too Large")
        connection.sendall(answer)
        connection.shutdown(socket.SHUT_WR)
        connection.recv(1000)

    with (
        serving(refuse) as server,
        cresset.Client(server.url, retries=0) as client,
        pytest.raises(ApiError, match="16 MiB at most"),
    ):
        # More than the kernel's buffers hold, so that sending fails while most of it is here.
        client.submit("m", "x" * (64 << 20))


def test_a_large_body_arrives_whole():
    accepted = sized(b'{"task_id":"t"}', b"content-type: application/json", status=b"202 Accepted")
    with serving(accepted, accepted) as server, cresset.Client(server.url) as client:
        for size in (100, 5 << 20):
            assert client.submit("m", "x" * size).id == "t"
    assert [len(body) for body in server.bodies] == [len(b'{"input":""}') + size for size in (100, 5 << 20)]
    assert server.connections == 1


def test_silence_is_told_as_such_and_the_late_answer_is_nobody_elses():
    go_on = threading.Event()

    def late(connection: socket.socket) -> None:
        go_on.wait(30)
        connection.sendall(sized(b'{"models":[{"name":"late"}]}'))

    with serving(late, sized()) as server, cresset.Client(server.url, timeout=0.1, retries=0) as client:
        with pytest.raises(ConnectionFailed, match="did not answer in time"):
            client.models()
        go_on.set()
        with cresset.Client(server.url, retries=0) as patient:
            assert patient.models() == []


def test_an_interrupted_call_leaves_no_answer_for_the_next_one():
    class Interrupted(BaseException):
        pass

    def interrupt(*_: Any) -> None:
        raise Interrupted

    def after_the_signal(connection: socket.socket) -> None:
        signal.raise_signal(signal.SIGUSR1)  # Python runs the handler in the main thread, which reads meanwhile
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
        connection.sendall(sized(b'{"models":[{"name":"nobody\'s"}]}'))

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with serving(after_the_signal, sized()) as server, cresset.Client(server.url, retries=0) as client:
            with pytest.raises(Interrupted):
                client.models()
            assert client.models() == []
        assert server.connections == 2
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_no_server_is_no_connection():
    with serving() as server:
        url = server.url
    with cresset.Client(url, retries=0) as client, pytest.raises(ConnectionFailed, match=r"cannot connect: .*refused"):
        client.models()


def test_a_socket_in_the_file_system(tmp_path: Path):
    with serving(sized(), sized(), at=tmp_path / "s") as server, cresset.Client(server.url) as client:
        client.models()
        client.models()
    assert server.connections == 1
    assert b"\r\nhost: localhost\r\n" in server.heads[0]


def test_a_path_before_all_paths_and_headers_of_ones_own():
    headers = {"X-Site": "a b", "Host": "models.example"}
    with (
        serving(sized(), sized()) as server,
        cresset.Client(server.url + "/in/here/", headers=headers, key="k") as client,
    ):
        client.models()
    lines = server.heads[0].lower().split(b"\r\n")
    assert lines[0] == b"get /in/here/v1/models http/1.1"
    assert {b"x-site: a b", b"host: models.example", b"authorization: bearer k"} <= set(lines)
    assert sum(line.startswith(b"host:") for line in lines) == 1


def test_a_header_of_a_request_takes_the_place_of_the_one_that_all_have():
    answer = sized(b'{"result":1,"model":"m","version":"1"}', b"content-type: application/json")
    about = sized(b'{"name":"m","version":"1","kind":"object","inputs":[],"outputs":[],"instances":[]}')
    with serving(answer, about) as server, cresset.Client(server.url, retries=0) as client, suppress(Exception):
        client.predict("m", 1, as_="numpy")
    accepted = [line for line in server.heads[0].lower().split(b"\r\n") if line.startswith(b"accept:")]
    assert len(accepted) == 1
    assert b"safetensors" in accepted[0]


def test_a_header_that_would_end_the_head_is_refused():
    with pytest.raises(ValueError, match="'X-Site' has a line break"):
        cresset.Client(headers={"X-Site": "a\r\nx: y"})


def test_proxies_and_passwords_are_left_to_httpx(monkeypatch: pytest.MonkeyPatch):
    def own(url: str) -> bool:
        return route(url, base_options(url, None, None, "test")) is not None

    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    assert own("http://models.example")
    assert own("https://models.example:8443/x")
    assert not own("http://me:secret@models.example")
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    assert not own("http://models.example")
    assert own("http://127.0.0.1:8700"), "a proxy has no way to this machine"


def test_threads_each_have_a_connection_of_their_own():
    together = threading.Barrier(4, timeout=30)

    def serve_all(listener: socket.socket, answered: list[int]) -> None:
        def one(connection: socket.socket) -> None:
            with connection:
                connection.recv(65536)
                together.wait()  # four requests are here at once
                connection.sendall(sized(MODELS, b"connection: close"))

        threads = [threading.Thread(target=one, args=(listener.accept()[0],)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
            answered.append(1)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        answered: list[int] = []
        server = threading.Thread(target=serve_all, args=(listener, answered))
        server.start()
        with cresset.Client(f"http://127.0.0.1:{listener.getsockname()[1]}", retries=0) as client:
            callers = [threading.Thread(target=client.models) for _ in range(4)]
            for caller in callers:
                caller.start()
            for caller in callers:
                caller.join()
        server.join()
    assert len(answered) == 4
