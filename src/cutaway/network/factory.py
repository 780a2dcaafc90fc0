"""`pkg.module:factory` and `path/file.py:factory('a', 2)`: Python code of the user that builds the model.

The name after the colon may be a function or class (called without arguments, or with the literal ones given) or an
nn.Module. A factory may return a tuple whose first entry is the module; the rest is handed on as information.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import sys
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from cutaway.errors import CutawayError, FileError, InputError, ModelError, did_you_mean
from cutaway.network.origin import noting_fills


def call_factory(text: str) -> tuple[nn.Module, Any]:
    """The module that `text` builds and what came beside it (None, one thing or a tuple). Raises InputError,
    FileError, ModelError."""
    where, call = _split(text)
    name, args, kwargs = _parse_call(call, text)
    with warnings.catch_warnings(), noting_fills() as fresh:
        warnings.simplefilter("ignore", ResourceWarning)  # files that user code leaves open are not our business
        module = _load_file(Path(where)) if where.endswith(".py") else _import(where)
        made = _find(module, name, where)
        if not isinstance(made, nn.Module):
            if not callable(made):
                raise InputError(
                    f"factory {name!r} of {where}",
                    found=f"a {type(made).__name__}",
                    expected="something to call",
                    remedy="name a function or a class of that file",
                )
            made = _call(made, args, kwargs, f"factory {name!r} of {where}")
        fresh += [part for part in (made if isinstance(made, tuple) else (made,))[:1] if isinstance(part, nn.Module)]
    info = None
    if isinstance(made, tuple) and made and isinstance(made[0], nn.Module):
        made, *rest = made
        info = rest[0] if len(rest) == 1 else tuple(rest)
    if not isinstance(made, nn.Module):
        raise ModelError(
            f"factory {name!r} of {where}",
            found=f"a {type(made).__name__}",
            expected="an nn.Module (or a tuple that begins with one)",
            remedy="return the model",
        )
    return made, info


def _split(text: str) -> tuple[str, str]:
    """At the colon that ends the file or module, not one inside the arguments or after a drive letter."""
    head, brackets, tail = text.partition("(")
    where, _, name = head.rpartition(":")
    return where, name + brackets + tail


def _parse_call(call: str, text: str) -> tuple[str, list, dict]:
    try:
        node = ast.parse(call.strip(), mode="eval").body
        args, kwargs = [], {}
        if isinstance(node, ast.Call):
            args = [ast.literal_eval(argument) for argument in node.args]
            kwargs = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in node.keywords}
            node = node.func
        if not isinstance(node, (ast.Name, ast.Attribute)):
            raise ValueError("no name")
        return ast.unparse(node), args, kwargs
    except (SyntaxError, ValueError, TypeError) as error:
        raise InputError(
            f"model {text!r}",
            found=f"{call!r} after the colon",
            expected="a name, or a name with literal arguments such as load('small', 3)",
            remedy="write it as in the example",
        ) from error


def _import(name: str) -> ModuleType:
    here, top = Path.cwd(), name.split(".")[0]
    if str(here) not in sys.path and ((here / f"{top}.py").is_file() or (here / top).is_dir()):
        sys.path.append(str(here))  # as `python -m` would; last, so that nothing installed is hidden
        importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = str(error.name)
        if missing == name or name.startswith(f"{missing}."):
            remedy = "put its folder on PYTHONPATH, or give a file, path/to/file.py:factory"
            raise InputError(
                f"module {name!r}", found="no such module on the Python path", expected="pkg.module", remedy=remedy
            ) from error
        raise ModelError(
            f"module {name!r}", found=f"an import of {missing!r}, which is not installed", remedy=f"install {missing}"
        ) from error
    except (ValueError, TypeError) as error:
        raise InputError(
            f"module {name!r}",
            found="no module name",
            expected="pkg.module",
            remedy="write the module's dotted name before the colon",
        ) from error
    except Exception as error:
        raise _user_code(f"module {name!r}", error) from error


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        hint = did_you_mean(path.name, [p.name for p in path.parent.glob("*.py")], "check the path")
        raise FileError(f"file {path}", found="no such file", remedy=hint)
    full = path.resolve()
    name = f"cutaway_user_{path.stem}_{hashlib.sha256(str(full).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, full)
    if spec is None or spec.loader is None:
        raise FileError(f"file {path}", found="nothing Python can load", remedy="check that it is a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(full.parent))  # the file may import its neighbours
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise _user_code(f"file {path}", error) from error
    finally:
        sys.path.remove(str(full.parent))
    _send_by_value(module)
    return module


def _send_by_value(module: ModuleType) -> None:
    """Worker processes cannot import the file under this name: let its classes travel with the model."""
    import cloudpickle

    cloudpickle.register_pickle_by_value(module)


def _find(module: ModuleType, name: str, where: str) -> Any:
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            names = [n for n in dir(found) if not n.startswith("_")]
            callables = [
                n
                for n in names
                if callable(getattr(found, n)) and getattr(getattr(found, n), "__module__", "") == module.__name__
            ]
            raise InputError(
                f"factory {name!r} of {where}",
                found=f"no {part!r} there",
                expected=f"one of {', '.join(callables[:8])}" if callables else "the name of a factory",
                remedy=did_you_mean(part, names),
            )
        found = getattr(found, part)
    return found


def _call(factory: Any, args: list, kwargs: dict, label: str) -> Any:
    try:
        return factory(*args, **kwargs)
    except CutawayError:
        raise
    except Exception as error:
        raise _user_code(label, error) from error


def _user_code(label: str, error: Exception) -> ModelError:
    reason = str(error).splitlines()[0][:200] if str(error) else ""
    return ModelError(
        label, found=f"{type(error).__name__}: {reason}", expected="code that runs", remedy="run it in Python first"
    )
