"""What each runtime can do on this machine, and why not the rest: asked of what a run would ask, never typed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from rich.table import Table
from rich.text import Text

from runlab.model import JsonObject, LabError
from runlab.stack import programs
from runlab.stack.choice import Choice, choose
from runlab.stack.compose import Compose
from runlab.stack.runtimes import PROCESSES, SANDBOX, pick

COLUMNS: Final = (SANDBOX, PROCESSES)


@dataclass(frozen=True)
class Ability:
    """Whether a runtime has a capability here. `why` it has not, in one line; "" where it has."""

    capability: str
    runtime: str
    why: str

    def as_data(self) -> JsonObject:
        return {"capability": self.capability, "runtime": self.runtime, "there": not self.why, "why": self.why}


def examine(compose: Compose) -> tuple[Ability, ...]:
    """Each capability of `compose` and of the runtimes, in each of the runtimes; nothing is started.

    Raises LabError where a service that can't be left out lacks its program, so that no run could begin.
    """
    plain = _choose(compose, PROCESSES)  # it lacks what only others have, so that it names all
    known = sorted(plain.available | set(plain.missing))
    lacks: dict[str, Mapping[str, str]] = {PROCESSES: plain.missing}
    try:
        lacks[SANDBOX] = _choose(compose, SANDBOX).missing
    except LabError as error:
        lacks[SANDBOX] = dict.fromkeys(known, error.message)
    return tuple(
        Ability(capability, runtime, lacks[runtime].get(capability, "")) for capability in known for runtime in COLUMNS
    )


def table(abilities: Sequence[Ability]) -> Iterator[Table | Text]:
    """A row a capability and a column a runtime, and below it each reason once, by its number."""
    reasons: dict[str, int] = {}
    made = Table(box=None, pad_edge=False)
    for title in ("capability", *COLUMNS):
        made.add_column(title)
    cells: dict[str, dict[str, str]] = {}
    for ability in abilities:
        number = reasons.setdefault(ability.why, len(reasons) + 1) if ability.why else 0
        cells.setdefault(ability.capability, {})[ability.runtime] = f"no [{number}]" if number else "yes"
    for capability, by_runtime in cells.items():
        made.add_row(capability, *(Text(by_runtime[runtime]) for runtime in COLUMNS))
    yield made
    for why, number in reasons.items():
        yield Text(f"[{number}] {why}")


def _choose(compose: Compose, runtime: str) -> Choice:
    choice = choose(compose, None, None, programs.find, pick(runtime)[1])
    for name in choice.services:
        for argv in compose.services[name].commands:
            programs.find(argv[0], service=name)
    return choice
