"""Every example runs and prints what it found: on less (`LESS`: fewer steps, rows, nulls) here, as it stands in the slow
tests. Both call its `main()` with nothing but its defaults, in an empty folder."""

import importlib.util
from pathlib import Path

import pytest
import torch

FOLDER = Path(__file__).parent.parent / "examples"
EXAMPLES = sorted(FOLDER.glob("*.py"))

LESS = {
    "certify_curves": {"num: int = 20": "num: int = 2"},
    "digits.toml": {"steps = 400": "steps = 20", "points = 6": "points = 2", "points = 5": "points = 2"},
    "distil_by_kernel": {"num=1000": "num=200", "steps: int = 60": "steps: int = 10"},
    "does_a_soft_token_think": {"texts: int = 60, length: int = 64": "texts: int = 6, length: int = 24"},
    "embers_of_autoregression": {"steps: int = 200, rows: int = 3000": "steps: int = 60, rows: int = 300", "resamples=100": "resamples=10"},
    "find_wrong_labels": {"steps: int = 500": "steps: int = 100"},
    "guard_intrinsic_dimension": {"int, default=100": "int, default=20", "int, default=8": "int, default=2"},
    "heads_of_a_class": {"steps: int = 80": "steps: int = 20", "num_points=100, num_random=5": "num_points=40, num_random=2"},
    "lazy_and_stable": {"STEPS = 300": "STEPS = 10", "LogSpaced(STEPS, 8)": "LogSpaced(STEPS, 3)"},
    "lofi_emergence": {"num: int = 1200, dimension: int = 32": "num: int = 400, dimension: int = 16"},
    "lofi_on_networks": {
        "steps: int = 150": "steps: int = 20", "num_points=600": "num_points=100", "[:300]": "[:60]",
        "int, default=2": "int, default=1",
    },
    "lofi_pictures": {"default=[100, 200]": "default=[60]", "2000 if": "400 if", "3000 if": "300 if", "steps=200": "steps=20"},
    "look_inside_a_region": {"epochs: int = 10": "epochs: int = 2"},
    "prune_and_export": {"epochs: int = 3": "epochs: int = 1"},
    "prune_by_geometry": {"steps: int = 500": "steps: int = 100"},
    "scan_your_network": {"epochs: int = 10, nulls: int = 19": "epochs: int = 2, nulls: int = 2"},
    "slice_a_kan": {"steps: int = 150": "steps: int = 30"},
    "slice_gallery": {"range(4)": "range(1)", "6000)": "2000)", "100": "40"},
    "theory_exponent": {"num_samples: int = 400_000": "num_samples: int = 40_000", "num_flips=99": "num_flips=19"},
    "theory_ode": {"num_seeds: int = 16": "num_seeds: int = 2"},
    "theory_phase": {"dimension: int = 64, num_seeds: int = 4": "dimension: int = 32, num_seeds: int = 1"},
    "theory_simulate": {"dimension: int = 32, num_seeds: int = 16": "dimension: int = 8, num_seeds: int = 2"},
    "track_any_loop": {"LogSpaced(500, 14)": "LogSpaced(60, 4)", "501": "61"},
    "track_huggingface": {"LogSpaced(40, 8)": "LogSpaced(10, 3)", "max_steps=40": "max_steps=10"},
    "track_lightning": {"max_epochs=3": "max_epochs=1"},
    "what_an_attack_turns": {
        "epochs: int = 10, num_features: int = 6": "epochs: int = 2, num_features: int = 2",
        "num_features=num_features)": "num_features=num_features, num_points=40, steps=2)", "num_points=300": "num_points=60",
    },
    "which_margin_grows": {"steps: int = 600": "steps: int = 100"},
}  # fmt: skip


def on_less(path: Path, folder: Path) -> Path:
    """The file with its numbers cut, in `folder`."""
    text = path.read_text(encoding="utf-8")
    for full, less in LESS.get(path.stem, LESS.get(path.name, {})).items():
        assert full in text, f"{path.name} has no {full!r}: bring LESS up to date"
        text = text.replace(full, less)
    (folder / path.name).write_text(text, encoding="utf-8")
    return folder / path.name


def opened(path: Path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(path: Path, capsys) -> None:
    opened(path).main()
    assert capsys.readouterr().out.strip(), "an example prints what it found"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_example_runs_on_less(path, tmp_path, monkeypatch, capsys):
    on_less(FOLDER / "digits.toml", tmp_path)
    monkeypatch.chdir(tmp_path)
    run(on_less(path, tmp_path), capsys)


@pytest.mark.slow
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_example_runs(path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run(path, capsys)


@pytest.mark.slow
def test_what_is_rare_is_got_wrong_and_what_is_learned_is_not(capsys):
    embers = opened(FOLDER / "embers_of_autoregression.py")
    found = embers.main(seed=1)
    assert all(found[name][1] > 0 for name in ("log p(task)", "log p(answer)"))
    embers.main(steps=600, rows=300, seed=1)
    assert "100% of the greedy answers are right" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.usefixtures("real_data")
def test_a_soft_token_follows_the_likeliest_one_less_than_an_average_does():
    soft = opened(FOLDER / "does_a_soft_token_think.py")
    found = soft.main()
    assert found["soft"] > 0.5 and found["high"] < 0
    past = torch.ones((3, 4), dtype=torch.int64)
    mixed, average, _ = soft.nearest(soft.stories(), past, 1e-9, torch.Generator().manual_seed(0))
    assert torch.equal(mixed, average)  # a soft token that is one token is followed as that
