"""Switches on any method: what is trained, and what is done to the model while it is."""

from dataclasses import dataclass

import torch

from inkstone.nn.adapters import Adapter, add_adapter
from inkstone.train.method import Lesson


@dataclass
class Switches:
    """What was switched on."""

    adapter: Adapter | None = None


def prepare_switches(lesson: Lesson) -> Switches:
    """Do to the model what the recipe asks for, before optimizers are made."""
    config = lesson.config
    switches = Switches()
    if config.lora is not None:
        generator = torch.Generator().manual_seed(config.seed)
        switches.adapter = add_adapter(lesson.model, config.lora, generator=generator)
    return switches
