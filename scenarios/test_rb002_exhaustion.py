"""RB-002 Network and connectivity issues: a region that is lost, and what is used up."""

from faults.exhaustion import BandwidthUsedUp, LocalPortsExhausted, NatExhausted, PoolExhausted
from faults.zones import RegionLost
from runlab.scenario import Scenario
from scenarios.test_rb002_network import Incident, ProviderFails

RUNBOOK = "RB-002"


# -------------------------------------------------------------------------------------------------- infrastructure


class TestRegionLost(ProviderFails, Scenario):
    """The provider's active region is gone: packets vanish, and nobody is told of an error while they wait."""

    detected_by = "signal"
    faults = RegionLost("east")
    cases = {"given up after 1 s": {"PROVIDER_TIMEOUT_S": "1"}}


# ------------------------------------------------------------------------------------------------------ exhaustion


class Exhausted(Incident):
    """There is no more of something that there was always enough of."""

    cause = "Exhaustion"


class InOneZone(Exhausted):
    """Outside, every other request is served by the zone that lacks nothing: what is seen there is a matter of luck."""

    fails = ("inside",)

    def innocents(self):
        return {}


class LocalPorts(InOneZone):
    needs = InOneZone.needs | {"accounts"}
    asked = ("/projects",)


class TestLocalPorts(LocalPorts, Scenario):
    """A program with a leak keeps every port that its machine has for the database."""

    procedure = "Immediate Actions", "Ports of a machine"
    not_in_every_edition = ("Ports of a machine",)
    faults = LocalPortsExhausted("zone-a", "db")


class Nat(InOneZone):
    asked = ("/suggestions",)


class NatHeld(Nat):
    needs = Nat.needs | {"accounts"}


class TestNatPortsAreHeld(NatHeld, Scenario):
    """A program behind the NAT gateway keeps all its ports; who needs one is not refused, their packets vanish."""

    detected_by = "signal"
    procedure = "Immediate Actions", "Ports of the NAT gateway"
    not_in_every_edition = ("Ports of the NAT gateway",)
    faults = NatExhausted("zone-a", "east")


class TestNatHasTooFewPorts(Nat, Scenario):
    """The same, and nobody can do without that program."""

    detected_by = "signal"
    procedure = "Immediate Actions", "More ports for the NAT gateway"
    not_in_every_edition = ("More ports for the NAT gateway",)
    faults = NatExhausted("zone-a", "east")


class Bandwidth(Exhausted):
    needs = Exhausted.needs | {"accounts"}
    fails = ("outside",)


class TestBandwidth(Bandwidth, Scenario):
    """A copy of all data is fetched over the line by which users come in."""

    procedure = "Immediate Actions", "Bandwidth"
    not_in_every_edition = ("Bandwidth",)
    faults = BandwidthUsedUp("edge", kbit=8000)


class Pool(Exhausted):
    asked = ("/projects",)


class TestPool(Pool, Scenario):
    """A batch job keeps others waiting, until those who wait have every connection of the pool."""

    procedure = "Immediate Actions", "Connections of a pool"
    not_in_every_edition = ("Connections of a pool",)
    faults = PoolExhausted()
