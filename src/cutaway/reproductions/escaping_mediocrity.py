"""How long SGD stays on the plateau, and how little width helps: exit times of the square activation."""

from __future__ import annotations

from collections.abc import Callable

from cutaway.reproductions.row import Row

SOURCE = "arXiv 2305.18502"
TITLE = "Escaping mediocrity: exit time over its prediction"


def reproduce(*, short: bool, seed: int = 0, progress: Callable[[str], None] = print) -> list[Row]:
    """Mean exit time over random starts divided by the quenched prediction; the factor that width can gain.

    A run that has not left the plateau when the simulation ends (3.5 predicted times; 2.5 in the short form) counts
    with that time.
    """
    import numpy as np

    from cutaway.dynamics.exit_time import ExitSetting, exit_of, quenched_exit_time, samples_factor, square_risk
    from cutaway.dynamics.simulate import Simulation, simulate

    rows = [
        Row(quantity="samples at p = 1 over d log(.)", paper=3.0, ours=samples_factor(1), tolerance=1e-9,
            verdict="pass" if abs(samples_factor(1) - 3.0) < 1e-9 else "fail"),
        Row(quantity="the same for infinite width", paper=0.5, ours=samples_factor(10**9), tolerance=1e-6,
            verdict="pass" if abs(samples_factor(10**9) - 0.5) < 1e-6 else "fail"),
    ]  # fmt: skip
    cases = [(500, 1, 0.1, 0.75, 1.25), (500, 2, 0.1, 0.75, 1.25), (500, 8, 0.4, 0.85, 1.05)]
    if not short:
        cases += [(2000, 2, 0.1, 0.75, 1.25), (2000, 8, 0.4, 0.85, 1.05)]
    seeds = 32 if short else 48
    for dim, width, rate, low, high in cases:
        setting = ExitSetting(width=width, dimension=dim, rate=rate)
        predicted = quenched_exit_time(setting)
        steps = int((2.5 if short else 3.5) * predicted * width * dim / rate)
        path = simulate(
            Simulation(
                link="z**2", activation="square", dimension=dim, rate=rate / dim, num_steps=steps,
                second_layer=(1.0,) * width, spherical=True, num_seeds=seeds, record=max(1, steps // 400), seed=seed,
            )
        )  # fmt: skip
        times = path.steps * rate / (width * dim)
        exits = []
        for run in range(seeds):
            risks = [square_risk(path.overlaps[t, run, :, 0], path.self_overlaps[t, run]) for t in range(times.size)]
            exits.append(min(exit_of(times, np.array(risks), setting.drop), float(times[-1])))
        ratio = np.array(exits) / predicted
        error = float(ratio.std() / np.sqrt(seeds))
        progress(f"d = {dim}, p = {width}: ratio {ratio.mean():.3f}")
        rows.append(
            Row(
                quantity=f"simulated over predicted exit time, d = {dim}, p = {width}", paper=f"{low} to {high}",
                ours=float(ratio.mean()), low=float(ratio.mean() - 2 * error), high=float(ratio.mean() + 2 * error),
                tolerance=f"{low} to {high}", verdict="pass" if low <= ratio.mean() <= high else "fail",
            )
        )  # fmt: skip
    return rows
