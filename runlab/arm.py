"""One arm of an experiment, as verbs: each does one thing to the stack, and writes down what came of it.

An arm never decides what a sentence is worth; it writes the history from which the judge does. It fails at once where
going on would be dishonest (no steady state, a fault that does not bite) and otherwise goes on, so that one run shows
everything that is wrong.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from runlab import judge, runbook
from runlab.laboratory import Laboratory
from runlab.model import ArmName, Fault, Impact, Json, JsonObject
from runlab.procedure import Procedure
from runlab.situation import Conduct, Situation, State
from runlab.waiting import DeadlineError, wait_until

T = TypeVar("T")
STEADY_WITHIN_S = 15.0


@dataclass(frozen=True)
class ArmSpec:
    """Which arm of which experiment, in which case; all that the journal says of it at its start."""

    experiment: str
    runbook: str
    name: ArmName
    fault: Fault | None
    case: str
    settings: Mapping[str, Json]
    cause: str = ""
    measure: str = ""
    procedures: tuple[str, ...] = ()
    floor: Mapping[str, float] = field(default_factory=dict)
    detected_by: str = "alert"
    detects_within_s: float = 20.0
    recovers_within_s: float = 20.0
    observed_for_s: float = 10.0
    impact: Impact | None = None
    needs: frozenset[str] = frozenset()
    """Capabilities of the stack."""

    @property
    def id(self) -> str:
        words = (self.experiment, self.name, self.fault.name if self.fault and self.name != "quiet" else "", self.case)
        return "/".join(filter(None, words))

    @property
    def incident(self) -> str:
        """What the fault and the withheld arm of one incident share."""
        return "/".join((self.experiment, self.fault.name if self.fault else "", self.case))


class Arm:
    """One arm while it runs. `close` undoes the fault and ends the window, whatever happened before."""

    def __init__(self, laboratory: Laboratory, spec: ArmSpec, conduct: Conduct) -> None:
        self.spec, self._lab, self._do = spec, laboratory, conduct
        self._journal = laboratory.journal
        self._failures: list[str] = []
        self._began = time.monotonic()
        self._incident_at: float | None = None
        self._steps_at: float | None = None
        self._times: dict[str, float] = {}
        self._floor = dict(spec.floor)
        self._watching = False
        self._book = laboratory.runbooks[spec.runbook]
        # which of them may be lacking was seen to when the plan was made
        self._procedures = [label for label in spec.procedures if runbook.has_procedure(self._book, label)]
        self._situation = Situation(laboratory, conduct, spec.fault)

    @property
    def settings(self) -> Mapping[str, Json]:
        """The settings of the case in which this arm runs."""
        return self.spec.settings

    # ------------------------------------------------------------------------------------------------ the verbs

    def begins_in_steady_state(self) -> None:
        """Reset the stack, arrange the case, wait until users are served and nothing fires; then all watchers watch."""
        spec = self.spec
        self._journal.begin_arm(spec.id)
        self._journal.write(
            "arm-start",
            scenario=spec.experiment,
            runbook=spec.runbook,
            name=spec.name,
            fault=spec.fault.as_data() if spec.fault and spec.name != "quiet" else None,
            fault_name=spec.fault.name if spec.fault and spec.name != "quiet" else None,
            case=spec.case,
            settings=dict(spec.settings),
            cause=spec.cause,
            measure=spec.measure,
            procedures=self._procedures,
        )
        self._lab.stack.check()
        self._lab.stack.reset()
        self._do.arrange()
        try:
            self._wait("steady state", self._steady, STEADY_WITHIN_S)
        except DeadlineError:
            state = self._situation.state()
            self._situation.write_state("not steady", state)
            raise AssertionError(f"inconclusive: no steady state in {STEADY_WITHIN_S:g} s: {state.unsettled}") from None
        for watcher in self._lab.watchers:
            watcher.begin(spec.id)
        self._watching = True
        self._situation.write_state("steady")

    def injects_the_fault(self) -> None:
        """Save the undo, inject, and have somebody other than the injector see that the fault is in effect."""
        fault = self._fault()
        undo = json.loads(json.dumps(fault.prepare(self._lab.stack)))  # what reverting needs survives the journal
        self._journal.write("undo", durable=True, fault=fault.as_data(), undo=undo)
        self._situation.undo = undo
        fault.inject(self._lab.stack, undo)
        self._journal.write("inject", fault=fault.as_data())
        self.still_has_the_fault("after injection")

    def still_has_the_fault(self, moment: str) -> None:
        """Ask the witness again; without a fault in effect nothing can be judged, so that fails at once."""
        seen = self._situation.ask_witness(moment)
        if not seen.holds:
            raise AssertionError(f"inconclusive: {moment} the fault is not in effect, says {seen.by}: {seen.detail}")

    def triggers(self) -> None:
        """Let the event happen that turns the fault into an incident; detection is timed from here."""
        self._incident_at = time.monotonic()
        self._journal.write("trigger", what=self.spec.experiment)
        self._do.trigger()

    def reaches_its_goal(self) -> None:
        """Without the fault, the trigger leads where it should."""
        try:
            self._wait("the goal, without the fault", self._situation.goal_reached, self.spec.recovers_within_s)
        except DeadlineError:
            self._situation.write_state("trigger")
            raise
        self._situation.write_state("trigger")

    def stays_quiet(self) -> None:
        """Watch for as long as the slowest alert of the runbook would need to arrive."""
        window_s = self._chain_s()
        self._count_floor("watching for alerts that must not come", window_s)
        ends = time.monotonic() + window_s
        self._wait("silence", lambda: time.monotonic() >= ends, window_s + 1.0)
        self._situation.write_state("end")
        noise = sorted({event["name"] for event in self._signals()})
        if noise:
            self._fails("without the fault there was: " + "; ".join(noise))

    def is_detected(self) -> None:
        """Wait for an alert of the runbook to be delivered, or for any signal of it where none is to be expected."""
        alerts = {part.text for claim in self._book.claims for part in claim.parts if part.kind == "alert"}
        alerts = alerts if self.spec.detected_by == "alert" else set()
        kinds = {"alert"} if alerts else {"alert", "signature", "symptom"}
        what = f"alert {' or '.join(sorted(alerts))}" if alerts else f"a signal of {self.spec.runbook}"
        rule_s = self._lab.alert_floor_s.get(self.spec.runbook, 0.0)
        self._count_floor("the alert rule's own durations", rule_s)
        deadline_s = self.spec.detects_within_s + rule_s

        try:
            first = self._wait(what, lambda: [e for e in self._signals() if e["signal_kind"] in kinds], deadline_s)[0]
        except DeadlineError:
            self._fails(f"{what} was not delivered within {deadline_s:g} s")
            return
        assert self._incident_at is not None
        self._times["ttd_s"] = max(0.0, first["t"] - self._incident_at)  # what the fault alone raises comes earlier

    def follows_the_procedure(self) -> None:
        """Carry out each sentence of the procedure in the document's order, and look at the state after each.

        A goal that is reached before the first step can't tell whether they recover anything: that fails at once.
        """
        state = self._situation.state()
        self._situation.write_state("before the first step", state)
        if state.goal:
            raise AssertionError("inconclusive: the goal is reached before the first step, so nothing is to recover")
        self._finds_the_premise()
        self._steps_at = time.monotonic()
        procedure = Procedure(self._lab, self._book, self._situation, self._fails)
        for label in self._procedures:
            procedure.follow(label)

    def recovers(self) -> None:
        """Goal, users and alerts must be back, and stay so for as long as an alert would need to come again."""
        assert self._steps_at is not None
        stay_s = self._chain_s()
        self._count_floor("staying well", stay_s)
        try:
            since, state = self._stays_well(stay_s, self.spec.recovers_within_s + stay_s)
        except DeadlineError as error:
            state = self._situation.state()
            detail = state.wrong or "well at the end, but not for long enough"
            self._journal.write("not-recovered", waited_s=error.waited_s, detail=detail, **state.as_data())
            self._fails(f"not recovered within {self.spec.recovers_within_s:g} s of the last step: {detail}")
            return
        self._times["ttr_s"] = ttr_s = max(0.0, since - self._steps_at)
        self._lab.recovery_s[self.spec.incident] = ttr_s
        self._journal.write("recovered", ttr_s=round(ttr_s, 3), stayed_s=round(stay_s, 3), **state.as_data())

    def stays_broken(self) -> None:
        """Take no step, and watch for twice as long as recovery took, or may take where that was not measured."""
        needed_s = 2 * self._lab.recovery_s.get(self.spec.incident, self.spec.recovers_within_s)
        self._count_floor("watching that it stays broken", needed_s)
        began = time.monotonic()

        def healed_or_over() -> str:
            if self._situation.state().well:
                return "healed"
            return "over" if self._since(began) >= needed_s else ""

        ended = self._wait("that it stays broken", healed_or_over, needed_s + STEADY_WITHIN_S, every_s=0.1)
        watched_s = self._times["watched_s"] = self._since(began)
        healed_s = self._since(self._incident_at or began) if ended == "healed" else None
        if healed_s is not None:
            self._times["self_healed_s"] = healed_s
        self._journal.write(
            "withheld",
            watched_s=round(watched_s, 3),
            needed_s=round(needed_s, 3),
            recovered=ended == "healed",
            self_healed_s=healed_s and round(healed_s, 3),
        )
        self._situation.write_state("end")
        if healed_s is not None:
            self._fails(f"with the steps withheld it healed itself after {healed_s:.1f} s")

    def measures_impact(self) -> None:
        """Watch for the declared time and write down the impact that the prevention is to bound."""
        impact = self.spec.impact
        assert impact is not None
        ends = time.monotonic() + self.spec.observed_for_s
        self._count_floor("measuring the impact", self.spec.observed_for_s)
        self._wait(f"{impact.name}", lambda: time.monotonic() >= ends, self.spec.observed_for_s + 1.0)
        record = self._lab.users_record()
        value = impact.read(record) if impact.read else self._do.measured()
        self._journal.write(
            "measure",
            measure=self.spec.measure,
            setting=self.spec.name,
            settings=dict(self.spec.settings),
            impact=impact.name,
            value=round(value, 4),
            unit=impact.unit,
            by=impact.by,
            requests=record.requests,
        )
        self._situation.write_state("end")

    def is_judged(self) -> None:
        """Close the window and fail with every sentence that this arm refuted or could not decide."""
        self._end_window()
        self._failures += judge.complaints(
            self._journal.of_arm(),
            self._book.claims,
            self._lab.bindings,
            self._lab.not_signals.get(self.spec.runbook, {}),
        )
        if self._failures:
            raise AssertionError("\n".join(self._failures))

    @contextmanager
    def held(self) -> Iterator[None]:
        """For people to look at the stack as it stands: what they do is no evidence, and their time counts as floor."""
        self._end_window()
        began = time.monotonic()
        try:
            yield
        finally:
            self._count_floor("held by --keep", self._since(began))

    def close(self, outcome: str, message: str) -> None:
        """Undo the fault, close the window, write the arm's end. Safe at any point, and when nothing was begun."""
        if self._journal.arm != self.spec.id:
            return
        left = ""
        try:
            try:
                self._end_window()
            finally:
                left = self._revert()
        except BaseException as error:
            left = f"{type(error).__name__} while it was being closed: {error}".removesuffix(": ")
            raise
        finally:
            if left:
                outcome, message = "error", "\n".join(filter(None, (message, left)))
            times: JsonObject = {name: round(value, 3) for name, value in self._times.items()}
            self._journal.write(
                "arm-end",
                outcome=outcome,
                message=message,
                floor={what: round(seconds, 3) for what, seconds in self._floor.items()},
                floor_s=round(sum(self._floor.values()), 3),
                wall_s=round(self._since(self._began), 3),
                **times,
            )
            self._journal.end_arm()
        if left:
            raise AssertionError(left)

    def _revert(self) -> str:
        """Undo the fault, and ask its witness; says what is left of it, "" when nothing is."""
        undo = self._situation.undo
        if undo is None:
            return ""
        fault = self._fault()
        fault.revert(self._lab.stack, undo)
        seen = fault.witness(self._lab.stack, undo)
        self._journal.write("reverted", fault=fault.as_data(), holds=seen.holds, by=seen.by, detail=seen.detail)
        return f"{fault.name} is still in effect after its revert, says {seen.by}: {seen.detail}" if seen.holds else ""

    # ------------------------------------------------------------------------------------------------ looking

    def _finds_the_premise(self) -> None:
        """Write down whether all is so as the procedure takes for granted; what is not, fails."""
        premise = dict(self._do.premise())
        if premise:
            self._journal.write("premise", facts=premise)
        for what, holds in premise.items():
            if not holds:
                self._fails(f"the procedure takes for granted what is not so: {what}")

    def _fault(self) -> Fault:
        assert self.spec.fault is not None
        return self.spec.fault

    def _steady(self) -> bool:
        return all(observation.holds for observation in self._situation.settled().values())

    def _signals(self) -> list[JsonObject]:
        return [
            event
            for event in self._journal.of_arm()
            if event["kind"] == "signal" and event["claim"].startswith(self.spec.runbook + "/")
        ]

    def _stays_well(self, stay_s: float, deadline_s: float) -> tuple[float, State]:
        """When the system became well for good, and its state. Raises DeadlineError."""
        since: list[float] = []
        state: list[State] = []

        def well_for_long() -> bool:
            state[:] = [self._situation.state()]
            if not state[0].well:
                since.clear()
                return False
            since[:] = since or [time.monotonic()]
            return self._since(since[0]) >= stay_s

        self._wait("recovery: goal, users and alerts", well_for_long, deadline_s)
        return since[0], state[0]

    # ------------------------------------------------------------------------------------------------ book-keeping

    def _chain_s(self) -> float:
        """Seconds within which an alert of this runbook would arrive: its own durations and a second for the way."""
        return self._lab.alert_floor_s.get(self.spec.runbook, 0.0) + 1.0

    def _wait(self, what: str, condition: Callable[[], T], deadline_s: float, every_s: float = 0.05) -> T:
        def look() -> T:
            self._lab.stack.ensure_kept()  # of a stack that is gone nothing more is to be seen
            return condition()

        return wait_until(what, look, deadline_s=deadline_s, every_s=every_s, progress=self._lab.progress)

    def _since(self, moment: float) -> float:
        return time.monotonic() - moment

    def _count_floor(self, what: str, seconds: float) -> None:
        self._floor[what] = self._floor.get(what, 0.0) + seconds

    def _fails(self, message: str) -> None:
        if self._lab.stop_at_once:
            raise AssertionError(message)
        self._failures.append(message)

    def _end_window(self) -> None:
        if not self._watching:
            return
        self._watching = False
        for watcher in self._lab.watchers:
            for source in watcher.end():
                self._journal.write(
                    "source",
                    claim=source.claim,
                    name=source.signal,
                    answers=source.answers,
                    exists=source.exists,
                    fresh=source.fresh,
                    detail=source.detail,
                )
