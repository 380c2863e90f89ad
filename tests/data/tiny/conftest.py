"""Who observes the stone."""

import threading

from runlab.model import LabError, Observation, Source


class Passer:
    """Looks at the stone ten times a second."""

    name = "passer-by"

    def __init__(self, stack, journal, signals):
        self._stack, self._journal, self._signals = stack, journal, signals
        self._arm, self._seen, self._over = None, set(), threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def begin(self, arm):
        self._seen, self._arm = set(), arm

    def settled(self):
        return Observation(holds=not self._cracked(), by=self.name, detail="the stone is cracked")

    def end(self):
        self._arm = None
        return [Source(s.name, s.claim, answers=True, exists=True, fresh=True) for s in self._signals]

    def close(self):
        self._over.set()
        self._thread.join()

    def _cracked(self):
        return self._stack.execute(["test", "-e", "crack"], account="service").status == 0

    def _watch(self):
        while not self._over.wait(0.1):
            try:
                if self._arm and self._cracked():
                    self._tell(self._arm)
            except LabError:
                return

    def _tell(self, arm):
        for signal in self._signals:
            if signal.name not in self._seen:
                self._seen.add(signal.name)
                self._journal.write(
                    "signal",
                    arm=arm,
                    claim=signal.claim,
                    name=signal.name,
                    signal_kind=signal.kind,
                    by=self.name,
                    detail="",
                )


def pytest_runlab_watchers(stack, journal, signals):
    return [Passer(stack, journal, signals)]
