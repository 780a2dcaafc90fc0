"""`cutaway slice MODEL`: the exact affine pieces on a plane through inputs, with picture and explorer."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from cutaway.cli.command import Outcome, new_app
from cutaway.cli.options import Several
from cutaway.cli.subject import ExactSubject
from cutaway.errors import InputError

app = new_app("slice")


@dataclass(frozen=True)
class Sliced(ExactSubject):
    """One network, at one or several checkpoints; rows of the data are named by their numbers."""

    model: str = field()
    _: KW_ONLY
    weights: Annotated[str | None, Parameter(parse=False)] = None
    num: Annotated[int | None, Parameter(parse=False)] = None


@app.default
def slice_(
    subject: Sliced,
    *,
    through: str | None = None,
    axes: str | None = None,
    pad: float | None = None,
    domain: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    weights: Annotated[list[str] | None, Several] = None,
    colour: str = "class",
    gates: bool = False,
    out: Path | None = None,
    max_faces: int = 2_000_000,
    picture: bool = True,
    explorer: bool = True,
) -> Outcome:
    """The exact affine pieces of a network on a plane through one, two or three inputs.

    Writes OUT.png, OUT.svg and OUT.html. Computes in float64 on the processor, whatever the network's type.

    Parameters
    ----------
    through
        FILE.npy of 1 to 3 inputs (k, *input_shape), or row numbers i,j,k of --data.
    axes
        i,j: cut along these two numbers of the input (counted in the flat input) through the mean of --through, or of
        --data, whose rows the slice then holds.
    pad
        Half-diagonal of a square about the mean of the inputs, its corners on the plane's axes. Without it the slice is
        the square along the axes that holds the inputs, made smaller where it has more regions than --max-faces.
    domain
        xmin,xmax,ymin,ymax in plane coordinates (of the input itself for a 2-input network without --through), or
        FILE.npy of the corners (m, 2) of a convex polygon, counter-clockwise.
    weights
        .safetensors to load; several make the checkpoints of one explorer with a slider. A run folder has its own:
        all of them, unless some are named here.
    colour
        What fills the faces in the picture: class, area, norm, condition, none (with --gates class, area, none).
    gates
        The sign partition of the gates on a mesh, for networks that are not piecewise affine (an estimate).
    out
        Where to write, without ending; by default slice.
    max_faces
        Give up beyond this many regions.
    picture
        Write the PNG and the SVG.
    explorer
        Write the HTML page.
    """
    import dataclasses
    from functools import partial

    from cutaway.cli.slice_plane import anchors_of, four_numbers, numbers_of, plane_of_axes
    from cutaway.files import within
    from cutaway.geometry.framing import largest_that_fits, square_holding
    from cutaway.geometry.gate_signs import sign_partition
    from cutaway.geometry.plane import input_plane, plane_through, rectangle, square_around
    from cutaway.geometry.slice import SliceSettings, largest_slice, slice_network

    subject.check()
    if colour not in ("class", "area", "norm", "condition", "none"):
        raise InputError(
            "option --colour", found=colour, expected="class, area, norm, condition or none", remedy="give one of these"
        )
    if gates and colour in ("norm", "condition"):
        raise InputError(
            "option --colour",
            found=f"{colour} with --gates, whose faces have no affine map",
            expected="class, area or none",
            remedy="give one of these",
        )
    if max_faces < 1:
        raise InputError(
            "option --max-faces",
            found=str(max_faces),
            expected="at least 1",
            remedy="give a whole number of at least 1",
        )
    if pad is not None and domain is not None:
        raise InputError(
            "cutaway slice", found="both --pad and --domain", expected="one of them", remedy="leave one of the two out"
        )
    names, room = (), subject.room
    if axes is not None:
        with within(room):
            plane, whole, names = plane_of_axes(axes, through, subject)
    elif through is None:
        if domain is None:
            raise InputError(
                "cutaway slice",
                found="neither --through nor --domain",
                expected="one of them",
                remedy="give --through FILE.npy, or --domain xmin,xmax,ymin,ymax for a network of two inputs",
            )
        plane, whole = input_plane(), None
    else:
        with within(room):
            inputs, labels_of, names = anchors_of(through, subject)
        plane = dataclasses.replace(plane_through(inputs, seed=subject.seed), labels=labels_of)
        whole = square_holding(plane)
    polygon, share = None, 1.0
    if domain is not None:
        with within(room):
            polygon = numbers_of(domain) if domain.endswith(".npy") else rectangle(*four_numbers(domain))
    elif pad is not None:
        polygon = square_around(plane, pad)
    settings = SliceSettings(max_faces=max_faces, budget=room or SliceSettings().budget)
    slices, labels = [], []
    source, checkpoints = _checkpoints(subject.model, weights)
    for checkpoint in checkpoints:
        loaded = dataclasses.replace(subject, weights=checkpoint).loaded(source)
        if polygon is not None or whole is None:
            found = (sign_partition if gates else slice_network)(loaded.model, plane, polygon, settings)
        elif gates:  # what of it the first can be cut in, for all
            found, share = largest_that_fits(partial(sign_partition, loaded.model, plane, settings=settings), whole)
        else:
            found = largest_slice(loaded.model, plane, whole, settings)
            share = found.shrunk
        polygon = polygon if whole is None else found.domain
        slices.append(dataclasses.replace(found, shrunk=share))
        labels.append(Path(checkpoint).stem if checkpoint else loaded.name)
    axis_names = [f"input {axis.strip()}" for axis in axes.split(",")] if axes else []
    files = _write(slices, labels, out or Path("slice"), colour, names, axis_names, subject.model, picture, explorer)
    return Outcome(payload=_payload(slices, labels, files), words=_words(slices[-1], files))


def _checkpoints(model: str, weights: list[str] | None) -> tuple[str, list[str] | list[None]]:
    """What builds the network, and the weights to slice one after another: of a run folder its last checkpoint, which
    takes the weights of every other step, and all of its checkpoints in order."""
    kept = sorted(str(f) for f in (Path(model) / "checkpoints").glob("step-*.safetensors"))
    if kept:
        return kept[-1], weights or kept
    return model, weights or [None]


def _write(
    slices, labels, stem: Path, colour, names, axis_names, model: str, picture: bool, explorer: bool
) -> list[str]:
    from cutaway.report.explorer import write_explorer, write_picture

    stem = stem.with_suffix("") if stem.suffix in (".png", ".svg", ".html") else stem
    stem.parent.mkdir(parents=True, exist_ok=True)
    files = []
    if picture:
        called: dict[str, Any] = {"axis_names": tuple(axis_names)} if axis_names else {}
        files += write_picture(slices[-1], stem, colour=colour, class_names=names, **called)
    if explorer:
        page = stem.parent / f"{stem.name}.html"
        files.append(write_explorer(slices, page, labels=labels, title=model.split("/")[-1], class_names=names))
    return [str(f) for f in files]


def _payload(slices, labels, files: list[str]) -> dict[str, Any]:
    last = slices[-1]
    payload: dict[str, Any] = {**last.summary(), "files": files, "status": last.status.value}
    payload["shrunk"] = last.shrunk
    payload["sites"] = [{"name": s.name, "kind": s.kind} for s in last.sites]
    payload["faces_after_site"] = last.report.faces_after
    payload["signs_decided_exactly"], payload["signs_taken_for_zero"] = last.report.decided, last.report.snapped
    if len(slices) > 1:
        payload["checkpoints"] = [{"name": n, **s.summary()} for n, s in zip(labels, slices)]
    return payload


def _smaller(result) -> list[str]:
    """That the square was made smaller, where it was."""
    if result.shrunk == 1:
        return []
    share = f"{result.shrunk:.3g}"
    return [
        f"the square that holds the inputs has more regions than --max-faces: this is its middle, {share} of its width"
    ]


def _words(result, files: list[str]) -> str:
    lines = [
        f"{result.num_faces:,} {result.kind_of_faces}, {result.num_edges:,} edges, {result.num_vertices:,} vertices"
        + (" (no neuron's boundary crosses this domain)" if result.num_faces == 1 else ""),
        *_smaller(result),
        f"decision boundary: {len(result.decision.segments):,} segment{'s' * (len(result.decision.segments) != 1)}",
        f"{result.cpu_seconds:.3g} CPU seconds; status {result.status.value}: {result.status.remedy}",
    ]
    lines += [f"not exact: {reason}" for reason in result.caveats]
    if result.check is not None:
        off = result.check.median_residual
        lines.append(
            f"self-check: areas off by {result.check.area_error:.1e}, Euler {result.euler}"
            + (f", median distance of a vertex from its neuron's line {off:.1e}" if off == off else "")
        )
    return "\n".join(lines + [f"file: {f}" for f in files])
