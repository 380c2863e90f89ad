"""The live line: one line on a terminal that cleans itself, a line every ten seconds in a log."""

from __future__ import annotations

import io

import pytest
from rich.cells import cell_len

from runlab.reporting import live


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def a_terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")


def test_live_line_is_drawn_at_most_ten_times_a_second_and_cleans_up(a_terminal):
    now = [100.0]
    stream = Tty()
    line = live.LiveLine(stream, arm="TestLockTimeout/fault", clock=lambda: now[0])
    for i in range(100):
        now[0] += 0.01
        line.update("alert DatabaseMigrationFailed", i / 100, 20.0)
    drawn = stream.getvalue()
    assert drawn.count("⏳ alert DatabaseMigrationFailed") == 10
    assert "of 20 s   TestLockTimeout/fault\x1b" in drawn
    line.done()
    assert stream.getvalue().endswith(live.LINE_BELOW + live.CLEAR + live.RESTORE)


def test_live_line_stays_in_its_line(a_terminal):
    stream = Tty()
    live.LiveLine(stream, arm="a" * 300).update("w" * 300 + "\n\x1b[2J", 1.0, 2.0)
    drawn = stream.getvalue()
    assert "\n" not in drawn
    assert "\x1b[2J" not in drawn
    assert cell_len(drawn.split(live.WRAP_OFF)[1].split(live.WRAP_ON)[0]) < 80


def test_live_line_leaves_a_silent_terminal_alone(a_terminal):
    stream = Tty()
    live.LiveLine(stream).done()
    assert stream.getvalue() == ""


def test_without_a_terminal_a_line_every_ten_seconds():
    stream = io.StringIO()
    line = live.LiveLine(stream)
    for second in range(9):
        line.update("x", second, 30)
    line.done()
    assert stream.getvalue() == ""
    for tenth in range(300):
        line.update("x", tenth / 10, 30)
    assert [s.split()[2] for s in stream.getvalue().split("\n") if s] == ["10.0", "20.0"]


def test_live_line_survives_a_stream_that_knows_no_hourglass(tmp_path):
    with (tmp_path / "log").open("w", encoding="latin-1") as stream:
        live.LiveLine(stream).update("x", 11, 30)
    assert "11.0 s of 30 s" in (tmp_path / "log").read_text(encoding="latin-1")
