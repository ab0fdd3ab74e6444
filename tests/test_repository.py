"""The rules of the repository, as tests."""

import ast
import importlib
import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import inkstone
from inkstone.cli import COMMANDS
from inkstone.core.registry import lookup, names
from inkstone.pipeline.recipe import load_recipe
from tests.conftest import ROOT

SOURCES = sorted((ROOT / "src").rglob("*.py"))
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
READMES = ("README.md", "README.zh-CN.md")
LOCKS = ("requirements.lock", "requirements-dev.lock")
NOT_LOCKED = ("mlflow", "wandb")
"""Extras for services that no test reaches."""
COMMAND_NAMES = [name for commands in COMMANDS.values() for name in commands]


def _relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _pins(lock: str) -> dict[str, str]:
    lines = (ROOT / lock).read_text("utf-8").splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


@pytest.mark.parametrize("path", SOURCES, ids=_relative)
def test_source_file_is_small_safe_and_exports_what_exists(path: Path) -> None:
    text = path.read_text("utf-8")
    assert text.count("\n") <= 400
    tree = ast.parse(text)
    assert not path.name.startswith("util")
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            assert not {"pickle", "dill", "cloudpickle", "marshal"} & {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0
            assert node.module not in {"pickle", "dill", "cloudpickle", "marshal"}
        if isinstance(node, ast.Call):
            assert ast.unparse(node.func) not in {"torch.load", "torch.save", "eval", "exec", "yaml.load"}
            assert "trust_remote_code" not in {keyword.arg for keyword in node.keywords}


@pytest.mark.parametrize("path", [path for path in SOURCES if "__all__" in path.read_text("utf-8")], ids=_relative)
def test_public_names_are_exported(path: Path) -> None:
    name = ".".join(path.relative_to(ROOT / "src").with_suffix("").parts).removesuffix(".__init__")
    module = importlib.import_module(name)
    assert len(set(module.__all__)) == len(module.__all__)
    for exported in module.__all__:
        assert getattr(module, exported) is not None


def test_the_package_offers_load() -> None:
    assert callable(inkstone.load)
    assert {"load", "LanguageModel"} <= set(inkstone.__all__)


LIGHT = (
    "inkstone",
    "inkstone.cli",
    "inkstone.api",
    "inkstone.core.files",
    "inkstone.core.config",
    "inkstone.core.device",
    "inkstone.core.stage",
    "inkstone.data.sources",
    "inkstone.pipeline.recipe",
)


@pytest.mark.parametrize("module", LIGHT)
def test_importing_does_not_import_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.yaml")), ids=lambda path: path.stem)
def test_recipe_parses_against_its_stages(path: Path) -> None:
    recipe = load_recipe(path)
    assert recipe.name == path.stem
    assert recipe.description
    if "collect" in recipe.step_names():
        assert recipe.step_names()[:4] == ["collect", "prepare", "tokenizer", "pretrain"]
    assert "evaluate" in recipe.step_names() or recipe.steps[-1].stage.name == "benchmark"


@pytest.mark.parametrize("name", names("stages"))
def test_stage_settings_are_documented_and_disjoint_from_inputs(name: str) -> None:
    stage = lookup("stages", name)
    assert stage.name == name
    assert stage.help.endswith(".")
    assert not set(stage.inputs) & set(stage.config.model_fields)


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_pins_everything_asked_for_and_no_particular_build(lock: str) -> None:
    pins = _pins(lock)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = list(project["dependencies"])
    if lock == "requirements-dev.lock":
        extras = {name: items for name, items in project["optional-dependencies"].items() if name not in NOT_LOCKED}
        wanted += [item for items in extras.values() for item in items]
    for requirement in wanted:
        name = re.match(r"[\w.-]+", requirement)
        assert name is not None
        assert name[0].lower().replace("_", "-") in pins
    assert pins["torch"] == "2.13.0"
    assert not [name for name in pins if name.startswith(("nvidia", "cuda", "triton", "inkstone"))]
    assert all(re.fullmatch(r"[\d.]+(post\d+|rc\d+)?", pin) for pin in pins.values())


def test_the_locks_agree() -> None:
    runtime, development = map(_pins, LOCKS)
    assert runtime.items() <= development.items()


@pytest.mark.parametrize("readme", READMES)
def test_readme_names_every_command_and_target(readme: str) -> None:
    text = (ROOT / readme).read_text("utf-8")
    assert [name for name in COMMAND_NAMES if f"| `inkstone {name}" not in text] == []
    assert [f"make {target}" for target in ("quickstart", "test", "check", "docs", "bench") if target not in text] == []


def test_the_readmes_tell_the_same() -> None:
    english, chinese = ((ROOT / name).read_text("utf-8") for name in READMES)
    for pattern in (r"^```python\n.*?^```", r"^```text\n.*?^```", r"^#+ ", r"^\$ \S+ \S+", r"\]\((?!README)([^)]+)\)"):
        in_english, in_chinese = (re.findall(pattern, text, re.M | re.S) for text in (english, chinese))
        assert sorted(in_english) == sorted(in_chinese)


@pytest.mark.parametrize("path", PAGES, ids=_relative)
def test_links_lead_somewhere(path: Path) -> None:
    text = re.sub(r"^```.*?^```", "", path.read_text("utf-8"), flags=re.M | re.S)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?:", link):
            continue
        target, _, anchor = link.partition("#")
        page = (path.parent / target).resolve() if target else path
        assert page.exists(), link
        if anchor and page.suffix == ".md":
            assert anchor in _anchors(page.read_text("utf-8")), link


def _anchors(text: str) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", PAGES, ids=_relative)
def test_commands_on_the_page_exist(path: Path) -> None:
    for block in re.findall(r"^```console\n(.*?)^```", path.read_text("utf-8"), re.M | re.S):
        for command in re.findall(r"(?:^\$ |\| )(?:\.venv/bin/)?inkstone (\w+)", block, re.M):
            assert command in COMMAND_NAMES
        for target in re.findall(r"^\$ make (\w+)", block, re.M):
            assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text("utf-8"), re.M)


@pytest.mark.parametrize("path", PAGES, ids=_relative)
def test_flags_on_the_page_exist(path: Path) -> None:
    reference = (ROOT / "docs/reference/cli.md").read_text("utf-8")
    for block in re.findall(r"^```console\n(.*?)^```", path.read_text("utf-8"), re.M | re.S):
        for line in re.findall(r"^\$ (?:.*\| )?(?:\.venv/bin/)?inkstone (.*)$", block, re.M):
            name, _, rest = line.partition(" ")
            section = re.search(rf"^## inkstone {name}\n(.*?)(?=^## |\Z)", reference, re.M | re.S)
            for flag in re.findall(r"(?<!\S)--[a-z][\w.-]*", rest.partition("  # ")[0]):
                assert section is not None
                assert re.search(rf"`[^`]*{re.escape(flag)}[ `,]", section[1]), f"inkstone {name} {flag}"


@pytest.mark.parametrize("page", ["README.md", "docs/guides/errors.md", "docs/guides/pretrain.md"])
def test_python_on_the_page_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from inkstone.checkpoint import save_checkpoint
    from tests.tiny_models import tiny_model, tiny_tokenizer

    save_checkpoint(tmp_path / "runs/quickstart/pretrain", tiny_model(max_position_embeddings=128), tiny_tokenizer())
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text("utf-8"), re.M | re.S)
    assert blocks
    for block in blocks:
        exec(block, {})


def test_the_stage_of_the_architecture_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from inkstone.core.stage import execute

    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs/architecture.md").read_text("utf-8"), re.M | re.S)
    module = tmp_path / "example_stage.py"
    module.write_text(blocks[0], "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    example = vars(importlib.import_module("example_stage"))
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents" / "a.txt").write_text("墨", "utf-8")
    (tmp_path / "documents" / "b.md").write_text("ink", "utf-8")
    result = execute(
        example["count"], example["CountConfig"](), {"documents": tmp_path / "documents"}, tmp_path / "count"
    )
    assert result.summary == {"files": 1}
    assert json.loads((tmp_path / "count" / "manifest.json").read_text("utf-8"))["stage"] == "count"


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_shell_scripts_parse() -> None:
    subprocess.run(["bash", "-n", str(ROOT / ".ci/run")], check=True)


def test_reference_pages_match_the_code() -> None:
    script = ROOT / "docs/generate_reference.py"
    result = subprocess.run([sys.executable, str(script), "--check"], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_nothing_committed_names_a_machine() -> None:
    folders = (ROOT, ROOT / "src", ROOT / "tests", ROOT / "docs", ROOT / "benchmarks", ROOT / "recipes", ROOT / "tools")
    files = [path for folder in folders[1:] for path in folder.rglob("*") if path.suffix in {".py", ".md", ".yaml"}]
    for path in [*files, *folders[0].glob("*.md"), ROOT / "Makefile", ROOT / ".ci/run"]:
        assert not re.search(r"(?<![\w.])/(work|opt|home|root|Users)/\w", path.read_text("utf-8")), path
