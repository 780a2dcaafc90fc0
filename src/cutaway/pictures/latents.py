"""Pictures of what a generator's latents do."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np

from cutaway.pictures.charts import INK, NULL, Measured, inline_rows, styled


def latent_curves_chart(reading: Measured) -> Any:
    """Property by property, its mean at every level of every latent: the latent that moves it most in colour, named,
    the others in grey."""
    values, panels = reading.values, []
    levels, curves, effects = (values[name].values for name in ("level", "curve", "effect"))
    for k, name in enumerate(values["property"].values):
        if np.isnan(effects[:, k]).all():
            continue
        best = int(np.nanargmax(np.abs(effects[:, k])))
        columns = {"level": [], "mean": [], "latent": []}
        for j in range(len(curves)):
            columns["level"] += levels.tolist()
            columns["mean"] += curves[j, k].tolist()
            columns["latent"] += [str(j)] * len(levels)
        x = alt.X("level:Q", title="level of the latent [sd]")
        y = alt.Y("mean:Q", title=str(name).replace("_", " less "), scale=alt.Scale(zero=False))
        base = alt.Chart(inline_rows(**columns)).encode(x=x, y=y, detail="latent:N")
        others = base.mark_line(color=NULL, opacity=0.5).transform_filter(f"datum.latent != '{best}'")
        mine = base.mark_line(color=INK, strokeWidth=2.5).transform_filter(f"datum.latent == '{best}'")
        title = f"latent {best}: rank correlation {effects[best, k]:+.2f}"
        panels.append(alt.layer(others, mine).properties(width=190, height=190, title=title))
    return styled(alt.hconcat(*panels))
