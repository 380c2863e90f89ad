"""Running a command for set-up: quietly, and one line when it fails."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from runlab.model import LabError
from runlab.setup.crew import CREW, Command, Crew, Stopped, say

__all__ = ["run", "say", "telling_line"]


def run(
    command: Sequence[str | Path],
    *,
    doing: str,
    mend: str,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    alone: bool = False,
    undoes: bool = False,
) -> str:
    """Run `command` to its end and return what it printed. Raises LabError with its most telling line.

    `env` is added to this process's own. On an interrupt the command is interrupted too, with all that it started
    unless it is to be `alone`, and *waited for*: a package manager that went on by itself would work behind the back
    of what is put back afterwards. What `undoes` something is run after an interrupt, too.
    """
    crew = CREW.get(Crew())
    whole = Command([str(word) for word in command], {**os.environ, **(env or {})}, cwd, alone=alone, undoes=undoes)
    try:
        crew.start(whole)
    except OSError as error:
        raise LabError(f"{doing} failed: {error.strerror}", where=str(command[0]), mend=mend) from error
    with whole.process as process:
        try:
            output, _ = process.communicate()
        except BaseException:
            whole.interrupt()
            _wait_out(process)
            if not alone:
                whole.see_off()
            raise
        finally:
            crew.ended(whole)
    if crew.stopped and not undoes:
        if not alone:
            whole.see_off()
        raise Stopped
    if process.returncode != 0:
        raise LabError(f"{doing} failed: {telling_line(output) or f'exit status {process.returncode}'}", mend=mend)
    return output


def _wait_out(process: subprocess.Popen[str]) -> None:
    while True:
        try:
            process.communicate()
        except KeyboardInterrupt:
            continue
        return


def telling_line(output: str) -> str:
    """The line of a tool's output that says why it failed: its first error with the root cause, else its last line.

    Knows how apt ("E: ..."), pip ("ERROR: ...", and "[Errno ...]" in its warnings) and uv ("error: ...", then
    "cause: ..." from the outermost inwards) put it.
    """
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"(e|error|cause): ", line, re.IGNORECASE)]
    if not errors:
        return lines[-1] if lines else ""
    causes = [line.removeprefix("cause: ") for line in errors if line.startswith("cause: ")]
    numbered = re.findall(r"\[Errno -?\d+\] [^'\"]+", output)
    return ": ".join((errors[0], *(causes or numbered)[-1:]))
