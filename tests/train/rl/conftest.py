import pytest


@pytest.fixture(autouse=True)
def no_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run draws its loss curve at the end, which takes longer than these runs."""
    monkeypatch.setattr("inkstone.train.metrics.plot_losses", lambda *_: None)
