"""What faults have in common that break one of the platform's databases."""

from __future__ import annotations

from runlab import databases
from runlab.model import Fault


class OfDatabase(Fault):
    """A fault of the server `database`, which it needs; a subclass is a dataclass with that field.

    LabError for a database that the platform does not have.
    """

    database: str

    def __post_init__(self) -> None:
        databases.check(self.database)

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({self.database})
