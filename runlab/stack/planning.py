"""From compose.yaml and a run's folder to the plan that the keeper carries out."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from runlab.model import LabError
from runlab.setup.programs import system_path
from runlab.stack import addressing, programs
from runlab.stack import folder as folders
from runlab.stack.choice import Choice
from runlab.stack.compose import Compose, Service, read
from runlab.stack.plan import Account, Health, Plan, ServicePlan

SERVICE_UID = 65534
OPERATOR_UID = 64197
_OF_ROOT = {"dac_read_search": 2, "kill": 5, "net_bind_service": 10, "net_admin": 12, "net_raw": 13}
"""The capabilities of a sandbox's root, with their numbers (capabilities(7))."""

Rules = Callable[[str, str], str]
"""What is to be made of a file of alert rules: (text, file) -> text."""


def make(
    file: Path,
    choice: Choice,
    *,
    run_id: str,
    folder: Path,
    logs: Path,
    hosts: Mapping[str, str],
    sandbox: bool,
    rules: Rules,
    own_rules: Path | None,
    variables: Mapping[str, str],
    operator_uid: int,
) -> Plan:
    """Fill the run's folder with what the services need, and say how each service of `choice` is to be run.

    Raises LabError for what compose.yaml lacks, for rules that `rules` refuses, and for programs not installed.
    """
    draft = read(file)
    passwords = {secret.environment: secrets.token_urlsafe(24) for secret in draft.secrets.values()}
    config = folder / "config"
    accounts = _accounts(folder, operator_uid, sandbox=sandbox)
    homes = [it["environment"]["HOME"] for it in accounts.values()]
    network = addressing.network(draft, choice.services, homes) if sandbox else None
    within = network["addresses"] if network else hosts
    known = _variables(draft, folder) | _left_out(draft, choice, within) | passwords
    known |= _prefixed("HOST", within)
    known |= _prefixed("NAME", addressing.names(draft, choice.services, within, resolved=sandbox))
    compose = read(file, known | {"RUN_ID": run_id, **variables})
    config.mkdir(mode=0o700)
    for name, entry in compose.configs.items():
        (config / name).write_text(entry.content, encoding="utf-8")
    shipped_rules = file.parent / compose.lab.rules if compose.lab.rules else None
    _copy_rules([folder for folder in (shipped_rules, own_rules) if folder], config / "rules", rules)
    release = _copy_release(file, compose.lab.release, folder / "release")
    site = _Site(compose, folder, logs, choice.services, passwords, release)
    services = {name: _service(name, site) for name in choice.services}
    _give(folder / "operator", accounts["operator"]["uid"])
    for path in (config, folder / "services", folder / "release"):
        _give(path, accounts["service"]["uid"])
    return Plan(
        run_id=run_id,
        folder=str(folder),
        logs=str(logs),
        namespace=False,
        hosts=dict(hosts),
        network=network,
        ports={host: ports for host, ports in listening(compose, choice.services).items() if ports},
        secrets=passwords,
        capabilities=sorted(choice.capabilities),
        available=sorted(choice.available),
        missing=dict(choice.missing),
        accounts=accounts,
        services=services,
    )


def listening(compose: Compose, chosen: Collection[str]) -> dict[str, list[int]]:
    """The ports of every service and of every host that one fronts; none for what is not among `chosen`.

    What fronts a service listens on that service's own ports.
    """
    found = {name: service.expose if name in chosen else [] for name, service in compose.services.items()}
    for host, name, behind in compose.fronts():
        found[host] = compose.services[behind].expose if name in chosen else []
    return found


def reached(compose: Compose, chosen: Collection[str], addresses: Mapping[str, str]) -> dict[str, str]:
    """`addresses` by host, where a host whose fronting service is not among `chosen` is the service behind it."""
    direct = {host: addresses[behind] for host, name, behind in compose.fronts() if name not in chosen}
    return {**addresses, **direct}


def variable(name: str) -> str:
    """How a service's or file's name stands in a variable's: my-service -> my_service."""
    return name.replace("-", "_").replace(".", "_")


def _prefixed(kind: str, values: Mapping[str, str]) -> dict[str, str]:
    return {f"{kind}_{variable(name)}": value for name, value in values.items()}


def _left_out(draft: Compose, choice: Choice, hosts: Mapping[str, str]) -> dict[str, str]:
    """A regular expression of the addresses of services that do not start; not set when all do."""
    addresses = [hosts[name].replace(".", "[.]") for name in draft.services if name not in choice.services]
    return {"HOSTS_LEFT_OUT": "|".join(addresses)} if addresses else {}


def _variables(draft: Compose, folder: Path) -> dict[str, str]:
    found = {f"DATA_{variable(name)}": str(folder / "services" / name / "data") for name in draft.services}
    found |= {f"CONFIG_{variable(name)}": str(folder / "config" / name) for name in (*draft.configs, "rules")}
    for name, service in draft.services.items():
        found |= {f"SECRET_{variable(m.source)}": str(_secret(folder, name, m.source)) for m in service.secrets}
    return found


def _secret(folder: Path, service: str, source: str) -> Path:
    return folder / "services" / service / "home" / source


def _accounts(folder: Path, operator_uid: int, *, sandbox: bool) -> dict[str, Account]:
    """As root the services' and the operator's accounts differ from ours and from each other; else all are ours.

    A sandbox has its own root besides, who rules over its network and signals its processes, and no more. Nobody else
    there has a capability.
    """
    marked = dict([folders.mark(folder)])
    root = os.geteuid() == 0

    def account(uid: int, home: Path, path: str, capabilities: Sequence[str] = ()) -> Account:
        home.mkdir(mode=0o700, parents=True)
        ids = [f"--reuid={uid}", f"--regid={uid}", "--clear-groups"] if root else []
        kept = ",".join(["-all", *(f"+{name}" for name in capabilities)])
        # with an empty bounding set, programs like ping, which a file capability may help, could not even be started
        kinds = ("inh-caps", "ambient-caps", "bounding-set") if capabilities else ("inh-caps", "ambient-caps")
        rights = [f"--{kind}={kept}" for kind in kinds] if sandbox else []
        return Account(
            uid=uid if root else os.geteuid(),
            prefix=["setpriv", *ids, *rights, "--no-new-privs", "--"],
            environment={
                "PATH": path,
                "LANG": "C.UTF-8",
                "HOME": str(home),
                "TMPDIR": str(home),
                **marked,
            },
            cwd=str(home),
        )

    (folder / "services").mkdir(mode=0o700)
    accounts = {
        "service": account(SERVICE_UID, folder / "services" / ".home", programs.service_path()),
        "operator": account(operator_uid, folder / "operator", system_path()),
    }
    return accounts | ({"root": account(0, folder / "root", system_path(), _of_root())} if sandbox else {})


def _of_root() -> list[str]:
    """A user namespace has all capabilities; root in a container may lack some, for good."""
    if os.geteuid() != 0:
        return list(_OF_ROOT)
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    bounding = int(status["CapBnd"], 16)
    return [name for name, number in _OF_ROOT.items() if bounding >> number & 1]


@dataclass(frozen=True)
class _Site:
    """What every service's plan is made from; `passwords` by variable, `release`: the environment that finds it."""

    compose: Compose
    folder: Path
    logs: Path
    chosen: Sequence[str]
    passwords: Mapping[str, str]
    release: Mapping[str, str]


def _service(name: str, site: _Site) -> ServicePlan:
    service = site.compose.services[name]
    place = site.folder / "services" / name
    for part in ("data", "home"):
        (place / part).mkdir(mode=0o700, parents=True)

    def resolved(argv: Sequence[str]) -> list[str]:
        return [programs.find(argv[0], service=name), *argv[1:]]

    home = {"HOME": str(place / "home"), "TMPDIR": str(place / "home"), "PYTHONUNBUFFERED": "1"}
    return ServicePlan(
        argv=resolved(service.argv),
        environment={**home, **site.release, **service.environment},
        cwd=str(place / "home"),
        log=str(site.logs / f"{name}.log"),
        nice=service.lab.nice,
        once=service.lab.once or _awaited(name, site.compose),
        machine=service.lab.machine,
        stop_signal=_signal(name, service),
        depends=[other for other in service.depends_on if other in site.chosen],
        health=_health(service, resolved),
        prepare=[resolved(argv) for argv in service.lab.prepare],
        quiesce=[resolved(argv) for argv in service.lab.quiesce],
        reset=[resolved(argv) for argv in service.lab.reset],
        version=resolved(service.lab.version) if service.lab.version else None,
        secret_files={
            str(_secret(site.folder, name, mount.source)): site.passwords[
                site.compose.secrets[mount.source].environment
            ]
            for mount in service.secrets
        },
    )


def _awaited(name: str, compose: Compose) -> bool:
    """Whether another service waits for this one's completion."""
    waits = (other.depends_on[name].condition for other in compose.services.values() if name in other.depends_on)
    return "service_completed_successfully" in waits


def _signal(name: str, service: Service) -> int:
    try:
        return signal.Signals[service.stop_signal]
    except KeyError:
        raise LabError(f"service {name}: no such signal: {service.stop_signal}") from None


def _health(service: Service, resolved: Callable[[Sequence[str]], list[str]]) -> Health | None:
    check = service.healthcheck
    if check is None:
        return None
    return Health(
        argv=resolved(check.argv),
        interval_s=check.interval,
        timeout_s=check.timeout,
        deadline_s=check.start_period + check.retries * check.interval,
    )


def _copy_rules(sources: Sequence[Path], target: Path, rules: Rules) -> None:
    target.mkdir(mode=0o700)
    for path in (path for source in sources for path in sorted(source.glob("*.yml"))):
        copy = target / path.name
        if copy.exists():
            raise LabError("two files of alert rules have this name", where=str(path), mend="give it another one")
        copy.write_text(rules(path.read_text(encoding="utf-8"), str(path)), encoding="utf-8")


def _copy_release(file: Path, source: str, target: Path) -> dict[str, str]:
    """The environment in which the released package is importable; the copy is what an image would hold."""
    target.mkdir(mode=0o700)
    package = (file.parent / source).resolve()
    if not source or not package.is_dir():
        return {}
    shutil.copytree(package, target / package.name)
    return {"PYTHONPATH": str(target)}


def _give(path: Path, uid: int) -> None:
    if os.geteuid() == 0:
        for each in _tree(path):
            os.chown(each, uid, uid, follow_symlinks=False)


def _tree(path: Path) -> Iterator[Path]:
    yield path
    yield from path.rglob("*")
