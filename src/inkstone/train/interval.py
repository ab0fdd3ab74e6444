"""What is summed up between two lines of metrics."""

from dataclasses import asdict, dataclass, field
from typing import Any, Self

from inkstone.train.metrics import combine, is_largest


@dataclass
class Interval:
    """Sums over the steps since the last line; kept in checkpoints, so that a resumed run writes the same lines."""

    loss: float = 0.0
    gradient_norm: float = 0.0
    metrics: dict[str, float] = field(default_factory=dict)
    """Of the objective, each a mean over the targets of a step, or the largest (`max_…`)."""
    steps: int = 0
    tokens: int = 0
    seconds: float = 0.0

    @classmethod
    def of(cls, values: dict[str, Any]) -> Self:
        """What `asdict` gave."""
        return cls(**values)

    def asdict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)

    def add(self, loss: float, gradient_norm: float, metrics: dict[str, float], tokens: int, seconds: float) -> None:
        """Count one step."""
        self.loss += loss
        for name, value in metrics.items():
            combine(self.metrics, name, value)
        self.gradient_norm += gradient_norm
        self.steps += 1
        self.tokens += tokens
        self.seconds += seconds

    def means(self) -> dict[str, float]:
        """Loss, norm of the gradient and metrics of a step, on average (or the largest)."""
        return {
            "loss": self.loss / self.steps,
            "gradient_norm": self.gradient_norm / self.steps,
            **{name: value / (1 if is_largest(name) else self.steps) for name, value in self.metrics.items()},
        }

    @property
    def tokens_per_second(self) -> float:
        """While training, evaluations not counted."""
        return self.tokens / max(self.seconds, 1e-9)
