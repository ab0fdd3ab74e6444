"""The command line: help, exit codes, JSON, errors without tracebacks, interruption."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from inkstone import __version__
from inkstone.cli import COMMANDS, help_text, main
from tests.pipeline import fakes
from tests.pipeline.conftest import RECIPE

ROOT = Path(__file__).resolve().parent.parent
NAMES = ["quickstart", "run", "plan", "runs", "compare", "lineage", "doctor", "generate", "show", "convert"]
NAMES += ["collect", "prepare", "tokenizer", "pretrain", "evaluate", "check", "merge", "chat"]
NAMES += ["examples", "arithmetic", "initialize", "finetune", "align", "distill", "bench", "benchmark"]


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(fakes.install(tmp_path / "site")))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("hello ")
    (tmp_path / "toy.yaml").write_text(RECIPE)
    return tmp_path


@pytest.fixture
def run(workplace: Path, capsys: pytest.CaptureFixture[str]) -> Callable[[str], tuple[int, str, str]]:
    """Run a command line; the exit code, stdout and stderr."""

    def call(line: str) -> tuple[int, str, str]:
        code = main(line.split())
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return code, out, err

    return call


Run = Callable[[str], tuple[int, str, str]]


def start(arguments: Sequence[str], folder: Path) -> "subprocess.Popen[str]":
    path = os.pathsep.join([str(folder / "site"), str(ROOT)])
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.Popen(
        [sys.executable, "-m", "inkstone", *arguments],
        cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_all_commands_are_there(run: Run) -> None:
    assert sorted(name for commands in COMMANDS.values() for name in commands) == sorted(NAMES)
    code, out, _ = run("--help")
    assert code == 0
    assert all(re.search(rf"^  {name} +\S", out, re.MULTILINE) for name in NAMES)
    assert run("")[1] == run("-h")[1] == out
    assert run("--version")[:2] == (0, f"{__version__}\n")


def test_help_has_color_only_on_a_terminal() -> None:
    assert "\033" not in help_text()
    assert re.sub(r"\033\[\d+m", "", help_text(color=True)) == help_text()


def test_help_documents_every_exit_code() -> None:
    from inkstone.core import errors

    codes = {0, 1, 130} | {kind.exit_code for kind in vars(errors).values() if hasattr(kind, "exit_code")}
    assert all(re.search(rf"(^|[ ]){code} \w", help_text().splitlines()[-1]) for code in codes)


def test_help_imports_nothing_heavy() -> None:
    program = "import sys; from inkstone.cli import main; main(['--help']); print(sorted(sys.modules), file=sys.stderr)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    heavy = {"torch", "pydantic", "pyarrow", "rich", "cyclopts", "yaml", "numpy", "importlib.metadata"}
    assert not heavy & set(re.findall(r"'([\w.]+)'", result.stderr))


@pytest.mark.parametrize("name", ["run", "plan", "runs", "lineage", "doctor", "quickstart", "change", "gather"])
def test_every_command_has_help(run: Run, name: str) -> None:
    code, out, _ = run(f"{name} --help")
    assert code == 0
    assert out.startswith(f"Usage: inkstone {name}")
    assert "--json" in out


def test_stage_flags_come_from_its_settings(run: Run) -> None:
    out = run("change --help")[1]
    for text in (
        "--texts PATH",
        "--out PATH",
        "--how",
        "[choices: upper, lower]",
        "How often. [default: 1]",
        "--no-loud",
    ):
        assert text in out


def test_stage_commands_are_only_those_of_stages() -> None:
    from inkstone.pipeline import stage_command

    assert stage_command.collect.__name__ == "collect"
    assert not hasattr(stage_command, "torch")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("rum", "did you mean 'run'"),
        ("run", "RECIPE"),
        ("run none.yaml", "none.yaml: no such recipe"),
        ("run toy.yaml --bogus 1", "--bogus"),
        ("run toy.yaml --set change.tims=1", "did you mean 'times'"),
        ("run toy.yaml --only chnge", "did you mean 'change'"),
        ("plan toy.yaml --set nothing", "not of the form"),
        ("runs", "runs: no such folder"),
        ("lineage none", "no such file or folder"),
        ("lineage a.txt", "no manifest"),
        ("change --texts none --out o", "no such file or folder"),
        ("change --texts . --out o --how sideways", "sideways"),
        ("change --texts . --out o --times many", "many"),
        ("change --out o", "texts"),
        ("finetune --model . --data . --out o --mixture many", "'many' is no mapping; write one as {name: value}"),
        ('finetune --model none --data . --out o --mixture {"chat":2}', "none: no such file or folder"),
        (
            "finetune --model none --data . --out o --examples.columns many",
            "columns: input should be a valid dictionary",
        ),
        ("gather --paths none.txt --out o", "none.txt: no such file"),
        ("gather --paths a.txt --out a.txt", "a.txt: is a file"),
        ("gather --paths a.txt --out .", "no stage wrote it"),
    ],
)
def test_bad_input_is_one_clear_error(run: Run, workplace: Path, line: str, message: str) -> None:
    code, out, err = run(line)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert message in err
    assert "\n  remedy: " in err
    assert sorted(path.name for path in workplace.iterdir()) == ["a.txt", "site", "toy.yaml"]


@pytest.mark.parametrize(("how", "expected"), [("input", 2), ("disk", 4), ("memory", 4)])
def test_exit_codes(run: Run, how: str, expected: int) -> None:
    code, _, err = run(f"broken --how {how} --out o")
    assert code == expected
    assert err.startswith("error: ")


def test_bugs_keep_their_traceback(workplace: Path) -> None:
    with start(["broken", "--out", "o"], workplace) as process:
        _, err = process.communicate()
    assert process.returncode == 1
    assert "RuntimeError: a bug" in err


def test_run_then_up_to_date(run: Run) -> None:
    code, out, _ = run("run toy.yaml")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == ["toy", "stage", "gather", "change", "both"]
    code, out, _ = run("run toy.yaml")
    assert code == 0
    assert out.count("✓ unchanged") == 3
    assert out.splitlines()[-1] == "Everything is up to date."


def test_json_everywhere(run: Run) -> None:
    assert [step["state"] for step in json.loads(run("plan toy.yaml --json")[1])["steps"]] == ["to run"] * 3
    stages = json.loads(run("run toy.yaml --json --set change.loud=true")[1])["stages"]
    assert [stage["skipped"] for stage in stages] == [False] * 3
    listed = json.loads(run("runs --json")[1])
    assert listed[0]["metrics"]["bits_per_byte"] == 1.25
    tree = json.loads(run("lineage runs/toy/both --json")[1])
    assert tree["digest"] == stages[2]["digest"]
    assert json.loads(run("change --texts runs/toy/gather --out o --json")[1])["summary"]["bytes"] == 6


def test_people_get_tables(run: Run) -> None:
    assert "total" not in run("run toy.yaml")[2]
    assert "1 min 30 s" in run("plan toy.yaml --set change.loud=true")[1]
    assert re.search(r"toy +✓ finished +3/3", run("runs")[1])
    assert run("lineage runs/toy/both")[1].endswith("Every digest matches.\n")


def test_doctor_names_every_part(run: Run) -> None:
    checks = {check["name"]: check for check in json.loads(run("doctor --json")[1])}
    assert {"Python", "processor", "matrix units", "C++ compiler", "memory", "disk", "GPU", "torch"} <= set(checks)
    assert {check["state"] for check in checks.values()} <= {"ok", "warn", "missing"}
    assert all(check["advice"] for check in checks.values() if check["state"] != "ok")


def test_lineage_fails_on_damage(run: Run, workplace: Path) -> None:
    run("run toy.yaml")
    (workplace / "a.txt").write_text("other")
    code, out, err = run("lineage runs/toy/both")
    assert code == 2
    assert "✗" in out
    assert "a.txt: changed since it was read" in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_goes_on(workplace: Path, number: signal.Signals) -> None:
    arguments = ["slow", "--pieces", "600", "--pause", "0.05", "--out", "o"]
    with start(arguments, workplace) as process:
        while process.poll() is None and len(list(workplace.glob("o/piece-*"))) < 3:
            time.sleep(0.02)
        process.send_signal(number)
        out, err = process.communicate()
    assert (process.returncode, out) == (130, "")
    assert "The same command goes on from here." in err
    assert "Traceback" not in err
    with start([*arguments, "--json"], workplace) as process:
        out, err = process.communicate()
    assert process.returncode == 0
    assert json.loads(out)["summary"]["found"] >= 3
    assert "going on with the unfinished work" in err


def test_killed_run_goes_on(workplace: Path, run: Run) -> None:
    (workplace / "slow.yaml").write_text(f"{RECIPE}  slow: {{uses: slow, pieces: 600, pause: 0.05}}\n")
    with start(["run", "slow.yaml"], workplace) as process:
        while process.poll() is None and len(list(workplace.glob("runs/toy/slow/piece-*"))) < 3:
            time.sleep(0.02)
        process.kill()
    assert re.search(r"toy +! interrupted +3/4, slow unfinished", run("runs")[1])
    assert re.search(r"slow +to continue", run("plan slow.yaml")[1])
    stages = json.loads(run("run slow.yaml --json")[1])["stages"]
    assert [stage["skipped"] for stage in stages] == [True, True, True, False]
    assert stages[3]["summary"]["found"] >= 3


def test_output_into_a_closed_pipe(workplace: Path) -> None:
    with start(["plan", "toy.yaml"], workplace) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()
