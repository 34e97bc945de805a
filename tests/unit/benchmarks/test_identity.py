"""Identity of code: one digest under every Python, equal for equal code, other for other code."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import identity, registry
from benchmarks.records import store
from benchmarks.tasks import code_digest, task_names
from tests import ROOT

FILE = ROOT / "benchmarks" / "identity.py"

BASE = '''
"""A docstring."""
from __future__ import annotations
import math
from dataclasses import dataclass
from supernet.train import Trainer, SinglePath as Path_

@dataclass
class Mine(Base):
    """What it is."""
    rate: float = 0.1
    """Of learning."""
    steps: int = 3

    def search(self, lab, *, n=2, **more):
        # a remark
        total = sum(x ** 2 for x in range(n))
        return f"{total:>{n}} {lab!r} {n=}", {**more, "a": 1e-7}, b"\\xff", -0.0, math.pi
'''
SAME = {
    "layout": BASE.replace("range(n))", "range(\n    n\n  ))  # why").replace('"a"', "'a'"),
    "docstrings": BASE.replace("A docstring", "Another").replace(
        '"""What it is."""', "'''Something else.'''"
    ),
    "docstring of a field": BASE.replace('    """Of learning."""\n', ""),
    "order of imports": BASE.replace("import math\n", "").replace(
        "\n@dataclass", "import math\n\n@dataclass"
    ),
    "place of an import": BASE.replace("import math\n", "").replace("# a remark", "import math"),
    "one import or two": BASE.replace(
        "Trainer, SinglePath as Path_", "SinglePath as Path_\nfrom supernet.train import Trainer"
    ),
    "module of an import": BASE.replace("supernet.train", "supernet.training.loop"),
    "relative import": BASE.replace("from supernet.train", "from .train"),
    "annotations": BASE.replace("self, lab,", "self, lab: Lab,").replace("**more):", "**more: Any) -> str:"),
    "type of a field": BASE.replace("rate: float", "rate: Rate"),
    "imports for types": BASE.replace(
        "import math\n", "import math\nif TYPE_CHECKING:\n    from x import Lab\n"
    ),
    "declared needs": BASE.replace(
        "    steps: int = 3\n", "    steps: int = 3\n    needs = (Need('probes', 8),)\n"
    ),
}
OTHER = {
    "a number": BASE.replace("** 2", "** 3"),
    "a float": BASE.replace("1e-7", "1e-8"),
    "sign of zero": BASE.replace("-0.0", "0.0"),
    "type of a number": BASE.replace("steps: int = 3", "steps: int = 3.0"),
    "text": BASE.replace(" {lab!r}", ": {lab!r}"),
    "format": BASE.replace(":>{n}", ":<{n}"),
    "bytes or text": BASE.replace('b"\\xff"', '"\\xff"'),
    "what is imported under a name": BASE.replace("SinglePath as", "Sandwich as"),
    "module of a foreign import": BASE.replace("from dataclasses", "from attrs"),
    "default": BASE.replace("n=2", "n=3"),
    "keyword-only": BASE.replace("lab, *, n", "lab, n"),
    "order of fields": BASE.replace("rate: float = 0.1", "steps_: int = 0\n    rate: float = 0.1"),
    "class or field": BASE.replace("rate: float", "rate: ClassVar[float]"),
    "declared options": BASE.replace(
        "    steps: int = 3\n", "    steps: int = 3\n    options = (Option('a', str, 'b'),)\n"
    ),
    "trials": BASE.replace("    steps: int = 3\n", "    steps: int = 3\n    trials = ({'a': 1},)\n"),
    "statements": BASE.replace("# a remark", "n += 1"),
}


@pytest.mark.parametrize("what", SAME)
def test_edits_that_change_no_number_change_no_digest(what: str):
    assert SAME[what] != BASE
    assert identity.code_digest(SAME[what]) == identity.code_digest(BASE)


@pytest.mark.parametrize("what", OTHER)
def test_other_code_has_another_digest(what: str):
    assert OTHER[what] != BASE
    assert identity.code_digest(OTHER[what]) != identity.code_digest(BASE)


OPTIONS = """
from benchmarks.api import Method, Option
class M(Method):
    options = (Option("after", str, "scratch", choices=("scratch", "inherit"), help="of winners"),)
"""


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ('help="of winners"', 'help="winners"', True),
        ('("scratch", "inherit")', '("scratch", "continue", "inherit")', True),
        ('str, "scratch"', 'kind=str, default="scratch"', True),
        ("Method, Option", "Method, Need, Option", True),
        ('str, "scratch"', 'str, "inherit"', False),
        ('"after"', '"then"', False),
        ("Option(", "Choice(", False),
    ],
)
def test_name_type_and_default_of_an_option_are_in_the_digest(old: str, new: str, same: bool):
    assert old in OPTIONS
    changed = identity.code_digest(OPTIONS.replace(old, new))
    assert (changed == identity.code_digest(OPTIONS)) == same


def test_every_change_of_a_constant_or_an_operator_in_a_method_shows():
    import ast

    class Change(ast.NodeTransformer):
        def __init__(self, which: int) -> None:
            self.left = which

        def visit(self, node: ast.AST) -> ast.AST:
            if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
                self.left -= 1
                if self.left == 0:
                    return ast.copy_location(ast.Constant(float(node.value) + 1.5), node)
            if isinstance(node, ast.Add | ast.Mult | ast.Lt | ast.LtE):
                self.left -= 1
                if self.left == 0:
                    return ast.Sub() if isinstance(node, ast.Add | ast.Mult) else ast.Gt()
            return super().generic_visit(node)

    source = (ROOT / "supernet" / "search.py").read_text()
    seen, which = {identity.code_digest(source)}, 0
    while True:
        which += 1
        change = Change(which)
        text = ast.unparse(change.visit(ast.parse(source)))
        if change.left > 0:
            break
        found = identity.code_digest(text)
        assert found not in seen, which
        seen.add(found)
    assert which > 20


TRICKY = r"""
def f(x, y, *args, z: int = 1, **kw) -> None:
    return f"{x}" "a" f"b{y!s:{x}.{y}}" f"" f"{x=}{ y = }" "\N{BULLET}\U0001fae8é\x00", f"{{}}", f"{x:}"
match f:
    case {"a": [1, *rest], **more} if rest: pass
    case C(a=1) | None: x = yield_ = 1j
try: ...
except* ValueError as e: raise
with (open(a) as b, c): del b[1:, ..., ::2]
async def g():
    async for i in j: await i
    return [x async for x in y], lambda *, a=1: (yield)
if (n := 10) > 5: print(u"u", 10**100, 0x1F, 1_000, 1e400, b"a" b"b")
"""


def test_every_supported_python_has_the_same_digests(tmp_path: Path):
    """Over all of the project's files and what Pythons parse differently; at least one other Python."""
    (tmp_path / "tricky.py").write_text(TRICKY)
    script = (
        "import json, sys, importlib.util as u\n"
        f"spec = u.spec_from_file_location('identity', {str(FILE)!r})\n"
        "m = u.module_from_spec(spec); sys.modules['identity'] = m; spec.loader.exec_module(m)\n"
        "print(json.dumps([m.code_digest(open(p, 'rb').read()) for p in json.load(sys.stdin)]))\n"
    )
    files = [tmp_path / "tricky.py"]
    for top in ("baselines", "mos", "simq", "supernet", "benchmarks"):
        files += sorted((ROOT / top).rglob("*.py"))
    due = [identity.code_digest(path.read_bytes()) for path in files]
    pythons = {Path(sys.executable): sys.version_info[1]}
    for minor in (11, 12, 13):
        beside = sorted(Path.home().glob(f".pyenv/versions/3.{minor}.*/bin/python"))
        other = beside[-1] if beside else Path(shutil.which(f"python3.{minor}") or "")
        # A shim of pyenv is a file, too, where that Python is not switched on.
        if other.is_file() and not subprocess.run([other, "-c", ""], capture_output=True).returncode:
            pythons[other] = minor
    if len(set(pythons.values())) < 2:
        pytest.skip("no Python but this one is here")
    for python in pythons:
        done = subprocess.run(
            [str(python), "-I", "-c", script], input=json.dumps(list(map(str, files))), text=True,
            capture_output=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == due, python


def test_a_module_without_code_is_nothing_and_order_is_nothing():
    assert identity.code_digest('"""Only words."""\n') is None
    assert identity.digest_of(["x = 1\n", '"""Words."""']) == identity.code_digest("x=1")
    assert identity.digest_of(["x = 1", "y = 2"]) == identity.digest_of(["y = 2", "x = 1"])
    assert identity.digest_of(["x = 1", "y = 2"]) != identity.digest_of(["x = 1", "y = 3"])


def _published() -> list[dict]:
    return [r for r in store.load_all(ROOT / "results" / "records") if "substrate_sha256" not in r["spec"]]


def test_the_table_of_published_commits_agrees_with_git():
    table = identity.published()
    known = subprocess.run(
        ["git", "-C", str(ROOT), "cat-file", "--batch-check"], input="\n".join(table["commits"]), text=True,
        capture_output=True,
    )  # fmt: skip
    if known.returncode or "missing" in known.stdout:
        pytest.skip("a shallow clone: published commits are not here")
    made = identity.at_commits(table["commits"], ROOT)
    assert {c: e["substrate"] for c, e in made["commits"].items()} == {
        c: e["substrate"] for c, e in table["commits"].items()
    }
    for commit, entry in table["commits"].items():
        assert entry["tasks"].items() <= made["commits"][commit]["tasks"].items()
    assert table["methods"].items() <= made["methods"].items()


def test_every_published_record_has_its_digests():
    for record in _published():
        found = identity.of_record(record)
        assert all(len(digest) == 64 for digest in found), (record["id"], found)


def test_published_tables_are_of_one_substrate_but_for_bert_enwiki():
    seen: dict[tuple[str, str], set[tuple[str, str]]] = {}
    for record in _published():
        spec, found = record["spec"], identity.of_record(record)
        seen.setdefault((spec["task"], spec["profile"]), set()).add((found.task, found.substrate))
    assert {place: len(kinds) for place, kinds in seen.items() if len(kinds) > 1} == {
        ("bert-enwiki", "nvidia-h100.v1"): 2
    }


def _today(kind: str) -> set[str]:
    if kind == identity.METHOD:
        return {ref.sha256 for ref in registry.methods().values()}
    if kind == identity.TASK:
        return {code_digest(name) for name in task_names()}
    return {identity.substrate()}


@pytest.mark.parametrize("kind", identity.KINDS)
def test_every_chain_of_equivalents_ends_at_todays_code_or_is_closed(kind: str):
    entries = identity.declarations()[kind]
    closed = {entry["new"] for entry in entries if entry.get("closed")}
    today = _today(kind)
    assert today and all(len(digest) == 64 for digest in today)
    for start, last in identity.declared("cpu")[kind].items():
        assert last in today or last in closed, (kind, start)
    # What changed the numbers of GPUs ends their chains.
    changed = {entry["old"] for entry in entries if entry.get("device") == "cpu"}
    for start, last in identity.declared("cuda")[kind].items():
        assert last in today or last in closed or last in changed, (kind, start)


def test_a_declaration_is_whole_and_no_circle(tmp_path: Path):
    file = tmp_path / "equivalences.toml"

    def entry(old: str, new: str, *, without: str = "") -> str:
        said = {"old": old, "new": new, "because": "a move", "evidence": "the smoke run, bit for bit"}
        lines = "".join(f'{key} = "{value}"\n' for key, value in said.items() if key != without)
        return f"[[method]]\n{lines}"

    file.write_text(entry("a", "b") + entry("b", "c"))
    assert identity.declared("cuda", file)["method"] == {"a": "c", "b": "c"}
    identity.declared.cache_clear()
    file.write_text(entry("a", "b") + entry("b", "c") + 'device = "cpu"\n')
    assert identity.declared("cpu", file)["method"] == {"a": "c", "b": "c"}
    assert identity.declared("cuda", file)["method"] == {"a": "b"}
    identity.declared.cache_clear()
    for text, said in (
        (entry("a", "b", without="evidence"), "lacks evidence"),
        (entry("a", "b") + entry("a", "c"), "declared twice"),
        (entry("a", "b") + entry("b", "a"), "leads back to itself"),
        (entry("z", "a") + entry("a", "b") + entry("b", "a"), "leads back to itself"),
        (entry("a", "b") + 'device = "tpu"\n', "device 'tpu', choose cpu or cuda"),
    ):
        file.write_text(text)
        with pytest.raises(ValueError, match=said):
            identity.declared("cpu", file)
        identity.declared.cache_clear()


RECORDS_ONLY = (
    "__init__", "__main__", "analysis/*", "api", "claims/*", "cli/*", "comparability/*", "conformance/*",
    "export/*", "hardware/__init__", "hardware/file_lock", "hardware/load",
    "hardware/machine_part", "hardware/probe",
    "hardware/profiles", "hardware/user_profiles",
    "hardware/timing_lock", "identity", "lab/__init__", "lab/checkpoints", "lab/journal",
    "latency_tables/*", "leaderboard/*", "measurement/__init__", "measurement/process_time",
    "measurement/tracing", "options", "records/*", "registry", "class_facts", "code_files", "suggestions",
    "report/*", "runs/__init__",
    "runs/archive", "runs/leases", "runs/user_declarations", "runs/estimate", "runs/run_limits",
    "runs/encrypted_references", "runs/execution", "runs/executor", "runs/heartbeat", "runs/hooks",
    "runs/interruption", "runs/job", "runs/options", "runs/origins",
    "runs/plan", "runs/preload", "runs/display", "runs/published_runs", "runs/remaining_time", "runs/repeat",
    "runs/runner", "runs/supervisor", "scoring/__init__", "stage", "stats/__init__", "stats/intervals",
    "runs/study_status", "runs/yaml_file", "engines/*", "runs/channel", "runs/guard", "runs/isolation",
    "runs/landlock", "scoring/references", "stats/rounding",
    "stats/paired_bleu", "stats/pareto", "stats/quantities", "stats/task_units", "studies/*",
    "verification/*",
)  # fmt: skip
"""Files of the harness that contribute to no number of a record: they plan, supervise, store and show. What
resumes (journal, checkpoint) gives the same bits as an undisturbed run, by other tests."""


def test_every_file_of_the_harness_is_of_the_substrate_or_declared_to_make_no_number():
    import fnmatch

    for path in sorted((ROOT / "benchmarks").rglob("*.py")):
        name = path.relative_to(ROOT / "benchmarks").with_suffix("").as_posix()
        if name.startswith("tasks/"):
            continue  # in the digest of each task that brings it
        listed = any(fnmatch.fnmatchcase(name, pattern) for pattern in RECORDS_ONLY)
        assert listed != identity.in_substrate(f"benchmarks/{name}.py"), name
    for path in identity.NO_NUMBERS:
        assert (ROOT / path).is_file(), path


def test_rows_of_unlike_substrates_stand_in_tables_of_their_own(tmp_path: Path, monkeypatch):
    """With a line on what sets them apart; once declared to make the same numbers they share one again."""
    from benchmarks.leaderboard import build
    from benchmarks.report.plots import gallery
    from tests.fake_records import study

    monkeypatch.setattr(gallery, "images", lambda *_: {})
    made = study(("hat", "mos-neuron", "scratch"), 2, limits=(0.5,))
    for record in made:
        letter = "b" if record["spec"]["method"] == "mos-neuron" else "a"
        record["spec"] |= {"task_sha256": "1" * 64, "substrate_sha256": letter * 64}
        store.write(tmp_path / "records", record)
    board = json.loads(build.build(tmp_path)["leaderboard.json"].read_text())
    shared = {group["title"]: {row["method"] for row in group["rows"]} for group in board["groups"]}
    assert sorted(map(sorted, shared.values())) == [["hat", "scratch"], ["mos-neuron"]]
    said = "substrate\\_sha256 bbbbbbbbbbbb (there aaaaaaaaaaaa)."
    assert said in (tmp_path / "LEADERBOARD.md").read_text()
    equal = {"method": {}, "task": {}, "substrate": {"a" * 64: "b" * 64}}
    monkeypatch.setattr(identity, "declared", lambda device, path=None: equal)
    board = json.loads(build.build(tmp_path)["leaderboard.json"].read_text())
    assert [len({row["method"] for row in group["rows"]}) for group in board["groups"]] == [3]
