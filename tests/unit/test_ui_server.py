"""The server of `doit ui`: who gets an answer, and who does not."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
from collections.abc import Iterator

import pytest

from buildkit.cli.ui_server import UiServer


class Made:
    """What a server shows in these tests."""

    version = 0

    def page(self) -> str:
        return "<!doctype html>"

    def data(self) -> str:
        return "{}"


@pytest.fixture
def made() -> Made:
    return Made()


@pytest.fixture
def server(made: Made) -> Iterator[UiServer]:
    server = UiServer(0, page=made.page, data=made.data, version=lambda: made.version)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.stop()
    thread.join()


@contextlib.contextmanager
def asked(
    server: UiServer, path: str, method: str = "GET", **headers: str
) -> Iterator[http.client.HTTPResponse]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    with contextlib.closing(connection):
        connection.request(method, path, headers=headers)
        yield connection.getresponse()


def status(server: UiServer, path: str, method: str = "GET", **headers: str) -> int:
    with asked(server, path, method, **headers) as answer:
        return answer.status


def test_the_printed_address_leads_to_the_page(server: UiServer) -> None:
    path = server.url.removeprefix(f"http://127.0.0.1:{server.server_port}")
    with asked(server, path) as answer:
        assert (answer.status, answer.read()) == (200, b"<!doctype html>")
    assert status(server, f"{path}data.json") == 200


def test_each_server_has_a_token_of_its_own_that_is_long_enough(server: UiServer, made: Made) -> None:
    other = UiServer(0, page=made.page, data=made.data, version=lambda: 0)
    other.server_close()
    assert other.token != server.token
    assert len(server.token) >= 32


@pytest.mark.parametrize("path", ["/", "/data.json", "/events", "/wrong/", "//", "/%2e%2e/", "/\xff/"])
def test_without_the_token_nothing_is_shown(server: UiServer, path: str) -> None:
    assert status(server, path.encode().decode("latin-1") if path.isascii() else "/%FF/") == 403


def test_a_part_of_the_token_is_not_enough(server: UiServer) -> None:
    assert status(server, f"/{server.token[:-1]}/") == 403
    assert status(server, f"/{server.token}x/") == 403


def test_the_token_is_compared_in_constant_time(server: UiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return False

    monkeypatch.setattr("buildkit.cli.ui_server.hmac.compare_digest", compare)
    assert status(server, f"/{server.token}/") == 403
    assert compared == [(server.token.encode(), server.token.encode())]


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "", "[::1]:{port}"]
)
def test_a_foreign_name_for_this_address_gets_nothing_even_with_the_token(
    server: UiServer, host: str
) -> None:
    host = host.format(port=server.server_port)
    assert status(server, f"/{server.token}/data.json", Host=host) == 403


def test_localhost_is_our_name_too(server: UiServer) -> None:
    assert status(server, f"/{server.token}/", Host=f"localhost:{server.server_port}") == 200


@pytest.mark.parametrize("path", ["other", "data.json/", "../", "%2e%2e/etc/passwd", "assets/page.css"])
def test_there_is_nothing_beside_the_page_its_data_and_its_events(server: UiServer, path: str) -> None:
    assert status(server, f"/{server.token}/{path}") == 404
    assert status(server, f"/{server.token}") == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_nothing_but_reading_is_understood(server: UiServer, method: str) -> None:
    assert status(server, f"/{server.token}/", method) == 501


def test_no_answer_lets_another_origin_read_it(server: UiServer) -> None:
    with asked(server, f"/{server.token}/data.json", Origin="https://evil.example") as answer:
        names = {name.lower() for name in answer.headers}
        assert not any(name.startswith("access-control") for name in names)
        assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert answer.headers["Cache-Control"] == "no-store"


def test_it_listens_on_loopback_alone(server: UiServer) -> None:
    assert server.server_address[0] == "127.0.0.1"


def test_a_report_that_cannot_be_made_is_an_answer_and_the_server_goes_on(
    server: UiServer, made: Made
) -> None:
    def fail() -> str:
        raise RuntimeError("the disk is gone")

    server.data = fail
    with asked(server, f"/{server.token}/data.json") as answer:
        assert answer.status == 503
        assert b"the disk is gone" in answer.read()
    assert status(server, f"/{server.token}/") == 200


def test_a_change_is_told_to_those_who_follow(server: UiServer, made: Made) -> None:
    with asked(server, f"/{server.token}/events") as answer:
        assert answer.headers["Content-Type"] == "text/event-stream"
        assert answer.readline() == b"retry: 1000\n"
        made.version = 1
        assert answer.readline() == b"\n"
        assert answer.readline() == b"event: changed\n"


def test_stopping_ends_those_who_follow(made: Made) -> None:
    server = UiServer(0, page=made.page, data=made.data, version=lambda: 0)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    with asked(server, f"/{server.token}/events") as answer:
        answer.readline()
        server.stop()
        thread.join()
        assert answer.read() == b"\n"


def test_a_taken_port_is_said_at_once(made: Made) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            UiServer(port, page=made.page, data=made.data, version=lambda: 0)
