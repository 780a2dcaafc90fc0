"""No code stands twice: no ten lines of one place in the source are ten lines of another, names and literals aside.

At least half of the lines have to do something: fields, parameters and tables are alike by nature."""

import io
import keyword
import tokenize
from collections import defaultdict
from pathlib import Path

import cutaway

LINES = 10
SOURCE = Path(cutaway.__file__).parent
SKIPPED = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING}


def lines_of(text: str) -> list[tuple[int, str]]:
    """Line numbers and shapes of the lines with code: names that the line does not call or look up become one word, so
    do literals; imports, docstrings and lines of closing brackets alone are left out."""
    rows: dict[int, list[str]] = defaultdict(list)
    tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
    for before, token, after in zip([tokens[0], *tokens], tokens, [*tokens[1:], tokens[-1]]):
        if token.type in SKIPPED:
            continue
        kept = keyword.iskeyword(token.string) or after.string == "(" or before.string == "."
        if token.type == tokenize.NAME:
            rows[token.start[0]].append(token.string if kept else "n")
        elif token.type in (tokenize.STRING, tokenize.NUMBER):
            if token.type != tokenize.STRING or before.type not in SKIPPED:
                rows[token.start[0]].append("l")
        else:
            rows[token.start[0]].append(token.string)
    shapes = ((number, " ".join(words)) for number, words in sorted(rows.items()))
    return [(k, s) for k, s in shapes if s.strip("()[]{},: ") and not s.startswith(("import ", "from "))]


def _does(shape: str) -> bool:
    """Whether a line does something, other than to declare a name or a parameter or to list a value."""
    return not shape.startswith("n : ") and any(
        word.isidentifier() and word not in ("n", "l", "None", "True", "False") for word in shape.split()
    )


def twice(files: dict[str, str], lines: int = LINES) -> list[str]:
    """Places, `file:line and file:line`, of windows that are alike; overlapping ones are told once."""
    seen: dict[str, tuple[str, int, int]] = {}
    found, last = [], {}
    for name, text in files.items():
        rows = lines_of(text)
        for k in range(len(rows) - lines + 1):
            shapes = [shape for _, shape in rows[k : k + lines]]
            if sum(map(_does, shapes)) < lines // 2:
                continue
            window = "\n".join(shapes)
            there = seen.setdefault(window, (name, rows[k][0], k))
            if there == (name, rows[k][0], k) or (there[0] == name and k < there[2] + lines):
                continue
            if last.get((name, there[0])) != k - 1:
                found.append(f"{there[0]}:{there[1]} and {name}:{rows[k][0]}")
            last[name, there[0]] = k
    return found


def test_ten_lines_stand_once():
    files = {str(p.relative_to(SOURCE)): p.read_text(encoding="utf-8") for p in sorted(SOURCE.rglob("*.py"))}
    found = twice(files)
    assert not found, "\n".join(found)


def test_a_copy_under_other_names_is_found():
    body = "\n".join(f"    value{k} = compute(given{k}, {k})" for k in range(LINES))
    other = body.replace("value", "result").replace("given", "asked")
    assert twice({"a.py": f"def f():\n{body}\n", "b.py": f"import os\n\n\ndef g(x):\n    # a copy\n{other}\n"})
    assert not twice({"a.py": f"def f():\n{body}\n", "b.py": f"def g():\n{other.replace('compute', 'other')}\n"})
