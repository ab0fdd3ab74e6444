"""Which task a model and a file of examples are for."""

from inkstone.core.config import suggestion
from inkstone.core.errors import ConfigError, InputError
from inkstone.evaluate.benchmark_tasks.answer import AnswerQuestions
from inkstone.evaluate.benchmark_tasks.base import BenchmarkTask
from inkstone.evaluate.benchmark_tasks.classify import Classify, Regress
from inkstone.evaluate.benchmark_tasks.converse import Converse
from inkstone.evaluate.benchmark_tasks.extract import Extract
from inkstone.evaluate.benchmark_tasks.prefer import Prefer
from inkstone.evaluate.benchmark_tasks.solve import Solve
from inkstone.evaluate.benchmark_tasks.write import Write
from inkstone.nn.models.base import Model

TASKS: tuple[type[BenchmarkTask], ...] = (  # type: ignore[type-arg]
    Classify,
    Regress,
    Extract,
    AnswerQuestions,
    Write,
    Converse,
    Prefer,
    Solve,
)


def tasks_of(model: Model, name: str) -> list["BenchmarkTask"]:  # type: ignore[type-arg]
    """The tasks that a model is made for; only the one called `name`, unless that is `auto`.

    Raises:
        ConfigError: none is called so.
        InputError: the model is not made for it, or for any.
    """
    names = [task.name for task in TASKS]
    if name not in ("auto", *names):
        raise ConfigError(f"no task is called {name!r}", where="task", remedy=suggestion(name, ["auto", *names]))
    suitable = [task for each in TASKS if (task := each()).takes(model) and name in ("auto", task.name)]
    if not suitable:
        able = [task.name for each in TASKS if (task := each()).takes(model)]
        wanted = "do any of the tasks" if name == "auto" else f"do the task {name}"
        raise InputError(
            f"a {model.config.model_type} model ({type(model).__name__}) cannot {wanted}",
            where="model",
            remedy=f"it can do: {', '.join(able)}" if able else "teach it one with the stage finetune",
        )
    return suitable


def choose_task(tasks: list["BenchmarkTask"], format_name: str) -> "BenchmarkTask":  # type: ignore[type-arg]
    """The first of `tasks` whose examples are of that format."""
    return next(task for task in tasks if format_name in task.formats)
