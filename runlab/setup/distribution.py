"""What differs between the distributions that set-up was tried on; where programs lie is looked up, not assumed.

| | PostgreSQL | MariaDB | HAProxy | Prometheus | Alertmanager | Pushgateway | Python |
|---|---|---|---|---|---|---|---|
| Debian 12 | 15 | 10.11 | 2.6 | 2.42 | 0.25 | 1.5 | 3.11 |
| Ubuntu 24.04 | 16 | 10.11 | 2.8 | 2.45 | 0.26 | 1.7 | 3.12 |
| Ubuntu 22.04 | 14 | 10.6 | 2.4 | 2.31 | 0.23 | 1.4 | 3.10; 3.11 in universe |

On Ubuntu MariaDB, Prometheus, Alertmanager and Pushgateway come from universe. Source: the archives' own indexes.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from types import MappingProxyType

# ID and VERSION_ID of os-release(5), and the packages whose names differ from Debian 12's
RENAMED: Mapping[tuple[str, str], Mapping[str, str]] = MappingProxyType(
    {
        ("ubuntu", "22.04"): {"mariadb-server-core": "mariadb-server-core-10.6"},
    }
)
# where the distribution has a Go that is new enough for Toxiproxy
GO_PACKAGE: Mapping[tuple[str, str], str] = MappingProxyType(
    {
        ("ubuntu", "22.04"): "golang-1.23-go",
        ("ubuntu", "24.04"): "golang-1.23-go",
    }
)


def here() -> tuple[str, str]:
    """This machine's ID and VERSION_ID; empty strings where os-release does not say."""
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return ("", "")
    return (release.get("ID", ""), release.get("VERSION_ID", ""))


def package_name(package: str) -> str:
    """What Debian 12's `package` is called on this machine."""
    return RENAMED.get(here(), {}).get(package, package)
