"""RB-002 Network and connectivity issues: names that lead nowhere, or to the wrong place."""

from faults.dns import NameServerDown, StaleCache, WrongRecord
from runlab.scenario import Scenario
from scenarios.test_rb002_network import Incident

RUNBOOK = "RB-002"

DATABASE = {"hostname": "db.platform.internal"}
PROVIDER = {"hostname": "east.provider.example"}


class Names(Incident):
    """Whoever makes a new connection asks for a name; a server that others know, or that only the platform knows."""

    cause = "DNS Resolution"
    procedure = "Immediate Actions", "DNS Issues"

    def state(self, network):
        return {"names": network.names()}


class TestNameServerDown(Names, Scenario):
    """The name server is gone, and nobody gets an address any more."""

    faults = NameServerDown(how="stopped")
    cases = {"an internal name": DATABASE}


class TestNameServerHangs(Names, Scenario):
    """It is there, and says nothing."""

    faults = NameServerDown(how="hung")
    cases = {"a public name": PROVIDER}


class TestWrongRecord(Names, Scenario):
    """The name server says where nobody is, and everybody believes it."""

    faults = WrongRecord("db.platform.internal")
    cases = {"the database": DATABASE}


class TestStaleCache(Names, Scenario):
    """The record was wrong and is right again, and the zones still know it as it was."""

    faults = StaleCache("db.platform.internal")
    cases = {"the database": DATABASE}


class TestProviderLedAstray(Names, Scenario):
    """The same for a name that others know, too; those who wait for the provider are too few to raise an alert."""

    detected_by = "signal"
    faults = WrongRecord("east.provider.example"), StaleCache("east.provider.example")
    cases = {"the provider": PROVIDER}
