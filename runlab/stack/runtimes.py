"""The runtimes without a container engine, and which of them a run gets.

*sandbox*: every machine of `x-lab.network` is a host of its own, with its own addresses, routes, resolver and packet
filter. *processes*: all on one host. *embedded*: a sandbox where the kernel allows one, else processes.
"""

from __future__ import annotations

from typing import Literal, get_args

from runlab.model import LabError
from runlab.stack import programs
from runlab.stack.choice import Runtime
from runlab.stack.namespaces import SANDBOX_CAPABILITIES, sandbox_obstacle

Kind = Literal["embedded", "sandbox", "processes"]
RUNTIMES: tuple[str, ...] = get_args(Kind)
EMBEDDED, SANDBOX, PROCESSES = RUNTIMES


def pick(wanted: str, *, namespaces: bool = True) -> tuple[str, Runtime]:
    """Which runtime it is to be, "sandbox" or "processes", and what that has and lacks.

    Without `namespaces` "embedded" is processes, and a sandbox has no PID namespace. LabError for an unknown one, and
    for a sandbox that can't be had.
    """
    if wanted not in RUNTIMES:
        raise LabError(f"there is no runtime {wanted}", mend=f"there are {', '.join(RUNTIMES)}")
    if wanted == EMBEDDED and not namespaces:
        obstacle: str | None = "no namespaces are to be used"
    else:
        obstacle = "the runtime is processes" if wanted == PROCESSES else sandbox_obstacle()
    if obstacle is None:
        lacks = programs.sandbox_lacks()
        return SANDBOX, Runtime(frozenset(SANDBOX_CAPABILITIES) - set(lacks), lacks)
    if wanted == SANDBOX:
        raise LabError(f"no sandbox here: {obstacle}", mend="take --runtime embedded, or processes")
    return PROCESSES, Runtime(missing=dict.fromkeys(SANDBOX_CAPABILITIES, obstacle))
