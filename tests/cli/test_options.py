"""Options of the same name mean one thing in every command: same type, same help; and a network is one set of options."""

import dataclasses
import importlib
from collections import defaultdict
from typing import Annotated, get_args

import cyclopts
import pytest
from cyclopts import Parameter

from cutaway.cli import commands
from cutaway.cli.subject import Engine, Subject
from cutaway.cli.theory._options import StudentOptions
from cutaway.engines.executor import InlineExecutor
from cutaway.engines.local import LokyExecutor
from cutaway.engines.parts import in_parts
from cutaway.errors import InputError

WHERE = "what is written, and of which form, is the command's"
DIFFERENT = {
    "out": WHERE,
    "plot": WHERE,
    "model": "in `cutaway guard` the language model of a folder",
    "data": "in `cutaway guard` files of labelled prompts",
    "weights": "in `cutaway slice` several, a step of the slider each",
    "dimension": "in `cutaway theory goldilocks` of the random subspace",
    "workers": "in `cutaway guard serve` of the service",
    "method": "how rows are distilled, and how a simulated network learns",
    "name": "an instrument, a reproduction",
    "run": "a folder that was scanned or tracked, or one that is tracked",
    "target": "may be left out, which each command says in its words",
    "activation": "the overlap equations and the simulation know different ones",
    "start": "the simulation knows words for it",
    "samples": "the overlap equations have a closed form instead",
}
"""Option -> why commands tell it in words of their own."""


def leaves(app: cyclopts.App, name: str):
    """(name, app) of every command below."""
    inner = [each for each in app if not each.startswith("-")]
    for each in inner:
        yield from leaves(app[each], f"{name} {each}")
    if not inner:
        yield name, app


def told(argument: cyclopts.Argument) -> tuple[str, str]:
    """Type, whether None or not, and help."""
    kinds = {str(kind) for kind in get_args(argument.hint) or (argument.hint,) if kind is not type(None)}
    return " ".join(sorted(kinds)), str(argument.parameter.help)


def options(apps: dict[str, cyclopts.App]) -> dict[str, dict[str, tuple[str, str]]]:
    """Option -> command -> what it is there."""
    found: dict[str, dict[str, tuple[str, str]]] = defaultdict(dict)
    for name, app in apps.items():
        for argument in app.assemble_argument_collection(parse_docstring=True):
            if argument.parse and argument.name.startswith("--"):
                found[argument.name.removeprefix("--")][name] = told(argument)
    return found


@pytest.fixture(scope="module")
def apps():
    whole = {name: importlib.import_module(f"cutaway.cli.{name}").app for name in commands()}
    return dict(leaf for name, app in whole.items() for leaf in leaves(app, name))


def different(found: dict[str, dict[str, tuple[str, str]]]) -> list[str]:
    return [
        f"{option}: {where}"
        for option, where in found.items()
        if option not in DIFFERENT and len(set(where.values())) > 1
    ]


def test_options_of_one_name_mean_one_thing(apps):
    found = options(apps)
    assert len(apps) > 20 and {"guard fit", "theory ode", "scan"} <= set(apps)
    assert not different(found), "\n".join(different(found))


def test_every_exemption_is_needed(apps):
    found = options(apps)
    assert all(len(set(found[option].values())) > 1 for option in DIFFERENT)


def test_an_option_that_means_two_things_is_seen():
    def first(*, rate: Annotated[int, Parameter(help="A rate.")] = 1): ...
    def second(*, rate: Annotated[int, Parameter(help="Another.")] = 1): ...
    def third(*, rate: Annotated[float, Parameter(help="A rate.")] = 1): ...

    apps = [cyclopts.App(name=each.__name__, default_command=each) for each in (first, second, third)]
    for app in apps[1:]:
        (line,) = different(options({"first": apps[0], "other": app}))
        assert line.startswith("rate: ")
    assert not different(options({"first": apps[0], "again": apps[0]}))


def test_every_option_has_help(apps):
    silent = [f"{o} of {c}" for o, where in options(apps).items() for c, (_, text) in where.items() if text == "None"]
    assert not silent, silent


def test_every_command_that_takes_a_network_takes_all_of_it(apps):
    all_of_it = {field.name.replace("_", "-") for field in dataclasses.fields(Subject)}
    found = options(apps)
    for command in ("scan", "measure", "certify", "theory goldilocks", "slice"):
        mine = {option for option, where in found.items() if command in where}
        assert all_of_it - mine == ({"num"} if command == "slice" else set()), command


@pytest.mark.parametrize("command", ["scan", "measure", "certify", "theory goldilocks", "slice"])
def test_a_network_is_parsed_as_it_was_typed(apps, command):
    words = ["accuracy"] * (command == "measure") + ["nets.py:make", "--data", "mnist", "--seed", "3", "--trust-code"]
    words += ["--groups", "a", "--labels2", "b", "--budget", "1GB", "--dtype", "float64", "--split", "train"]
    _, bound, _ = apps[command].parse_args(words, exit_on_error=False, print_error=False)
    (subject,) = [each for each in bound.arguments.values() if isinstance(each, Subject)]
    wanted = Subject("nets.py:make", data="mnist", seed=3, trust_code=True, groups="a", labels2="b", budget="1GB")
    wanted = dataclasses.replace(wanted, dtype="float64", split="train", num=subject.num)
    assert dataclasses.asdict(subject) == dataclasses.asdict(wanted)


def test_what_learns_is_parsed_as_it_was_typed(apps):
    for command in ("theory ode", "theory simulate"):
        words = ["relu", "--width", "3", "--dimension", "7", "--rate", "0.5", "--noise", "0.1", "--spherical"]
        _, bound, _ = apps[command].parse_args(words, exit_on_error=False, print_error=False)
        (student,) = [each for each in bound.arguments.values() if isinstance(each, StudentOptions)]
        assert (student.width, student.dimension, student.rate, student.noise) == (3, 7, 0.5, 0.1) and student.spherical


def test_an_engine_opens_its_executor():
    with Engine().executor() as executor:
        assert isinstance(executor, InlineExecutor)
    with pytest.raises(InputError, match="Did you mean 'loky'"):
        Engine(engine="lokky").executor()


def test_an_engine_at_work_says_where_nothing_was_sent_to_it(capsys):
    with Engine().at_work() as executor:
        assert executor is None and in_parts(pow, [(1,), (2,)], 2) == [2, 4]
    with Engine(engine="loky", workers=1).at_work() as executor:  # opens no process before there is a job
        assert isinstance(executor, LokyExecutor)
    assert capsys.readouterr().err == "engine loky: nothing in this work is split, so it ran here\n"
    with Engine(engine="loky", workers=1).at_work(nulls=3):
        pass
    with Engine(engine="auto", workers=1).at_work():
        in_parts(pow, [(1,), (2,)], 2)
    assert not capsys.readouterr().err


def test_lists_have_no_empty_form(apps):
    for name, app in apps.items():
        for argument in app.assemble_argument_collection(parse_docstring=True):
            assert not [each for each in argument.names if each.startswith("--empty-")], name
