"""RB-900 The stone cracks: what cracks it."""

from dataclasses import dataclass

from runlab.model import Fault, Observation
from runlab.scenario import Scenario

RUNBOOK = "RB-900"


@dataclass(frozen=True)
class Crack(Fault):
    """A file where no file should be."""

    name_of_file: str = "crack"
    needs = frozenset({"stone"})

    def prepare(self, stack):
        return {"file": self.name_of_file}

    def inject(self, stack, undo):
        assert stack.execute(["touch", undo["file"]], account="service").status == 0

    def revert(self, stack, undo):
        stack.execute(["rm", "-f", undo["file"]], account="service")

    def witness(self, stack, undo):
        found = stack.execute(["find", "-name", undo["file"]], account="service").stdout.split()
        return Observation(holds=bool(found), by="find", detail=" ".join(found), truth={"file": [undo["file"]]})


class TestFrost(Scenario):
    """Water froze in the stone."""

    cause = "Frost"
    faults = Crack()
    procedure = "Mending"
    recovers_within_s = 3
    detects_within_s = 3

    def trigger(self):
        pass

    def goal(self, laboratory):
        return laboratory.stack.execute(["test", "-e", "crack"], account="service").status == 1
