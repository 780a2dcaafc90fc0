"""`cutaway theory COMMAND`: two-layer networks on multi-index targets; each command of it is a file here.

Every form prints, with `--json`, `series` (name to list of [x, value]), `exponent`, `leap` and `generative_exponent`
(null where the form does not compute them).
"""

from cutaway.cli.command import new_group

ABOUT = (
    "Two-layer networks: exponents, overlap equations, simulations, phase boundaries; initial scales; kernels of "
    "infinite width; robust linear classification; collapse."
)

app = new_group("theory", ABOUT, __name__, __path__)
