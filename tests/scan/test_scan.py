"""Scanning: nulls, resuming, engines, and what is kept when it is cut off."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from cutaway import scan_nulls as scanning
from cutaway.cli.command import execute
from cutaway.comparing import _judged, against_first, differences, told
from cutaway.errors import FileError, InputError
from cutaway.instruments import BoundaryDistance, LocalComplexity, SampleRegion, Sparsity
from cutaway.network import Network
from cutaway.running import open_run
from cutaway.scanning import ScanSettings, scan
from cutaway.status import Status
from cutaway.testing.contract import small_data


def figures(run):
    return [(r.instrument, f.name, f.value, f.low, f.p_value, f.q_value) for r in run.readings for f in r.figures]


def test_a_scan_judges_every_figure_and_reads_back(subject, few, tmp_path):
    run = scan(*subject, tmp_path / "run", instruments=few, settings=ScanSettings(nulls=19))
    accuracy = run.readings[0].figure("accuracy")
    assert accuracy.p_value == pytest.approx(1 / 20)
    assert accuracy.q_value >= accuracy.p_value
    assert run.readings[0].null == "reinitialised"
    again = open_run(tmp_path / "run")
    assert figures(again) == figures(run)
    assert again.network["sites"] == 2


def test_an_interrupted_scan_goes_on_and_ends_the_same(subject, few, tmp_path, monkeypatch):
    whole = scan(*subject, tmp_path / "whole", instruments=few, settings=ScanSettings(nulls=12))
    calls = []
    real = scanning.null_figures

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(scanning, "null_figures", interrupted)
    with pytest.raises(KeyboardInterrupt):
        scan(*subject, tmp_path / "cut", instruments=few, settings=ScanSettings(nulls=12))
    assert len(list((tmp_path / "cut" / "nulls").iterdir())) == 4
    assert len(list((tmp_path / "cut" / "observed").iterdir())) == 2
    monkeypatch.setattr(scanning, "null_figures", lambda *a: calls.append(2) or real(*a))
    resumed = scan(*subject, tmp_path / "cut", instruments=few, settings=ScanSettings(nulls=12, resume=True))
    assert calls.count(2) == 8
    assert figures(resumed) == figures(whole)


def test_a_run_that_version_0_1_wrote_is_gone_on_with_and_a_newer_one_is_refused(subject, few, tmp_path):
    whole = scan(*subject, tmp_path / "run", instruments=few, settings=ScanSettings(nulls=6))
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record.pop("network").pop("continuous") is not None
    old = {k: v for k, v in record.items() if k not in {"reach", "warnings", "plan", "not_run"}}  # what 0.1 did not say
    (tmp_path / "run" / "run.json").write_text(json.dumps(old | {"network": {"name": "tiny"}}))
    assert [len(r.figures) for r in open_run(tmp_path / "run").readings] == [len(r.figures) for r in whole.readings]
    for name in ("0004", "0005"):
        (tmp_path / "run" / "nulls" / f"{name}.json").unlink()
    assert figures(scan(*subject, tmp_path / "run", instruments=few, settings=ScanSettings(nulls=6, resume=True))) == (
        figures(whole)
    )
    (tmp_path / "run" / "run.json").write_text(json.dumps(old | {"format": 2}))
    with pytest.raises(FileError, match="found format 2; expected 1 or older. Read it with the version of Cutaway"):
        scan(*subject, tmp_path / "run", instruments=few, settings=ScanSettings(nulls=6, resume=True))


@pytest.mark.parametrize(
    ("damage", "wording"),
    [
        ({"instruments": None}, "instruments: 'None'; expected a valid list. Restore its run.json"),
        ({"network": {"name": 3}}, "network.name: '3'; expected a valid string"),
        ({"warnings": ["a", 1]}, "warnings.1: '1'; expected a valid string"),
        ({"not_run": [{"why": "cost"}]}, "not_run.0.instrument: .*expected Field required"),
    ],
)
def test_a_damaged_record_is_refused_where_it_is_read(damage, wording, tmp_path):
    record = {"format": 1, "instruments": [], "network": {"name": "n"}, "data": {"name": "d", "rows": 3}}
    (tmp_path / "run.json").write_text(json.dumps(record | damage))
    with pytest.raises(FileError, match=wording):
        open_run(tmp_path)


def test_a_folder_of_another_run_is_refused(subject, few, tmp_path):
    scan(*subject, tmp_path / "run", instruments=few, settings=ScanSettings(nulls=0))
    with pytest.raises(InputError, match="goes on with it when given --resume"):
        scan(*subject, tmp_path / "run", instruments=few, settings=ScanSettings(nulls=0))
    with pytest.raises(InputError, match="another model, data set or other settings"):
        scan(*subject, tmp_path / "run", instruments=few, settings=ScanSettings(nulls=1, resume=True))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("x")
    with pytest.raises(InputError, match="found other files"):
        scan(*subject, tmp_path / "other", instruments=few)
    with pytest.raises(FileError, match="a folder that `cutaway scan` wrote"):
        open_run(tmp_path / "other")


def test_hopeless_figures_stop_early(subject, tmp_path):
    """A random network gives nothing to find, so its instruments stop before the last replicate."""
    network, data = subject
    run = scan(network.twin(5), data, tmp_path / "run", instruments=[Sparsity()], settings=ScanSettings(nulls=200))
    used = len(list((run.folder / "nulls").iterdir()))
    assert used < 200
    assert used % scanning.WAVE == 0


def test_engines_give_the_same_figures(subject, few, tmp_path):
    inline = scan(*subject, tmp_path / "a", instruments=few, settings=ScanSettings(nulls=4))
    loky = scan(*subject, tmp_path / "b", instruments=few, settings=ScanSettings(nulls=4, engine="loky", workers=2))
    assert figures(inline) == figures(loky)


class Attention(torch.nn.Module):
    """One fused attention: forward-mode derivatives of the fused kernel do not exist."""

    def __init__(self):
        super().__init__()
        self.mix, self.last = torch.nn.Linear(4, 12), torch.nn.Linear(16, 3)

    def forward(self, x):
        q, k, v = self.mix(x.flatten(1).reshape(-1, 4, 4)).chunk(3, dim=-1)
        return self.last(torch.relu(torch.nn.functional.scaled_dot_product_attention(q, k, v).flatten(1)))


class Recurrent(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.last = torch.nn.LSTM(4, 6, batch_first=True), torch.nn.Linear(6, 3)

    def forward(self, x):
        return self.last(torch.relu(self.inner(x.flatten(1).reshape(-1, 4, 4))[0][:, -1]))


@pytest.mark.parametrize("make", [Attention, Recurrent])
def test_a_scan_of_fused_kernels_ends_with_a_reading_of_every_instrument(make, tmp_path):
    torch.manual_seed(0)
    data = small_data(36)
    chosen = [LocalComplexity(num_points=4, num_directions=3), SampleRegion(), BoundaryDistance(), Sparsity()]
    network = Network(make().eval(), data.inputs[:2])
    run = scan(network, data, tmp_path / "run", instruments=chosen, settings=ScanSettings(nulls=0))
    assert [r.instrument for r in run.readings] == [i.name for i in chosen]
    assert all(r.reason for r in run.readings if not r.figures)
    assert run.readings[0].figures and run.readings[3].figures


def test_a_failed_instrument_makes_the_exit_code_1(tmp_path, monkeypatch):
    monkeypatch.setattr(Sparsity, "_measure", lambda *_: (_ for _ in ()).throw(NotImplementedError("forward mode")))
    inputs = small_data(36)
    np.savez(tmp_path / "d.npz", x=inputs.inputs.numpy(), y=inputs.labels.numpy())
    (tmp_path / "net.py").write_text("from cutaway.testing.contract import small_classifier as make\n")
    subject = [f"{tmp_path}/net.py:make", "--data", f"{tmp_path}/d.npz"]
    code = execute(
        "scan", [*subject, "--only", "sparsity", "--only", "accuracy", "--nulls", "0", "--out", f"{tmp_path}/r"]
    )
    assert code == 1
    readings = {r.instrument: r for r in open_run(tmp_path / "r").readings}
    assert readings["sparsity"].status == Status.FAILED
    assert "NotImplementedError: forward mode" in readings["sparsity"].reason
    assert readings["accuracy"].figures


def test_dask_gives_the_same_figures(subject, few, tmp_path):
    """A real scheduler and two worker processes on this machine."""
    pytest.importorskip("distributed")
    inline = scan(*subject, tmp_path / "a", instruments=few, settings=ScanSettings(nulls=4))
    dask = scan(*subject, tmp_path / "b", instruments=few, settings=ScanSettings(nulls=4, engine="dask", workers=2))
    assert figures(inline) == figures(dask)


def test_compare_pairs_samples(subject, few, tmp_path):
    network, data = subject
    a = scan(network, data, tmp_path / "a", instruments=few, settings=ScanSettings(nulls=0))
    b = scan(network.twin(0), data, tmp_path / "b", instruments=few, settings=ScanSettings(nulls=0))
    rows, notes = differences(a, b)
    by_name = {r["name"]: r for r in rows}
    assert by_name["accuracy"]["p_value"] < 0.01
    assert notes == []
    same, _ = differences(a, a)
    assert all(r["p_value"] in (None, 1.0) for r in same)
    assert {r["change"] for r in same} == {"same"}
    assert {by_name[n]["change"] for n in ("accuracy", "log_loss")} == {"worse"}
    back, _ = differences(b, a)
    assert {r["change"] for r in back if r["name"] in ("accuracy", "log_loss")} == {"better"}
    assert "worse" in told(rows, notes, "A", "B") and f"({by_name['accuracy']['a']:.3g} to " in told(
        rows, notes, "A", "B"
    )
    assert told(same, [], "A", "B").startswith("Nothing here tells B from A")
    assert told(rows, notes, "a", "runs/b").startswith("runs/b is ")  # a path keeps its letters


def test_options_and_instruments_are_given_by_name(subject):
    run = scan(*subject, instruments=["accuracy"], nulls=0)
    assert run.record["nulls"] == 0 and [r.instrument for r in run.readings] == ["accuracy"]
    assert {row["why"] for row in run.record["not_run"]} == {"not asked"}
    with pytest.raises(InputError, match="option 'nuls' of scan; .* Did you mean 'nulls'"):
        scan(*subject, nuls=0)


def test_holm_keeps_one_in_twenty_over_all_rows():
    names = [f"f{k}" for k in range(10)]
    rows = [
        {"instrument": "x", "name": n, "a": 0.0, "b": 1.0, "p_value": p, "long_name": n}
        for n, p in zip(names, [0.004, 0.0056, 0.007, *[0.3] * 7], strict=True)
    ]
    assert [r["change"] for r in _judged(rows)][:4] == ["different", "same", "same", "same"]


def test_more_than_two_runs_are_each_compared_with_the_first_and_judged_together(subject, few, tmp_path, capsys):
    network, data = subject
    made = [network, network, network.twin(0)]
    runs = [scan(n, data, tmp_path / name, instruments=few, nulls=0) for n, name in zip(made, "abc", strict=True)]
    rows, notes = against_first(runs)
    alone = [differences(runs[0], other)[0] for other in runs[1:]]
    assert [(r["name"], r["b"], r["p_value"]) for r in rows] == [
        (r["name"], r["b"], r["p_value"]) for part in alone for r in part
    ]
    assert {r["change"] for r in rows if r["run"] == 1} == {"same"} and notes == []
    assert {r["change"] for r in rows if r["run"] == 2 and r["name"] == "accuracy"} == {"worse"}
    tested = [r["p_value"] for r in rows if r["p_value"] is not None]
    assert all(r["change"] == "same" for r in rows if r["p_value"] and r["p_value"] > 0.05 / len(tested) * 2)
    folders = [str(tmp_path / name) for name in "abc"]
    page = tmp_path / "three.html"
    assert execute("compare", [*folders, "--out", str(page), "--fail-on", "regression"]) == 3
    words, html = capsys.readouterr().out, page.read_text()
    assert "c is worse in" in words and "Nothing here tells" in words and "Holm" in words
    assert 'class="tile worse"' in html and "C: worse, by more than noise" in html and 'class="mark C"' in html
    assert execute("compare", [*folders[:2], "--fail-on", "regression"]) == 0


def test_a_figure_that_is_gone_or_no_number_is_worse(subject, few, tmp_path):
    """A gate that passes because the new network could not be measured would be no gate."""
    a = scan(*subject, tmp_path / "a", instruments=few, settings=ScanSettings(nulls=0))
    reading = next(r for r in a.readings if r.instrument == "accuracy")
    no_number = tuple(dataclasses.replace(f, value=float("nan"), low=None, high=None) for f in reading.figures)
    for figures in ((), no_number):
        broken = dataclasses.replace(a, readings=(dataclasses.replace(reading, figures=figures),))
        changed = {r["name"]: r["change"] for r in differences(a, broken)[0]}
        assert changed["accuracy"] == changed["log_loss"] == "worse"
        assert {r["name"] for r in differences(broken, a)[0] if r["change"] == "worse"} == set()
    gone = dataclasses.replace(a, readings=())
    assert "accuracy" in {r["name"] for r in differences(a, gone)[0] if r["change"] == "worse"}


def test_a_comparison_is_a_page_and_a_gate_for_continuous_integration(subject, few, tmp_path):
    network, data = subject
    scan(network, data, tmp_path / "a", instruments=few, settings=ScanSettings(nulls=0))
    scan(network.twin(0), data, tmp_path / "b", instruments=few, settings=ScanSettings(nulls=0))
    page = tmp_path / "page.html"
    good, bad = [str(tmp_path / "b"), str(tmp_path / "a")], [str(tmp_path / "a"), str(tmp_path / "b")]
    assert execute("compare", [*bad, "--out", str(page)]) == 0
    assert execute("compare", [*bad, "--fail-on", "regression"]) == 3
    assert execute("compare", [*good, "--fail-on", "regression"]) == 0
    html = page.read_text()
    assert 'class="tile worse"' in html and "http" not in html and "calibration_error_plug_in<" not in html


def test_nulls_are_plain_json(subject, few, tmp_path):
    run = scan(*subject, tmp_path / "run", instruments=few, settings=ScanSettings(nulls=2))
    record = json.loads((run.folder / "nulls" / "0001.json").read_text())
    assert set(record) == {"accuracy", "sparsity"}


def test_comparing_names_in_one_note_what_only_one_run_read(subject, few, tmp_path):
    runs = [
        scan(*subject, tmp_path / name, instruments=kinds, settings=ScanSettings(nulls=0))
        for name, kinds in (("a", [Sparsity()]), ("b", [BoundaryDistance(), LocalComplexity(), Sparsity()]))
    ]
    notes = differences(*runs)[1]
    assert [n for n in notes if "only one" in n] == ["only one run has Boundary distance, Local complexity"]
