"""How the keeper puts a process on a machine of the sandbox; where there is no sandbox, nothing is entered."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from runlab.model import LabError
from runlab.stack.children import Child, Children, Enter
from runlab.stack.plan import Plan

CONTROL, OPERATOR = "control", "operator"
"""The machine of whatever names none, and that of the account of the same name."""


@dataclass(frozen=True)
class Network:
    """`addresses` and `places`: of each service and further host its address inside and its machine; {} without one."""

    addresses: Mapping[str, str] = field(default_factory=dict)
    places: Mapping[str, str] = field(default_factory=dict)
    namespaces: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """By machine, the paths of its network and its mount namespace."""
    helper: subprocess.Popen[bytes] | None = None

    def enter(self, machine: str) -> Enter:
        """The command that enters `machine`. LabError when there is none of that name."""
        if not self.namespaces:
            return lambda _: []
        if machine not in self.namespaces:
            raise LabError(f"there is no machine {machine}", mend=f"there are {', '.join(self.namespaces)}")
        net, mounts = self.namespaces[machine]
        program = shutil.which("nsenter", path=os.defpath) or "nsenter"
        return lambda folder: [program, f"--net={net}", f"--mount={mounts}", f"--wdns={folder}", "--"]

    def watched_by(self, children: Children) -> None:
        """Have the helper reaped with the keeper's other children."""
        if self.helper:
            children.adopt(Child(self.helper))


def start(plan: Plan) -> Network:
    """Have the plan's network made, where it has one; returns once it is there. LabError when it can't be.

    To be called in network and mount namespaces of one's own, before there is a second thread.
    """
    network = plan["network"]
    if network is None:
        return Network()
    descriptors = tuple(network["listeners"].values())
    helper = subprocess.Popen(
        [sys.executable, "-P", "-m", "runlab.stack.network", plan["folder"]],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=descriptors,
        start_new_session=True,
    )
    assert helper.stdin
    assert helper.stdout
    helper.stdin.write(json.dumps(network).encode() + b"\n")
    helper.stdin.flush()
    answer = json.loads(helper.stdout.readline() or b'{"error": "the sandbox\'s network has ended"}')
    if "error" in answer:
        raise LabError(answer["error"], mend="see logs/keeper.log, or take --runtime processes")
    for descriptor in descriptors:
        os.close(descriptor)
    place = Path("/proc", str(helper.pid), "fd")
    return Network(
        addresses=network["addresses"],
        places=network["places"],
        namespaces={name: (str(place / str(net)), str(place / str(mounts))) for name, (net, mounts) in answer.items()},
        helper=helper,
    )
