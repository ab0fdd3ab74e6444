"""Training checkpoints: everything a run needs to go on as if it had never stopped."""

import json
import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from inkstone.checkpoint.safetensors_file import read_safetensors
from inkstone.checkpoint.weights import write_safetensors
from inkstone.core.errors import CheckpointError
from inkstone.core.files import atomic_folder, read_json, remove_stale_temporaries, write_json

MODEL = "model.safetensors"
_OPTIMIZER, _STREAMS, _STATE = "optimizer.safetensors", "random.safetensors", "state.json"


@runtime_checkable
class Resumable(Protocol):
    """Something beside the model that a run goes on with: averaged weights, rollouts that are not used up.

    Objectives and examples that are Resumable are saved in every training checkpoint.
    """

    def state_tensors(self) -> dict[str, Tensor]:
        """All that must survive."""
        ...

    def load_state_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from what `state_tensors` gave."""
        ...


@dataclass
class TrainState:
    """Where a run stands, beside its tensors."""

    step: int = 0
    """Steps done; the next sequences to read follow from it."""
    planned_steps: int | None = None
    """Steps that the run was to have when it was saved."""
    continued_from: list[int] = field(default_factory=list)
    """Steps after which the run went on with more steps than planned before."""
    tokens: int = 0
    """Tokens read so far."""
    labels: int = 0
    """Of these, tokens that carried loss."""
    seconds: float = 0.0
    """Time spent in the loop so far, over all attempts."""
    best_loss: float | None = None
    """Lowest validation loss so far."""
    best_step: int | None = None
    evaluations_since_best: int = 0
    smoothed_loss: float | None = None
    lowest_smoothed_loss: float | None = None
    replay_loss_before: float | None = None
    """Of the model that training began with, on held-out text of `replay`."""
    interval: dict[str, Any] = field(default_factory=dict)
    """Sums since the last line of metrics."""
    environment: dict[str, Any] = field(default_factory=dict)
    """What changes the last bits of a result: dtype, threads, whether compiled."""


def save_state(
    folder: Path,
    state: TrainState,
    model: nn.Module,
    optimizers: list[Optimizer],
    parts: Mapping[str, Resumable] = MappingProxyType({}),
) -> None:
    """Write a training checkpoint; `folder` is the old one or the new one, never something between.

    Weights that are not trained are left out: they are those of the model that training began with.

    Raises:
        ResourceError: the disk is full.
    """
    with atomic_folder(folder) as temporary:
        write_safetensors(temporary / MODEL, dict(trained_parameters(model)))
        write_safetensors(temporary / _OPTIMIZER, _optimizer_tensors(optimizers))
        write_safetensors(temporary / _STREAMS, _random_streams())
        for name, part in parts.items():
            write_safetensors(temporary / f"{name}.safetensors", part.state_tensors())
        write_json(temporary / _STATE, asdict(state) | {"python_random": _jsonable(random.getstate())})


def save_weights(folder: Path, model: nn.Module) -> None:
    """Write the trained weights alone; `folder` is the old one or the new one, never something between.

    Raises:
        ResourceError: the disk is full.
    """
    with atomic_folder(folder) as temporary:
        write_safetensors(temporary / MODEL, dict(trained_parameters(model)))


def checkpoint_folder(out: Path, which: str | int) -> Path:
    """Where a run's folder keeps the checkpoint `last` or `best`, or that of a step."""
    return out / "checkpoints" / (which if isinstance(which, str) else f"step-{which:07d}")


def load_state(
    folder: Path,
    model: nn.Module,
    optimizers: list[Optimizer],
    parts: Mapping[str, Resumable] = MappingProxyType({}),
) -> TrainState | None:
    """Put a checkpoint back into model, optimizers, parts and random streams; None if there is none.

    Raises:
        CheckpointError: the checkpoint is damaged or belongs to another model.
    """
    remove_stale_temporaries(folder.parent)
    if not folder.is_dir():
        return None
    values = read_json(folder / _STATE)
    random.setstate(_tupled(values.pop("python_random")))
    copy_parameters(read_safetensors(folder / MODEL), model, folder)
    _load_optimizers(read_safetensors(folder / _OPTIMIZER), optimizers)
    for name, part in parts.items():
        part.load_state_tensors(read_safetensors(folder / f"{name}.safetensors"))
    _set_random_streams(read_safetensors(folder / _STREAMS))
    return TrainState(**values)


def trained_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Name → parameter, for all that are trained."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


@torch.no_grad()
def copy_parameters(tensors: dict[str, Tensor], model: nn.Module, where: Path) -> None:
    """Copy `tensors` into the trained parameters, which have the same names.

    Raises:
        CheckpointError: names or shapes differ.
    """
    parameters = trained_parameters(model)
    expected = {name: tuple(parameter.shape) for name, parameter in parameters.items()}
    if expected != {name: tuple(tensor.shape) for name, tensor in tensors.items()}:
        raise CheckpointError(
            "the checkpoint is of a model of another shape", where=where, remedy="remove the folder to start anew"
        )
    for name, parameter in parameters.items():
        parameter.copy_(tensors[name])


def _optimizer_tensors(optimizers: list[Optimizer]) -> dict[str, Tensor]:
    return {
        f"{number}.{index}.{name}": value
        for number, optimizer in enumerate(optimizers)
        for index, parameter in enumerate(_parameters(optimizer))
        for name, value in optimizer.state.get(parameter, {}).items()
        if isinstance(value, Tensor)
    }


def _load_optimizers(tensors: dict[str, Tensor], optimizers: list[Optimizer]) -> None:
    for key, tensor in tensors.items():
        number, index, name = key.split(".", 2)
        optimizer = optimizers[int(number)]
        parameter = _parameters(optimizer)[int(index)]
        # A step count stays on the CPU unless the optimizer's kernel is fused, as in Optimizer.load_state_dict.
        device = parameter.device if name != "step" or optimizer.defaults.get("fused") else torch.device("cpu")
        optimizer.state[parameter][name] = tensor.clone().to(device)


def _parameters(optimizer: Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _random_streams() -> dict[str, Tensor]:
    _, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    streams = {
        "torch": torch.get_rng_state(),
        "numpy.keys": torch.from_numpy(np.asarray(keys).view(np.int32).copy()),
        "numpy.rest": torch.tensor([position, has_gauss, cached], dtype=torch.float64),
    }
    if torch.cuda.is_available():
        streams |= {f"cuda.{index}": value for index, value in enumerate(torch.cuda.get_rng_state_all())}
    return streams


def _set_random_streams(streams: dict[str, Tensor]) -> None:
    torch.set_rng_state(streams["torch"].clone())
    position, has_gauss, cached = streams["numpy.rest"].tolist()
    keys = streams["numpy.keys"].numpy().view(np.uint32)
    np.random.set_state(("MT19937", keys, int(position), int(has_gauss), cached))
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        if f"cuda.{index}" in streams:
            torch.cuda.set_rng_state(streams[f"cuda.{index}"].clone(), index)


def _jsonable(state: Any) -> Any:
    return json.loads(json.dumps(state))


def _tupled(value: Any) -> Any:
    return tuple(_tupled(item) for item in value) if isinstance(value, list) else value
