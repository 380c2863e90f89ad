"""One step of a deployment: a command with a deadline, its output in the pipeline's log."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping
from dataclasses import dataclass, field

log = logging.getLogger("sut.pipeline.step")

GRACE_S = 1.0
"""Between SIGTERM and SIGKILL."""
LINE_LIMIT = 2**20


@dataclass(frozen=True)
class Step:
    """A named command. `environment` is added to the pipeline's own; without `deadline_s` it may take for ever."""

    name: str
    argv: tuple[str, ...]
    deadline_s: float | None = None
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """How a step ended: `error` is None when it succeeded."""

    seconds: float
    error: str | None


async def run(step: Step) -> Outcome:
    """Run the command in a process group of its own and log what it writes, line by line, as it is written.

    At the deadline, and when the caller is cancelled, the *client* process is ended with SIGTERM, then SIGKILL. What
    it asked of a server is not taken back: the server finds out when it next looks at the connection.
    """
    started = time.monotonic()
    try:
        process = await asyncio.create_subprocess_exec(
            *step.argv,
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
            limit=LINE_LIMIT,
            process_group=0,
            env={**os.environ, **step.environment},
        )
    except OSError as reason:
        return Outcome(0.0, f"{step.name}: cannot be started: {reason}")
    output = asyncio.gather(
        _log_lines(step, "stdout", process.stdout),
        _log_lines(step, "stderr", process.stderr),
    )
    try:
        async with asyncio.timeout(step.deadline_s):
            await output
            status = await process.wait()
        error = f"{step.name}: ended with status {status}" if status else None
    except TimeoutError:
        error = f"{step.name}: not done within {step.deadline_s:g} s, client process ended"
    finally:
        await asyncio.shield(_end(process))
    return Outcome(time.monotonic() - started, error)


async def _log_lines(step: Step, stream: str, lines: asyncio.StreamReader | None) -> None:
    if lines is None:
        return
    async for line in lines:
        text = line.decode(errors="replace").rstrip("\n")
        log.info(text, extra={"step": step.name, "stream": stream})


async def _end(process: Process) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.returncode is not None:
            return
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            return
        try:
            await asyncio.wait_for(process.wait(), GRACE_S)
        except TimeoutError:
            log.warning("the client process outlived a signal", extra={"signal": number.name})
