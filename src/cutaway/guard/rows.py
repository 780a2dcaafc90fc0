"""Labelled prompts from CSV, JSON Lines or Parquet: checked row by row, de-duplicated, split without leaks.

`PromptRows.texts` is a tuple of n strings, `labels` (n,) int64 (1 harmful, 0 harmless), `sources` a tuple of n strings.
Two prompts count as the same when `normal.normalised` makes them equal.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Container, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cutaway.data.parquet import parquet_columns, parquet_rows
from cutaway.errors import FileError, InputError
from cutaway.files import parse_json, read_text, room
from cutaway.guard.normal import normalised
from cutaway.guard.prompts import check_prompt

_MISSING = ("None", "nan", "NaT", "<NA>")  # what a table shows where it holds nothing
_HARMLESS = ("harmless", "benign", "safe", "0", "0.0", "False", "false")
_POSITIVE = ("harmful", "toxic", "unsafe", "1", "1.0", "True", "true")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PromptRows:
    """Prompts with labels, sources and, where they were asked for, groups (else ()); `notes` says what was left out and
    why.

    `labels` (n,), 0 harmless and 1 harmful.
    """

    name: str
    texts: tuple[str, ...]
    labels: np.ndarray
    sources: tuple[str, ...]
    groups: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.texts)

    def subset(self, rows: Sequence[int] | np.ndarray) -> PromptRows:
        """The rows with these numbers, in that order. `rows` (k,)."""
        keep = [int(i) for i in rows]
        return replace(
            self,
            texts=tuple(self.texts[i] for i in keep),
            labels=self.labels[keep],
            sources=tuple(self.sources[i] for i in keep),
            groups=tuple(self.groups[i] for i in keep) if self.groups else (),
        )

    def deduplicated(self) -> PromptRows:
        """The first of every group of equal prompts, with a note on how many went; InputError where equal prompts
        carry different labels."""
        first: dict[str, int] = {}
        for i, text in enumerate(self.texts):
            key = normalised(text)
            j = first.setdefault(key, i)
            if self.labels[i] != self.labels[j]:
                raise InputError(
                    f"rows {j + 1} and {i + 1} of {self.name}",
                    found="the same prompt with both labels",
                    expected="one label a prompt",
                    remedy="correct one of them or remove both",
                )
        gone = len(self) - len(first)
        if not gone:
            return self
        kept = self.subset(list(first.values()))
        return replace(kept, notes=(*self.notes, f"{gone} of {len(self)} rows of {self.name} repeat another: left out"))

    def without(self, seen: set[str], what: str, *, plain: bool = True) -> PromptRows:
        """The rows whose fingerprint is not in `seen`, with a note; InputError when none is left."""
        keep = [i for i, text in enumerate(self.texts) if prompt_fingerprint(text, plain=plain) not in seen]
        gone = len(self) - len(keep)
        if not keep:
            raise InputError(
                f"data {self.name}",
                found=f"only rows that are {what}",
                expected="rows of its own",
                remedy="give rows that the guardrail has not seen",
            )
        note = f"{gone} of {len(self)} rows of {self.name} are {what}: left out"
        return replace(self.subset(keep), notes=(*self.notes, note)) if gone else self

    def both_classes(self) -> PromptRows:
        """Itself; InputError when all rows carry the same label."""
        present = sorted({int(v) for v in self.labels})
        if len(present) < 2:
            word = "harmful" if present == [1] else "harmless"
            raise InputError(
                f"data {self.name}",
                found=f"{len(self)} rows, all {word}",
                expected="harmful and harmless rows",
                remedy="add rows of the other class, or name the harmful labels with --positive",
            )
        return self


def prompt_fingerprint(text: str, *, plain: bool = True) -> str:
    """First 16 hexadecimal digits of the sha256 of the normalised prompt: tells repeats without keeping the text.
    `plain=False`: in the form of version 0.1 (NFKC, case folded, blanks collapsed)."""
    form = normalised(text) if plain else " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return hashlib.sha256(form.encode()).hexdigest()[:16]


def from_lists(
    texts: Sequence[str],
    labels: Sequence[int] | np.ndarray,
    sources: Sequence[str] | None = None,
    *,
    name: str = "data",
) -> PromptRows:
    """Rows from lists; raises InputError for unequal lengths, an unusable prompt or a label that is not 0 or 1.

    `labels` (n,).
    """
    numbers = np.asarray(labels)
    if len(texts) == 0 or len(texts) != len(numbers):
        raise InputError(
            f"data {name}",
            found=f"{len(texts)} prompts, {len(numbers)} labels",
            expected="equally many",
            remedy="give one label a prompt",
        )
    wrong = [i for i, v in enumerate(numbers.tolist()) if v not in (0, 1)]
    if wrong:
        raise InputError(
            f"label of row {wrong[0] + 1} of {name}",
            found=repr(labels[wrong[0]]),
            expected="0 or 1",
            remedy="write 0 for harmless, 1 for harmful",
        )
    for i, text in enumerate(texts):
        check_prompt(text, where=f"row {i + 1} of {name}")
    return PromptRows(
        name=name, texts=tuple(texts), labels=numbers.astype(np.int64), sources=tuple(sources or [name] * len(texts))
    )


def read_rows(
    path: str | Path,
    *,
    text: str = "text",
    label: str = "label",
    source: str = "source",
    positive: Sequence[str] | None = None,
    group: str | None = None,
) -> PromptRows:
    """Rows of a .csv, .jsonl or .parquet file. `positive` names the labels that count as harmful (default: the ones
    called harmful, toxic, unsafe, 1 or true), `group` a second column to evaluate by.

    Raises FileError (missing, not UTF-8, broken), InputError (missing column with those present, empty prompt or
    missing label with its row, lone surrogate, labels none of which is known to be harmful). A missing source column
    means one source.
    """
    path = Path(path)
    wanted = (text, label, *([group] if group is not None else []))
    columns = _columns(path, (*wanted, source))
    for name in wanted:
        if name not in columns:
            raise InputError(
                f"column {name!r} of {path.name}",
                found="no such column",
                expected="one of " + ", ".join(map(repr, columns)),
                remedy="name the columns with --text, --label and --group",
            )
    words = [str(v) for v in columns[label]]
    for number, word in enumerate(words, start=1):
        if not word.strip() or word in _MISSING:
            raise InputError(
                f"label of row {number} of {path.name}",
                found="none",
                expected="a label in every row",
                remedy="give it one or remove the row",
            )
    wanted = set(positive or [w for w in _POSITIVE if w in words])
    if not wanted & set(words):
        raise InputError(
            f"labels of {path.name}",
            found="labels " + ", ".join(sorted(set(words))[:12]),
            expected="at least one that is named harmful",
            remedy="say which with --positive",
        )
    sources = [str(v) for v in columns.get(source, [path.stem] * len(words))]
    rows = from_lists(list(columns[text]), [int(w in wanted) for w in words], sources, name=path.name)
    return rows if group is None else replace(rows, groups=tuple(str(v) for v in columns[group]))


def read_texts(path: str | Path, column: str = "text") -> list[str]:
    """Prompts alone: a column of a .csv, .jsonl or .parquet file, or the lines of a .txt file that are not blank.

    Raises FileError and InputError as `read_rows`.
    """
    path = Path(path)
    if path.suffix.lower() == ".txt":
        return [line for line in _decoded(path).split("\n") if line.strip()]
    found = _columns(path, (column,))
    if column not in found:
        raise InputError(
            f"column {column!r} of {path.name}",
            found="no such column",
            expected="one of " + ", ".join(map(repr, found)),
            remedy="name the column with --text",
        )
    return [check_prompt(text, where=f"row {i} of {path.name}") for i, text in enumerate(found[column], start=1)]


def read_harmless(
    path: str | Path,
    *,
    text: str = "text",
    label: str = "label",
    positive: Sequence[str] | None = None,
    harmless: Sequence[str] | None = None,
) -> list[str]:
    """The harmless prompts of a file: those labelled as `harmless`, or not labelled as harmful where that is None; all
    prompts of a file without labels.

    Raises FileError and InputError as `read_rows`, and InputError where no row is harmless.
    """
    path, labelled = Path(path), False
    if path.suffix.lower() != ".txt":
        labelled = label in _columns(path, (text, label))
    if not labelled:
        return read_texts(path, text)
    known = {str(v) for v in _columns(path, (text, label))[label]}
    if harmless is None and positive is None and known <= set(_HARMLESS):
        harmless = _HARMLESS
    rows = read_rows(path, text=text, label=label, positive=positive if harmless is None else harmless)
    found = [t for t, v in zip(rows.texts, rows.labels, strict=True) if v == (harmless is not None)]
    if not found:
        raise InputError(
            f"data {path.name}", found="no harmless row", expected="at least one", remedy="say which with --harmless"
        )
    return found


def _columns(path: Path, wanted: Container[str]) -> dict[str, list]:
    """The columns of a table by name; those that are not wanted may be empty."""
    kind = path.suffix.lower()
    if not path.is_file():
        raise FileError(f"file {path}", found="no such file", remedy="check the path")
    if kind == ".parquet":
        names, _, _ = parquet_columns(path)
        frame = parquet_rows(path, [name for name in names if name in wanted])
        return {name: frame[name].tolist() if name in wanted else [] for name in names}
    if kind not in (".csv", ".jsonl", ".ndjson"):
        raise FileError(
            f"file {path}",
            found=f"ending {kind!r}",
            expected=".csv, .jsonl or .parquet",
            remedy="save the rows as one of these",
        )
    content = _decoded(path)
    return _csv(path, content) if kind == ".csv" else _jsonl(path, content)


def _decoded(path: Path) -> str:
    if not path.is_file():
        raise FileError(f"file {path}", found="no such file", remedy="check the path")
    return read_text(path, largest=room())


def _csv(path: Path, content: str) -> dict[str, list]:
    import csv
    import io

    csv.field_size_limit(2**31 - 1)
    try:
        lines = list(csv.reader(io.StringIO(content, newline="")))
    except csv.Error as error:
        raise FileError(
            f"file {path}", found=f"no valid CSV ({error})", expected="CSV", remedy="save the file as CSV again"
        ) from error
    lines = [line for line in lines if line]
    if len(lines) < 2:
        raise FileError(
            f"file {path}",
            found="no rows",
            expected="a header and at least one row",
            remedy="add rows below the header",
        )
    twice = [name for k, name in enumerate(lines[0]) if name in lines[0][:k]]
    if twice:
        raise FileError(
            f"header of {path.name}",
            found=f"two columns named {twice[0]!r}",
            expected="every name once",
            remedy="rename or remove one of them",
        )
    for number, line in enumerate(lines[1:], start=2):
        if len(line) != len(lines[0]):
            raise FileError(
                f"row {number} of {path.name}",
                found=f"{len(line)} fields",
                expected=f"{len(lines[0])}, as the header",
                remedy="quote fields that hold commas or line ends",
            )
    return {name: [line[k] for line in lines[1:]] for k, name in enumerate(lines[0])}


def _jsonl(path: Path, content: str) -> dict[str, list]:
    rows = []
    for number, line in enumerate(content.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = parse_json(line, f"line {number} of {path.name}")
        except FileError as error:
            raise FileError(
                f"line {number} of {path.name}",
                found="no valid JSON",
                expected="one object a line",
                remedy='write {"prompt": "...", "label": 0} on this line',
            ) from error
        if not isinstance(row, dict):
            raise FileError(
                f"line {number} of {path.name}",
                found=type(row).__name__,
                expected="one object a line",
                remedy='write {"prompt": "...", "label": 0} on this line',
            )
        rows.append(row)
    if not rows:
        raise FileError(
            f"file {path}", found="no rows", expected="one JSON object a line", remedy="write one object a line"
        )
    names = list(dict.fromkeys(name for row in rows for name in row))
    return {name: [row.get(name, "") for row in rows] for name in names}
