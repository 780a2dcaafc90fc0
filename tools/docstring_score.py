"""How many of the questions that a public docstring must answer are answered: shapes, status, raises, source, cost.

    python tools/docstring_score.py [--missing]

A method without a docstring that does what a public protocol of its package says answers with the protocol's.

Counted are the functions in the fronts of all rooms, the public methods of the classes there, and the instruments. What
is asked of a docstring follows from its code, not from a list of exceptions:

- shapes: where a parameter or the result is an array or a tensor: a shape in brackets such as (n, d), or "a number".
- status: where arrays, models or data give a number, an array or a record in a room of mathematics: exact, bound,
  estimate, certified, sound, rounding.
- raises: where the body raises an error of Cutaway's, itself or in a private function of its file: the error's name.
- source: where status is asked: a paper, an equation, "definition" or "ours". It stands in the docstring itself; the
  file's first docstring counts only in a paragraph that names the function (`name`), that of a class only likewise.
- cost: where status is asked and models, networks or data sets go in: passes, time, memory, "Cost" or "O(".
"""

from __future__ import annotations

import argparse
import ast
import importlib
import pkgutil
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import cutaway
from cutaway import _facade

ROOT = Path(cutaway.__file__).parent
ARRAY = re.compile(r"\b(Tensor|ndarray|NDArray|Floats|Array|Values)\b")
PLAIN = re.compile(r"None|bool|str|Self|Any|Path|(torch\.)?nn\.Module|Network|(alt\.)?Chart|Tracker|Dataset")
MATHEMATICS = {
    "geometry",
    "dynamics",
    "features",
    "robustness",
    "curvature",
    "structure",
    "language",
    "evidence",
    "outputs",
    "kernels",
    "text",
    "arrangement",
}
MODEL = re.compile(r"\b(Module|Network|BoundNetwork|Dataset|StagedProgram|Slice)\b")
MODEL_OR_ARRAY = re.compile(f"{ARRAY.pattern}|{MODEL.pattern}")
SHAPE = re.compile(r"\([A-Za-z_*+\d -]+,[^)]*\)|\bnumber\b|\bscalar\b|\bone row\b|\ba row\b|shape", re.I)
STATUS = re.compile(r"\b(exact\w*|bounds?|estimat\w*|certified|sound|approximat\w*|rounding|limit)\b", re.I)
COST = re.compile(r"\b(cost\w*|pass(es)?|seconds|memory|flops|linear in|products?|eigenproblems?)\b|O\(", re.I)
SOURCE = re.compile(
    r"arXiv|\(\d{4}\)|\b(19|20)\d\d\b|\bEqs?\b|equation|theorem|algorithm|\bours\b|definition|doi", re.I
)
ERRORS = re.compile(r"(\w*Error|UnsupportedOperator|NotPiecewiseAffine|NoGradient|MissingExtra|NotApplicable)$")


def fronts() -> dict[str, dict[str, str]]:
    """Package -> public name -> module, of every room."""
    for info in pkgutil.walk_packages([str(ROOT)], "cutaway."):
        if info.ispkg:
            importlib.import_module(info.name)
    return _facade.homes


def public() -> Iterator[tuple[str, str, ast.FunctionDef | ast.ClassDef, ast.Module]]:
    """(module, name, definition, tree) of every function and method that a front or an instrument makes public."""
    wanted = {(home, name) for names in fronts().values() for name, home in names.items()}
    trees: dict[str, ast.Module] = {}
    for home, name in sorted(wanted):
        file = ROOT.joinpath(*home.split(".")[1:])
        path = file.with_suffix(".py") if file.with_suffix(".py").exists() else file / "__init__.py"
        tree = trees.setdefault(home, ast.parse(path.read_text()))
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
                yield home, name, node, tree
                if isinstance(node, ast.ClassDef):
                    for part in node.body:
                        plain = isinstance(part, ast.FunctionDef) and not part.name.startswith("_")
                        if plain and not _decorated(part, "overload"):
                            yield home, f"{name}.{part.name}", part, tree


def _decorated(node: ast.FunctionDef, word: str) -> bool:
    return any(word in ast.unparse(d) for d in node.decorator_list)


def asked(node: ast.FunctionDef | ast.ClassDef, tree: ast.Module, room: str) -> set[str]:
    """Which questions the docstring of a definition must answer."""
    if isinstance(node, ast.ClassDef):
        return _asked_of_class(node, tree)
    a = node.args
    given = " ".join(ast.unparse(p.annotation) for p in (*a.posonlyargs, *a.args, *a.kwonlyargs) if p.annotation)
    result = ast.unparse(node.returns) if node.returns else ""
    found = set()
    if ARRAY.search(given) or ARRAY.search(result):
        found.add("shapes")
    if room in MATHEMATICS and MODEL_OR_ARRAY.search(given) and result and not PLAIN.fullmatch(result):
        found.add("status")
        found.add("source")
        if MODEL.search(given):
            found.add("cost")
    if raised(node, tree):
        found.add("raises")
    return found


def _asked_of_class(node: ast.ClassDef, tree: ast.Module) -> set[str]:
    start = [p for p in node.body if isinstance(p, ast.FunctionDef) and p.name in ("__init__", "__post_init__")]
    found = {"raises"} if any(raised(p, tree) for p in start) else set()
    fields = " ".join(ast.unparse(p.annotation) for p in node.body if isinstance(p, ast.AnnAssign))
    return found | ({"shapes"} if ARRAY.search(fields) else set())


def raised(node: ast.AST, tree: ast.Module, seen: frozenset[str] = frozenset()) -> set[str]:
    """Names of the errors that a definition raises, in its own body or in private functions of its file."""
    homes = {n.name: n for n in tree.body if isinstance(n, ast.FunctionDef)}
    found: set[str] = set()
    for part in ast.walk(node):
        if isinstance(part, ast.Raise) and isinstance(part.exc, ast.Call):
            name = ast.unparse(part.exc.func).split(".")[0]
            found |= {name} if ERRORS.fullmatch(name) else set()
        elif isinstance(part, ast.Call) and isinstance(part.func, ast.Name):
            name = part.func.id
            if name.startswith("_") and name in homes and name not in seen:
                found |= raised(homes[name], tree, seen | {name})
    return found


def of_it(context: str, name: str) -> str:
    """The paragraphs of a docstring that name a function, as `name` or with an argument list."""
    own = re.compile(rf"`[\w.]*\b{re.escape(name)}\b[^`]*`")
    return "\n\n".join(part for part in context.split("\n\n") if own.search(part))


def answered(question: str, text: str, context: str, errors: set[str]) -> bool:
    """Whether `text` answers it; a source may stand in what others say of it by name (`context`)."""
    match question:
        case "shapes":
            return bool(SHAPE.search(text))
        case "status":
            return bool(STATUS.search(text))
        case "cost":
            return bool(COST.search(text))
        case "source":
            return bool(SOURCE.search(text) or SOURCE.search(context))
        case "raises":
            return any(re.search(rf"\b{name}\b", text) for name in errors)
    return False


def protocols() -> dict[tuple[str, str], str]:
    """(room, method) -> docstring, of every public protocol."""
    return {
        (home.split(".")[1], part.name): ast.get_docstring(part) or ""
        for home, _, node, _ in public()
        if isinstance(node, ast.ClassDef) and any(ast.unparse(b) == "Protocol" for b in node.bases)
        for part in node.body
        if isinstance(part, ast.FunctionDef)
    }


def score() -> tuple[Counter[str], Counter[str], list[str]]:
    """(questions asked, questions answered, what is missing), by question."""
    wanted: Counter[str] = Counter()
    given: Counter[str] = Counter()
    missing, inherited = [], protocols()
    for home, name, node, tree in public():
        text = ast.get_docstring(node) or inherited.get((home.split(".")[1], node.name), "")
        context, errors = of_it(ast.get_docstring(tree) or "", node.name), set()
        if "." in name:
            around = next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == name.split(".")[0])
            context += "\n\n" + of_it(ast.get_docstring(around) or "", node.name)
        if isinstance(node, ast.ClassDef):
            for part in node.body:
                if isinstance(part, ast.FunctionDef) and part.name in ("__init__", "__post_init__"):
                    errors |= raised(part, tree)
        else:
            errors = raised(node, tree)
        questions = asked(node, tree, home.split(".")[1])
        left = sorted(q for q in questions if not answered(q, text, context, errors))
        wanted.update(questions)
        given.update(questions - set(left))
        if left:
            said = f" ({', '.join(sorted(errors))})" if "raises" in left else ""
            missing.append(f"{home.removeprefix('cutaway.')}:{name}: {' '.join(left)}{said}")
    return wanted, given, missing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--missing", action="store_true", help="list what is missing, function by function")
    options = parser.parse_args()
    wanted, given, missing = score()
    if options.missing:
        print("\n".join(missing))
    for question in wanted:
        print(f"{question:8} {given[question]:4} of {wanted[question]:4}  {given[question] / wanted[question]:.0%}")
    print(f"{'all':8} {given.total():4} of {wanted.total():4}  {given.total() / wanted.total():.1%}")


if __name__ == "__main__":
    main()
