"""`cutaway theory exponent TARGET`: how hard a target is to learn: information exponent, leap, generative exponent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cutaway.cli.command import Outcome, new_app
from cutaway.cli.options import Seed
from cutaway.cli.theory._options import Noise
from cutaway.cli.theory._series import series_of, theory_payload, told_exponents

if TYPE_CHECKING:
    from cutaway.dynamics.exponents import Exponent
    from cutaway.dynamics.staircase import Leap

app = new_app("theory exponent")


@app.default
def exponent(target: str, *, samples: int = 1_000_000, noise: Noise = 0.0, seed: Seed = 0) -> Outcome:
    """Information exponent, leap and generative exponent of a target, with what decides them.

    Exact for polynomials times exponentials and waves. "at most": a lower degree is too small to be told from 0, and
    neither a closed form nor a symmetry says that it is.

    Parameters
    ----------
    target
        Expression in z, or z1, z2, ... (He2 .. He8, relu, sign, tanh, exp, cos, sin, abs, erf), or a known name.
    samples
        Monte Carlo samples, for the generative exponent.
    """
    from cutaway.dynamics.exponents import generative_exponent, information_exponent, sample_complexity
    from cutaway.dynamics.staircase import leap

    information = information_exponent(target)
    generative = generative_exponent(target, num_samples=samples, noise=noise, seed=seed)
    steps = leap(target)
    least = {"generative_at_least": generative.at_least}
    costs = sample_complexity(information.value, generative.value, steps.value, **least)
    payload = theory_payload(
        {
            "information": series_of(range(1, information.max_degree + 1), information.sizes),
            "generative": [p for p in series_of(range(1, generative.max_degree + 1), generative.sizes) if p[1] == p[1]],
        },
        **told_exponents(information, steps, generative),
    )
    payload["samples"] = costs
    strong = sample_complexity(information.strong, generative.value, steps.strong, **least)
    payload["strong"] = {"exponent": information.strong, "leap": steps.strong, "samples": strong}
    payload["errors"] = {"information": information.errors, "generative": generative.errors, "leap": steps.errors}
    payload["leap_steps"] = {"legs": steps.legs, "sizes": steps.sizes, "unseen": steps.unseen}
    several = costs["one_pass_sgd"] != costs["one_pass_first"]  # directions that are not learned together
    first = " to the first direction" if several else ""
    passes = _hedged(costs["one_pass_sgd"], steps)
    if several:
        passes += f" ({_hedged(costs['one_pass_first'], information)}{first})"
    words = (
        f"target                {target}\n"
        f"information exponent  {information.words}\n"
        f"leap                  {steps.words}\n"
        f"generative exponent   {generative.words}\n"
        f"samples, one-pass SGD {passes}"
        + (
            ""
            if strong == costs
            else f"\n  by what is strong   {strong['one_pass_sgd']} (weak steps cost 1/size^2 more)"
        )
        + f"\nsamples, reused data  {_hedged(costs['data_repetition'], generative)}{first}\n"
        f"lower bound           {costs['low_degree_bound']}"
    )
    return Outcome(payload=payload, words=words)


def _hedged(samples: str, found: Exponent | Leap) -> str:
    """A number of samples, as a bound where the exponent is one."""
    if found.exact or samples == "unknown":
        return samples
    return "unknown" if samples.startswith("more than") else f"at most {samples}"
