"""Pictures of language-model geometry: feature maps by block, heads, prompts in two dimensions by source, ID curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np
import xarray as xr

from cutaway.pictures.charts import INK, LEGEND, NULL, WARN, finished, inline_rows


def feature_map(values: xr.Dataset) -> Any:
    """Mean over prompts of every feature in every block, as one heat map (each feature scaled to its own range)."""
    mean = values["features"].mean("sample").values
    span = np.ptp(mean, axis=0)
    scaled = (mean - mean.min(0)) / np.where(span > 0, span, 1)
    blocks, names = [str(b) for b in values["block"].values], [str(f) for f in values["feature"].values]
    data = inline_rows(
        block=[b for b in blocks for _ in names], feature=names * len(blocks), value=mean.ravel(), scaled=scaled.ravel()
    )
    chart = (
        alt.Chart(data)
        .mark_rect()
        .encode(
            x=alt.X("feature:N", sort=names, title=None),
            y=alt.Y("block:N", sort=blocks, title=None, axis=alt.Axis(labelLimit=260)),
            color=alt.Color("scaled:Q", scale=alt.Scale(scheme="blues"), title="smallest to largest block"),
            tooltip=["block:N", "feature:N", "value:Q"],
        )
    )
    return finished(chart, height=max(60, 22 * len(blocks)))


def head_map(values: xr.Dataset) -> Any:
    """Mean intrinsic dimension of every head in every block."""
    mean = values["dimension"].mean("sample").values
    layers, heads = mean.shape
    data = inline_rows(
        block=[i + 1 for i in range(layers) for _ in range(heads)],
        head=list(range(1, heads + 1)) * layers,
        tokens=mean.ravel(),
    )
    chart = (
        alt.Chart(data)
        .mark_rect()
        .encode(
            x=alt.X("head:O", title="head"),
            y=alt.Y("block:O", title="block"),
            color=alt.Color("tokens:Q", scale=alt.Scale(scheme="blues"), title="tokens"),
            tooltip=["block:O", "head:O", "tokens:Q"],
        )
    )
    return finished(chart, height=max(60, 26 * layers))


def prompt_map(features: np.ndarray, sources: Sequence[str], *, method: str = "pca", seed: int = 0) -> Any:
    """Prompts (n, p) in two dimensions, coloured by source: `pca` (standardised features) or `tsne` (after PCA to
    30).
    """
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import StandardScaler

    scaled = StandardScaler().fit_transform(np.asarray(features, dtype=float))
    if method == "tsne":
        from sklearn.manifold import TSNE

        reduced = PCA(min(30, *scaled.shape), random_state=seed).fit_transform(scaled)
        perplexity = min(30.0, max(2.0, (len(scaled) - 1) / 4))
        points = TSNE(2, perplexity=perplexity, random_state=seed, init="pca").fit_transform(reduced)
    else:
        points = PCA(2, random_state=seed).fit_transform(scaled)
    title = "t-SNE" if method == "tsne" else "principal component"
    chart = (
        alt.Chart(inline_rows(x=points[:, 0], y=points[:, 1], source=[str(s) for s in sources]))
        .mark_circle(size=22, opacity=0.6)
        .encode(
            x=alt.X("x:Q", title=f"{title} 1"),
            y=alt.Y("y:Q", title=f"{title} 2"),
            color=alt.Color("source:N", legend=alt.Legend(title=None, orient="top", symbolOpacity=1.0, columns=5)),
        )
    )
    return finished(chart, height=360)


def dimension_curve(lengths: Sequence[int], related: Sequence[float], unrelated: Sequence[float]) -> Any:
    """Intrinsic dimension of the last block against context length, with related and with unrelated context."""
    data = inline_rows(
        tokens=[*lengths, *lengths],
        dimension=[*related, *unrelated],
        context=["related"] * len(lengths) + ["unrelated"] * len(lengths),
    )
    chart = (
        alt.Chart(data)
        .mark_line(point=True)
        .encode(
            x=alt.X("tokens:Q", title="tokens of context put in front"),
            y=alt.Y("dimension:Q", title="intrinsic dimension, last block [tokens]", scale=alt.Scale(zero=False)),
            color=alt.Color(
                "context:N", scale=alt.Scale(domain=["related", "unrelated"], range=[INK, WARN]), legend=LEGEND
            ),
        )
    )
    return finished(chart, height=260)


def layers_curve(layers: Sequence[int], seconds: Sequence[float], auroc: Sequence[float]) -> Any:
    """AUROC against latency, one point for each number of blocks used."""
    data = inline_rows(layers=list(layers), milliseconds=[1000 * s for s in seconds], auroc=list(auroc))
    base = alt.Chart(data).encode(
        x=alt.X("milliseconds:Q", title="latency of one prompt [ms]", scale=alt.Scale(zero=False, padding=20)),
        y=alt.Y("auroc:Q", title="AUROC", scale=alt.Scale(zero=False, padding=20)),
    )
    line = base.mark_line(color=NULL)
    point = base.mark_point(filled=True, size=70, color=INK).encode(tooltip=["layers:O", "milliseconds:Q", "auroc:Q"])
    for remainder, place in ((1, -13), (0, 14)):  # odd above, even below: neighbours may lie on one another
        text = base.transform_filter(f"datum.layers % 2 == {remainder}").mark_text(dy=place).encode(text="layers:O")
        point += text
    return finished(line + point, height=260)
