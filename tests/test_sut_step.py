"""A step of the deploy pipeline: real processes, their output, their deadline."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from sut.pipeline.step import Outcome, Step, last_words, run

IGNORES_TERM = "import os,signal,sys,time; signal.signal(15, signal.SIG_IGN); print(os.getpid(), flush=True); "


def python(code: str, deadline_s: float | None = 20.0, **environment: str) -> Step:
    return Step("a step", ((sys.executable, "-c", code),), deadline_s, environment)


def programs(*codes: str, together: bool) -> Step:
    return Step("a step", tuple((sys.executable, "-c", code) for code in codes), 20.0, together=together)


def lines(caplog: pytest.LogCaptureFixture, stream: str) -> list[str]:
    return [record.getMessage() for record in caplog.records if getattr(record, "stream", "") == stream]


def gone(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    return True


@pytest.fixture(autouse=True)
def _log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "sut.pipeline")


def test_every_line_reaches_the_log_unaltered(caplog: pytest.LogCaptureFixture) -> None:
    code = "import sys; print('  %s \"quoted\" {x} é\\n\\nlast, no newline', end=''); sys.stderr.write('err\\n')"
    assert asyncio.run(run(python(code))).error is None
    assert lines(caplog, "stdout") == ['  %s "quoted" {x} é', "", "last, no newline"]
    assert lines(caplog, "stderr") == ["err"]


def test_a_status_other_than_0_is_a_failure() -> None:
    assert asyncio.run(run(python("raise SystemExit(3)"))).error == "a step: ended with status 3"


def test_a_command_that_does_not_exist_is_a_failure() -> None:
    outcome = asyncio.run(run(Step("a step", (("/does/not/exist",),))))
    assert outcome.error is not None
    assert outcome.error.startswith("a step: cannot be started")


def test_its_environment_is_added_to_the_pipelines_own(caplog: pytest.LogCaptureFixture) -> None:
    code = "import os; print(os.environ['GIVEN'], 'PATH' in os.environ)"
    asyncio.run(run(python(code, GIVEN="value")))
    assert lines(caplog, "stdout") == ["value True"]


def test_the_client_process_ends_at_the_deadline() -> None:
    outcome = asyncio.run(run(python("import time; time.sleep(60)", deadline_s=0.3)))
    assert outcome.error == "a step: not done within 0.3 s, client process ended"
    assert 0.3 <= outcome.seconds < 5


def test_what_ignores_sigterm_is_killed(caplog: pytest.LogCaptureFixture) -> None:
    outcome = asyncio.run(run(python(IGNORES_TERM + "time.sleep(60)", deadline_s=0.5)))
    assert outcome.error is not None
    assert outcome.seconds < 10
    assert gone(int(lines(caplog, "stdout")[0]))


def test_whoever_cancels_a_step_ends_its_process(caplog: pytest.LogCaptureFixture) -> None:
    async def cancel() -> None:
        task: asyncio.Task[Outcome] = asyncio.create_task(run(python(IGNORES_TERM + "time.sleep(60)")))
        while not lines(caplog, "stdout"):  # noqa: ASYNC110 - a log record is no event
            await asyncio.sleep(0.01)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    assert gone(int(lines(caplog, "stdout")[0]))


def test_commands_run_one_after_the_other_up_to_the_first_that_fails() -> None:
    outcome = asyncio.run(run(programs("print(1)", "print(2); raise SystemExit(5)", "print(3)", together=False)))
    assert (outcome.error, outcome.output) == ("a step: ended with status 5", "1\n2\n")


def test_together_each_runs_to_its_end_and_one_failure_is_the_steps(tmp_path: Path) -> None:
    mine, other = tmp_path / "mine", tmp_path / "other"
    meet = (
        "import pathlib, sys, time\npathlib.Path({!r}).touch()\nwhile not pathlib.Path({!r}).exists(): time.sleep(0.01)"
    )
    codes = meet.format(str(mine), str(other)) + "\nsys.exit(4)", meet.format(str(other), str(mine)) + "\nprint(2)"
    outcome = asyncio.run(run(programs(*codes, together=True)))
    assert (outcome.error, outcome.output) == ("a step: 1 of 2 ended with status 4", "2\n")


def test_the_deadline_is_the_whole_steps_and_ends_every_process(caplog: pytest.LogCaptureFixture) -> None:
    step = programs(IGNORES_TERM + "time.sleep(60)", IGNORES_TERM + "time.sleep(60)", together=True)
    outcome = asyncio.run(run(Step(step.name, step.commands, 0.8, together=True)))
    assert outcome.error == "a step: not done within 0.8 s, client process ended"
    pids = lines(caplog, "stdout")
    assert len(pids) == 2
    assert all(gone(int(pid)) for pid in pids)


def test_last_words_are_those_of_the_command_that_failed() -> None:
    code = "import sys; print('said'); sys.stderr.write('why\\n'); sys.exit(1)"
    outcome = asyncio.run(run(programs("print('before')", code, together=False)))
    assert set(outcome.last_words.splitlines()) == {"said", "why"}


def test_last_words_of_a_traceback_are_its_last_exception_as_it_is_worded() -> None:
    said = [
        "Traceback (most recent call last):",
        '  File "a.py", line 1, in a',
        "first.Error: cause",
        "",
        "The above exception was the direct cause of the following exception:",
        "",
        "Traceback (most recent call last):",
        '  File "b.py", line 2, in b',
        "last.Error: (driver.Error) what the server said",
        "DETAIL:  more of it",
        "[SQL: ",
        "CREATE TABLE t (",
        "    id BIGINT",
        ")",
        "]",
    ]
    assert last_words(said) == "last.Error: (driver.Error) what the server said\nDETAIL:  more of it\n[SQL: "
    assert last_words(["a", "b", "", "c", "d"]) == "b\nc\nd"
    assert last_words([]) == ""
