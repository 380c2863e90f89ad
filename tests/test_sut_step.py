"""A step of the deploy pipeline: real processes, their output, their deadline."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from sut.pipeline.step import Outcome, Step, run

IGNORES_TERM = "import os,signal,sys,time; signal.signal(15, signal.SIG_IGN); print(os.getpid(), flush=True); "


def python(code: str, deadline_s: float | None = 20.0, **environment: str) -> Step:
    return Step("a step", (sys.executable, "-c", code), deadline_s, environment)


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
    outcome = asyncio.run(run(Step("a step", ("/does/not/exist",))))
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
