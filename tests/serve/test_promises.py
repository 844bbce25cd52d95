"""A figure that is worse than promised is said to be."""

from tests.serve import promises


def test_the_worst_figure_of_a_name_counts(monkeypatch):
    monkeypatch.setattr(promises, "figures", {})
    for seconds in 0.1, 0.3, 0.2:
        promises.note("a refusal", seconds, promised=0.2)
    promises.note("memory", 256.0, promised=256, unit="MB")
    refusal, memory = promises.figures.values()
    assert (refusal.kept, refusal.line) == (False, "| a refusal | 0.2 s | 0.3 s | NOT KEPT |")
    assert (memory.kept, memory.line) == (True, "| memory | 256 MB | 256 MB | kept |")
