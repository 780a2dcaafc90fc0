"""One word for one thing: what a parameter or a field is called follows from what it holds.

- `network` is a `Network`, `model` a module that is run as a whole, `bounded` a `BoundNetwork`; `net` is nothing. A part
  of a model is a `module`, a `layer`, a `body`, a `head`; a `twin` is a model too, and says which.
- `batch_size` is how many rows go at once, `budget` how many bytes, `progress` what is told of the work as it goes.

Not held to it: commands, whose parameters are the words a user types, and the keys of files that are kept.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import cutaway

SOURCE = Path(cutaway.__file__).parent
MODULES = r"(torch\.)?nn\.(Module|Sequential)"
ROLES = {
    "Network": {"network", "networks", "others", "ranking", "referee"},
    "BoundNetwork": {"bounded", "coarse", "search"},
    "Module": {"model", "module", "layer", "body", "head", "twin"},
}
"""Type -> the words for it: the one word, and roles where several stand beside each other."""
RETIRED = {
    "net": "network, model or bounded",
    "memory": "budget (memory_limit where allocations fail beyond it)",
    "memory_gb": "budget, in bytes",
    "verbose": "progress",
    "on_progress": "progress",
    "batchsize": "batch_size",
}
"""Words that no parameter has, whatever it holds -> the word instead."""
NUMBERS = {"batch": "batch_size", "chunk": "batch_size"}
"""Words that no whole number has."""
KEPT = {
    "training/recipe.py:TrainingPart.batch": "a key of recipes, which runs keep and compare when they go on",
}
"""Place -> why it keeps its word."""


def parameters(tree: ast.AST) -> Iterator[tuple[str, str, str]]:
    """(place, name, type) of every parameter and every field of a class; type "" where there is none."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            a, place = node.args, getattr(node, "name", "lambda")
            for each in (*a.posonlyargs, *a.args, *a.kwonlyargs, *(v for v in (a.vararg, a.kwarg) if v is not None)):
                yield place, each.arg, _written(each.annotation)
        elif isinstance(node, ast.ClassDef):
            for part in node.body:
                if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
                    yield node.name, part.target.id, _written(part.annotation)


def _written(annotation: ast.expr | None) -> str:
    return "" if annotation is None else ast.unparse(annotation).strip("'\"")


def complaint(name: str, kind: str) -> str:
    """What is wrong with this name for this type, or ""."""
    plain = name.lstrip("_")
    if plain in RETIRED:
        return RETIRED[plain]
    parts = {part.strip() for part in kind.split("|")} - {"None"}
    if parts == {"int"} and plain in NUMBERS:
        return NUMBERS[plain]
    if plain == "budget" and "float" in parts:
        return "a whole number of bytes"
    if plain == "progress" and kind and not re.search("Callable|Progress|Note", kind):
        return "what is called with words as the work goes"
    if plain == "batch_size" and kind and not {"int", "Positive"} & parts:
        return "a whole number"
    if "Callable" in kind or plain in ("self", "cls"):
        return ""
    if any(re.fullmatch(r"(tuple\[|Sequence\[)?Network(, \.\.\.)?\]?", part) for part in parts):
        wanted = ROLES["Network"] | (ROLES["Module"] if len(parts) > 1 else set())
    elif parts == {"BoundNetwork"}:
        wanted = ROLES["BoundNetwork"]
    elif any(re.fullmatch(MODULES, part) for part in parts):
        wanted = ROLES["Module"]
    else:
        wanted = {}
    return "" if not wanted or plain in wanted else " or ".join(sorted(wanted))


def complaints(source: str, file: str = "") -> list[str]:
    return [
        f"{file}:{place}.{name}: {kind}: call it {told}"
        for place, name, kind in parameters(ast.parse(source))
        if (told := complaint(name, kind)) and f"{file}:{place}.{name}" not in KEPT
    ]


def test_one_word_for_one_thing():
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        file = path.relative_to(SOURCE).as_posix()
        if not file.startswith("cli/"):
            found += complaints(path.read_text(), file)
    assert not found, "\n".join(found)


def test_what_keeps_its_word_is_there():
    for place in KEPT:
        file, _, rest = place.partition(":")
        assert rest in {f"{where}.{name}" for where, name, _ in parameters(ast.parse((SOURCE / file).read_text()))}


@pytest.mark.parametrize(
    "text",
    [
        "def f(net): ...", "def f(model: Network): ...", "def f(other: Network | None): ...",
        "def f(network: nn.Module): ...", "def f(network: BoundNetwork): ...", "class A:\n    net: int",
        "def f(batch: int = 3): ...", "def f(*, chunk: int | None = None): ...", "def f(budget: float): ...",
        "def f(memory_gb: float): ...", "def f(progress: float): ...", "lambda net: 1",
        "class A:\n    batch: int = 1", "def f(_net: Any): ...",
    ],
)  # fmt: skip
def test_another_word_is_seen(text):
    assert len(complaints(text)) == 1


@pytest.mark.parametrize(
    "text",
    [
        "def f(network: Network, model: nn.Module, bounded: BoundNetwork): ...", "def f(batch: Any): ...",
        "def f(network: Network | nn.Module): ...", "def f(model: nn.Module | Graph): ...",
        "def f(batch_size: int, budget: int | None, progress: Callable[[str], None]): ...",
        "def f(make: Callable[[int], nn.Module]): ...",
    ],
)  # fmt: skip
def test_the_right_word_is_let_pass(text):
    assert not complaints(text)
