"""An arm's verbs on a stack that is only a few variables: what is on disk when, and what is undone whatever happens."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runlab import arm as arms
from runlab import runbook
from runlab.arm import Arm, ArmSpec
from runlab.console import Operator
from runlab.journal import Journal, read
from runlab.laboratory import Laboratory
from runlab.model import CommandResult, Fault, Impact, Json, LabError, Observation, Source, Stack, Undo
from runlab.settings import ConsoleSettings, Family
from runlab.situation import Conduct
from runlab.sqltext import RefusedError
from runlab.steps import Registry, acts, load_modules
from runlab.waiting import DeadlineError, Silent

TINY = Path(__file__).parent / "data" / "tiny"
SIGNAL = {"claim": "RB-900/detect/alerts/1", "name": "StoneCracked", "signal_kind": "alert", "by": "test", "detail": ""}
STAY_S = 0.1
RULE_S = STAY_S - 1.0
"""The alert rule's own durations, to which an arm adds a second for the way: below 0, so that tests are fast."""


@dataclass
class World:
    """A stack of variables. The hooks are called at the moments of their names and may raise."""

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
        self, argv: Sequence[str], *, account: str, environment: Mapping[str, str] | None = None, time_limit_s: float
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


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setattr(arms, "STEADY_WITHIN_S", 0.2)
    world = World()
    eye = Eye(world)
    books = {book.id: book for book in runbook.load(TINY / "runbooks")}
    journal = Journal(tmp_path / "journal", "run")
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
        trigger=lambda: None,
        goal=lambda: not world.cracked,
        state=lambda: {"x": 1},
        truth=lambda: {"y": ["z"]},
        premise=dict,
        measured=lambda: 4.5,
    )
    yield Bench(laboratory, world, eye, conduct)
    journal.close()


def raising(error: BaseException) -> Callable[[], None]:
    def go() -> None:
        raise error

    return go


# ----------------------------------------------------------------------------------------- every fault is undone


def test_the_undo_is_on_disk_before_the_fault_takes_effect(bench: Bench) -> None:
    on_disk: list[dict[str, Any]] = []
    bench.world.undo = {"name": "x", "pid": 11}
    bench.world.on["inject"] = lambda: on_disk.extend(bench.events("undo"))
    arm = bench.arm("fault")
    arm.begins_in_steady_state()
    arm.injects_the_fault()
    (undo,) = on_disk
    assert undo["undo"] == {"name": "x", "pid": 11}
    assert undo["fault"]["class"].endswith("test_arm:Crack")
    assert bench.kinds().index("undo") < bench.kinds().index("inject")


def test_the_undo_is_synced_to_disk(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []
    original = Journal.write

    def write(self: Journal, kind: str, **data: Any) -> str:
        written.append((kind, data.get("durable", False)))
        return original(self, kind, **data)

    monkeypatch.setattr(Journal, "write", write)
    arm = bench.arm("fault")
    arm.begins_in_steady_state()
    arm.injects_the_fault()
    assert ("undo", True) in written


def test_a_fault_whose_undo_can_not_be_saved_is_not_injected(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    original = Journal.write

    def full(self: Journal, kind: str, **data: Any) -> str:
        if kind == "undo":
            raise OSError(28, "No space left on device")
        return original(self, kind, **data)

    monkeypatch.setattr(Journal, "write", full)
    arm = bench.arm("fault")
    arm.begins_in_steady_state()
    with pytest.raises(OSError, match="No space left"):
        arm.injects_the_fault()
    assert not bench.world.cracked
    arm.close("failed", "full")
    assert (bench.world.reverts, bench.kinds()[-1]) == (0, "arm-end")


@pytest.mark.parametrize("undo", [{"file": Path("/x")}, {"when": object()}, {("a", "b"): 1}])
def test_a_fault_whose_undo_is_no_data_is_not_injected(bench: Bench, undo: Any) -> None:
    bench.world.undo = undo
    arm = bench.arm("fault")
    arm.begins_in_steady_state()
    with pytest.raises(TypeError):
        arm.injects_the_fault()
    assert not bench.world.cracked
    assert not bench.events("undo")


def test_the_fault_is_reverted_with_just_what_is_on_disk(bench: Bench) -> None:
    seen: list[Undo] = []
    bench.world.undo = {"ports": (1, 2), "by_pid": {11: "x"}}
    arm = bench.arm("fault")
    arm.begins_in_steady_state()
    arm.injects_the_fault()
    bench.world.on["revert"] = lambda: seen.append(arm._situation.undo or {})
    arm.close("passed", "")
    assert seen == [bench.events("undo")[0]["undo"]] == [{"ports": [1, 2], "by_pid": {"11": "x"}}]


@pytest.mark.parametrize("error", [ValueError("half-way"), KeyboardInterrupt(), SystemExit(1)])
def test_a_half_injected_fault_is_reverted(bench: Bench, error: BaseException) -> None:
    bench.world.on["inject"] = raising(error)
    arm = bench.arm("fault")
    arm.begins_in_steady_state()
    with pytest.raises(type(error)):
        arm.injects_the_fault()
    assert bench.world.cracked
    arm.close("error", "")
    assert not bench.world.cracked
    assert bench.events("reverted")[0]["holds"] is False


def test_a_fault_that_could_not_be_prepared_has_nothing_to_revert(bench: Bench) -> None:
    bench.world.on["prepare"] = raising(ZeroDivisionError())
    arm = bench.arm("fault")
    arm.begins_in_steady_state()
    with pytest.raises(ZeroDivisionError):
        arm.injects_the_fault()
    arm.close("failed", "")
    assert bench.world.reverts == 0


@pytest.mark.parametrize("verb", ["triggers", "is_detected", "follows_the_procedure", "recovers", "stays_broken"])
def test_whatever_fails_the_fault_is_reverted(bench: Bench, verb: str) -> None:
    arm = bench.arm("fault")
    arm.begins_in_steady_state()
    arm.injects_the_fault()
    bench.does(trigger=raising(KeyboardInterrupt()))
    arm._do = bench.conduct
    arm._steps_at = time.monotonic()
    bench.world.on["look"] = raising(KeyboardInterrupt())
    if verb == "is_detected":
        arm._incident_at = time.monotonic()
        arm.is_detected()
    else:
        with pytest.raises(KeyboardInterrupt):
            getattr(arm, verb)()
    bench.world.on.clear()
    arm.close("error", "interrupted")
    assert not bench.world.cracked
    assert bench.events("arm-end")[0]["outcome"] == "error"


def test_a_fault_that_outlives_its_revert_is_said_so(bench: Bench) -> None:
    arm = bench.arm("fault")
    arm.begins_in_steady_state()
    arm.injects_the_fault()
    bench.world.witnessed = True
    with pytest.raises(AssertionError, match="still in effect after its revert, says the eye"):
        arm.close("passed", "")
    assert bench.events("arm-end")[0]["outcome"] == "error"


# -------------------------------------------------------------------------------------- close, at any point


def test_close_before_the_beginning_does_nothing(bench: Bench) -> None:
    bench.arm("fault").close("error", "")
    assert bench.laboratory.journal.path.read_text() == ""


def test_close_twice_ends_once(bench: Bench) -> None:
    arm = bench.arm("fault")
    arm.begins_in_steady_state()
    arm.injects_the_fault()
    arm.close("passed", "")
    arm.close("passed", "")
    assert bench.kinds().count("arm-end") == 1
    assert bench.world.reverts == 1


def test_close_after_a_reset_that_failed(bench: Bench) -> None:
    bench.world.on["reset"] = raising(LabError("the stack has ended"))
    arm = bench.arm("fault")
    with pytest.raises(LabError):
        arm.begins_in_steady_state()
    arm.close("failed", "the stack has ended")
    assert bench.kinds() == ["arm-start", "arm-end"]
    assert bench.eye.windows == []
    assert bench.laboratory.journal.arm is None


@pytest.mark.parametrize("moment", ["end", "revert"])
def test_close_ends_the_arm_though_one_part_of_it_fails(bench: Bench, moment: str) -> None:
    arm = bench.arm("fault")
    arm.begins_in_steady_state()
    arm.injects_the_fault()
    bench.world.on[moment] = raising(LabError("gone"))
    with pytest.raises(LabError, match="gone"):
        arm.close("passed", "")
    assert bench.world.reverts == 1
    assert bench.kinds()[-1] == "arm-end"
    assert bench.events("arm-end")[0]["outcome"] == "error"
    assert bench.laboratory.journal.arm is None


def test_an_arm_does_not_close_another(bench: Bench) -> None:
    first, second = bench.arm("fault"), bench.arm("withheld")
    first.begins_in_steady_state()
    second.close("passed", "")
    assert "arm-end" not in bench.kinds()


# ------------------------------------------------------------------------------------------- what is honest


def test_without_steady_state_nothing_begins(bench: Bench) -> None:
    bench.world.well = False
    arm = bench.arm("fault")
    with pytest.raises(AssertionError, match=r"inconclusive: no steady state in 0.2 s: eye: users wait"):
        arm.begins_in_steady_state()
    assert bench.eye.windows == []
    arm.close("failed", "")
    assert bench.world.reverts == 0


def test_every_arm_begins_on_a_reset_stack(bench: Bench) -> None:
    for name in ("quiet", "fault", "withheld"):
        arm = bench.arm(name)
        arm.begins_in_steady_state()
        arm.close("passed", "")
    assert bench.world.resets == 3


def test_a_fault_that_nobody_sees_is_inconclusive(bench: Bench) -> None:
    bench.world.witnessed = False
    arm = bench.arm("fault")
    arm.begins_in_steady_state()
    with pytest.raises(
        AssertionError, match="inconclusive: after injection the fault is not in effect, says the eye: a"
    ):
        arm.injects_the_fault()
    assert bench.events("witness")[-1]["holds"] is False
    arm.close("failed", "")
    assert bench.world.reverts == 1


def test_the_witness_is_asked_again(bench: Bench) -> None:
    arm = broken(bench)
    arm.still_has_the_fault("when the steps begin")
    bench.world.witnessed = False
    with pytest.raises(AssertionError, match="inconclusive: at the end the fault is not in effect"):
        arm.still_has_the_fault("at the end")
    assert [event["holds"] for event in bench.events("witness")] == [True, True, False]


def test_the_witness_s_truth_and_the_scenario_s_are_written_down(bench: Bench) -> None:
    arm = bench.arm("fault")
    arm.begins_in_steady_state()
    arm.injects_the_fault()
    assert bench.events("witness")[0]["truth"] == {"y": ["z"], "file": ["crack"]}


def test_an_alert_is_timed_from_the_trigger(bench: Bench) -> None:
    arm = bench.arm("fault")
    arm.begins_in_steady_state()
    arm.injects_the_fault()
    bench.does(trigger=bench.signal)
    arm._do = bench.conduct
    arm.triggers()
    arm.is_detected()
    assert arm._failures == []
    arm.close("passed", "")
    assert 0 <= bench.events("arm-end")[0]["ttd_s"] < 0.3


@pytest.mark.parametrize("other", [{"claim": "RB-901/detect/alerts/1"}, {"signal_kind": "signature"}])
def test_another_runbook_s_alert_and_a_mere_log_line_are_no_detection(bench: Bench, other: dict[str, str]) -> None:
    arm = bench.arm("fault")
    arm.begins_in_steady_state()
    arm.injects_the_fault()
    arm.triggers()
    bench.laboratory.journal.write("signal", **{**SIGNAL, **other})
    arm.is_detected()
    assert arm._failures == ["alert StoneCracked was not delivered within 0.3 s"]


def test_a_signal_without_the_fault_fails_the_quiet_arm(bench: Bench) -> None:
    arm = bench.arm("quiet")
    arm.begins_in_steady_state()
    bench.signal()
    arm.stays_quiet()
    assert arm._failures == ["without the fault there was: StoneCracked"]


def test_the_quiet_arm_must_reach_its_goal(bench: Bench) -> None:
    bench.does(goal=lambda: False)
    arm = bench.arm("quiet")
    arm.begins_in_steady_state()
    with pytest.raises(DeadlineError, match="the goal, without the fault"):
        arm.reaches_its_goal()


def test_the_steps_are_taken_in_order_and_looked_at(bench: Bench) -> None:
    arm = broken(bench)
    arm.follows_the_procedure()
    assert [event["claim"].rpartition("/")[2] for event in bench.events("step-end")] == ["1", "2"]
    assert [event["ran"] for event in bench.events("step-end")] == [True, True]
    assert bench.events("step-end")[0]["facts"]["file"][0]["value"] == "crack"
    after = [event["after"] for event in bench.events("state")]
    assert after[-5:] == [
        "before the first step",
        *("before RB-900/recover/mending/1", "RB-900/recover/mending/1"),
        *("before RB-900/recover/mending/2", "RB-900/recover/mending/2"),
    ]
    assert [event["fault"] for event in bench.events("state")][-2:] == [True, False]


def test_a_refusal_counts_though_the_definition_goes_on_regardless(bench: Bench) -> None:
    @acts("Mend the stone: {command:code}", promises={"fault": False}, within_s=0.1)
    def mend(operator: Operator, command: str) -> None:
        with suppress(RefusedError):
            operator.run(f"sh -c '{command}'")

    bench.laboratory.steps = {"RB-900": Registry.collect([SimpleNamespace(mend=mend)])}  # type: ignore[list-item]
    broken(bench).follows_the_procedure()
    (end,) = bench.events("step-end")
    assert (end["ran"], end["error"]) == (
        False,
        "command not allowed: sh is not among the families that lab.toml allows",
    )


def test_a_goal_reached_before_the_first_step_is_inconclusive(bench: Bench) -> None:
    bench.does(goal=lambda: True)
    with pytest.raises(AssertionError, match="inconclusive: the goal is reached before the first step"):
        broken(bench).follows_the_procedure()
    assert not bench.events("step-start")


def test_what_the_procedure_takes_for_granted_is_looked_at(bench: Bench) -> None:
    bench.does(premise=lambda: {"the old stone stands": False, "it is dry": True})
    arm = broken(bench)
    arm.follows_the_procedure()
    assert bench.events("premise")[0]["facts"] == {"the old stone stands": False, "it is dry": True}
    with pytest.raises(AssertionError, match="takes for granted what is not so: the old stone stands"):
        arm.is_judged()


def test_recovered_means_that_it_stays_so(bench: Bench) -> None:
    """It flickers for a while; only the last time counts, and TTR is measured up to there."""
    arm = broken(bench)
    arm.follows_the_procedure()
    began = time.monotonic()
    bench.does(goal=lambda: not 0.1 < time.monotonic() - began < 0.25)
    arm._situation._do = bench.conduct
    arm.recovers()
    (recovered,) = bench.events("recovered")
    assert recovered["ttr_s"] >= 0.25
    assert recovered["stayed_s"] == pytest.approx(STAY_S)
    assert bench.laboratory.recovery_s == {arm.spec.incident: pytest.approx(recovered["ttr_s"], abs=0.001)}


@pytest.mark.parametrize("users_well", [True, False])
def test_what_does_not_stay_has_not_recovered(bench: Bench, users_well: bool) -> None:
    arm = broken(bench)
    arm.follows_the_procedure()
    bench.world.well = users_well
    bench.does(goal=lambda: users_well is False or int(time.monotonic() * 20) % 2 == 0)
    arm._situation._do = bench.conduct
    arm.recovers()
    assert arm._failures
    assert arm._failures[0].startswith("not recovered within 0.4 s of the last step: ")
    assert bench.events("not-recovered")
    assert not bench.events("recovered")
    assert bench.laboratory.recovery_s == {}


def test_what_heals_itself_is_noticed(bench: Bench) -> None:
    arm = broken(bench, "withheld")
    heals_at = time.monotonic() + 0.2
    bench.does(goal=lambda: time.monotonic() > heals_at)
    arm._situation._do = bench.conduct
    arm.stays_broken()
    (withheld,) = bench.events("withheld")
    assert withheld["recovered"] is True
    assert withheld["self_healed_s"] >= 0.15
    assert "it healed itself after 0." in arm._failures[0]


def test_it_is_watched_for_twice_the_time_to_recover(bench: Bench) -> None:
    arm = broken(bench, "withheld")
    bench.laboratory.recovery_s[arm.spec.incident] = 0.15
    arm.stays_broken()
    (withheld,) = bench.events("withheld")
    assert (withheld["recovered"], withheld["self_healed_s"], withheld["needed_s"]) == (False, None, 0.3)
    assert withheld["watched_s"] >= 0.3
    assert arm._failures == []


def test_where_recovery_was_not_measured_its_deadline_counts(bench: Bench) -> None:
    arm = broken(bench, "withheld", recovers_within_s=0.1)
    arm.stays_broken()
    assert bench.events("withheld")[0]["needed_s"] == 0.2


def test_failures_are_collected_and_raised_together(bench: Bench) -> None:
    arm = broken(bench)
    arm.is_detected()
    arm._fails("and this")
    with pytest.raises(AssertionError, match=r"(?s)was not delivered within 0.3 s\nand this"):
        arm.is_judged()
    assert bench.eye.windows[-1] == "end"


def test_for_a_debugger_the_first_failure_is_raised_at_once(bench: Bench) -> None:
    bench.laboratory.stop_at_once = True
    arm = broken(bench)
    with pytest.raises(AssertionError, match=r"was not delivered within 0\.3 s"):
        arm.is_detected()


def test_a_goal_that_can_not_be_asked_is_unknown_and_never_reached(bench: Bench) -> None:
    bench.does(goal=raising(OSError("refused")), state=raising(OSError("refused")))
    arm = bench.arm("fault")
    arm.begins_in_steady_state()
    (state,) = bench.events("state")
    assert state["goal"] is None
    assert state["more"] == {"unknown": "OSError: refused"}


@pytest.mark.parametrize("asked", ["goal", "state"])
def test_a_stack_that_is_gone_is_no_unknown_goal(bench: Bench, asked: str) -> None:
    bench.does(**{asked: raising(LabError("the stack has ended"))})
    with pytest.raises(LabError, match="the stack has ended"):
        bench.arm("fault").begins_in_steady_state()


def test_a_stack_that_is_gone_is_not_waited_for(bench: Bench) -> None:
    arm = bench.arm("fault", detects_within_s=30.0)
    arm.begins_in_steady_state()
    arm.injects_the_fault()
    arm.triggers()
    bench.world.on["wait"] = raising(LabError("the stack has ended"))
    with pytest.raises(LabError, match="the stack has ended"):
        arm.is_detected()


def test_an_impact_is_read_from_the_users(bench: Bench) -> None:
    impact = Impact("blocked", "s", "the users", lambda users: users.blocked_s)
    bench.laboratory.users_record = Record  # type: ignore[method-assign]
    arm = bench.arm("off", measure="Shelter", impact=impact, observed_for_s=0.1)
    arm.begins_in_steady_state()
    arm.measures_impact()
    (measured,) = bench.events("measure")
    assert {key: measured[key] for key in ("setting", "value", "unit", "by", "requests")} == {
        "setting": "off",
        "value": 2.5,
        "unit": "s",
        "by": "the users",
        "requests": 7,
    }


def test_an_impact_that_users_do_not_feel_is_told_by_the_prevention(bench: Bench) -> None:
    bench.laboratory.users_record = Record  # type: ignore[method-assign]
    arm = bench.arm("off", measure="Shelter", impact=Impact("cracks", "cracks", "a ruler"), observed_for_s=0.1)
    arm.begins_in_steady_state()
    arm.measures_impact()
    assert bench.events("measure")[0]["value"] == 4.5


def test_without_users_there_is_no_impact(bench: Bench) -> None:
    with pytest.raises(LabError, match="no watcher keeps a record of the users"):
        bench.laboratory.users_record()


@dataclass(frozen=True)
class Record:
    requests: int = 7
    blocked_s: float = 2.5


def broken(bench: Bench, name: str = "fault", **changed: Any) -> Arm:
    """An arm whose fault bites and whose incident has begun."""
    arm = bench.arm(name, **changed)
    arm.begins_in_steady_state()
    arm.injects_the_fault()
    arm.triggers()
    return arm
