"""Our own compose.yaml: what starts for whom, and that names and addresses agree."""

from __future__ import annotations

from pathlib import Path

import pytest

from runlab.stack import addressing, choice, compose, planning
from runlab.stack.choice import Runtime
from runlab.stack.namespaces import SANDBOX_CAPABILITIES

OURS = Path(__file__).parent.parent / "compose" / "compose.yaml"
DRAFT = compose.read(OURS)
PLATFORM = {
    "prometheus",
    "alertmanager",
    "pushgateway",
    "postgres",
    "toxiproxy",
    "migrate",
    "api1",
    "api2",
    "lb",
    "pipeline",
    "users",
}
ARCHIVE = {"mariadb", "migrate-mariadb", "archive", "archive-users"}
PROVIDER = {"redis", "provider-east", "provider-west", "toxiproxy-east", "visitors"}
NAMES = {"public-dns", "dns", "dns-2", "cache-a", "cache-b"}
SANDBOX = Runtime(frozenset(SANDBOX_CAPABILITIES))
PROCESSES = Runtime(missing=dict.fromkeys(SANDBOX_CAPABILITIES, "there is one host"))


def program_path(program: str, *, service: str) -> str:
    return f"/bin/{program} of {service}"


def chosen(*needs: str, runtime: Runtime) -> set[str]:
    return set(choice.choose(DRAFT, None, needs, program_path, runtime).services)


@pytest.mark.parametrize("runtime", [SANDBOX, PROCESSES], ids=["sandbox", "processes"])
def test_nobody_pays_for_what_he_does_not_need(runtime: Runtime) -> None:
    assert chosen("postgres", "api", "users", "toxiproxy", runtime=runtime) == PLATFORM
    assert chosen("mariadb", "archive-users", runtime=runtime) == PLATFORM | ARCHIVE
    assert chosen("provider", "visitors", runtime=runtime) == PLATFORM | PROVIDER


def test_a_sandbox_has_more() -> None:
    assert chosen("private-resolver", "canary", runtime=SANDBOX) == PLATFORM | NAMES | {"canary", "canary-ping"}
    assert chosen("private-resolver", "canary", runtime=PROCESSES) == PLATFORM | {"canary"}


def test_every_name_has_a_record_with_its_address() -> None:
    addresses = addressing.network(DRAFT, list(DRAFT.services), [])["addresses"]
    known = {f"HOST_{planning.variable(host)}": address for host, address in addresses.items()}
    passwords = {secret.environment: "unused" for secret in DRAFT.secrets.values()}
    configs = compose.read(OURS, known | passwords).configs
    records = configs["internal_records"].content + configs["public_records"].content
    found = {name: address for address, name in map(str.split, records.splitlines())}
    assert found == {name: addresses[host] for name, host in DRAFT.lab.names.items()}


@pytest.mark.parametrize(("services", "host"), [({"dns", *NAMES}, "db.platform.internal"), (set(), "10.20.3.9")])
def test_the_platform_uses_names_where_somebody_resolves_them(services: set[str], host: str) -> None:
    names = addressing.names(DRAFT, services, {"db": "10.20.3.9"}, resolved=True)
    passwords = {secret.environment: "unused" for secret in DRAFT.secrets.values()}
    read = compose.read(OURS, passwords | {f"NAME_{name}": value for name, value in names.items()})
    assert read.services["api1"].environment["PGHOST"] == host
