"""What is on disk when, and that every fault is undone whatever happens."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from runlab.journal import Journal
from runlab.model import LabError, Undo
from tests.benches import Bench, raising

# ----------------------------------------------------------------------------------------------- every fault is undone


def test_the_undo_is_on_disk_before_the_fault_takes_effect(bench: Bench) -> None:
    on_disk: list[dict[str, Any]] = []
    bench.world.undo = {"name": "x", "pid": 11}
    bench.world.on["inject"] = lambda: on_disk.extend(bench.events("undo"))
    arm = bench.arm("fault")
    arm.begins_in_steady_state()
    arm.injects_the_fault()
    (undo,) = on_disk
    assert undo["undo"] == {"name": "x", "pid": 11}
    assert undo["fault"]["class"].endswith("benches:Crack")
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


# ------------------------------------------------------------------------------------------------- close, at any point


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


def test_what_people_do_while_it_is_held_is_no_evidence_and_their_time_is_floor(bench: Bench) -> None:
    arm = bench.arm("fault")
    arm.begins_in_steady_state()
    with arm.held():
        assert bench.kinds()[-1] == "source"
    arm.close("failed", "")
    assert bench.kinds().count("source") == 1
    assert "held by --keep" in bench.events("arm-end")[0]["floor"]


def test_an_arm_does_not_close_another(bench: Bench) -> None:
    first, second = bench.arm("fault"), bench.arm("withheld")
    first.begins_in_steady_state()
    second.close("passed", "")
    assert "arm-end" not in bench.kinds()
