"""What is promised in seconds, megabytes or shares: tests hold a bound that a busy machine keeps, too, and the end of a run
shows what was measured beside what was promised (docs/serving.md has the table of a quiet machine)."""

from dataclasses import dataclass

SLACK = 5  # what a test machine that does other things meanwhile may be worse by


@dataclass
class Promise:
    what: str
    unit: str
    promised: float
    measured: float

    @property
    def line(self) -> str:
        verdict = "kept" if self.measured <= self.promised else "NOT KEPT"
        return f"| {self.what} | {self.promised:g} {self.unit} | {self.measured:.3g} {self.unit} | {verdict} |"


_worst: dict[str, Promise] = {}


def keep(what: str, measured: float, promised: float, unit: str = "s", slack: float = SLACK) -> None:
    """Note a figure, the smaller the better; the worst of each name counts. Fails where it is `slack` times too large."""
    if what not in _worst or _worst[what].measured < measured:
        _worst[what] = Promise(what, unit, promised, measured)
    assert measured <= slack * promised, f"{what}: {measured:.3g} {unit}, promised: {promised:g} {unit}"


def table() -> list[str]:
    """The figures of this run, a row each."""
    head = ["| promise | at most | measured | |", "|---|---|---|---|"]
    return head + [promise.line for promise in _worst.values()] if _worst else []
