"""The machines of a sandbox: each a network namespace and a mount namespace of its own, behind one router.

The router is the namespace of whoever calls `make`, which has no other interface: there is no way out of a sandbox.
Every machine has one interface, `eth0`, with an address for each service on it and a default route by the router, which
has an interface of the machine's name. Its /run, /etc/resolv.conf and /etc/hosts are its own. On the operator's machine
nothing else can be written but /tmp, which is its own, and the homes of the accounts.
"""

from __future__ import annotations

import ctypes
import ipaddress
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pyroute2 import IPRoute  # type: ignore[import-untyped]

from runlab.model import LabError
from runlab.stack import packet_filter
from runlab.stack.plan import AS_NEW, OPERATOR, ROUTER, MachinePlan, NetworkPlan

NEW_NET, NEW_MOUNTS = 0x40000000, 0x00020000
_NO_SUID, _NO_DEVICES, _REMOUNT, _BIND = 0x2, 0x4, 0x20, 0x1000
_MOUNT_SETATTR, _AT_FDCWD, _AT_RECURSIVE, _READ_ONLY = 442, -100, 0x8000, 1
_LARGEST_GID = 2**31 - 1
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Machine:
    """Descriptors of a machine's namespaces, which live as long as they are open, or a process is in them."""

    net: int
    mounts: int


class _Attributes(ctypes.Structure):
    """struct mount_attr, see mount_setattr(2)."""

    _fields_ = [(name, ctypes.c_uint64) for name in ("set", "clear", "propagation", "user")]


@contextmanager
def inside(net: int, home: int) -> Iterator[None]:
    """Be in a network namespace for a moment: a socket made there stays there."""
    enter(net, NEW_NET)
    try:
        yield
    finally:
        enter(home, NEW_NET)


def enter(namespace: int, kind: int) -> None:
    """setns(2); OSError."""
    _check(_libc.setns(namespace, kind), "setns")


def make(plan: NetworkPlan, folder: Path) -> dict[str, Machine]:
    """Make every machine of the plan, the router among them, and connect them. LabError in the kernel's words.

    The caller must have one thread only, be in network and mount namespaces of its own, and returns to them.
    """
    try:
        if os.statvfs("/proc/sys").f_flag & os.ST_RDONLY:  # as in a container
            _mount("", "/proc/sys", flags=_REMOUNT | _BIND)
        home = Machine(_open("net"), _open("mnt"))
        _check(_libc.unshare(NEW_MOUNTS), "unshare")
        _own_files(ROUTER, "", plan, folder)
        made = {ROUTER: Machine(home.net, _open("mnt"))}
        for name, machine in plan["machines"].items():
            _check(_libc.unshare(NEW_MOUNTS), "unshare")
            _own_files(name, machine["nameserver"], plan, folder)
            if name == OPERATOR:
                _read_only([Path(home) for home in plan["homes"]])
            _check(_libc.unshare(NEW_NET), "unshare")
            made[name] = Machine(_open("net"), _open("mnt"))
            enter(home.net, NEW_NET)
            enter(made[ROUTER].mounts, NEW_MOUNTS)
        _connect(plan["machines"], made, home.net)
        enter(made[ROUTER].mounts, NEW_MOUNTS)
        packet_filter.write(plan["filter"], folder)
        packet_filter.load(folder, _run)
        enter(home.mounts, NEW_MOUNTS)
    except OSError as error:
        raise LabError(f"the sandbox's network could not be made: {error}") from None
    return made


# ------------------------------------------------------------------------------------------------------- the network


def _connect(plans: Mapping[str, MachinePlan], made: Mapping[str, Machine], home: int) -> None:
    _settings()
    _sysctl("net/ipv4/ip_forward", "1")
    with IPRoute() as router:
        _up(router, "lo")
        for name, plan in plans.items():
            subnet = ipaddress.ip_network(plan["subnet"])
            peer = {"ifname": "eth0", "net_ns_fd": made[name].net}
            router.link("add", ifname=name, kind="veth", peer=peer)
            _up(router, name, [f"{subnet[1]}/{subnet.prefixlen}"])
            with inside(made[name].net, home), IPRoute() as machine:
                _up(machine, "lo")
                _up(machine, "eth0", [f"{address}/{subnet.prefixlen}" for address in plan["addresses"]])
                machine.route("add", dst="default", gateway=str(subnet[1]))
                _settings()


def _up(network: IPRoute, name: str, addresses: Sequence[str] = ()) -> None:
    """Give an interface its addresses, with the length of their prefix, and take it up."""
    index = network.link_lookup(ifname=name)[0]
    for address in addresses:
        network.addr("add", index=index, address=address)
    network.link("set", index=index, state="up")


def _settings() -> None:
    """Every account may ping and serve at any port here, as far as accounts are known in this user namespace."""
    first, _, count = map(int, Path("/proc/self/gid_map").read_text().split()[:3])
    _sysctl("net/ipv4/ping_group_range", f"{first} {min(first + count - 1, _LARGEST_GID)}")
    _sysctl("net/ipv4/ip_unprivileged_port_start", "0")
    # as it stands, one error message a second is sent to each host: refusals come late, and traceroute finds no router;
    # icmp_ratelimit = 0 would do for these, but then the next "no route" is kept back for a second
    _sysctl("net/ipv4/icmp_ratemask", "0")


def _sysctl(name: str, value: str) -> None:
    """Of the network namespace in which the caller is."""
    Path("/proc/sys", name).write_text(value)


def _run(argv: list[str]) -> tuple[int, str]:
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


# --------------------------------------------------------------------------------------------------------- the files


def _own_files(name: str, nameserver: str, plan: NetworkPlan, folder: Path) -> None:
    """Give the present mount namespace a /run, a resolv.conf and a hosts file of its own."""
    place = folder / name
    place.mkdir(mode=0o755)
    routers = [(str(ipaddress.ip_network(it["subnet"])[1]), ROUTER) for it in plan["machines"].values()]
    known = [(address, host) for host, address in plan["addresses"].items()] + routers
    hosts = "".join(f"{address} {host}\n" for address, host in known)
    files = {
        "/etc/resolv.conf": _resolver(nameserver),
        "/etc/hosts": f"127.0.0.1 localhost\n{hosts}",
    }
    _cover(Path("/run"), [folder.parent])
    if plan["reserve"]:
        Path("/run/resolv.conf.backup").write_text(_resolver(plan["reserve"]))
    for path, text in files.items():
        own = place / Path(path).name
        own.with_name(f"{own.name}{AS_NEW}").write_text(text)
        own.write_text(text)
        own.chmod(0o644)
        target = Path(os.path.realpath(path))
        if target.is_relative_to("/run"):  # it was there before /run became our own
            target.parent.mkdir(parents=True, exist_ok=True)
            target.touch()
        _mount(str(own), str(target), flags=_BIND)


def _resolver(nameserver: str) -> str:
    return f"nameserver {nameserver}\noptions timeout:1 attempts:2\n" if nameserver else "# there is no name server\n"


def _read_only(homes: Sequence[Path]) -> None:
    """Make all of the present mount namespace read-only, but for a /tmp of its own and `homes`.

    Programs that lie below /tmp, as those of a checkout there do, are found all the same.
    """
    _set_read_only("/", recursive=True)
    for home in homes:
        _mount(str(home), str(home), flags=_BIND)
    _cover(Path("/tmp"), [*homes, Path(sys.prefix).resolve()])  # noqa: S108 -- it is the operator's own
    for home in homes:
        _set_read_only(str(home), clear=True)


def _cover(place: Path, kept: Sequence[Path]) -> None:
    """Put an empty folder of one's own over `place`, with what is `kept` below it still there."""
    below = {path: os.open(path, os.O_PATH) for path in kept if path.is_relative_to(place)}
    _mount("tmpfs", str(place), kind="tmpfs", flags=_NO_SUID | _NO_DEVICES, data="mode=1777,size=64m")
    for path, descriptor in below.items():
        path.mkdir(parents=True)
        for above in (one for one in path.parents if one.is_relative_to(place) and one != place):
            above.chmod(0o711)  # what lies there is not for everybody to see, as in the folders that are covered
        _mount(f"/proc/self/fd/{descriptor}", str(path), flags=_BIND)
        os.close(descriptor)


def _set_read_only(path: str, *, recursive: bool = False, clear: bool = False) -> None:
    attributes = _Attributes(0, _READ_ONLY, 0, 0) if clear else _Attributes(_READ_ONLY, 0, 0, 0)
    flags = _AT_RECURSIVE if recursive else 0
    size = ctypes.sizeof(attributes)
    done = _libc.syscall(_MOUNT_SETATTR, _AT_FDCWD, path.encode(), flags, ctypes.byref(attributes), size)
    _check(done, f"mount_setattr {path}")


def _mount(source: str, target: str, *, kind: str = "", flags: int = 0, data: str = "") -> None:
    words = (source.encode(), target.encode(), kind.encode() or None, flags, data.encode() or None)
    _check(_libc.mount(*words), f"mount {target}")


def _check(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _open(kind: str) -> int:
    return os.open(f"/proc/self/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)
