"""Pictures that belong to no single instrument: each function draws one into a folder. Docstring: heading, what it
shows, how one gets it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from gallery_readings import digits, plane_of_digits

from cutaway.data import load_data
from cutaway.dynamics import OverlapProblem, Simulation, integrate, overlay_figure, path_figure, phase_figure, simulate
from cutaway.features.lofi import LoFiClassifier
from cutaway.features.lofi.baselines import DeepNNGPClassifier, RidgeClassifierOnInputs
from cutaway.features.lofi.conv_lift import patch_filters
from cutaway.features.lofi.figures import accuracy_figure, emergence_figure, filters_figure, spectrum_figure
from cutaway.features.lofi.spectral_emergence import emergence, emergence_curve
from cutaway.geometry import slice_network
from cutaway.report.explorer import write_picture
from cutaway.robustness import radius_curve
from cutaway.robustness.curve_figure import draw_curve, draw_together
from cutaway.robustness.verify.verdict import VerifySettings


def _slice():
    return slice_network(digits()[0].model, *plane_of_digits())


def slice_by_class(folder: Path) -> None:
    """A slice, by class

    The exact affine pieces on the plane through a 3, a 5 and an 8; edges by the depth of their layer, the decision
    boundary in black.

    `cutaway slice nets.py:make --data digits --through 3,5,8`
    """
    write_picture(_slice(), folder / "slice", class_names=tuple("0123456789"))
    (folder / "slice.svg").unlink(missing_ok=True)


def slice_by_condition(folder: Path) -> None:
    """A slice, by condition number

    The same pieces, filled by how unevenly the map of each stretches the plane.

    `cutaway slice nets.py:make --data digits --through 3,5,8 --colour condition`
    """
    write_picture(_slice(), folder / "slice", colour="condition")
    (folder / "slice.svg").unlink(missing_ok=True)


def _curve():
    network, data, _ = digits()
    return radius_curve(
        network.model, data.take(40, 0), radius=0.03, norm="inf", settings=VerifySettings(complete=False)
    )


def certified_share(folder: Path) -> None:
    """Certified, unknown, broken

    Shares of samples against the radius: proved safe, neither proved nor broken, broken by an attack, wrong without.

    `cutaway certify nets.py:make --data digits --radius 0.03 --norm inf --plot curve.svg`
    """
    draw_curve(_curve(), folder / "curve.svg", norm="inf", units="pixels from 0 to 1")


def certified_networks(folder: Path) -> None:
    """Certified shares of networks in one picture

    Line: proved, with its interval; dashed: what an attack left standing; between them nobody knows.

    `cutaway.robustness.curve_figure.draw_together`
    """
    draw_together({"digits 64-64-32": _curve()}, folder / "curves.svg", norm="inf", units="pixels from 0 to 1")


def guard_certificate(folder: Path) -> None:
    """What a guardrail's certificate says

    Lowest logit in every region round the harmful prompts, its slack, and the held-out prompts inside; from the run
    that the guide tells of.

    `cutaway guard certify guard --plot certificate.svg`
    """
    certificate = Path(__file__).parents[1] / "figures" / "guard-certificate.png"
    (folder / "certificate.png").write_bytes(certificate.read_bytes())


def _odd() -> tuple[np.ndarray, np.ndarray]:
    data = load_data("digits", split="train", num=1200)
    return data.inputs.double().numpy() - 0.5, np.where(data.labels.numpy() % 2 == 1, 1.0, -1.0)


def lofi_spectrum(folder: Path) -> None:
    """The label-weighted spectrum of a random layer

    Even digits against odd: eigenvalues beyond the noise edge are directions that carry the label.

    `cutaway.features.lofi.figures.spectrum_figure(emergence(features, labels))`
    """
    images, signal = _odd()
    rows = images.reshape(len(images), -1)
    weights = np.random.default_rng(0).standard_normal((rows.shape[1], 300))
    layer = np.maximum(rows @ weights / np.sqrt(np.mean(np.sum(rows**2, axis=1))), 0) / np.sqrt(300)
    spectrum_figure(emergence(layer, signal, num_directions=12, num_permutations=20)).savefig(folder / "spectrum.svg")


def lofi_emergence(folder: Path) -> None:
    """Which features will appear with more data

    Strength of each direction against the number of samples, and the edge of the noise that falls with it.

    `cutaway.features.lofi.figures.emergence_figure(emergence_curve(features, labels))`
    """
    inputs = np.random.default_rng(0).standard_normal((1200, 32))
    labels = np.sign(inputs[:, :4] ** 2 @ np.array([1.0, -1.0, 0.5, -0.5]))
    emergence_figure(emergence_curve(inputs, labels, num_directions=6, num_permutations=20)).savefig(
        folder / "emergence.svg"
    )


def lofi_filters(folder: Path) -> None:
    """Leading filters of a first convolution

    Patches of 3 x 3 pixels that tell even digits from odd, the strongest first.

    `cutaway.features.lofi.figures.filters_figure(*patch_filters(images, labels, 3, 9))`
    """
    images, signal = _odd()
    filters_figure(*patch_filters(images, signal, 3, 9), ("grey",)).savefig(folder / "filters.png", dpi=110)


def lofi_accuracy(folder: Path) -> None:
    """Accuracy against training samples

    Feature learning without gradients beside a fixed kernel and a linear one, even digits against odd.

    `cutaway.features.lofi.figures.accuracy_figure`
    """
    images, signal = _odd()
    test = load_data("digits", split="test")
    held, truth = (
        test.inputs.double().numpy().reshape(len(test), -1) - 0.5,
        np.where(test.labels.numpy() % 2 == 1, 1, -1),
    )
    sizes, found = np.array([100, 200, 400]), {}
    for size in sizes:
        for name, model in (
            ("ridge on pixels", RidgeClassifierOnInputs(random_state=0)),
            ("deep NNGP", DeepNNGPClassifier(random_state=0)),
            ("LoFi, kernel", LoFiClassifier(n_directions=(8, 32), n_layers=2, random_state=0)),
        ):
            model.fit(images[:size].reshape(size, -1), signal[:size].astype(int))
            found.setdefault(name, []).append(float(model.score(held, truth)))
    means = {k: np.array(v) for k, v in found.items()}
    errors = {k: np.sqrt(v * (1 - v) / len(truth)) for k, v in means.items()}
    accuracy_figure(sizes, means, errors).savefig(folder / "accuracy.svg")


_PROBLEM = {"activation": "erf", "second_layer": (1.0, 1.0), "dimension": 400, "rate": 1.0, "batch_size": 20}


def theory_overlay(folder: Path) -> None:
    """Theory over simulations

    Overlap of two neurons with the target: the closed equations, and the spread of 16 trainings.

    `cutaway theory simulate ... --out overlay.svg`
    """
    theory = integrate(OverlapProblem(**_PROBLEM, num_directions=2, projected=True), np.zeros((2, 2)), np.eye(2), 60)
    path = simulate(
        Simulation(
            **_PROBLEM, link="(erf(z1)+erf(z2))/2", num_steps=60, spherical=True, start="orthogonal", num_seeds=16
        )
    )
    figure = overlay_figure(
        {"mean overlap": (theory.steps, theory.overlaps[:, :, 0].mean(axis=1))},
        {"mean overlap": (path.steps, path.overlaps[:, :, :, 0].mean(axis=2))},
    )
    figure.savefig(folder / "overlay.svg")


def theory_path(folder: Path) -> None:
    """Risk and overlaps of a two-layer network

    The closed equations, step by step.

    `cutaway theory ode --out path.svg`
    """
    theory = integrate(OverlapProblem(**_PROBLEM, num_directions=2, projected=True), np.zeros((2, 2)), np.eye(2), 60)
    lines = {f"direction {k + 1}": (theory.steps, theory.overlaps[:, :, k].mean(axis=1)) for k in range(2)}
    path_figure((theory.steps, theory.risks), lines).savefig(folder / "path.svg")


def theory_phase(folder: Path) -> None:
    """How large a batch pays

    Batch size against time, both as powers of the dimension: where a target of information exponent 3 is learned.

    `cutaway theory phase 3 --out phase.svg`
    """
    phase_figure(3).savefig(folder / "phase.svg")


def delayed_robustness(folder: Path) -> None:
    """Delayed robustness

    From the long form of its reproduction: robustness rises long after the training data are fitted.

    `cutaway reproduce delayed-robustness`, [more](delayed_robustness.md)
    """
    picture = Path(__file__).parents[1] / "figures" / "delayed-robustness.png"
    (folder / "delayed.png").write_bytes(picture.read_bytes())


PICTURES = [
    slice_by_class,
    slice_by_condition,
    certified_share,
    certified_networks,
    guard_certificate,
    lofi_spectrum,
    lofi_emergence,
    lofi_filters,
    lofi_accuracy,
    theory_overlay,
    theory_path,
    theory_phase,
    delayed_robustness,
]
