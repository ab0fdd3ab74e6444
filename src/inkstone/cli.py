"""The command line: one line per command, imported only when it is called.

Exit codes: 0 done · 1 a bug in Inkstone · 2 bad input · 3 training diverged · 4 out of disk or memory, or something
is missing on this machine · 130 interrupted.
"""

import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from cyclopts import App

COMMANDS = {
    "Start": {
        "quickstart": (
            "inkstone.pipeline.quickstart:command",
            "Train a small model on this Python's library, in minutes",
        ),
        "doctor": ("inkstone.pipeline.doctor:command", "What this machine offers, and what is missing"),
    },
    "Recipes": {
        "run": ("inkstone.pipeline.runner:command", "Run a recipe; what is unchanged is skipped"),
        "plan": ("inkstone.pipeline.plan:command", "Memory, disk and time that a recipe needs"),
        "runs": ("inkstone.pipeline.runs:command", "List runs with their results"),
        "compare": ("inkstone.pipeline.compare:command", "Runs side by side: settings, cost, results, curves"),
        "lineage": ("inkstone.pipeline.lineage:command", "What made a folder, back to the sources"),
    },
    "From text": {
        "collect": ("inkstone.pipeline.stage_command:collect", "Files, folders and globs to documents"),
        "prepare": ("inkstone.pipeline.stage_command:prepare", "Documents to a clean, deduplicated, split corpus"),
        "tokenizer": ("inkstone.pipeline.stage_command:tokenizer", "Train a tokenizer on a corpus or on examples"),
        "pretrain": ("inkstone.pipeline.stage_command:pretrain", "Train a language model on a corpus"),
        "evaluate": ("inkstone.pipeline.stage_command:evaluate", "Loss and bits per byte beside two baselines"),
    },
    "Teach": {
        "examples": ("inkstone.pipeline.stage_command:examples", "Files of any layout to examples, split and counted"),
        "arithmetic": ("inkstone.pipeline.stage_command:arithmetic", "Sums to learn from, with answers to check"),
        "check": ("inkstone.pipeline.check:command", "What is wrong with examples, and what is learned of them"),
        "initialize": ("inkstone.pipeline.stage_command:initialize", "A model with initial weights"),
        "finetune": ("inkstone.pipeline.stage_command:finetune", "Teach a model a job by examples of it"),
        "align": ("inkstone.pipeline.stage_command:align", "Teach a model what is preferred or rewarded"),
        "distill": ("inkstone.pipeline.stage_command:distill", "Teach a model to answer as a larger one does"),
        "merge": ("inkstone.pipeline.stage_command:merge", "A model and its adapters to one model"),
        "benchmark": ("inkstone.pipeline.stage_command:benchmark", "How well a model does its job, beside baselines"),
    },
    "Use": {
        "generate": ("inkstone.tasks.generate:command", "Let a model write"),
        "chat": ("inkstone.tasks.chat_command:command", "Talk with a model"),
        "bench": ("inkstone.pipeline.bench:command", "How fast a model folder is computed on this machine"),
        "show": ("inkstone.pipeline.show_model:command", "What a model folder or adapter is, and the memory it needs"),
        "convert": ("inkstone.pipeline.convert:command", "Turn a model of another program into a model folder"),
    },
}
EXIT_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in ("--help", "-h"):
        print(help_text(color=sys.stdout.isatty()))
        return 0
    if arguments[0] == "--version":
        from importlib.metadata import version

        print(version("inkstone"))
        return 0
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return _dispatch(arguments)
    except KeyboardInterrupt:
        print("\nInterrupted. The same command goes on from here.", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return 0


def help_text(color: bool = False) -> str:
    """What ``inkstone --help`` prints; made without importing anything, so that it is instant."""
    bold, cyan, end = ("\033[1m", "\033[36m", "\033[0m") if color else ("",) * 3
    lines = [
        f"{bold}Inkstone{end}  From raw text to a language model, on the machine you have.",
        "",
        f"{bold}Usage{end}  inkstone COMMAND [OPTIONS]",
    ]
    for title, commands in COMMANDS.items():
        lines += ["", f"{bold}{title}{end}"]
        lines += [f"  {cyan}{name:<12}{end}{summary}" for name, (_, summary) in commands.items()]
    lines += [
        "",
        f"{bold}Options{end}",
        f"  {cyan}{'--help':<12}{end}Help; also for a command: inkstone run --help",
        f"  {cyan}{'--version':<12}{end}Version",
        f"  {cyan}{'--install-completion':<12}{end}",
        f"  {'':<12}Complete commands and flags in your shell",
        "",
        f"{bold}Exit codes{end}",
        "  0 done · 1 a bug · 2 bad input · 3 training diverged · 4 out of disk or memory · 130 interrupted",
    ]
    return "\n".join(lines)


def _dispatch(arguments: Sequence[str]) -> int:
    from cyclopts import CycloptsError
    from pydantic import ValidationError

    from inkstone.core.config import explained
    from inkstone.core.errors import InkstoneError

    try:
        result = _app(arguments[0])(
            arguments, exit_on_error=False, print_error=False, help_on_error=False, result_action="return_value"
        )
    except InkstoneError as error:
        print_error(str(error))
        return error.exit_code
    except CycloptsError as error:
        command = f"inkstone {arguments[0]}"
        cause = error.__cause__
        known = explained(cause, where=command) if isinstance(cause, ValidationError) else error
        print_error(f"{known}\n  remedy: see {command} --help")
        return 2
    return result if isinstance(result, int) else 0


def _app(name: str) -> "App":
    """The cyclopts application for one command, or for all of them when shell completion is to be installed.

    Raises:
        ConfigError: no command is called `name`.
    """
    from importlib.metadata import version

    from cyclopts import App, Parameter

    app = App(
        name="inkstone",
        version=version("inkstone"),
        default_parameter=Parameter(show_default=_shown),
        suppress_keyboard_interrupt=False,
    )
    table = _command_table()
    if name == "--install-completion":
        app.register_install_completion_command()
    elif name in table:
        table = {name: table[name]}
    else:
        from inkstone.core.config import suggestion
        from inkstone.core.errors import ConfigError

        raise ConfigError(f"no command is called {name!r}", where="inkstone", remedy=suggestion(name, table))
    for command, (target, summary) in table.items():
        settings = "stage_command" in target
        flags = Parameter(negative_iterable="", negative_none="") if settings else Parameter(negative="")
        app.command(target, name=command, help=f"{summary}.", default_parameter=flags)
    return app


def _command_table() -> dict[str, tuple[str, str]]:
    """Command name to where it lives and its help; stages of installed plug-ins are commands, too."""
    from inkstone.core.registry import names

    table = {name: entry for commands in COMMANDS.values() for name, entry in commands.items()}
    for name in names("stages"):
        table.setdefault(name, (f"inkstone.pipeline.stage_command:{name}", f"Run the stage {name}"))
    return table


def _shown(default: object) -> str | None:
    """A default as the help shows it; nothing for what is merely empty or off."""
    empty = default is None or default is False or default in ((), [], {}, "")
    return None if empty else str(default)


def print_error(text: str) -> None:
    """Print an error to stderr: the first line marked, the remedy below it."""
    if not sys.stderr.isatty():
        print(f"error: {text}", file=sys.stderr)
        return
    first, _, rest = text.partition("\n")
    print(f"\033[1;31merror:\033[0m {first}", file=sys.stderr)
    if rest:
        print(rest.replace("remedy:", "\033[32mremedy:\033[0m", 1), file=sys.stderr)


def _interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
