"""How the system stands in one arm: the goal, what the watchers say, and whether the fault is in effect."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from runlab.laboratory import Laboratory
from runlab.model import Fault, Json, JsonObject, LabError, Observation, Undo


@dataclass(frozen=True)
class Conduct:
    """What the experiment itself contributes, its fixtures already filled in."""

    arrange: Callable[[], None]
    trigger: Callable[[], None]
    goal: Callable[[], bool]
    state: Callable[[], Mapping[str, Json]]
    truth: Callable[[], Mapping[str, list[Json]]]
    innocents: Callable[[], Mapping[str, list[Json]]]
    premise: Callable[[], Mapping[str, bool]]
    measured: Callable[[], float]


@dataclass(frozen=True)
class State:
    """One look. `goal` and `fault` are None where nobody could tell; `more` is what the experiment adds."""

    goal: bool | None
    settled: Mapping[str, Observation]
    fault: bool | None
    more: Mapping[str, Json]

    @property
    def well(self) -> bool:
        """The goal is reached and every watcher finds steady state: users are served, nothing fires."""
        return self.goal is True and all(observation.holds for observation in self.settled.values())

    @property
    def wrong(self) -> str:
        """What is not well, in words; "" when all is."""
        return "; ".join(filter(None, ("" if self.goal else "the goal is not reached", self.unsettled)))

    @property
    def unsettled(self) -> str:
        """Which watchers do not find steady state, and what they say."""
        return "; ".join(f"{name}: {o.detail}" for name, o in self.settled.items() if not o.holds)

    def value(self, name: str) -> Json:
        """The value that a step's promise names: "goal", "fault" or one of `more`."""
        return {"goal": self.goal, "fault": self.fault}.get(name, self.more.get(name))

    def as_data(self) -> JsonObject:
        return {
            "goal": self.goal,
            "settled": {name: {"holds": o.holds, "detail": o.detail} for name, o in self.settled.items()},
            "fault": self.fault,
            "more": dict(self.more),
        }


class Situation:
    """Looks at the system for one arm, and writes down what it sees. `undo` is set once a fault is being injected."""

    def __init__(self, laboratory: Laboratory, conduct: Conduct, fault: Fault | None) -> None:
        self._lab, self._do, self._fault = laboratory, conduct, fault
        self.undo: Undo | None = None

    def settled(self) -> dict[str, Observation]:
        """What each watcher says of steady state."""
        return {watcher.name: watcher.settled() for watcher in self._lab.watchers}

    def goal_reached(self) -> bool | None:
        """None where it can't be asked: unknown is never reached. LabError when the stack is gone."""
        try:
            return bool(self._do.goal())
        except LabError:
            raise
        except Exception:  # noqa: BLE001 -- whatever hinders the question, there is no answer
            return None

    def state(self, seen: Observation | None = None) -> State:
        """One look; `seen` is what the fault's witness has just said, where it need not be asked again.

        Witness and experiment are asked side by side, since each may have to wait for an answer that never comes.
        """
        with ThreadPoolExecutor(1) as beside:
            asked = beside.submit(self._fault_seen) if self.undo is not None and seen is None else None
            more = self._more()
            seen = asked.result() if asked else seen
        return State(self.goal_reached(), self.settled(), seen.holds if seen else None, more)

    def _more(self) -> Mapping[str, Json]:
        try:
            return dict(self._do.state())
        except LabError:
            raise
        except Exception as error:  # noqa: BLE001 -- unknown, and said so
            return {"unknown": f"{type(error).__name__}: {error}"}

    def write_state(self, after: str, state: State | None = None) -> None:
        """Write the state down; `after` says after what: a claim, "steady", "trigger", "end"."""
        self._lab.journal.write("state", after=after, **(state or self.state()).as_data())

    def ask_witness(self, moment: str) -> Observation:
        """Ask the fault's witness and write down what it knows, with what the experiment adds to it."""
        seen = self._fault_seen()
        self._lab.journal.write(
            "witness",
            moment=moment,
            holds=seen.holds,
            by=seen.by,
            detail=seen.detail,
            truth={**self._do.truth(), **seen.truth},
            innocents={**self._do.innocents(), **seen.innocents},
        )
        return seen

    def _fault_seen(self) -> Observation:
        assert self._fault is not None
        assert self.undo is not None
        try:
            return self._fault.witness(self._lab.stack, self.undo)
        except Exception:
            self._lab.stack.ensure_kept()  # else that is what is to be said
            raise
