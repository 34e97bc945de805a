"""Names and prose of the product: docstrings begin with their thing, names say what they hold.

Ruff's D401 checks functions' first word; what it cannot check is here.
"""

import ast
import builtins
import re
import textwrap
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from pathlib import Path

import pytest

from tests import ROOT

FIRST_WORDS = re.compile(r"(Of|What|Who|Whose|Whether|Where|How|Which|That|When)\b")
"""Words that no docstring begins with: they put off naming the thing."""
PRONOUNS = re.compile(r"[A-Z][a-z]+ (what|who|those|all that)\b")
"""Verb and pronoun that begin a docstring in place of verb and noun."""
SPEECH = re.compile(r"\b(says|said|knows|tells|told|wants|hears|heard|thinks)\b", re.IGNORECASE)
"""Verbs of persons: objects compute, return, store, raise and refuse."""
ASK_AND_TELL = "simq/tabular/testbed.py"
"""Its interface is that of optimisers which ask for a point and are told its value."""
KEPT_MESSAGES = re.compile(r"who learns from it is charged what it cost|do not share cannot be told from")
"""Texts under a digest of published rows, or in a published study: they change with those."""
PUT_OFF = re.compile(r"(of|what|who|whoever|whatever)\b")
"""Begin of a help text that puts off naming the argument."""
WORDS = 25
"""Most words in the first sentence of a docstring."""
NAMES = {"found", "told", "made", "one", "there", "whole", "left", "said"}
"""Names that fit anything, and so name nothing."""
SIGNALS = {"BudgetExhausted"}
"""Exceptions that end a search as planned, and that methods of others catch by this name."""

RIDDLES = re.compile(
    r"test_(what|whatever|it|its|who|whoever|whose|of|whether|there|they|how)_"
    r"|_(what|whatever|who|whoever|nobody|everybody|say|says|said|tell|tells|told|know|knows|knew|want|wants)(?=_|$)"
)
"""Words by which the name of a test puts off naming its thing, or lets an object speak, know or want."""
LEAST_WORDS = 3
"""Fewest words in the name of a test: a thing and a statement about it."""

PUBLIC = {"benchmarks/api.py": {"left"}}
"""Names that methods of others use: they stay until the interface has a new version."""


def rooms() -> list[str]:
    """Packages below benchmarks, its modules, and everything else that is product."""
    inside = sorted((ROOT / "benchmarks").iterdir())
    names = [path for path in inside if path.suffix == ".py" or (path / "__init__.py").is_file()]
    others = [ROOT / name for name in ("baselines", "mos", "simq", "supernet", "noxfile.py")]
    return [path.relative_to(ROOT).as_posix() for path in (*names, *others)]


def trees(room: str) -> Iterator[tuple[Path, ast.Module]]:
    """Every module of a room, parsed."""
    path = ROOT / room
    for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
        yield file.relative_to(ROOT), ast.parse(file.read_text(encoding="utf-8"))


def docstrings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and text of every docstring, those of constants and attributes too."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        for statement in body if isinstance(body, list) else ():
            if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                if isinstance(statement.value.value, str):
                    yield statement.lineno, statement.value.value.strip()


def bound_names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and name of everything that gets a name: variables, arguments, attributes, functions, classes."""
    for node in ast.walk(tree):
        name: str | None = None
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            name = node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            name = node.attr
        elif isinstance(node, ast.arg):
            name = node.arg
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = node.name
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar):
            name = node.name
        elif isinstance(node, ast.MatchMapping):
            name = node.rest
        elif isinstance(node, ast.alias):
            name = node.asname
        if name:
            yield getattr(node, "lineno", 0), name


def misnamed_exceptions(classes: list[tuple[str, ast.ClassDef]]) -> list[tuple[str, int, str]]:
    """Place, line and name of every exception class that does not end in Error, however far its base is."""
    known = {
        name
        for name, kind in vars(builtins).items()
        if isinstance(kind, type) and issubclass(kind, Exception)
    }
    ours: dict[str, tuple[str, int, str]] = {}
    while True:
        fresh = {
            node.name: (place, node.lineno, node.name)
            for place, node in classes
            if node.name not in ours
            and known & {getattr(base, "id", getattr(base, "attr", "")) for base in node.bases}
        }
        if not fresh:
            break
        ours |= fresh
        known |= set(fresh)
    return [entry for name, entry in ours.items() if not name.endswith("Error") and name not in SIGNALS]


def speech(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and words of every docstring in which an object speaks, knows or wants."""
    for line, text in docstrings(tree):
        flat = " ".join(text.split())
        for match in SPEECH.finditer(flat):
            yield line, f'"...{flat[max(0, match.start() - 30) : match.end() + 20]}...": a verb of persons'


def texts(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and text of every text in a module that is no docstring; ``{}`` for inserted values."""
    skipped = {
        id(statement.value)
        for node in ast.walk(tree)
        if isinstance(body := getattr(node, "body", None), list)
        for statement in body
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    }
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.JoinedStr):
            parts = [v.value if isinstance(v, ast.Constant) else "{}" for v in node.values]
            yield node.lineno, "".join(map(str, parts))
            waiting += [v.value for v in node.values if isinstance(v, ast.FormattedValue)]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skipped:
            yield node.lineno, node.value
        else:
            waiting += [child for child in ast.iter_child_nodes(node) if id(child) not in skipped]


def spoken_messages(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and text of every message in which an object speaks, knows or wants."""
    for line, text in texts(tree):
        flat = " ".join(text.split())
        if " " in flat.strip() and SPEECH.search(flat) and not KEPT_MESSAGES.search(flat):
            yield line, flat[:90]


def put_off(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and text of every help of an argument that does not begin with the argument's thing."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            for keyword in node.keywords:
                value = keyword.value
                if keyword.arg == "help" and isinstance(value, ast.Constant) and isinstance(value.value, str):
                    if PUT_OFF.match(value.value):
                        yield value.lineno, value.value


@pytest.mark.parametrize("room", rooms())
def test_no_message_has_a_verb_of_persons_and_every_help_names_its_argument(room: str):
    parsed = [(file, tree) for file, tree in trees(room) if file.as_posix() != ASK_AND_TELL]
    wrong = [
        f"{file}:{line}: {text}"
        for file, tree in parsed
        for line, text in (*spoken_messages(tree), *put_off(tree))
    ]
    assert not wrong, "\n" + "\n".join(wrong)


@pytest.mark.parametrize(
    ("code", "seen"),
    [
        ('raise ValueError(f"{path} says {x}, and that is none")', True),
        ('print("the search was told X:", timings)', True),
        ('x = {"a": "every figure says where it comes from"}', True),
        ('add("--out", help="of new: file")', True),
        ('add("--seed", help="of the supernets (default: 1)")', True),
        ('add("--x", help="what becomes of winners")', True),
        ('add("--x", help="folder of the results")', False),
        ('"""A record says why."""', False),
        ('say(f"{said}")', False),
        ('word = "says"', False),
    ],
)
def test_spoken_messages_and_vague_help_are_seen(code: str, seen: bool):
    tree = ast.parse(code)
    assert bool([*spoken_messages(tree), *put_off(tree)]) == seen


def faults(tree: ast.AST, public: AbstractSet[str] = frozenset()) -> Iterator[tuple[int, str]]:
    """Line and description of everything in a module that breaks a rule on prose or names."""
    for line, text in docstrings(tree):
        sentence = re.split(r"(?<=[.:;])\s", " ".join(text.split()))[0]
        if FIRST_WORDS.match(text):
            yield line, f'"{sentence[:50]}": begin with the thing, or with an imperative verb'
        if PRONOUNS.match(text):
            yield line, f'"{sentence[:50]}": name the thing after the verb'
        if len(sentence.split()) > WORDS:
            yield line, f'"{sentence[:50]}...": {len(sentence.split())} words, at most {WORDS}'
    for line, name in bound_names(tree):
        if name.strip("_") in NAMES - public:
            yield line, f"{name}: name what it holds"


@pytest.mark.parametrize("room", rooms())
def test_docstrings_and_names_name_their_thing(room: str):
    public = PUBLIC.get(room, set())
    seen = [f"{file}:{line}: {text}" for file, tree in trees(room) for line, text in faults(tree, public)]
    assert not seen, "\n" + "\n".join(seen)


@pytest.mark.parametrize("room", rooms())
def test_no_docstring_has_a_verb_of_persons(room: str):
    parsed = [(file, tree) for file, tree in trees(room) if file.as_posix() != ASK_AND_TELL]
    seen = [f"{file}:{line}: {text}" for file, tree in parsed for line, text in speech(tree)]
    assert not seen, "\n" + "\n".join(seen)


@pytest.mark.parametrize(
    ("code", "seen"),
    [
        ('"""The record says why."""', True),
        ('def f():\n    """Return the run.\n\n    It knows\n    its seed."""', True),
        ('X = 1\n"""Runs that were told to stop."""', True),
        ('"""Args:\n    say: shows one line to the user, as ask() is called."""', False),
        ('raise ValueError("the index says otherwise")', False),
    ],
)
def test_verbs_of_persons_are_seen(code: str, seen: bool):
    assert bool(list(speech(ast.parse(code)))) == seen


def test_docstrings_of_tests_name_their_thing():
    seen = [
        f"{file}:{line}: {text[:60]}"
        for file, tree in trees("tests")
        for line, text in docstrings(tree)
        if FIRST_WORDS.match(text)
    ]
    assert not seen, "\n" + "\n".join(seen)


def riddles(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and name of every test whose name is no statement about a thing."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            if RIDDLES.search(node.name) or len(node.name.split("_")) <= LEAST_WORDS:
                yield node.lineno, node.name


def test_names_of_tests_are_statements_about_a_thing():
    wrong = [f"{file}:{line}: {name}" for file, tree in trees("tests") for line, name in riddles(tree)]
    assert not wrong, "test_<thing>_<does>:\n" + "\n".join(wrong)


@pytest.mark.parametrize(
    ("name", "seen"),
    [
        ("test_what_is_missing_is_refused", True),
        ("test_it_ends_at_the_limit", True),
        ("test_a_missing_file_is_told", True),
        ("test_a_row_says_so", True),
        ("test_rates", True),
        ("test_the_whole_is_read", False),
        ("test_italics_are_written", False),
        ("test_knowledge_of_a_teacher_is_distilled", False),
    ],
)
def test_riddles_are_seen(name: str, seen: bool):
    assert bool(list(riddles(ast.parse(f"def {name}(): pass")))) == seen


def test_exceptions_end_in_error():
    classes = [
        (file.as_posix(), node)
        for room in rooms()
        for file, tree in trees(room)
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    ]
    wrong = [
        f"{place}:{line}: {name}Error?"
        for place, line, name in misnamed_exceptions(classes)
        if name not in PUBLIC.get(place, ())
    ]
    assert not wrong, "\n" + "\n".join(wrong)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ('"""What a run does."""', "begin with the thing"),
        ('X = 1\n"""Of a batch."""', "begin with the thing"),
        ('class A:\n    """Where it is."""', "begin with the thing"),
        ('def f():\n    """Return what a run keeps."""', "name the thing after the verb"),
        ('def f():\n    """Yield those of the points on the front."""', "name the thing after the verb"),
        ('"""A front' + " of points" * 12 + '."""', "26 words, at most 25"),
        ("found = 1", "found: name"),
        ("for _left, x in y: pass", "_left: name"),
        ("[x for told in y]", "told: name"),
        ("def f(*, made): pass", "made: name"),
        ("def whole(): pass", "whole: name"),
        ("a.said = 1", "said: name"),
        ("import a as one", "one: name"),
        ("from a import b as there", "there: name"),
        ("try: pass\nexcept OSError as told: pass", "told: name"),
        ("match a:\n    case {'b': [*_], **left}: pass", "left: name"),
    ],
)
def test_the_rules_find_every_breach(code: str, expected: str):
    (seen,) = [text for _, text in faults(ast.parse(code))]
    assert expected in seen


@pytest.mark.parametrize(
    "code",
    [
        '"""Whatever a method proposes; what is not measured stays out."""',
        '"""A front' + " of points" * 11 + " x.\n\n" + "More words. " * 30 + '"""',
        "left_margin = one_by_one = 1\nprint(a.left, found(3))",
        "import sys",
        "x = 'What'",
    ],
)
def test_the_rules_let_the_rest_pass(code: str):
    assert not list(faults(ast.parse(code)))


def test_an_exception_is_seen_through_its_bases():
    code = """
        class Far(Near): ...
        class Near(x.SomeError): ...
        class SomeError(ValueError): ...
        class Stop(BaseException): ...
        class BudgetExhausted(Exception): ...
    """
    tree = ast.parse(textwrap.dedent(code))
    classes = [("a.py", node) for node in tree.body if isinstance(node, ast.ClassDef)]
    assert sorted(name for _, _, name in misnamed_exceptions(classes)) == ["Far", "Near"]


def test_any_stands_at_boundaries_alone() -> None:
    """JSON just read has names of its own (``records.canonical``); what else is Any is foreign."""
    files = (ROOT / "benchmarks").rglob("*.py")
    uses = [node for path in files for node in ast.walk(ast.parse(path.read_text("utf-8")))]
    assert sum(isinstance(node, ast.Name) and node.id == "Any" for node in uses) <= 150
