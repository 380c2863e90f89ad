"""How the sentences of RB-900 are carried out."""

from runlab.console import Facts
from runlab.steps import acts, finds


@finds("Look at the stone: {command:code}", lists=True)
def look(operator, command):
    return Facts(file=operator.run(command).lines())


@acts("Mend the stone: {command:code}", promises={"fault": False}, within_s=2.0)
def mend(operator, command):
    operator.run(command)
