"""A laboratory for one arm: a stack of variables, a fault that sets one of them, a watcher, and the journal on disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from runlab import runbook
from runlab.arm import Arm, ArmSpec
from runlab.journal import Journal, read
from runlab.laboratory import Laboratory
from runlab.model import CommandResult, Fault, Json, Observation, Source, Stack, Undo
from runlab.settings import ConsoleSettings, Family
from runlab.situation import Conduct
from runlab.steps import Registry, load_modules
from runlab.waiting import Silent

TINY = Path(__file__).parent / "data" / "tiny"

SIGNAL = {"claim": "RB-900/detect/alerts/1", "name": "StoneCracked", "signal_kind": "alert", "by": "test", "detail": ""}

STAY_S = 0.1

RULE_S = STAY_S - 1.0
"""The alert rule's own durations, to which an arm adds a second for the way: below 0, so that tests are fast."""


@dataclass
class World:
    """A stack of variables. The hooks are called at the moments of their names and may raise."""

    runtime = "processes"

    run_id: str = "run"
    capabilities: frozenset[str] = frozenset()
    cracked: bool = False
    witnessed: bool | None = None
    well: bool = True
    resets: int = 0
    reverts: int = 0
    undo: Json = field(default_factory=dict)
    on: dict[str, Callable[[], None]] = field(default_factory=dict)

    def happens(self, moment: str) -> None:
        self.on.get(moment, lambda: None)()

    def check(self) -> None:
        self.happens("check")

    def ensure_kept(self) -> None:
        self.happens("wait")

    def reset(self) -> None:
        self.resets += 1
        self.happens("reset")

    def execute(
        self,
        argv: Sequence[str],
        *,
        account: str,
        on: str,
        environment: Mapping[str, str] | None = None,
        time_limit_s: float,
    ) -> CommandResult:
        if argv == ["rm", "crack"]:
            self.cracked = False
        return CommandResult(tuple(argv), 0, "crack\n" if argv == ["ls"] else "", "", 0.0)


@dataclass(frozen=True)
class Crack(Fault):
    """Sets a variable of the world."""

    def prepare(self, stack: Stack) -> Undo:
        stack.happens("prepare")
        return stack.undo

    def inject(self, stack: Stack, undo: Undo) -> None:
        stack.cracked = True
        stack.happens("inject")

    def revert(self, stack: Stack, undo: Undo) -> None:
        stack.reverts += 1
        stack.happens("revert")
        stack.cracked = False

    def witness(self, stack: Stack, undo: Undo) -> Observation:
        holds = stack.cracked if stack.witnessed is None else stack.witnessed
        return Observation(holds=holds, by="the eye", detail="a look", truth={"file": ["crack"]})


@dataclass
class Eye:
    """A watcher whose opinion is the world's `well`."""

    world: World
    name: str = "eye"
    windows: list[str] = field(default_factory=list)

    def begin(self, arm: str) -> None:
        self.windows.append(f"begin {arm}")

    def settled(self) -> Observation:
        self.world.happens("look")
        return Observation(holds=self.world.well, by=self.name, detail="users wait")

    def end(self) -> Sequence[Source]:
        self.windows.append("end")
        self.world.happens("end")
        return [Source("StoneCracked", SIGNAL["claim"], answers=True, exists=True, fresh=True)]

    def close(self) -> None: ...


@dataclass
class Bench:
    """A laboratory of variables, and what its journal holds on disk."""

    laboratory: Laboratory
    world: World
    eye: Eye
    conduct: Conduct

    def arm(self, name: str, **changed: Any) -> Arm:
        spec = ArmSpec("TestFrost", "RB-900", name, Crack(), "plain", {}, cause="Frost", procedures=("Mending",))
        changed = {"detects_within_s": 0.3 - RULE_S, "recovers_within_s": 0.4, **changed}
        return Arm(self.laboratory, replace(spec, **changed), self.conduct)

    def does(self, **changed: Callable[[], Any]) -> None:
        self.conduct = replace(self.conduct, **changed)

    def events(self, kind: str = "") -> list[dict[str, Any]]:
        return [e for e in read(self.laboratory.journal.path.parent) if kind in ("", e["kind"])]

    def kinds(self) -> list[str]:
        return [event["kind"] for event in self.events()]

    def signal(self) -> None:
        self.laboratory.journal.write("signal", **SIGNAL)


def new_bench(folder: Path) -> Bench:
    """A bench whose journal is below `folder`; who made it closes the journal."""
    world = World()
    eye = Eye(world)
    books = {book.id: book for book in runbook.load(TINY / "runbooks")}
    journal = Journal(folder / "journal", "run")
    laboratory = Laboratory(
        stack=world,  # type: ignore[arg-type]
        journal=journal,
        watchers=[eye],
        runbooks=books,
        steps={"RB-900": Registry.collect(load_modules(TINY / "scenarios"))},
        bindings={},
        not_signals={},
        console=ConsoleSettings(families={"ls": Family(), "rm": Family()}),
        progress=Silent(),
        stop_at_once=False,
        alert_floor_s={"RB-900": RULE_S},
    )
    conduct = Conduct(
        arrange=lambda: None,
        trigger=lambda: None,
        goal=lambda: not world.cracked,
        state=lambda: {"x": 1},
        truth=lambda: {"y": ["z"]},
        innocents=lambda: {"y": ["w"]},
        premise=dict,
        measured=lambda: 4.5,
    )
    return Bench(laboratory, world, eye, conduct)


def raising(error: BaseException) -> Callable[[], None]:
    """A hook that raises `error`."""

    def go() -> None:
        raise error

    return go


def broken(bench: Bench, name: str = "fault", **changed: Any) -> Arm:
    """An arm whose fault bites and whose incident has begun."""
    arm = bench.arm(name, **changed)
    arm.begins_in_steady_state()
    arm.injects_the_fault()
    arm.triggers()
    return arm
