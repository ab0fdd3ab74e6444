"""How the engine is doing, in plain numbers."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Metrics:
    """Of the last step, and sums since the start."""

    num_running: int = 0
    """Sequences that were computed together, or wait for their group."""
    num_waiting: int = 0
    kv_use: float = 0.0
    """Share of the blocks that sequences hold."""
    step_tokens: int = 0
    """Tokens that the step computed."""
    step_s: float = 0.0
    """Seconds that it took."""
    first_token_s: list[float] = field(default_factory=list)
    """Seconds from arrival to first token (TTFT), of the requests whose first token the step gave."""
    between_tokens_s: list[float] = field(default_factory=list)
    """Seconds since the token before, of the other requests that it gave one."""
    num_steps: int = 0
    computed_tokens: int = 0
    new_tokens: int = 0
    """Of completions."""
    prompt_tokens: int = 0
    """Of prompts that were begun."""
    found_tokens: int = 0
    """Of these, remembered from earlier requests."""
    drafted_tokens: int = 0
    accepted_tokens: int = 0
    """Of the drafted ones."""
    preemptions: int = 0

    @property
    def acceptance(self) -> float:
        """Share of the drafted tokens that were accepted."""
        return self.accepted_tokens / self.drafted_tokens if self.drafted_tokens else 0.0

    @property
    def found_share(self) -> float:
        """Share of the prompts' tokens that did not have to be computed."""
        return self.found_tokens / self.prompt_tokens if self.prompt_tokens else 0.0
