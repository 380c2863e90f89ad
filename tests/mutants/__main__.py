"""`python -m tests.mutants` lists the mutants; with names, or `all`, it tries those, each on a copy of its own.

Prints the verdicts of the claims named before and after, and the tests that turned red. Exit status 0 when every
mutant was killed for the reason that it states, else 1; 2 for an unknown name.
"""

from __future__ import annotations

import argparse
import sys

from tests.mutants.catalogue import MUTANTS
from tests.mutants.mutant import Mutant
from tests.mutants.trial import AT_ONCE, Laboratory, Outcome, survived


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants")
    parser.add_argument("names", nargs="*", metavar="NAME", help="mutants to try, or `all`")
    parser.add_argument("--at-once", type=int, default=AT_ONCE, metavar="N", help="stacks side by side")
    asked = parser.parse_args()
    known = {mutant.name: mutant for mutant in MUTANTS}
    if not asked.names:
        print(*(f"{name:{max(map(len, known))}}  {mutant.what}" for name, mutant in known.items()), sep="\n")
        return 0
    names = list(known) if asked.names == ["all"] else asked.names
    if unknown := [name for name in names if name not in known]:
        parser.error(f"no such mutant: {', '.join(unknown)}; known are {', '.join(known)}")
    with Laboratory(asked.at_once) as laboratory:
        chosen = [known[name] for name in names]
        laboratory.order(chosen)
        survivors = [mutant.name for mutant in chosen if not _killed(mutant, *laboratory.try_out(mutant))]
    print(f"{len(chosen) - len(survivors)} of {len(chosen)} killed", *survivors, sep="\n  survived: ")
    return int(bool(survivors))


def _killed(mutant: Mutant, before: Outcome, after: Outcome) -> bool:
    print(f"{mutant.name}: {mutant.what}")
    for loses in mutant.loses:
        old, new = before.claim(loses.claim), after.claim(loses.claim)
        print(f"  {new.get('text', loses.claim)[:110]}")
        print(f"    before  {old['verdict']:<12}  {old['reason']}")
        print(f"    after   {new['verdict']:<12}  {new['reason']}")
    for arm, message in after.red().items():
        print(f"  red: {arm}", *message.splitlines(), sep="\n       ")
    if after.results is None:
        print(f"  exit status {after.exit_status}", *filter(None, after.output.splitlines()), sep="\n       ")
    why = survived(mutant, before, after)
    print(f"  {'SURVIVED' if why else 'killed'}", *why, sep="\n  ", flush=True)
    return not why


if __name__ == "__main__":
    sys.exit(main())
