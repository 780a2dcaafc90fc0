"""`cutaway theory`: promised keys, exit codes, pictures written whole."""

import json

import pytest

from cutaway.cli import run

KEYS = {"series", "exponent", "leap", "generative_exponent"}


def call(capsys, *arguments):
    code = run(["theory", *arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_exponent(capsys):
    code, payload = call(capsys, "exponent", "He3(z)", "--samples", "200000")
    assert code == 0
    assert set(payload) >= KEYS
    assert (payload["exponent"], payload["leap"], payload["generative_exponent"]) == (3, 3, 1)
    assert payload["series"]["information"][2][1] == pytest.approx(6.0, rel=1e-3)  # E[He3 he3]^2 = 3!


def test_samples_and_leap_speak_of_every_direction(capsys):
    code = run(["theory", "exponent", "z1+He4(z2)", "--samples", "20000"])
    text = capsys.readouterr().out
    assert code == 0
    assert "leap                  4\n" in text
    assert "samples, one-pass SGD d^3 (d to the first direction)" in text
    assert "samples, reused data  d to the first direction" in text
    run(["theory", "exponent", "z1+z2**9-36*z2**7+378*z2**5-1260*z2**3+945*z2", "--samples", "20000"])  # He9(z2)
    text = capsys.readouterr().out
    assert "direction z2 not seen up to degree 8: no leap can be told" in text
    assert "samples, one-pass SGD unknown" in text


def test_ode_writes_its_picture(capsys, tmp_path):
    code, payload = call(capsys, "ode", "--steps", "50", "--out", str(tmp_path / "a.png"))
    assert code == 0
    assert set(payload) >= KEYS
    assert payload["series"]["risk"][-1][1] < payload["series"]["risk"][0][1]
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


def test_risk_and_overlaps_have_axes_of_their_own(capsys, tmp_path, monkeypatch):
    from cutaway.cli.theory import ode

    figures = []
    monkeypatch.setattr(ode, "save", lambda figure, path: figures.append(figure))
    call(capsys, "ode", "--directions", "2", "--steps", "20", "--out", str(tmp_path / "a.png"))
    assert [axes.get_ylabel() for axes in figures[0].axes] == ["risk", "overlap, mean over neurons"]
    assert [len(axes.get_lines()) for axes in figures[0].axes] == [1, 2]


def test_simulate_with_theory(capsys, tmp_path):
    code, payload = call(
        capsys, "simulate", "z", "--activation", "tanh", "--dimension", "40", "--steps", "200", "--seeds", "8",
        "--rate", "0.05", "--theory", "--out", str(tmp_path / "b.svg"),
    )  # fmt: skip
    assert code == 0
    end, theory = payload["series"]["direction_1"][-1][1], payload["series"]["direction_1_theory"][-1][1]
    assert end == pytest.approx(theory, abs=0.15)
    assert end > 0.5


def test_phase(capsys):
    code, payload = call(capsys, "phase", "He3(z)")
    assert code == 0
    assert payload["exponent"] == 3
    assert payload["series"]["correlation"][-1] == [3.0, 0.0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["exponent", "foo(z)"], "found 'foo'"),
        (["ode", "swish"], "no such student"),
        (["simulate", "z", "--start", "left"], "option --start"),
        (["simulate", "z", "--method", "adam"], "method"),
        (["simulate", "z", "--batch", "0"], "batch"),
        (["phase"], "a target or --exponent"),
        (["ode", "--steps", "5", "--out", "/nowhere/a.png"], "found no folder /nowhere"),
    ],
)
def test_bad_input_exits_with_two(capsys, arguments, words):
    code, payload = call(capsys, *arguments)
    assert code == 2
    assert words in payload["error"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("exponent", "z0+z1"), "found z0; expected projections numbered from 1"),
        (("exponent", "log(z)"), "found NaN or infinity in its values"),
        (("exponent", "z", "--samples", "0"), "found 0 draws"),
        (("exponent", "abs(z)", "--seed", "-1"), "seed; found -1; expected 0 to 4294967295"),
        (("ode", "erf", "--samples", "100", "--seed", "-1"), "seed; found -1"),
        (("simulate", "z", "--seed", "-1"), "seed; found -1"),
        (("simulate", "z", "--seed", "99999999999999999999"), "seed; found 99999999999999999999"),
        (("ode", "erf", "--dimension", "0"), "option --dimension; found 0; expected at least 1"),
        (("simulate", "z", "--dimension", "-3"), "option --dimension; found -3"),
        (("simulate", "z", "--dimension", "0"), "option --dimension; found 0"),
        (("exponent", "z", "--noise", "-1"), "noise of variance -1"),
        (("ode", "--steps", "-5"), "steps; found -5"),
        (("ode", "--width", "0"), "--width; found 0"),
        (("ode", "--directions", "0"), "0 directions"),
        (("ode", "--samples", "-4"), "samples; found -4"),
        (("ode", "--start", "2"), "overlaps that weights of that length can have"),
        (("ode", "--rate", "1e9"), "divergence at step"),
        (("simulate", "z", "--width", "0", "--second-layer", "signs"), "--width; found 0"),
        (
            ("simulate", "z", "--steps", "100000000", "--out", "x.bmp"),
            "found x.bmp; expected a file name that ends in .png",
        ),
        (("phase", "z", "--out", "none/x.svg"), "found no folder none"),
    ],
)
def test_bad_input_is_told_before_the_work(arguments, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, payload = call(capsys, *arguments)
    assert code == 2
    assert words in payload["error"]
    assert not list(tmp_path.iterdir())


def test_equations_and_simulations_tell_the_exponents_of_their_target(capsys):
    for arguments in (["ode", "erf", "--steps", "5"], ["simulate", "He3(z1)", "--steps", "5", "--dimension", "32"]):
        code, payload = call(capsys, *arguments)
        assert code == 0
        expected = (3, 3, 1) if arguments[0] == "simulate" else (1, 1, 1)
        assert (payload["exponent"], payload["leap"], payload["generative_exponent"]) == expected


def test_overlaps_that_grow_without_bound_are_told_by_their_step(capsys):
    code, payload = call(capsys, "ode", "He2", "--target", "He2(z1)", "--steps", "100")
    assert code == 2
    assert "divergence at step" in payload["error"]


def test_goldilocks_sweeps_the_scale_and_says_what_it_cannot(capsys, tmp_path):
    picture = tmp_path / "a.svg"
    arguments = (
        "goldilocks",
        "--num",
        "60",
        "--scales",
        "0.05",
        "1",
        "100",
        "--dimension",
        "20",
        "--out",
        str(picture),
    )
    code, payload = call(capsys, *arguments)
    excess = [value for _, value in payload["series"]["excess"]]
    assert code == 0 and set(payload) >= KEYS and picture.stat().st_size > 1000
    assert excess[1] > 1 > max(abs(excess[0]), abs(excess[2]))
    assert payload["homogeneous_degree"] == 3 and payload["dimension"] == 20
    assert payload["series"]["gain"][2][1] is None or payload["series"]["gain"][2][1] < 3
    assert run(["theory", "goldilocks", "--scales", "-1"]) == 2
    assert run(["theory", "goldilocks", "--data", "mnist"]) == 2
