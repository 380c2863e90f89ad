"""Runs a selection of scenarios on a changed copy of the project, and decides whether a mutant was killed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests.mutants.mutant import PROCEDURE, SCENARIO, Edit, Loses, Mutant, Selection

ROOT = Path(__file__).parent.parent.parent
LEFT_OUT = (".*", "__pycache__", "reports", "docs", "tests")
QUIETLY = ("-q", "-p", "no:cacheprovider", "-p", "no:warnings")
TIME_LIMIT_S = 180
AT_ONCE = 1
"""Stacks that run side by side; two do on two cores while nothing else is at work there."""

HELD = ("confirmed", "observed", "partly")
CRASHED = ("Traceback (most recent call last)", "INTERNALERROR")

# What all copies, the unchanged ones too, have in common: deadlines that are only a few times what is needed.
PACE = (
    Edit("runlab/scenario.py", "detects_within_s: ClassVar[float] = 20.0", "detects_within_s: ClassVar[float] = 8.0"),
    Edit("runlab/scenario.py", "recovers_within_s: ClassVar[float] = 20.0", "recovers_within_s: ClassVar[float] = 6.0"),
    Edit("runlab/arm.py", "recovers_within_s: float = 20.0", "recovers_within_s: float = 6.0"),  # a prevention's
    Edit(
        SCENARIO,
        'off, on = {}, {"lock_timeout": "500ms"}\n    impact, margin = Users.blocked_s, Less(by=5.0, unit="s")\n'
        "    observed_for_s = 8.0",
        'off, on = {}, {"lock_timeout": "500ms"}\n    impact, margin = Users.blocked_s, Less(by=1.0, unit="s")\n'
        "    observed_for_s = 2.0",
    ),
    Edit(
        SCENARIO,
        '{"lint": "squawk"}, {"lock_timeout": "2s"}\n    impact, margin = Users.blocked_s, Less(by=5.0, unit="s")\n'
        "    observed_for_s = 8.0",
        '{"lint": "squawk"}, {"lock_timeout": "2s"}\n    impact, margin = Users.blocked_s, Less(by=1.0, unit="s")\n'
        "    observed_for_s = 4.0",
    ),
    Edit("runlab/steps.py", "promises=promises, within_s=within_s)", "promises=promises, within_s=min(within_s, 6.0))"),
    # else the project that is installed in this environment could be tried in the copy's place
    Edit(
        "conftest.py",
        "pytest_plugins =",
        "import faults.database, runlab.plugin, verifiers.plugin\n"
        "for module in (faults.database, runlab.plugin, verifiers.plugin):\n"
        "    assert module.__file__.startswith(__file__.removesuffix('conftest.py')), module\n"
        "pytest_plugins =",
    ),
)


@dataclass(frozen=True)
class Outcome:
    """What one run came to; `results` is its results.json, None when it ended before there was one."""

    exit_status: int
    output: str
    results: dict[str, Any] | None

    def red(self) -> dict[str, str]:
        """The arms whose test failed, with what it said."""
        arms = self.results["scenarios"] if self.results else ()
        return {arm["id"]: arm["message"] for arm in arms if arm["outcome"] != "passed"}

    def claim(self, words: str) -> dict[str, Any]:
        """The one claim whose text holds these words; PROCEDURE is the only procedure that was followed."""
        claims = self.results["claims"] if self.results else ()
        found = [claim for claim in claims if words in claim["text"]]
        if self.results and words == PROCEDURE:
            found = self.results["procedures"]
        if len(found) != 1:
            return {"verdict": "nothing", "reason": f"{len(found)} claims hold these words"}
        return dict(found[0])


class Laboratory:
    """Runs mutants, some at once; what a selection gives on the unchanged copy is found once for all of them."""

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self._pool = ThreadPoolExecutor(at_once)
        self._before: dict[Selection, Future[Outcome]] = {}
        self._after: dict[str, Future[Outcome]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def order(self, mutants: Iterable[Mutant]) -> None:
        """Begin with these, in this order; `try_out` then waits for each."""
        for mutant in mutants:
            self._unchanged(mutant.selection)
            self._after[mutant.name] = self._pool.submit(run, mutant.selection, mutant.edits)

    def try_out(self, mutant: Mutant) -> tuple[Outcome, Outcome]:
        """What its selection gives without it and with it."""
        return self.before(mutant.selection), self._after[mutant.name].result()

    def before(self, selection: Selection) -> Outcome:
        """What the selection gives on the unchanged copy."""
        return self._unchanged(selection).result()

    def _unchanged(self, selection: Selection) -> Future[Outcome]:
        if selection not in self._before:
            self._before[selection] = self._pool.submit(run, selection, ())
        return self._before[selection]


def run(selection: Selection, edits: Sequence[Edit]) -> Outcome:
    """Copy the project, change the copy, run the selection there with the copy's own code, remove the copy."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        copy = Path(folder) / "project"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*LEFT_OUT), symlinks=True)
        if (tools := ROOT / ".tools").exists():  # servers that set-up has put there
            (copy / ".tools").symlink_to(tools)
        for edit in (*PACE, *edits):
            edit.apply(copy)
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *QUIETLY, *selection.node_ids()],
            cwd=copy,
            env={**os.environ, "PYTHONPATH": str(copy), "PYTEST_ADDOPTS": ""},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIME_LIMIT_S,
            check=False,
        )
        results = copy / "reports" / "latest" / "results.json"
        return Outcome(done.returncode, done.stdout, json.loads(results.read_text()) if results.exists() else None)


def survived(mutant: Mutant, before: Outcome, after: Outcome) -> list[str]:
    """Why the mutant is not killed for the reason that it states; nothing when it is."""
    return [*_not_fit(mutant, before), *_not_refused(mutant, after), *_not_red(mutant, after), *_kept(mutant, after)]


def _not_fit(mutant: Mutant, before: Outcome) -> Iterator[str]:
    """What is wrong without the mutant, so that nothing follows from what is wrong with it."""
    if before.red() or before.results is None:
        yield f"the unchanged copy is not well:\n{before.output}"
    for loses in mutant.loses:
        if (verdict := before.claim(loses.claim)["verdict"]) not in HELD:
            yield f"{loses.claim!r} is {verdict} on the unchanged copy"


def _not_refused(mutant: Mutant, after: Outcome) -> Iterator[str]:
    if after.exit_status != mutant.exit_status:
        yield f"exit status {after.exit_status}, not {mutant.exit_status}:\n{after.output}"
    yield from (f"an internal error:\n{after.output}" for words in CRASHED if words in after.output)
    if mutant.refused and not re.search(mutant.red or "", after.output, re.MULTILINE):
        yield f"no line says {mutant.red}:\n{after.output}"
    if mutant.refused and after.results is not None:
        yield "something was run"


def _not_red(mutant: Mutant, after: Outcome) -> Iterator[str]:
    red = after.red()
    if mutant.red is None and red:
        yield f"a test is red where the verdict alone should tell: {red}"
    if mutant.red is not None and not mutant.refused and not any(re.search(mutant.red, it) for it in red.values()):
        yield f"no test is red for {mutant.red!r}: {red}"


def _kept(mutant: Mutant, after: Outcome) -> Iterator[str]:
    for loses in mutant.loses:
        if not _lost(loses, found := after.claim(loses.claim)):
            yield f"{loses.claim!r} is {found['verdict']}: {found['reason']}; not {loses.verdict}: {loses.reason}"


def _lost(loses: Loses, claim: dict[str, Any]) -> bool:
    return claim["verdict"] == loses.verdict and re.search(loses.reason, claim["reason"]) is not None
