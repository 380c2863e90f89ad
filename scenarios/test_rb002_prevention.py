"""RB-002 Network and connectivity issues: what prevents them, or makes them hurt less."""

from faults.packet_filter import Dropped
from faults.toxics import CutData, Latency, Timeout
from faults.zones import RegionLost, ZoneCutOff
from runlab.model import Impact, Less
from runlab.scenario import Prevention
from verifiers.network import Requests
from verifiers.users import Users

RUNBOOK = "RB-002"


class Served:
    """What a measure is for: those who come by are served."""

    needs = frozenset({"provider", "redis", "visitors", "canary"})
    observed_for_s = 5.0

    def arrange(self, network):
        network.configure()

    def trigger(self):
        """Nothing has to happen: users and visitors come by all the time."""

    def goal(self, network):
        return network.serves("/projects", "/suggestions")


# ------------------------------------------------------------------------------------------------------ redundancy


class TestTwoZones(Served, Prevention):
    """A zone is cut off, and in the other one there is a replica too, or there is none."""

    measure = "Redundancy"
    case = "two zones"
    fault = ZoneCutOff("zone-a")
    off, on = {"zones": 1}, {"zones": 2}
    impact, margin = Users.blocked_s, Less(by=3.0, unit="s")

    def arrange(self, network):
        network.configure()
        if network.settings["zones"] == 1:
            network.take_out("api2")


class TestTwoZonesWithOneDatabase(TestTwoZones, Prevention):
    """What both zones need stands in neither of them, and only once."""

    case = "two zones and one database"
    fault = ZoneCutOff("data")


class SecondRegion(Served):
    """The provider has a second region, which is asked when the first gives nothing."""

    measure = "Redundancy"
    impact, margin = Requests.blocked_s("suggestions", "/suggestions"), Less(by=3.0, unit="s")


class TestSecondRegionBehindSilence(SecondRegion, Prevention):
    """Nothing is heard of the first region: by the time that it is given up, so have its users."""

    case = "a region that is silent and long time-outs"
    fault = RegionLost("east")
    off, on = {}, {"PROVIDER_FALLBACK": "on"}


SHORT = {"PROVIDER_TIMEOUT_S": "0.5"}


class TestSecondRegionAfterAShortSilence(SecondRegion, Prevention):
    """Nothing is heard of the first region, and half a second of that is enough."""

    case = "a region that is silent and short time-outs"
    fault = RegionLost("east")
    off, on = SHORT, {"PROVIDER_FALLBACK": "on", **SHORT}


# ------------------------------------------------------------------------------------------------- circuit breakers


class ManyAsk(Served):
    """Calls of a provider that hangs hold the threads that all others need."""

    measure = "Circuit Breakers"
    fault = Timeout("east")
    impact, margin = Requests.longest_wait("projects", "/projects"), Less(by=1.5, unit="s")
    observed_for_s = 8.0

    def trigger(self, network):
        network.crowd(per_s=60)


class TestBreakerSparesTheRest(ManyAsk, Prevention):
    """After five calls in vain, nobody is kept waiting for the next."""

    case = "many who ask and a time-out"
    off = {"PROVIDER_TIMEOUT_S": "2"}
    on = {"PROVIDER_TIMEOUT_S": "2", "PROVIDER_BREAKER": "on"}


class TestBreakerWithoutATimeout(ManyAsk, Prevention):
    """A breaker learns from calls that have ended, and those that hang have not."""

    case = "many who ask and no time-out"
    off, on = {}, {"PROVIDER_BREAKER": "on"}


# ------------------------------------------------------------------------------------------------ timeouts, retries


class TestShortTimeout(Served, Prevention):
    """Who calls a provider that hangs gives up long before users do."""

    measure = "Timeouts/Retries"
    case = "a time-out of what hangs"
    fault = Timeout("east")
    off, on = {}, {"PROVIDER_TIMEOUT_S": "1"}
    impact, margin = Requests.longest_wait("suggestions", "/suggestions"), Less(by=2.0, unit="s")


class TestTimeoutShorterThanAnswersTake(Served, Prevention):
    """A time-out that is shorter than what a provider takes on a slow day makes an outage of that day."""

    measure = "Timeouts/Retries"
    case = "a time-out shorter than answers take"
    fault = Latency("east", latency_ms=300)
    off, on = {}, {"PROVIDER_TIMEOUT_S": "0.2", "PROVIDER_RETRIES": "2"}
    impact, margin = Requests.failed("suggestions", "/suggestions"), Less(by=5, unit="requests")


class TestRetry(Served, Prevention):
    """Every third answer breaks off, and asking again is enough."""

    measure = "Timeouts/Retries"
    case = "retries of what breaks off now and then"
    fault = CutData("east", limit_bytes=10_000)
    off, on = {}, {"PROVIDER_RETRIES": "2"}
    impact, margin = Requests.failed("suggestions", "/suggestions"), Less(by=5, unit="requests")


class TestBackoffOutlastsARestart(Served, Prevention):
    """The provider restarts: retries in quick succession are over before it is back, and those that wait are not."""

    measure = "Timeouts/Retries"
    case = "backoff over a restart"
    needs = Served.needs | {"toxiproxy-east"}
    off = {"PROVIDER_RETRIES": "3", "PROVIDER_BACKOFF_S": "0", "away_s": 1.0}
    on = {"PROVIDER_RETRIES": "3", "PROVIDER_BACKOFF_S": "0.3", "away_s": 1.0}
    harmless = {"away_s": 0.0}
    impact, margin = Requests.failed("suggestions", "/suggestions"), Less(by=3, unit="requests")

    def trigger(self, network):
        network.provider_is_away(network.settings["away_s"])


# ------------------------------------------------------------------------------------------------------ monitoring


class UsersAreShutOut(Served):
    """No user comes in any more, and those who look from inside see no error."""

    measure = "Monitoring"
    off = {"alerts": ["HighErrorRate"]}
    on = {"alerts": ["HighErrorRate", "ServiceUnreachable"], "probe": "http"}
    impact = Impact("time until somebody is told", "s", "the alerts' delivery")
    margin = Less(by=3.0, unit="s")

    def measured(self, network):
        return network.told_after_s(*network.settings["alerts"], probe=network.settings.get("probe", ""))


class TestCanary(UsersAreShutOut, Prevention):
    """A rule holds back all traffic from outside."""

    case = "a canary by HTTP"
    fault = Dropped("users", "edge")


class TestPingAtOnePort(UsersAreShutOut, Prevention):
    """A ping needs no port."""

    case = "a canary by ping"
    needs = Served.needs | {"canary-ping"}
    fault = Dropped("users", "edge", port=8000)
    on = {"alerts": ["HighErrorRate", "ServiceUnreachable"], "probe": "ping"}
