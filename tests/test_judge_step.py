"""A sentence whose command was run for several values, by another client, or with names in place of its blanks."""

from __future__ import annotations

from dataclasses import replace

import pytest

from runlab.model import Part
from tests.journals import CLAIMS, KILL, LIST, QUERY, Taken, Tape, killed, listed, looked, ran, reason, retried, verdict

TABS = f"--execute={QUERY}"


def after(first: Taken) -> Tape:
    return Tape().begins().quiet().fault(steps=(first, looked(), killed(11), retried())).withheld().ends()


@pytest.mark.parametrize(
    ("argv", "stdout", "stands"),
    [
        (("mariadb", TABS), "Id\tpid\na\\tb\t11\n", True),
        (("mariadb", TABS), "Id\tpid\n11\ta\n", False),
        (("psql", "-c", QUERY), "Id\tpid\na\\tb\t11\n", False),
        (("psql", "-c", QUERY), "Id,pid\na,11\n", True),
    ],
)
def test_a_fact_is_read_again_as_its_program_prints(argv: tuple[str, ...], stdout: str, stands: bool) -> None:
    results = after(Taken(LIST, [ran(QUERY, *argv, stdout=stdout)], {"pid": ["11"]})).results()
    assert verdict(results, LIST) == ("confirmed" if stands else "inconclusive")
    assert ("pid 11 does not stand in the output" in reason(results, LIST)) != stands


def test_a_fact_of_several_runs_stands_in_the_run_that_it_names() -> None:
    runs = [ran(QUERY, stdout="pid\n11\n"), ran(QUERY, stdout="pid\n99\n")]
    for named, expected in ((0, "confirmed"), (1, "inconclusive")):
        assert verdict(after(Taken(LIST, runs, {"pid": ["11"]}, fact_from=named)).results(), LIST) == expected


@pytest.mark.parametrize("argv", [("psql", "-c"), ("mariadb", "--execute=")])
@pytest.mark.parametrize("filled", [True, False])
def test_names_in_place_of_blanks_are_told_as_a_substitution(argv: tuple[str, ...], filled: bool) -> None:
    drop = "ALTER TABLE ... DROP COLUMN ..."
    claim = replace(KILL, text=f"Take it back, for example by `{drop}`.", parts=(Part(drop, "command"),))
    run = 'ALTER TABLE "projects" DROP COLUMN "owner"' if filled else drop
    command = ran(drop, *argv[:-1], f"{argv[-1]}{run}") | {"role": "role app"}
    tape = Tape().begins(claims=[claim if it is KILL else it for it in CLAIMS]).quiet()
    tape.fault(steps=(listed(11), Taken(claim, [command], changes={"fault": False}), retried())).withheld().ends()
    results = tape.results()
    assert verdict(results, claim) == "confirmed"
    assert reason(results, claim).endswith("[with substitution, as role app]" if filled else "[as role app]")
