"""faults.toxiproxy: a server that refuses, lies, is silent or hangs; what a real one does is in tests/e2e."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from faults.toxiproxy import Toxic, Toxiproxy
from runlab.model import LabError

SLOW = Toxic("slow", "latency", attributes={"latency": 100})
PROXY = {"name": "db", "listen": "127.0.0.1:1234", "upstream": "h:5432", "enabled": True, "toxics": []}
Answer = tuple[int, object]
Serve = Callable[[dict[str, Answer]], Toxiproxy]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts a server that gives, to "METHOD path", always the same answer; without one it never answers."""
    running: list[ThreadingHTTPServer] = []
    ended = threading.Event()

    def start(answers: dict[str, Answer]) -> Toxiproxy:
        class Scripted(BaseHTTPRequestHandler):
            def answer(self) -> None:
                if f"{self.command} {self.path}" not in answers:
                    ended.wait(10)
                    return
                status, body = answers[f"{self.command} {self.path}"]
                self.send_response(status)
                self.end_headers()
                self.wfile.write(body if isinstance(body, bytes) else json.dumps(body).encode())

            do_GET = do_POST = do_DELETE = answer  # noqa: N815

            def log_message(self, *_: object) -> None: ...

        server = ThreadingHTTPServer(("127.0.0.1", 0), Scripted)
        running.append(server)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return Toxiproxy("127.0.0.1", server.server_port, time_limit_s=0.5)

    yield start
    ended.set()
    for server in running:
        server.shutdown()
        server.server_close()


def refusal(answer: Callable[[], object]) -> str:
    with pytest.raises(LabError) as caught:
        answer()
    assert caught.value.where.startswith("toxiproxy 127.0.0.1:")
    return caught.value.message


@pytest.mark.parametrize("status", [400, 404, 409])
def test_a_refusal_is_told_in_the_servers_words(serve: Serve, status: int) -> None:
    server = serve({"POST /proxies": (status, {"error": "missing required field: upstream", "status": status})})
    assert refusal(lambda: server.create("db", upstream="")) == "missing required field: upstream"


@pytest.mark.parametrize("status", [403, 500, 503])
def test_an_error_that_the_library_takes_for_success_is_one(serve: Serve, status: int) -> None:
    server = serve({"POST /proxies": (status, {"error": "listen tcp: address in use"}), "GET /proxies": (200, {})})
    assert refusal(lambda: server.create("db", upstream="h:1")) == f"{status} listen tcp: address in use"


def test_a_server_that_hangs_is_given_up(serve: Serve) -> None:
    assert refusal(serve({}).proxies) == "does not answer: ReadTimeout"


def test_a_server_that_is_not_there_is_said_so() -> None:
    assert refusal(Toxiproxy("127.0.0.1", 1).proxies) == "does not answer: ConnectionError"


def test_no_json_is_no_answer(serve: Serve) -> None:
    assert refusal(serve({"GET /proxies": (200, b"<html>")}).proxies) == "answers no JSON: <html>"


def test_what_was_not_done_is_noticed_by_reading_it_back(serve: Serve) -> None:
    other = {**PROXY, "upstream": "elsewhere:1"}
    ok = {"POST /proxies": (201, PROXY), "POST /proxies/db/toxics": (200, {}), "DELETE /proxies/db": (204, b"")}
    ok["POST /proxies/db"] = (200, PROXY)
    assert refusal(lambda: serve({**ok, "GET /proxies": (200, {})}).create("db", upstream="h:5432")) == (
        "it has no proxy db"
    )
    lying = serve({**ok, "GET /proxies": (200, {"db": other})})
    assert refusal(lambda: lying.create("db", upstream="h:5432")) == (
        "proxy db has upstream 'elsewhere:1', not 'h:5432'"
    )
    still = serve({**ok, "GET /proxies": (200, {"db": PROXY})})
    assert refusal(lambda: still.create("db", upstream="h:5432", listen="127.0.0.1:1")) == (
        "proxy db has listen '127.0.0.1:1234', not '127.0.0.1:1'"
    )
    assert refusal(lambda: still.remove("db")) == "proxy db is still there after its removal"
    assert refusal(lambda: still.enable("db", enabled=False)) == "proxy db has enabled True, not False"
    assert refusal(lambda: still.add_toxic("db", SLOW)) == "toxic slow of proxy db is not there although it was added"


def test_a_toxic_that_stays_or_is_another_is_noticed(serve: Serve) -> None:
    toxic = {"name": "slow", "type": "latency", "stream": "downstream", "toxicity": 1.0, "attributes": {"latency": 0}}
    server = serve(
        {
            "GET /proxies": (200, {"db": {**PROXY, "toxics": [toxic]}}),
            "POST /proxies/db/toxics": (200, toxic),
            "DELETE /proxies/db/toxics/slow": (204, b""),
        }
    )
    assert refusal(lambda: server.add_toxic("db", SLOW)) == (
        "toxic slow has attributes {'latency': 0}, not {'latency': 100}"
    )
    assert refusal(lambda: server.remove_toxic("db", "slow")) == (
        "toxic slow of proxy db is still there after its removal"
    )


def test_two_servers_are_kept_apart(serve: Serve) -> None:
    first, second = serve({"GET /proxies": (200, {"db": PROXY})}), serve({"GET /proxies": (200, {})})
    assert (list(first.proxies()), list(second.proxies()), list(first.proxies())) == (["db"], [], ["db"])


def test_what_is_not_there_needs_no_removal(serve: Serve) -> None:
    server = serve({"GET /proxies": (200, {})})
    server.remove("db")
    server.remove_toxic("db", "slow")
