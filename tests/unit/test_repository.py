"""Promises of the repository: one version, honest requirements, no host, whole wheels."""

import ast
import configparser
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from benchmarks.cli import main
from tests import ROOT, mirror

PACKAGES = ("baselines", "benchmarks", "mos", "simq", "supernet", "supernet_bench")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
INSTALLED_AS = {"PIL": "pillow", "pynvml": "nvidia-ml-py", "sklearn": "scikit-learn", "yaml": "pyyaml"}
COMMANDS_STAND_IN = ("README.md", "CONTRIBUTING.md", ".ci/run", ".github/workflows/ci.yml")


def committed() -> list[Path]:
    """Every file that is tracked or would be, as git sees it."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout: what is tracked cannot be told")
    return [ROOT / name for name in found.split("\0") if name and (ROOT / name).is_file()]


def sources() -> list[Path]:
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def imported(path: Path) -> set[str]:
    """Absolute names of all modules a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module)
    return found


def requirements(*extras: str) -> dict[str, Requirement]:
    lines = list(PROJECT["dependencies"])
    for extra in extras:
        lines += PROJECT["optional-dependencies"][extra]
    parsed = (Requirement(line) for line in lines)
    return {canonicalize_name(r.name): r for r in parsed if r.name != PROJECT["name"]}


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    lines = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    exact = {line: re.fullmatch(r"([A-Za-z0-9._-]+)==([\w.]+)", line) for line in lines}
    assert all(exact.values()), f"not an exact version: {[line for line, ok in exact.items() if not ok]}"
    return {canonicalize_name(ok[1]): ok[2] for ok in exact.values() if ok}


def test_the_version_is_one() -> None:
    cited = re.search(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert cited and cited[1] == PROJECT["version"]
    assert importlib.metadata.version(PROJECT["name"]) == PROJECT["version"], "install it again: nox -s env"


def test_one_list_of_pythons() -> None:
    said = [c.rpartition(" ")[2] for c in PROJECT["classifiers"] if re.search(r"Python :: 3\.\d+$", c)]
    allowed = SpecifierSet(PROJECT["requires-python"])
    assert said == [f"3.{minor}" for minor in range(30) if f"3.{minor}.99" in allowed]
    tox = configparser.ConfigParser()
    tox.read(ROOT / "tox.ini")
    assert re.findall(r"py3(\d+)", tox["tox"]["env_list"]) == [v.removeprefix("3.") for v in said]
    workflow = (ROOT / ".github/workflows/ci.yml").read_text()
    matrix = re.search(r"python: \[(.*)\]", workflow)
    assert matrix and re.findall(r'"([\d.]+)"', matrix[1]) == said


def test_every_requirement_is_pinned_within_its_range() -> None:
    pinned = pins()
    for name, requirement in requirements(*PROJECT["optional-dependencies"]).items():
        assert name in pinned, f"constraints.txt has no {name}"
        assert pinned[name] in requirement.specifier, f"{requirement} excludes the pinned {pinned[name]}"


def test_everything_imported_is_required() -> None:
    # Type checkers have the types of the standard library, and no program imports them.
    core = {*sys.stdlib_module_names, *PACKAGES, "_typeshed"}
    # Triton is part of torch's builds for CUDA, which pin its version.
    extras = {*requirements(*PROJECT["optional-dependencies"]), "triton"}
    # Imported where asked for, of an extra.
    lazy = {
        "triton",
        "ctranslate2",
        "datasets",
        "onnx",
        "onnxruntime",
        "pyarrow",
        "tokenizers",
        "transformers",
    }
    missing = {}
    for path in sources():
        for module in sorted({name.partition(".")[0] for name in imported(path)} - core):
            name = canonicalize_name(INSTALLED_AS.get(module, module))
            known = requirements() if name not in lazy else extras
            if name not in known:
                missing[str(path.relative_to(ROOT))] = module
    assert not missing, f"add to pyproject.toml and constraints.txt: {missing}"


def test_torchvision_is_never_imported() -> None:
    # its only published build is the CUDA one; with it merely installed beside CPU torch transformers breaks
    python = [path for path in committed() if path.suffix == ".py"]
    names = {name.partition(".")[0] for path in python for name in imported(path)}
    assert not names & {"torchvision", "timm"}
    assert not set(pins()) & {"torchvision", "timm"}


def test_the_api_takes_the_standard_library_only() -> None:
    names = {name.partition(".")[0] for name in imported(ROOT / "benchmarks" / "api.py")}
    assert names <= set(sys.stdlib_module_names)


def test_nothing_imports_results_or_tests() -> None:
    for path in sources():
        assert not {name.partition(".")[0] for name in imported(path)} & {"results", "tests"}, path


@pytest.mark.parametrize(
    "module",
    ["cli.main", "runs.plan", "registry", "runs.runner", "records.store", "report", "stats.intervals"],
)
def test_loads_no_torch(module: str) -> None:
    light = module in ("cli.main", "runs.plan", "registry", "runs.runner")
    heavy = "{'torch', 'pandas', 'matplotlib'}" if light else "{'torch'}"
    code = f"import sys, benchmarks.{module}; sys.exit(', '.join({heavy} & set(sys.modules)) or None)"
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


def test_no_module_is_named_utils() -> None:
    assert not [path for path in sources() if path.stem in ("utils", "helpers", "common", "misc")]


def test_no_module_hides_a_function_of_its_package() -> None:
    """Importing ``package.name`` binds it in the package, over a function of that name."""
    for init in (path for path in sources() if path.name == "__init__.py"):
        defined = {getattr(node, "name", "") for node in ast.parse(init.read_text()).body}
        modules = {path.stem for path in init.parent.iterdir() if path.suffix == ".py" or path.is_dir()}
        assert not defined & modules, f"{init.relative_to(ROOT)}: {', '.join(defined & modules)}"


def entry_points() -> list[tuple[str, str, str]]:
    groups = PROJECT["entry-points"]
    return [(group, name, target) for group, points in groups.items() for name, target in points.items()]


@pytest.mark.parametrize(("group", "name", "target"), entry_points())
def test_entry_points_load_under_their_own_names(group: str, name: str, target: str) -> None:
    loaded = importlib.metadata.EntryPoint(name, target, group).load()
    if group.endswith(".tasks") and not hasattr(loaded, "name"):
        loaded = loaded()
    assert loaded.name == name


def test_the_installed_distribution_is_this_tree() -> None:
    found = importlib.metadata.distribution(PROJECT["name"]).entry_points
    installed = {(p.group, p.name, p.value) for p in found if p.group.startswith("supernet_bench.")}
    assert installed == set(entry_points()), "install it again: nox -s env"
    assert ("supernet-bench", "benchmarks.cli.main:main") in {(p.name, p.value) for p in found}


def test_no_committed_file_has_a_host_or_a_machine() -> None:
    # written in halves, so that this file does not hold them
    hosts = ["py" + "pi.org", "python" + "hosted.org", "download." + "pytorch", "registry." + "npm"]
    places = [rf"(?<![\w.\-/])/{place}/\w" for place in ("work", "root", "opt")]
    here = [f"{ROOT}/", f"{Path.home()}/"]
    pattern = re.compile("|".join([*map(re.escape, [*hosts, *here]), *places]))
    found = []
    for path in committed():
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        found += [f"{path.relative_to(ROOT)}: {match[0]}" for match in pattern.finditer(text)]
    assert not found, "\n".join(found)


def test_sessions_and_commands_that_the_texts_name_exist() -> None:
    sessions = set()
    for node in ast.parse((ROOT / "noxfile.py").read_text()).body:
        if isinstance(node, ast.FunctionDef) and node.decorator_list:
            decorator = node.decorator_list[0]
            named = {k.arg: k.value for k in getattr(decorator, "keywords", [])}
            sessions.add(ast.literal_eval(named["name"]) if "name" in named else node.name)
    assert {"tests", "lint", "types", "reproduce-mt", "leaderboard", "bench"} <= sessions
    for name in COMMANDS_STAND_IN:
        for line in re.findall(r"\bnox -s ((?:[a-z][\w-]*\b ?)+)", (ROOT / name).read_text()):
            assert set(line.split()) <= sessions, f"{name}: nox -s {line}"
    (commands,) = (action.choices for action in main.parser()._actions if action.choices)
    named = re.compile(r"(?:^|`)supernet-bench ([a-z][a-z-]*)", re.MULTILINE)
    for name in COMMANDS_STAND_IN:
        for line in named.findall((ROOT / name).read_text()):
            assert line in commands, f"{name}: supernet-bench {line}"


TEXTS = (
    "README.md",
    "CONTRIBUTING.md",
    *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))),
)
PLACES = (*PACKAGES, "docs", "examples", "results", "tests", ".ci", ".github")
GENERATED = ("results/local",)
"""Folders that commands make and that no commit holds."""


def named_paths(text: str) -> set[str]:
    """Paths below the project's top that a text names in backticks; ``<id>`` stands for any name."""
    words = {word for code in re.findall(r"`([^`\n]+)`", text) for word in code.split()}
    return {
        word
        for word in words
        if word.partition("/")[0] in PLACES and "/" in word and not word.startswith(GENERATED)
    }


def named_modules(text: str) -> set[str]:
    """Dotted names of ours that a text names in backticks or imports."""
    names = set(re.findall(rf"(?<![\w/.-])(?:{'|'.join(PACKAGES)})(?:\.[A-Za-z_]\w*)+", text))
    groups = {f"supernet_bench.{kind}" for kind in ("methods", "tasks", "hooks")}  # of entry points
    return {name for name in names if not name.endswith(".md")} - groups


def exists(path: str) -> bool:
    return any(ROOT.glob(re.sub(r"<[^>]*>", "*", path.rstrip("/"))))


def defined(name: str) -> bool:
    """Return whether a dotted name is a module or package, or stands in one."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        base = ROOT.joinpath(*parts[:count])
        file = base.with_suffix(".py") if base.with_suffix(".py").is_file() else base / "__init__.py"
        if file.is_file():
            return all(re.search(rf"\b{part}\b", file.read_text()) for part in parts[count:])
    return False


@pytest.mark.parametrize("name", TEXTS)
def test_paths_modules_and_links_that_the_texts_name_exist(name: str) -> None:
    text = (ROOT / name).read_text()
    targets = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    missing = [link for link in targets if link and not (ROOT / name).parent.joinpath(link).exists()]
    missing += [path for path in named_paths(text) if not exists(path)]
    missing += [module for module in named_modules(text) if not defined(module)]
    assert not missing, f"{name}: {', '.join(missing)}"


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().split()) <= 900


def test_the_check_of_paths_finds_missing_ones() -> None:
    text = "`benchmarks/no.py` `results/records/<id>` `a/b` `benchmarks.lab.ledger.Ledger` benchmarks.nowhere"
    assert named_paths(text) == {"benchmarks/no.py", "results/records/<id>"}
    assert not exists("benchmarks/no.py") and exists("results/records/<id>") and exists("tests/oracles/")
    assert named_modules(text) == {"benchmarks.lab.ledger.Ledger", "benchmarks.nowhere"}
    assert defined("benchmarks.lab.ledger.Ledger") and defined("benchmarks.lab")
    assert not defined("benchmarks.nowhere") and not defined("benchmarks.lab.ledger.Nothing")


def test_the_two_commands_stand_at_the_top_of_the_readme() -> None:
    top = "\n".join((ROOT / "README.md").read_text().splitlines()[:40])
    assert "python3 -m pip install nox && nox -s reproduce-mt" in top
    assert "nox -s tests" in top


def test_ci_runs_the_readmes_test_command() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    for command in ("nox -s lint types", "nox -s leaderboard", "nox -s tests"):
        assert command in script.read_text()


def test_the_wheel_is_whole(tmp_path: Path) -> None:
    tree, out = tmp_path / "tree", tmp_path / "out"
    out.mkdir()
    files = [path.relative_to(ROOT) for path in committed()]
    for path in files:
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, tree / path)
    code = f"from setuptools import build_meta; build_meta.build_wheel({str(out)!r})"
    ended = subprocess.run([sys.executable, "-c", code], cwd=tree, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    (wheel,) = out.iterdir()
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        metadata = {name.partition(".dist-info/")[2] for name in archive.namelist() if ".dist-info/" in name}
    ours = {str(path) for path in files if path.parts[0] in PACKAGES}
    assert not ours - names, f"not in the wheel (package data in pyproject.toml?): {sorted(ours - names)}"
    names -= {"benchmarks/records/published.zip"}
    assert not names - ours, f"should not be in the wheel: {sorted(names - ours)}"
    assert {f"{package}/py.typed" for package in PACKAGES} <= names
    assert {"entry_points.txt", "licenses/LICENSE"} <= metadata


def test_results_hold_published_files_and_nothing_half_written():
    """A command that is killed while it builds the site leaves a folder behind."""
    parts = {
        path.relative_to(ROOT / "results").parts[0]
        for path in committed()
        if path.is_relative_to(ROOT / "results")
    }
    folders = {
        "bench",
        "bert-recipe",
        "mt-gap",
        "mt-retraining",
        "gpu-precision",
        "training-overhead",
        "plots",
        "records",
        "runtimes",
        "studies",
        "verified",
    }
    files = {"CLAIMS.md", "FINDINGS.md", "LEADERBOARD.md"}
    files |= {"leaderboard.json", "people.toml", "robustness.json"}
    assert parts <= folders | files, parts - folders - files


OF_THE_WHOLE_TREE = {"test_repository.py", "test_style.py"}


def test_each_file_of_unit_tests_mirrors_a_module_or_package() -> None:
    folder = ROOT / "tests" / "unit"
    files = [path.relative_to(folder) for path in sorted(folder.rglob("test_*.py"))]
    stray = [str(path) for path in files if str(path) not in OF_THE_WHOLE_TREE and not mirror.mirrored(path)]
    assert len(files) > 100 and not stray, "name them test_<module>.py or test_<module>_<subject>.py"


def test_mirrored_modules_are_found_by_name() -> None:
    assert mirror.mirrored(Path("benchmarks/runs/test_plan_allowances.py")) == Path("benchmarks/runs/plan.py")
    assert mirror.mirrored(Path("supernet/test_bert_classifier.py")) == Path("supernet/bert_classifier.py")
    assert mirror.mirrored(Path("benchmarks/test_engines.py")) == Path("benchmarks/engines")
    assert mirror.mirrored(Path("bench/test_roofline.py")) == Path("tests/bench/roofline.py")
    assert mirror.mirrored(Path("benchmarks/runs/test_nothing.py")) is None
    own = [path.name for path in mirror.tests_of(Path("benchmarks/runs/plan.py"))]
    assert own == ["test_plan.py", "test_plan_allowances.py"]


def texts_with_files_of_tests(path: Path) -> list[str]:
    """Texts of a file of the product that name a file, a module or the runner of our tests."""
    named = re.compile(r"\bpytest\b|\btests/\w|\btests\.(?:bench|unit|e2e|oracles|results|browser|mutants)\b")
    text = path.read_text("utf-8")
    texts = [text]
    if path.suffix == ".py":
        constants = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant))
        texts = [node.value for node in constants if isinstance(node.value, str)]
    elif path.suffix == ".toml":
        texts = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    return [found[0] for part in texts for found in named.finditer(part)]


def test_no_text_of_the_product_names_a_file_of_tests() -> None:
    """Messages, help and generated pages send a user to commands alone."""
    kinds = {".py", ".toml", ".html", ".js", ".css", ".txt"}
    files = [path for name in PACKAGES for path in sorted((ROOT / name).rglob("*")) if path.suffix in kinds]
    files += [ROOT / "results" / name for name in ("LEADERBOARD.md", "CLAIMS.md")]
    named = {path: texts for path in files if (texts := texts_with_files_of_tests(path))}
    assert not named


@pytest.mark.parametrize(
    ("name", "text", "seen"),
    [
        ("a.py", 'raise UsageError(f"run {x} with tests/bench/items.py")', True),
        ("a.py", 'raise UsageError("type python -m tests.bench.items")', True),
        ("a.py", 'raise UsageError("type python -m pytest -k items")', True),
        ("a.py", "x = 'two tests. bench them'  # tests/unit", False),
        ("a.toml", "# tests/unit/test_a.py holds this", False),
        ("a.toml", 'fix = "run tests/bench/items.py"', True),
        ("a.html", "<p>run tests/bench/items.py</p>", True),
    ],
)
def test_texts_that_name_a_file_of_tests_are_seen(name: str, text: str, seen: bool, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    assert bool(texts_with_files_of_tests(tmp_path / name)) == seen


FOR_OTHERS = {
    "SurrogateEvaluator": "searches of a user on a table with a predictor",
    "load_deployed": "exported networks that a user deploys under their policy",
    "policy_bytes": "bytes of each layer under a policy, for users' searches",
    "read_sampled": "tables that supernet-bench simq-tables made",
    "stratified": "the rule by which the registered plan of study mt-gap drew its networks",
}
"""Function or class that only tests of ours use -> its users."""


def test_nothing_stands_in_the_product_for_tests_alone() -> None:
    product = set(sources())
    defined, used = {}, set(re.findall(r"\w+", (ROOT / "pyproject.toml").read_text()))
    for path in [*product, ROOT / "noxfile.py", *sorted((ROOT / "examples").rglob("*.py"))]:
        tree = ast.parse(path.read_text("utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Name):
                used.add(node.id)
            elif isinstance(node, ast.Attribute):
                used.add(node.attr)
            elif isinstance(node, ast.alias):
                used.add(node.name)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                used |= set(re.findall(r"\w+", node.value)) if len(node.value) < 200 else set()
        for node in tree.body if path in product else ():
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("__"):
                defined[node.name] = f"{path.relative_to(ROOT)}:{node.lineno}"
    unused = {name: place for name, place in defined.items() if name not in used}
    assert not {name: place for name, place in unused.items() if name not in FOR_OTHERS}
    assert not [name for name in FOR_OTHERS if name not in unused], "the product uses them"


def test_only_pictures_that_a_page_shows_are_committed() -> None:
    pages = [path for path in committed() if path.suffix == ".md"]
    shown = {
        (page.parent / name).resolve()
        for page in pages
        for name in re.findall(r"!\[[^\]]*\]\(([^)\s]+)\)", page.read_text("utf-8"))
    }
    pictures = [path for path in committed() if path.suffix in (".png", ".svg", ".jpg", ".gif", ".pdf")]
    assert pictures and [path for path in pictures if path.resolve() not in shown] == []
    assert sum(path.stat().st_size for path in pictures) < 4 * 10**6


CLOCKS = ("monotonic", "perf_counter", "process_time", "time")


def timed_asserts(source: str) -> list[int]:
    """Return the lines of asserts on a difference of two readings of a clock."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Assert)
        for part in ast.walk(node.test)
        if isinstance(part, ast.BinOp)
        and isinstance(part.op, ast.Sub)
        and any(
            isinstance(call, ast.Call) and getattr(call.func, "attr", "") in CLOCKS for call in ast.walk(part)
        )
    ]


def test_no_unit_test_asserts_how_long_something_takes() -> None:
    """Machines are shared: ``tests/bench`` measures speed, and a test that may hang has a timeout."""
    assert timed_asserts("assert ok and time.monotonic() - began < 20")
    assert not timed_asserts("assert began <= first <= time.monotonic()")
    files = sorted((ROOT / "tests" / "unit").rglob("*.py"))
    assert not [f"{path}:{line}" for path in files for line in timed_asserts(path.read_text("utf-8"))]


def test_the_index_by_subject_leads_to_its_names() -> None:
    section = (
        (ROOT / "docs" / "house.md").read_text("utf-8").partition("## By subject\n")[2].partition("\n## ")[0]
    )
    rows = re.findall(r"^\| [^|`]+ \| `([^`]+)` \| ([^|]+) \|$", section, re.MULTILINE)
    assert len(rows) == section.count("\n| ") - 2 > 20
    for path, names in rows:
        tree = ast.parse((ROOT / path).read_text("utf-8"))
        defined = {getattr(node, "name", "") for node in tree.body}
        assert not set(re.findall(r"`(\w+)`", names)) - defined, path
