"""One step of a deployment: its commands with a deadline, their output in the pipeline's log."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

log = logging.getLogger("sut.pipeline.step")

Argv = tuple[str, ...]

GRACE_S = 1.0
"""Between SIGTERM and SIGKILL."""
LINE_LIMIT = 2**20
LAST_WORDS = 3


@dataclass(frozen=True)
class Step:
    """Named commands, one after the other up to the first that fails, or all `together`.

    `environment` is added to the pipeline's own; without `deadline_s`, which is the whole step's, it may take for ever.
    """

    name: str
    commands: tuple[Argv, ...]
    deadline_s: float | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    together: bool = False


@dataclass(frozen=True)
class Outcome:
    """How a step ended: `error` is None when it succeeded. `output` is what its commands wrote to standard output."""

    seconds: float
    error: str | None
    output: str = ""
    last_words: str = ""


@dataclass
class _Ran:
    """A command and what it wrote, as lines: to standard output, and to both."""

    stdout: list[str] = field(default_factory=list)
    both: list[str] = field(default_factory=list)
    error: str | None = None


async def run(step: Step) -> Outcome:
    """Run each command in a process group of its own and log what it writes, line by line, as it is written.

    At the deadline, and when the caller is cancelled, the *client* processes are ended with SIGTERM, then SIGKILL. What
    they asked of a server is not taken back: the server finds out when it next looks at the connection.
    """
    started = time.monotonic()
    ran: list[_Ran] = []
    try:
        async with asyncio.timeout(step.deadline_s):
            if step.together:
                # unlike gather, it also waits for every process to end when it is cancelled
                async with asyncio.TaskGroup() as group:
                    for argv in step.commands:
                        group.create_task(_run(step, argv, ran))
            else:
                for argv in step.commands:
                    if await _run(step, argv, ran):
                        break
        error = _error(step, ran)
    except TimeoutError:
        error = f"{step.name}: not done within {step.deadline_s:g} s, client process ended"
    failed = next((each for each in ran if each.error), ran[-1])
    output = "".join(f"{line}\n" for each in ran for line in each.stdout)
    return Outcome(time.monotonic() - started, error, output, last_words(failed.both) or error or "")


async def _run(step: Step, argv: Argv, ran: list[_Ran]) -> str | None:
    this = _Ran()
    ran.append(this)
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
            limit=LINE_LIMIT,
            process_group=0,
            env={**os.environ, **step.environment},
        )
    except OSError as reason:
        this.error = f"cannot be started: {reason}"
        return this.error
    try:
        await asyncio.gather(
            _log_lines(step, "stdout", process.stdout, this.stdout, this.both),
            _log_lines(step, "stderr", process.stderr, this.both),
        )
        if status := await process.wait():
            this.error = f"ended with status {status}"
    finally:
        await asyncio.shield(_end(process))
    return this.error


def _error(step: Step, ran: Sequence[_Ran]) -> str | None:
    errors = [each.error for each in ran if each.error]
    if not errors:
        return None
    which = f"{len(errors)} of {len(ran)} " if step.together and len(ran) > 1 else ""
    return f"{step.name}: {which}{errors[0]}"


def last_words(lines: Sequence[str]) -> str:
    """The end of what a command wrote: the last traceback's exception, as it is worded, else the last lines."""
    for number in reversed(range(len(lines))):
        if lines[number].startswith("Traceback (most recent call last)"):
            said = [line for line in lines[number + 1 :] if line.strip() and not line.startswith(" ")]
            return "\n".join(said[:LAST_WORDS])
    return "\n".join([line for line in lines if line.strip()][-LAST_WORDS:])


async def _log_lines(step: Step, stream: str, lines: asyncio.StreamReader | None, *kept: list[str]) -> None:
    if lines is None:
        return
    async for line in lines:
        text = line.decode(errors="replace").rstrip("\n")
        for each in kept:
            each.append(text)
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
