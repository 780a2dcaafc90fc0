"""Probabilities of random outcomes: which scores follow the error against the truth, and that error without it."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import torch

from cutaway.reproductions.row import Row

TITLE = "Probability estimation: Brier follows MSE_p, calibration errors do not"
SOURCE = "Liu et al. 2022, arXiv 2111.10734"
CHANCES = np.linspace(0.05, 0.95, 10)
STRENGTHS = (0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)


def reproduce(*, short: bool, seed: int = 0, progress: Callable[[str], None] = print) -> list[Row]:
    """Fashion-MNIST with outcomes by chance, 144 models (short: 48); tweets with two coders each."""
    return [*with_truth(short, seed, progress), *calibrated(short, seed, progress), *with_coders(short, seed, progress)]


def with_truth(short: bool, seed: int, progress: Callable[[str], None]) -> list[Row]:
    """Outcomes y = 1 with a probability that the class of the picture fixes, so that MSE_p is known."""
    from sklearn.metrics import roc_auc_score

    from cutaway.errors import FileError
    from cutaway.outputs import brier_terms, calibration_errors, log_loss_terms, paired_terms

    try:
        forecasts, truth, outcomes = _forecasts(short, seed, progress)
    except FileError as error:
        return [Row(quantity="Fashion-MNIST with outcomes by chance", ours=f"left out: {error}", verdict="not run")]
    first, second = outcomes
    error = [float(((p - truth) ** 2).mean()) for p in forecasts]
    found = [calibration_errors(p, first) for p in forecasts]
    scores = {
        "Brier": [float(brier_terms(p, first).mean()) for p in forecasts],
        "log loss": [float(log_loss_terms(p, first).mean()) for p in forecasts],
        "AUC (negative)": [-float(roc_auc_score(first, p)) for p in forecasts],
        "ECE": [c.mean_gap for c in found],
        "MCE": [c.largest_gap for c in found],
        "KS": [c.kolmogorov for c in found],
    }
    rank = {name: _spearman(error, values) for name, values in scores.items()}
    paired = np.array([paired_terms(p, first, second).mean() for p in forecasts])
    off = float(np.abs(paired - error).mean())
    progress(", ".join(f"{name} {value:.3f}" for name, value in rank.items()) + f"; paired MSE_p off by {off:.4f}")
    least = 0.9 if short else 0.97
    rows = [_rank(len(forecasts), "Brier", "correlated", rank["Brier"], f"at least {least}", rank["Brier"] >= least)]
    for name in ("ECE", "MCE", "KS"):
        rows.append(
            _rank(len(forecasts), name, "not correlated", rank[name], "at most 0.6", rank[name] <= 0.6, not short)
        )
    better = np.argsort(error)[: len(error) // 2]
    among = {n: _spearman([error[i] for i in better], [v[i] for i in better]) for n, v in scores.items()}
    told = ", ".join(f"{n} {value:.3f}" for n, value in among.items())
    rows.append(Row(quantity="Spearman with MSE_p over the better half of the models", ours=told, verdict="report"))
    rows += [
        Row(quantity=f"Spearman with MSE_p, {n}", ours=rank[n], verdict="report")
        for n in ("log loss", "AUC (negative)")
    ]
    base = np.full(len(first), first.mean())
    constant = calibration_errors(base, first).mean_gap, float(((base - truth) ** 2).mean())
    return [
        *rows,
        Row(
            quantity="MSE_p from two outcomes a row against the known one, mean absolute difference over models",
            paper=0.0,
            reference="theory",
            ours=off,
            tolerance="at most 0.01",
            verdict="pass" if off <= 0.01 else "fail",
        ),
        Row(
            quantity="a constant at the base rate: ECE, MSE_p",
            ours=f"{constant[0]:.3f}, {constant[1]:.3f}",
            verdict="report",
        ),
    ]


def calibrated(short: bool, seed: int, progress: Callable[[str], None]) -> list[Row]:
    """CaPE after early stopping, against early stopping alone, by the known error of the probabilities."""
    from cutaway.errors import FileError
    from cutaway.training import calibrated_phase

    num, before, after, control = 1500 if short else 6000, [], [], []
    for draw in range(1 if short else 3):
        try:
            parts = [_by_chance(split, num, seed + draw) for split in ("train", "test")]
        except FileError as error:
            return [Row(quantity="CaPE after early stopping", ours=f"left out: {error}", verdict="not run")]
        (learn, _), (judged, truth) = parts
        half = len(judged) // 2
        held, judged, truth = judged.subset(range(half)), judged.subset(range(half, len(judged))), truth[half:]
        model = _early_stopped(learn, held, seed + draw)
        before.append(_squared_error(model, judged.inputs, truth))
        settings = {"epochs": 12 if short else 30, "learning_rate": 5e-4, "seed": seed + draw}
        plain = copy.deepcopy(model)
        calibrated_phase(plain, learn, held, targets="labels", **settings)
        control.append(_squared_error(plain, judged.inputs, truth))
        found = calibrated_phase(model, learn, held, **settings)
        after.append(_squared_error(model, judged.inputs, truth))
        progress(f"CaPE, draw {draw}: MSE_p {before[-1]:.4f} to {after[-1]:.4f}, epoch {found.epoch} kept")
    worse = float(np.mean(after)) - float(np.mean(before))
    return [
        Row(
            quantity="MSE_p after early stopping, after CaPE, after as many epochs on labels alone",
            ours=", ".join(f"{np.mean(values):.4f}" for values in (before, after, control)),
            verdict="report",
        ),
        Row(
            quantity="MSE_p after CaPE less that of early stopping",
            paper="below 0",
            reference="published",
            ours=worse,
            tolerance="at most 0.002: not worse",
            verdict="pass" if worse <= 0.002 else "fail",
        ),
    ]


def _by_chance(split: str, num: int, seed: int):
    """Fashion-MNIST with outcomes by chance, as a data set of two classes, and the true chances."""
    from cutaway.data import Dataset, load_data

    data = load_data("fashion-mnist", split=split, num=num, seed=seed)
    assert data.labels is not None
    chances = CHANCES[data.labels.numpy()]
    came = np.random.default_rng(seed + (split == "test")).random(len(chances)) < chances
    labels = torch.as_tensor(came.astype(np.int64))
    return Dataset(name=split, inputs=data.inputs.flatten(1), labels=labels, num_classes=2), chances


def _early_stopped(learn, held, seed: int) -> torch.nn.Module:
    """A network of 256 units after the epoch of six that has the least held-out log loss."""
    from cutaway.training import calibrated_phase

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = (torch.nn.Linear(784, 256), torch.nn.ReLU(), torch.nn.Linear(256, 1))
        model = torch.nn.Sequential(*layers)
    optimiser, generator = torch.optim.AdamW(model.parameters(), 2e-3), torch.Generator().manual_seed(seed)
    best, kept = float("inf"), model.state_dict()
    for _ in range(6):
        for rows in torch.randperm(len(learn), generator=generator).split(128):
            optimiser.zero_grad()
            loss = torch.nn.functional.binary_cross_entropy_with_logits
            loss(model(learn.inputs[rows])[:, 0], learn.labels[rows].float()).backward()
            optimiser.step()
        now = float(calibrated_phase(model, learn, held, epochs=0).log_losses[0])
        if now < best:
            best, kept = now, {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(kept)
    return model


def _squared_error(model: torch.nn.Module, inputs: torch.Tensor, truth: np.ndarray) -> float:
    with torch.no_grad():
        return float(((torch.sigmoid(model(inputs)[:, 0].double()).numpy() - truth) ** 2).mean())


def _spearman(first: list[float], second: list[float]) -> float:
    from scipy.stats import rankdata

    return float(np.corrcoef(rankdata(first), rankdata(second))[0, 1])


def _rank(models: int, name: str, paper: str, ours: float, tolerance: str, holds: bool, judged: bool = True) -> Row:
    return Row(
        quantity=f"Spearman of {name} with MSE_p over {models} models",
        paper=paper,
        reference="published",
        ours=ours,
        tolerance=tolerance,
        verdict="report" if not judged else "pass" if holds else "fail",
    )


def _forecasts(short: bool, seed: int, progress) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Probabilities that every model gives the test rows, the true ones, and two outcomes a row (2, n)."""
    from cutaway.data import load_data

    num, rng = 1500 if short else 6000, np.random.default_rng(seed)
    train = load_data("fashion-mnist", split="train", num=num, seed=seed)
    test = load_data("fashion-mnist", split="test", num=6000, seed=seed)
    assert train.labels is not None and test.labels is not None
    truth, taught = CHANCES[test.labels.numpy()], CHANCES[train.labels.numpy()]
    outcomes = (rng.random((2, len(truth))) < truth).astype(float)
    target = torch.as_tensor((rng.random(len(taught)) < taught).astype(np.float32))
    x, seen = train.inputs.flatten(1), test.inputs.flatten(1)
    forecasts = []
    for draw in range(1 if short else 3):
        for width, decay, noise in [(w, d, n) for w in (16, 256) for d in (0.0, 1.0) for n in (0.0, 0.5)]:
            forecasts += _epochs(x, target, seen, width, decay, noise, 6, seed + draw)
            progress(f"width {width}, decay {decay:g}, input noise {noise:g}, draw {draw}")
    return forecasts, truth, outcomes


def _epochs(x, target, seen, width: int, decay: float, noise: float, epochs: int, seed: int) -> list[np.ndarray]:
    """The probabilities on `seen` after every epoch of one training."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = torch.nn.Sequential(torch.nn.Linear(x.shape[1], width), torch.nn.ReLU(), torch.nn.Linear(width, 1))
    optimiser = torch.optim.AdamW(model.parameters(), 2e-3, weight_decay=decay)
    forecasts = []
    for _ in range(epochs):
        for rows in torch.randperm(len(x), generator=generator).split(128):
            noisy = x[rows] + noise * torch.randn(x[rows].shape, generator=generator)
            optimiser.zero_grad()
            torch.nn.functional.binary_cross_entropy_with_logits(model(noisy)[:, 0], target[rows]).backward()
            optimiser.step()
        with torch.no_grad():
            forecasts.append(torch.sigmoid(model(seen)[:, 0].double()).numpy())
    return forecasts


def with_coders(short: bool, seed: int, progress: Callable[[str], None]) -> list[Row]:
    """Logistic regressions of more and more freedom on tweets: the noise floor is that of the coders, not theirs."""
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    from cutaway.outputs import brier_terms, paired_terms
    from cutaway.reproductions._coders import coders

    data = coders(seed, 8000 if short else None)
    if data is None:
        return [Row(quantity="tweets with two coders", ours="left out: set CUTAWAY_DATA", verdict="not run")]
    first, second = data.test_labels.T
    disagreement = float((first != second).mean())
    errors, floors = [], []
    for strength in STRENGTHS[1:5:3] if short else STRENGTHS:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model = LogisticRegression(C=strength, max_iter=100).fit(data.train, data.train_labels[:, 0])
        p = model.predict_proba(data.test)
        errors.append(float(paired_terms(p, first, second).mean()))
        floors.append(float(brier_terms(p, first).mean()) - errors[-1])
        progress(f"C = {strength:g}: MSE_p {errors[-1]:.3f}, noise floor {floors[-1]:.4f}")
    apart, off = max(floors) - min(floors), float(np.mean(floors)) - disagreement
    bar = 0.01 if short else 0.003
    return [
        Row(
            quantity="paired MSE_p by regularisation, " + ", ".join(f"{e:.3f}" for e in errors),
            ours=min(errors),
            verdict="report",
        ),
        Row(
            quantity="noise floor over the models, largest less smallest",
            paper=0.0,
            reference="theory",
            ours=apart,
            tolerance=f"at most {bar}",
            verdict="pass" if apart <= bar else "fail",
        ),
        Row(
            quantity=f"noise floor less the coders' disagreement ({disagreement:.3f})",
            paper=0.0,
            reference="theory",
            ours=off,
            tolerance="within 0.01",
            verdict="pass" if abs(off) <= 0.01 else "fail",
        ),
    ]
