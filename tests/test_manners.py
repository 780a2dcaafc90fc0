"""Manners of the house that a script can count: lengths, types, what is ignored, errors, docstrings."""

import ast
import importlib.util
import re
from pathlib import Path

import pytest

import cutaway

SOURCE = Path(cutaway.__file__).parent
MOST_LINES = 350


def long_files(folder: Path) -> list[str]:
    lengths = {path.relative_to(folder).as_posix(): len(path.read_text().splitlines()) for path in folder.rglob("*.py")}
    return [f"{name}: {count}" for name, count in sorted(lengths.items()) if count > MOST_LINES]


def test_no_file_is_longer_than_a_reader_holds():
    found = long_files(SOURCE)
    assert not found, f"cut along meaning: {found}"


def test_the_formatter_has_every_line():
    found = [path.name for path in SOURCE.rglob("*.py") if "fmt: skip" in (t := path.read_text()) or "fmt: off" in t]
    assert not found


def test_a_long_file_is_seen(tmp_path):
    (tmp_path / "long.py").write_text("x = 1\n" * (MOST_LINES + 1))
    (tmp_path / "whole.py").write_text("x = 1\n" * MOST_LINES)
    assert long_files(tmp_path) == ["long.py: 351"]


def long_measures(source: str) -> list[int]:
    """Lines of each `_measure` of 30 lines or more."""
    found = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.FunctionDef) and n.name == "_measure"]
    return [size for n in found if (size := (n.end_lineno or 0) - n.lineno + 1) >= 30]


def test_what_an_instrument_measures_is_read_at_a_glance():
    found = {p.name: sizes for p in (SOURCE / "instruments").rglob("*.py") if (sizes := long_measures(p.read_text()))}
    assert not found
    assert long_measures("class A:\n    def _measure(self):\n" + "        pass\n" * 29) == [30]


def untyped(source: str) -> list[str]:
    """Parameters without a type, `function(parameter)`; lambdas and `self` aside."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            a = node.args
            named = [*a.posonlyargs, *a.args, *a.kwonlyargs, *(v for v in (a.vararg, a.kwarg) if v is not None)]
            found += [f"{node.name}({p.arg})" for p in named if p.annotation is None and p.arg not in ("self", "cls")]
    return found


@pytest.mark.parametrize("room", ["geometry", "network"])
def test_every_parameter_has_a_type(room):
    found = [f"{path.name}: {p}" for path in sorted((SOURCE / room).rglob("*.py")) for p in untyped(path.read_text())]
    assert not found, "\n".join(found)


def test_a_parameter_without_a_type_is_seen():
    assert untyped("def f(self, a, *b: int, c: int = 0, **d): ...") == ["f(a)", "f(d)"]


def test_few_errors_of_the_type_checker_are_ignored():
    ignored = [
        f"{path.relative_to(SOURCE)}:{number}"
        for path in SOURCE.rglob("*.py")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if re.search(r"#\s*(type|pyright): ignore", line)
    ]
    assert len(ignored) < 40, ignored


def errors_without_a_next_step(trees: dict[str, ast.Module]) -> list[str]:
    """Errors of Cutaway's family that are made without `remedy`, the part of the message that says what to do."""
    bases = {
        n.name: {ast.unparse(b).split(".")[-1] for b in n.bases}
        for tree in trees.values()
        for n in ast.walk(tree)
        if isinstance(n, ast.ClassDef)
    }
    family, grown = {"CutawayError"}, True
    while grown:
        more = {name for name, above in bases.items() if above & family} - family
        family, grown = family | more, bool(more)
    return [
        f"{file}:{node.lineno}"
        for file, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).split(".")[-1] in family
        and not any(
            k.arg is None or (k.arg == "remedy" and ast.unparse(k.value) not in ("''", "None")) for k in node.keywords
        )
    ]


def test_every_error_says_what_to_do_next():
    trees = {p.relative_to(SOURCE).as_posix(): ast.parse(p.read_text()) for p in SOURCE.rglob("*.py")}
    found = errors_without_a_next_step(trees)
    assert not found, "\n".join(found)


def test_an_error_without_a_next_step_is_seen():
    text = "class Mine(InputError): ...\nclass InputError(CutawayError): ...\nraise Mine('x', found='y')\n"
    text += "raise Mine('x', remedy='')\nraise InputError('x', remedy='mend it')\n"
    assert errors_without_a_next_step({"a.py": ast.parse(text)}) == ["a.py:3", "a.py:4"]


@pytest.fixture(scope="module")
def scores():
    spec = importlib.util.spec_from_file_location("docstring_score", SOURCE.parents[1] / "tools" / "docstring_score.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_public_docstrings_answer_what_they_must(scores):
    wanted, given, missing = scores.score()
    assert wanted.total() > 500
    assert set(wanted) == {"shapes", "status", "raises", "source", "cost"}
    for question in wanted:
        assert given[question] >= 0.9 * wanted[question], "\n".join(missing)


def test_a_docstring_that_answers_nothing_scores_nothing(scores):
    text = "def f(x: Tensor) -> Tensor:\n    'Does it.'\n    raise InputError('x')\n"
    tree = ast.parse(text)
    questions = scores.asked(tree.body[0], tree, "geometry")
    assert questions == {"shapes", "status", "raises", "source"}
    assert not any(scores.answered(q, "Does it.", "", {"InputError"}) for q in questions)
    full = "f(x) for x (n, d), exact. Raises InputError for no rows. Source: definition."
    assert all(scores.answered(q, full, "", {"InputError"}) for q in questions)


def test_a_source_in_the_files_first_lines_counts_for_whom_it_names(scores):
    """What a file says of its subject is no answer of each of its functions."""
    about = "Of slopes.\n\nSource: Zhang et al. (arXiv 1811.00866).\n\n`f(x)` is by Xu et al. (arXiv 2011.13824)."
    assert scores.answered("source", "Does it.", scores.of_it(about, "f"), set())
    assert not scores.answered("source", "Does it.", scores.of_it(about, "g"), set())


def test_the_counts_of_the_house_see_what_is_wrong(tmp_path):
    spec = importlib.util.spec_from_file_location("house_counts", SOURCE.parents[1] / "tools" / "house_counts.py")
    assert spec is not None and spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    same = "\n".join(f"    value{k} = compute(given{k}, {k})" for k in range(10))
    wrong = f"from cutaway.geometry import b\nDELAY = 3.0\ndef told(net):\n{same}\n    raise InputError('x')\n"
    files = {
        "network/a.py": "class InputError(CutawayError): ...\n" + wrong,
        "geometry/b.py": "import cutaway.network.a  # type: ignore\n" + wrong.replace("cutaway.geometry", "other"),
        "geometry/long.py": "x = 1  # fmt: skip\n" * (MOST_LINES + 1),
    }
    for name, text in files.items():
        (tmp_path / "src" / "cutaway" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "src" / "cutaway" / name).write_text(text)
    found = tool.counts(tmp_path)
    wanted = {
        "files": 3, "files over 350 lines": 1, "rooms in a circle of imports": 2, "imports of a higher floor": 1,
        "public names that stand twice": 1, "constants that stand twice": 1, "near-duplicates of ten lines": 1,
        "parameters under another word": 2, "untyped parameters, geometry and network": 2,
        "errors without a next step": 2, "type ignores": 1, "lines kept from the formatter": MOST_LINES + 1,
    }  # fmt: skip
    assert {name: found[name] for name in wanted} == wanted
    text = tool.table({"a": 1000}, {"a": 2, "b": 3}, "old")
    assert text.splitlines()[2:] == ["| a | 2 | 1,000 |", "| b | 3 | 0 |"]


def test_one_function_knows_the_nearest_name():
    users = [path.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*.py") if "difflib" in path.read_text()]
    assert users == ["errors.py"], "use errors.did_you_mean"


def test_a_misspelt_name_is_told_the_nearest():
    from cutaway.errors import did_you_mean, nearest_name

    assert did_you_mean("mnits", ["digits", "mnist"]) == "did you mean 'mnist'?"
    assert did_you_mean("MNIST", ["mnist-1", "mnist"]) == "did you mean 'mnist'?"
    assert did_you_mean("x", ["digits"]) and did_you_mean("x", [], "check the path") == "check the path"
    assert nearest_name("pgd", ["apgd"], likeness=0.9) is None


def test_the_readme_names_every_instrument():
    from cutaway import registry

    readme = (SOURCE.parent.parent / "README.md").read_text()
    assert not [name for name in registry.names() if f"| `{name}` |" not in readme]
