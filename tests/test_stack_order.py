"""Services one after another: each as soon as what it depends on is done, none after a failure."""

from __future__ import annotations

import socket
import threading

import pytest

from runlab.model import LabError
from runlab.stack import block
from runlab.stack.services import in_order


def test_each_waits_for_what_it_depends_on_and_no_longer() -> None:
    order: list[str] = []
    together = threading.Barrier(2, timeout=5)

    def work(name: str) -> None:
        if name in {"left", "right"}:
            together.wait()
        order.append(name)

    assert in_order({"last": ["left", "right"], "left": ["first"], "right": ["first"], "first": []}, work) == {}
    assert (order[0], set(order[1:3]), order[3]) == ("first", {"left", "right"}, "last")


def test_what_depends_on_a_failure_is_left_out() -> None:
    done: list[str] = []

    def work(name: str) -> None:
        if name == "bad":
            raise LabError("broken")
        done.append(name)

    failures = in_order({"bad": [], "after": ["bad"], "later": ["after"], "other": []}, work)
    assert [str(error) for error in failures.values()] == ["broken"]
    assert list(failures) == ["bad"]
    assert done == ["other"]


def test_two_runs_of_the_same_id_get_blocks_of_their_own() -> None:
    first, here = block.take("a run", {"api": []})
    second, there = block.take("a run", {"api": []})
    with first, second:
        assert here["api"].rpartition(".")[0] != there["api"].rpartition(".")[0]
    third, again = block.take("a run", {"api": []})
    with third:
        assert again == here


def test_a_port_in_use_everywhere_is_one_line_that_says_so() -> None:
    with socket.create_server(("0.0.0.0", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(LabError, match=rf"no free loopback block .*: port {port}, needed by api, is occupied on"):
            block.take("a run", {"api": [port]})
