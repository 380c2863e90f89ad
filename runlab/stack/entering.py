"""How the keeper puts a process on a machine of the sandbox; where there is no sandbox, nothing is entered."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from runlab.model import LabError
from runlab.stack.children import Child, Enter
from runlab.stack.plan import AS_NEW, MACHINES, NetworkPlan


@dataclass(frozen=True)
class Network:
    """`addresses` and `places`: of each service and further host its address inside and its machine; {} without one."""

    addresses: Mapping[str, str] = field(default_factory=dict)
    places: Mapping[str, str] = field(default_factory=dict)
    namespaces: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """By machine, the paths of its network and its mount namespace."""
    helper: Child | None = None

    def enter(self, machine: str) -> Enter:
        """The command that enters `machine`. LabError when there is none of that name."""
        if not self.namespaces:
            return lambda _: []
        if machine not in self.namespaces:
            raise LabError(f"there is no machine {machine}", mend=f"there are {', '.join(self.namespaces)}")
        net, mounts = self.namespaces[machine]
        nsenter, env = (shutil.which(name, path=os.defpath) or name for name in ("nsenter", "env"))
        # util-linux has --wdns since 2.38 alone
        return lambda folder: [nsenter, f"--net={net}", f"--mount={mounts}", "--", env, f"--chdir={folder}", "--"]

    @property
    def lost(self) -> bool:
        """Whether the process that makes the network has ended, and with it all ways into the machines."""
        return self.helper is not None and self.helper.ended.is_set()


def restore_files(folder: Path) -> None:
    """Put each machine's own resolv.conf and hosts file, in the run's `folder`, back to what they were made as.

    One that is as new is left alone, since programs read it again when it is written. It stays the same file, as it
    covers another.
    """
    for new in folder.glob(f"{MACHINES}/*/*{AS_NEW}"):
        file = new.with_name(new.name.removesuffix(AS_NEW))
        if (text := new.read_bytes()) != file.read_bytes():
            file.write_bytes(text)


def prepare(folder: str, listeners: Sequence[int]) -> subprocess.Popen[bytes]:
    """Start the process that will make the network of the run with this folder; it takes a while to be ready.

    To be called in network and mount namespaces of one's own, which it shares.
    """
    helper = subprocess.Popen(
        [sys.executable, "-P", "-m", "runlab.stack.network", folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=listeners,
        start_new_session=True,
    )
    for descriptor in listeners:
        os.close(descriptor)
    return helper


def start(network: NetworkPlan, helper: subprocess.Popen[bytes]) -> Network:
    """Have the network made; returns once it is there. LabError when it can't be."""
    assert helper.stdin
    assert helper.stdout
    with contextlib.suppress(BrokenPipeError):
        helper.stdin.write(json.dumps(network).encode() + b"\n")
        helper.stdin.flush()
    answer = json.loads(helper.stdout.readline() or b'{"error": "the sandbox\'s network has ended"}')
    if "error" in answer:
        raise LabError(answer["error"], mend="see logs/keeper.log, or take --runtime processes")
    place = Path("/proc", str(helper.pid), "fd")
    return Network(
        addresses=network["addresses"],
        places=network["places"],
        namespaces={name: (str(place / str(net)), str(place / str(mounts))) for name, (net, mounts) in answer.items()},
        helper=Child(helper),
    )
