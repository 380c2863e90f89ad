"""compose.yaml: what is read, what is refused and where."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runlab.model import LabError
from runlab.stack import compose, document

OURS = Path(__file__).parent.parent / "compose" / "compose.yaml"


def write(folder: Path, text: str) -> Path:
    file = folder / "compose.yaml"
    file.write_text(text, encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("$SET and ${SET}", "value and value"),
        ("${SET:-other}", "value"),
        ("${UNSET:-other}", "other"),
        ("${UNSET:-}", ""),
        ("${EMPTY:-other}", "other"),
        ("${EMPTY-other}", ""),
        ("${UNSET-other}", "other"),
        ("${SET:+other}", "other"),
        ("${UNSET:+other}", ""),
        ("${EMPTY:+other}", ""),
        ("${EMPTY+other}", "other"),
        ("$$SET and $${SET}", "$SET and ${SET}"),
        ("http://${SET:-host}:9090/", "http://value:9090/"),
    ],
)
def test_interpolation_is_that_of_the_specification(text: str, expected: str) -> None:
    assert document.interpolate(text, {"SET": "value", "EMPTY": ""}) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("${UNSET}", "${UNSET}: has no value"),
        ("$UNSET", "${UNSET}: has no value"),
        ("${UNSET:?give it}", "${UNSET}: give it"),
        ("${EMPTY:?give it}", "${EMPTY}: give it"),
        ("5 $", "a lone $"),
        ("${}", "a lone $"),
    ],
)
def test_what_cannot_be_interpolated_is_an_error(text: str, said: str) -> None:
    with pytest.raises(LabError) as caught:
        document.interpolate(text, {"EMPTY": ""}, where="a file:3")
    assert str(caught.value).startswith(f"a file:3: {said}")


@given(st.text())
def test_doubled_dollars_give_any_text_back(text: str) -> None:
    assert document.interpolate(text.replace("$", "$$"), {}) == text


@given(st.text())
def test_values_are_not_interpolated_again(value: str) -> None:
    assert document.interpolate("<${NAME}>", {"NAME": value}) == f"<{value}>"


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("services:\n  a:\n    command: [x]\n    helthcheck: {}\n", 4, "helthcheck"),
        ("services:\n  a:\n    command: x y\n", 3, "valid list"),
        ("services:\n  a:\n    command: [x]\n    healthcheck:\n      test: [CMD-SHELL, x]\n", 4, "without a shell"),
        (
            "services:\n  a:\n    command: [x]\n    healthcheck:\n      test: [CMD, x]\n      interval: soon\n",
            6,
            "no duration: 'soon'",
        ),
        ("services:\n  a:\n    command: [x]\n    environment:\n      DEBUG: true\n", 5, "quote it"),
        ("services:\n  a:\n    command: [x]\n    depends_on: [b]\n", 4, "depends_on names b"),
        (
            "services:\n  a:\n    command: [x]\n    depends_on: {b: {condition: up}}\n  b: {command: [x]}\n",
            4,
            "depends_on.b",
        ),
        (
            "services:\n  a:\n    command: [x]\n    depends_on: [b]\n  b:\n    command: [x]\n    depends_on: [a]\n",
            4,
            "depends on itself",
        ),
        ("services:\n  a:\n    command: [x]\n    configs: [{source: c}]\n", 4, "configs names c"),
        ("services:\n  a:\n    image: x\n", 2, "no command"),
        ("services:\n  a:\n    command: [x]\n    x-lab: {nize: 1}\n", 4, "nize"),
        ("services:\n  a:\n    command: [x, '${NOWHERE}']\n", 3, "${NOWHERE}: has no value"),
        ("services:\n  a:\n   command: [x\n", 4, "no YAML"),
        ("configs:\n  c:\n    content: |\n      one\n      two ${NOWHERE}\n", 5, "${NOWHERE}"),
        (
            "services:\n  a:\n    command: [x]\n    depends_on: {a: {condition: service_started, retry: 1}}\n",
            4,
            "retry",
        ),
        ("services:\n  a:\n    command: [x]\n    profiles: some\n", 4, "profiles"),
        ("services:\n  a:\n    command: [x]\n    x-lab:\n      fronts:\n        h: b\n", 5, "fronts names b"),
        ("services:\n  a:\n    command: [x]\n    x-lab:\n      fronts:\n        h: a\n", 6, "fronts itself"),
        (
            "services:\n  a: {command: [x]}\n  b:\n    command: [x]\n    x-lab: {fronts: {a: a}}\n",
            5,
            "there is a host a already",
        ),
        (
            "x-lab: {hosts: {h: []}}\nservices:\n  a: {command: [x]}\n  b: {command: [x], x-lab: {fronts: {h: a}}}\n",
            4,
            "there is a host h already",
        ),
        (
            "services:\n  a: {command: [x]}\n  b: &b {command: [x], x-lab: {fronts: {h: a}}}\n  c: *b\n",
            3,
            "there is a host h already",
        ),
        ("services:\n  a: {command: [x]}\n  b: {command: [x]}\n  a: {command: [y]}\n", 4, "a stands twice"),
        ("services:\n  a:\n    command: [x]\n    expose: [1]\n    command: [y]\n", 5, "first in line 3"),
        ("configs:\n  c: {content: x}\nservices:\n  a: {command: [x]}\nconfigs: {}\n", 5, "configs stands twice"),
        ("x-q: &q {interval: 1s}\nservices:\n  a:\n    <<: *q\n    <<: *q\n    command: [x]\n", 5, "<< stands twice"),
        ("services:\n  a: &a {command: [x], expose: [1]}\n  b:\n    <<: *a\n    expose: [soon]\n", 5, "expose"),
        ("services:\n  a: {command: [x]}\ninclude: more.yaml\n", 3, "a list of file names"),
        ("services:\n  a: {command: [x]}\ninclude:\n  - {path: more.yaml}\n", 3, "a list of file names"),
        ("services: {}\n", 1, "services"),
        ("", 1, ""),
    ],
)
def test_an_error_names_file_and_line(tmp_path: Path, text: str, line: int, said: str) -> None:
    file = write(tmp_path, text)
    with pytest.raises(LabError) as caught:
        compose.read(file, {})
    assert caught.value.where == f"{file}:{line}"
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="cannot be read"):
        compose.read(tmp_path / "compose.yaml")


def test_names_may_be_read_before_there_are_values(tmp_path: Path) -> None:
    file = write(tmp_path, "services:\n  a:\n    command: [x, '${LATER}']\n    expose: [80]\n")
    assert compose.read(file).services["a"].expose == [80]
    assert compose.read(file, {"LATER": "now"}).services["a"].argv == ["x", "now"]


def test_extensions_and_merge_keys_are_as_in_the_specification(tmp_path: Path) -> None:
    text = """
x-quick: &quick {interval: 1m30s, timeout: 250ms, retries: 2, start_period: 1s}
services:
  a:
    x-note: anything
    command: [x]
    healthcheck: {<<: *quick, test: [CMD, y, 1]}
"""
    check = compose.read(write(tmp_path, text)).services["a"].healthcheck
    assert check is not None
    assert (check.argv, check.interval, check.timeout, check.retries) == (["y", "1"], 90.0, 0.25, 2)


def test_what_is_included_stands_first_and_may_be_referred_to_from_both_sides(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "one.yaml").write_text(
        "x-note: anything\nservices:\n  b: {command: [x, '${SET}'], depends_on: [a], configs: [{source: c}]}\n"
        "configs: {d: {content: there}}\nsecrets: {s: {environment: S}}\n"
    )
    (tmp_path / "two.yaml").write_text("services:\n  e: {command: [x]}\n")
    text = """
include: [more/one.yaml, two.yaml]
services:
  a: {command: [x], depends_on: [e], configs: [{source: d}]}
configs: {c: {content: here}}
"""
    found = compose.read(write(tmp_path, text), {"SET": "value"})
    assert list(found.services) == ["b", "e", "a"]
    assert found.services["b"].argv == ["x", "value"]
    assert {name: config.content for name, config in found.configs.items()} == {"c": "here", "d": "there"}
    assert found.secrets["s"].environment == "S"


@pytest.mark.parametrize(
    ("included", "line", "said"),
    [
        ("services:\n  a:\n    command: [y]\n", 2, "services.a is declared already, at FILE:3"),
        ("services:\n  b:\n    command: [y]\n    image: 5\n", 4, "services.b.image"),
        ("services:\n  b:\n    command: ['${NOWHERE}']\n", 3, "${NOWHERE}: has no value"),
        ("services:\n  b:\n    command: [y]\n    depends_on: [z]\n", 4, "depends_on names z"),
        ("services:\n  b: {command: [y]}\n  b: {command: [y]}\n", 3, "b stands twice in one mapping, first in line 2"),
        ("x-lab:\n  rules: x\n", 1, "x-lab: cannot be included"),
        ("include: [third.yaml]\n", 1, "include: cannot be included"),
        ("services: [b]\n", 1, "services: cannot be included"),
    ],
)
def test_an_error_in_an_included_file_names_that_file(tmp_path: Path, included: str, line: int, said: str) -> None:
    file = write(tmp_path, "include: [more.yaml]\nservices:\n  a: {command: [x]}\n")
    (tmp_path / "more.yaml").write_text(included)
    with pytest.raises(LabError) as caught:
        compose.read(file, {})
    assert caught.value.where == f"{tmp_path / 'more.yaml'}:{line}"
    assert said.replace("FILE", str(file)) in str(caught.value)


def test_two_included_files_may_not_declare_the_same(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.yaml").write_text("configs:\n  c: {content: x}\n")
    file = write(tmp_path, "include: [one.yaml, two.yaml]\nservices:\n  a: {command: [x]}\n")
    with pytest.raises(LabError, match=r"two[.]yaml:2: configs[.]c is declared already, at .*one[.]yaml:2"):
        compose.read(file, {})


@pytest.mark.parametrize(("text", "said"), [("", "nothing is declared"), (None, "cannot be read")])
def test_an_included_file_has_to_be_there(tmp_path: Path, text: str | None, said: str) -> None:
    file = write(tmp_path, "include: [more.yaml]\nservices:\n  a: {command: [x]}\n")
    if text is not None:
        (tmp_path / "more.yaml").write_text(text)
    with pytest.raises(LabError, match=said) as caught:
        compose.read(file)
    assert caught.value.where == str(tmp_path / "more.yaml")


def test_dependencies_come_along_in_the_files_order(tmp_path: Path) -> None:
    services = {"first": ["second"], "second": ["third"], "third": [], "fourth": []}
    text = "services:\n" + "".join(f"  {n}: {{command: [x], depends_on: {d}}}\n" for n, d in services.items())
    file = compose.read(write(tmp_path, text))
    assert file.with_dependencies(["second"]) == ["second", "third"]
    assert file.with_dependencies(["first"]) == ["first", "second", "third"]
    assert file.with_dependencies(None) == list(services)
    with pytest.raises(LabError, match="no such service: fifth; there are first"):
        file.with_dependencies(["fifth"])


def test_what_is_not_required_does_not_come_along(tmp_path: Path) -> None:
    text = """
services:
  first:
    command: [x]
    depends_on: {second: {condition: service_healthy, required: false}, third: {condition: service_started}}
  second: {command: [x], profiles: [more]}
  third: {command: [x]}
"""
    file = compose.read(write(tmp_path, text))
    assert file.with_dependencies(["first"]) == ["first", "third"]
    assert file.services["first"].depends_on["second"].condition == "service_healthy"
    assert file.services["second"].profiles == ["more"]


def test_fronts_and_what_only_an_engine_needs_for_them(tmp_path: Path) -> None:
    text = """
services:
  db: {command: [x], expose: [5432]}
  proxy:
    command: [x]
    networks: {default: {aliases: [db-front]}}
    x-lab: {fronts: {db-front: db}}
networks: {default: {}}
"""
    assert list(compose.read(write(tmp_path, text)).fronts()) == [("db-front", "proxy", "db")]


def test_an_engine_finds_our_own_fronts_under_the_same_names() -> None:
    ours = compose.read(OURS)
    for host, name, _ in ours.fronts():
        networks = ours.services[name].networks
        assert any(host in network["aliases"] for network in networks.values()), host


def test_our_own_file_works_by_hand_too() -> None:
    """Every variable has a default, but for the passwords, which are declared as secrets."""
    declared = [secret.environment for secret in compose.read(OURS).secrets.values()]
    services = compose.read(OURS, dict.fromkeys(declared, "s3cret")).services
    assert {"prometheus", "alertmanager", "pushgateway", "postgres"} <= set(services)
    assert next(iter(services)) == "prometheus"
    for name in declared:
        with pytest.raises(LabError, match=name):
            compose.read(OURS, {other: "s3cret" for other in declared if other != name})


def test_our_own_files_are_read_in_one_sitting() -> None:
    assert not [file for file in OURS.parent.rglob("*.y*ml") if len(file.read_text().splitlines()) > 400]


def test_no_password_stands_in_an_argument_list() -> None:
    declared = [secret.environment for secret in compose.read(OURS).secrets.values()]
    for name, service in compose.read(OURS, dict.fromkeys(declared, "s3cret")).services.items():
        lists = [service.argv, *service.lab.prepare, *service.lab.reset, service.lab.version or []]
        lists += [service.healthcheck.argv] if service.healthcheck else []
        assert not [argv for argv in lists if any("s3cret" in word for word in argv)], name
