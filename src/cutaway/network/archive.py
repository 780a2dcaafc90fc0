"""A `.pt2` file read as data: its archive is checked member by member and written anew before torch opens it.

torch's own reader unpickles sample inputs, weights and constants, evaluates the text of symbolic sizes, follows any
name below `torch.` and compiles guards. `checked_archive` lets through tensors in plain bytes, operators of ATen and
the sizes and names that exporting writes, and nothing else; what torch then reads is what was checked, not the file.
"""

from __future__ import annotations

import io
import json
import math
import re
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

import torch

from cutaway.errors import FileError
from cutaway.files import LARGEST, check_size, check_zip, parse_json, read_bytes, room

EXPECTED = "what torch.export.save writes for a network of ATen operators and plain tensors"
REMEDY = "export it again, or pass --trust-pickle if you trust its origin"
OPERATORS = re.compile(
    r"torch\.ops\.(aten|prims|quantized_decomposed|torchvision)\.\w+(\.\w+)?"
    r"|torch\.ops\.higher_order\.(cond|while_loop|scan|map_impl|associative_scan|wrap_with_set_grad_enabled|wrap_with_autocast)"
    r"|_operator\.(getitem|add|sub|mul|truediv|floordiv|mod|pow|neg|pos|abs|eq|ne|lt|le|gt|ge|and_|or_|xor|not_|invert)"
    r"|torch\.(sym_\w+|_sym_sqrt)|math\.(ceil|floor|trunc|sqrt|log|log2|exp|pow)"
)
UNSAFE = ("from_file", "save", "_print", "_get_cpp_backtrace")  # ATen operators that reach files
SIZE = re.compile(r"[\w\s+\-*/%<>=!&|~,.()]*")
CALLS = {"Mod", "PythonMod", "FloorDiv", "CleanDiv", "CeilDiv", "ModularIndexing", "Max", "Min", "Eq", "Ne", "Lt", "Le"}
CALLS |= {"Gt", "Ge", "Abs", "And", "Or", "Not", "Where", "ToFloat", "TruncToInt", "RoundToInt", "CeilToInt"}
CALLS |= {"FloorToInt", "IntTrueDiv", "FloatTrueDiv", "PowByNatural", "FloatPow", "Integer", "Float", "floor"}
DECLARED = re.compile(r"Symbol\('([a-z]{1,3}\d+)'(, (positive|integer|nonnegative|real)=True)*\)")
SYMBOL = re.compile(r"[a-zA-Z]{1,3}\d+|True|False|oo|int_oo")
NAME = re.compile(r"[\w.+\-]*")
STACK = re.compile(r"[\w.,;@$<>\[\] \-]*")
CONTAINERS = {None, "builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict"}
NUMBER = 4
"""Bytes of a number of a tensor, as most are."""
FREE = ("as_string", "as_strings")  # arguments of operators: they stay texts


def checked_archive(path: str | Path, *, largest: int = LARGEST) -> bytes:
    """The bytes of the exported program in `path`, with nothing in it that could run. Raises `FileError`.

    Metadata of operators other than the names of their modules is left out, guards too: torch derives those it needs
    from the sizes. Memory: twice the file, which may have `largest` bytes. Refused, where torch would run them: pickled
    objects, compiled code, custom objects, operators beyond ATen, sizes that are no arithmetic.
    """
    where = f"file {path}"
    raw = read_bytes(path, largest=largest)
    members = check_zip(io.BytesIO(raw), where, kind="exported program", largest=largest, remedy="export it again")
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(raw)) as old, zipfile.ZipFile(made, "w") as new:
        for member in members:
            content = _unpacked(old, member, where)
            place = PurePosixPath(member.filename).parts[1:]
            new.writestr(member.filename, _checked(place, content, f"{where}, member {'/'.join(place)}"))
    return made.getvalue()


def _unpacked(archive: zipfile.ZipFile, member: zipfile.ZipInfo, where: str) -> bytes:
    try:
        return archive.read(member)
    except Exception as error:  # a wrong checksum, an unknown compression, a password
        raise FileError(
            where, found=f"not a complete exported program ({error})", expected=EXPECTED, remedy="export it again"
        ) from error


def _checked(place: tuple[str, ...], content: bytes, where: str) -> bytes:
    match place:
        case ("archive_format" | "archive_version" | "byteorder",) | (".data", "version" | "serialization_id"):
            return content
        case ("models", name) if name.endswith(".json"):
            return _program(content, where)
        case ("data", "weights" | "constants", name) if name.endswith("_config.json"):
            return _payload(content, where)
        case ("data", "weights" | "constants", name) if re.fullmatch(r"(weight|tensor)_\d+", name):
            return content
        case ("data", "sample_inputs", name) if name.endswith(".pt"):
            return _sample(content, where)
        case ("extra", *_):
            return content
    raise FileError(where, found="a part that torch would unpickle or run", expected=EXPECTED, remedy=REMEDY)


def _sample(content: bytes, where: str) -> bytes:
    if zipfile.is_zipfile(io.BytesIO(content)):
        check_zip(io.BytesIO(content), where, kind="sample input", largest=room(), remedy="export it again")
    try:
        torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # whatever the restricted unpickler meets
        raise FileError(
            where,
            found="a pickle with more than tensors in it, which can run any code",
            expected=EXPECTED,
            remedy=REMEDY,
        ) from error
    return content


def _payload(content: bytes, where: str) -> bytes:
    record = _json(content, where)
    entries = record.get("config") if isinstance(record, dict) else None
    for key, entry in (entries or {}).items():
        name = str(entry.get("path_name")) if isinstance(entry, dict) else ""
        if not re.fullmatch(r"(weight|tensor)_\d+", name) or entry.get("use_pickle") is not False:
            raise FileError(f"{where}, {key!r}", found="a pickled object", expected="plain tensors", remedy=REMEDY)
        _check_numbers(entry, f"{where}, {key!r}")
    _walk(record, where)
    return content


def _check_numbers(entry: Any, where: str) -> None:
    """A tensor may repeat its bytes (a stride of 0): what it comes to in memory is held against the budget."""
    meta = entry.get("tensor_meta")
    sizes = [size.get("as_int") for size in meta.get("sizes", ())] if isinstance(meta, dict) else []
    if all(isinstance(size, int) for size in sizes):
        check_size(where, NUMBER * math.prod(sizes), room())


def _program(content: bytes, where: str) -> bytes:
    record = _json(content, where)
    if not isinstance(record, dict):
        raise FileError(where, found=f"a {type(record).__name__}", expected=EXPECTED, remedy=REMEDY)
    record["guards_code"] = []
    _walk(record, where)
    return json.dumps(record).encode()


def _json(content: bytes, where: str) -> Any:
    return parse_json(content.decode("utf-8", errors="replace"), where, remedy=REMEDY)


def _walk(value: Any, where: str, key: str = "") -> None:
    """Every text of the record against the form that its key asks for."""
    if isinstance(value, dict):
        if isinstance(value.get("metadata"), dict):
            value["metadata"] = {k: v for k, v in value["metadata"].items() if k == "nn_module_stack"}
        for name, inner in value.items():
            if not NAME.fullmatch(name):
                raise _refused(where, "a key", name)
            _walk(inner, where, name)
    elif isinstance(value, list):
        for inner in value:
            _walk(inner, where, key)
    elif isinstance(value, str) and key not in FREE:
        _text(value, where, key)


def _text(text: str, where: str, key: str) -> None:
    if key in ("target", "as_operator"):
        good = OPERATORS.fullmatch(text) is not None and text.split(".")[-2:][0] not in UNSAFE
        good = good and text.split(".")[-1] not in UNSAFE
        if not good:
            raise _refused(where, "operator", text)
    elif key == "expr_str":
        if not _is_size(text):
            raise _refused(where, "size", text)
    elif key in ("in_spec", "out_spec"):
        if text and not _plain_containers(parse_json(text, where, remedy=REMEDY)):
            raise _refused(where, "inputs or outputs in", text)
    elif not (STACK if key == "nn_module_stack" else NAME).fullmatch(text):
        raise _refused(where, f"under {key!r}", text)


def _is_size(text: str) -> bool:
    """Arithmetic on symbols such as s0 and u1 and on numbers, with the functions of sizes."""
    text = DECLARED.sub(r"\1", text)
    words = re.findall(r"[^\W\d]\w*", text)
    return (
        len(text) < 10_000
        and SIZE.fullmatch(text) is not None
        and re.search(r"[^\W\d]\w*\s*\.|\)\s*[.(]|\.\s*[^\W\d]|\d\s*\(", text) is None
        and _small_powers(text)
        and all(word in CALLS or SYMBOL.fullmatch(word) for word in words)
        and all(call in CALLS for call in re.findall(r"([^\W\d]\w*)\s*\(", text))
    )


def _small_powers(text: str) -> bool:
    """Squares and cubes alone, at most four of them, and numbers below 10^20: a size that torch works out must end."""
    calls = [found.end() for found in re.finditer(r"(PowByNatural|FloatPow)\s*\(", text)]
    stars = re.findall(r"\*\*", text)
    small = re.findall(r"\*\*\s*[23](?![\w.]|\s*\*\*)", text)
    return (
        len(stars) == len(small)
        and len(stars) + len(calls) <= 4
        and re.search(r"\d{20}", text) is None
        and all(_last_argument(text, start) in ("2", "3", "2.0", "3.0") for start in calls)
    )


def _last_argument(text: str, start: int) -> str:
    """Of the call whose arguments begin at `start`."""
    depth, last = 1, start
    for place in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[place], 0)
        if depth == 0:
            return text[last:place].strip()
        if text[place] == "," and depth == 1:
            last = place + 1
    return ""


def _plain_containers(spec: Any) -> bool:
    if isinstance(spec, list):
        return all(_plain_containers(part) for part in spec)
    if not isinstance(spec, dict):
        return isinstance(spec, int)
    return spec.get("type") in CONTAINERS and _plain_containers(spec.get("children_spec", []))


def _refused(where: str, what: str, text: str) -> FileError:
    return FileError(where, found=f"{what} {text[:80]!r}", expected=EXPECTED, remedy=REMEDY)
