"""What a curl command would do: plain HTTP requests to named services, and nothing else, is all that is let through.

curl can also read and write files, follow a server to another host, use a proxy and read its options from a file
(curl(1)), so its options are those listed here and no others.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence

from runlab.sqltext import RefusedError

_FLAGS = {"--fail", "--silent", "--show-error", "--include", "--head", "--get"}
_FLAG_LETTERS = re.compile(r"-[fsSiIG]+")
_METHOD = re.compile(r"-X[A-Z]+")
_WITH_VALUE = {"-X", "--request", "-H", "--header", "-d", "--data", "-m", "--max-time"}
_NOWHERE = {"-o", "--output"}
_TELLING = {"-w", "--write-out"}
# of what curl can tell only what it saw: %output{} and %header{} are not among it, and neither is @file
_TOLD = re.compile(r"(?!@)(?:[^%]|%\{(?:exitcode|errormsg|http_code|url)\})*")
# without credentials, globs and escapes, so that what is read here is what curl reads
_URL = re.compile(r"(?P<scheme>https?)://(?P<host>[a-z0-9_.-]+)(?::(?P<port>[0-9]{1,5}))?(?:[/?][^\s\\\[\]{}]*)?")
_PORTS: Mapping[str, int] = {"http": 80, "https": 443}


def endpoints(arguments: Sequence[str], services: Collection[str]) -> list[tuple[str, int]]:
    """The service and port of each URL among a curl's `arguments`.

    Raises RefusedError for an option that is not known to be harmless, for another scheme, for a host that is not
    among `services`, and when no URL is given.
    """
    found = [_endpoint(word, services) for word in _urls(arguments)]
    if not found:
        raise RefusedError("it names no service")
    return found


def _urls(arguments: Sequence[str]) -> Iterator[str]:
    """What curl would take as URLs: every word that is neither an option nor an option's value."""
    words = iter(arguments)
    for word in words:
        if not word.startswith("-"):
            yield word
        elif word in _WITH_VALUE:
            value = next(words, "")
            if value.startswith("@"):
                raise RefusedError(f"{word} {value} reads a file")
        elif word in _NOWHERE:
            if (value := next(words, "")) != "/dev/null":
                raise RefusedError(f"{word} {value} writes a file")
        elif word in _TELLING:
            if not _TOLD.fullmatch(value := next(words, "")):
                raise RefusedError(f"{word} {value} tells more than how the request went")
        elif not (word in _FLAGS or _FLAG_LETTERS.fullmatch(word) or _METHOD.fullmatch(word)):
            raise RefusedError(f"curl's option {word} is not among those that are known to be harmless")


def _endpoint(url: str, services: Collection[str]) -> tuple[str, int]:
    read = _URL.fullmatch(url)
    if read is None:
        raise RefusedError(f"{url} is no plain http URL")
    if read["host"] not in services:
        raise RefusedError(f"{read['host']} is not among the services that lab.toml allows")
    return read["host"], int(read["port"] or _PORTS[read["scheme"]])
