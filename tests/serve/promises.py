"""What the server promises in seconds, megabytes or shares. The tests only note these figures, for they depend on the
machine; `benchmarks/promises.py` runs the same scenarios for longer and compares."""

from dataclasses import dataclass

measuring = False  # set by the benchmark: scenarios are as long as the promise says, not as short as a test may be


@dataclass
class Figure:
    """The smaller the better."""

    what: str
    unit: str
    promised: float
    measured: float

    @property
    def kept(self) -> bool:
        return self.measured <= self.promised

    @property
    def line(self) -> str:
        verdict = "kept" if self.kept else "NOT KEPT"
        return f"| {self.what} | {self.promised:g} {self.unit} | {self.measured:.3g} {self.unit} | {verdict} |"


figures: dict[str, Figure] = {}


def note(what: str, measured: float, promised: float, unit: str = "s") -> None:
    """Note a figure; the worst of each name counts."""
    if what not in figures or figures[what].measured < measured:
        figures[what] = Figure(what, unit, promised, measured)
