"""Hashes of a guard folder cover what a verdict depends on; a key makes them hold against an adversary."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from cutaway.cli import run
from cutaway.errors import CutawayError, FileError, ModelError
from cutaway.guard import certificate_file, load_guardrail
from cutaway.guard.folder import _first_detector_hash, reseal
from cutaway.guard.seal import sealed
from cutaway.guard.service.run import build_service


@pytest.fixture(scope="module")
def certified(guard_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("certified") / "guard"
    shutil.copytree(guard_folder, folder)
    certificate_file.write(certificate_file.certify_guardrail(load_guardrail(folder)), folder / certificate_file.NAME)
    return folder


@pytest.fixture
def folder(certified, tmp_path):
    return shutil.copytree(certified, tmp_path / "guard")


def edit(folder, change, *, again=False):
    """Apply `change(record, tensors)` to a guard folder; `again`: with a new seal, as whoever can write it can."""
    record = json.loads((folder / "guard.json").read_text())
    tensors = load_file(folder / "guard.safetensors")
    change(record, tensors)
    (folder / "guard.json").write_text(json.dumps(sealed(record, tensors) if again else record))
    save_file(tensors, folder / "guard.safetensors")


def harmless_rows(record, tensors):
    tensors["train_harmful"] = tensors["train_harmful"] + 50 * tensors["weight.0"]


CHANGES = {
    "training rows": harmless_rows,
    "held-out rows": lambda r, t: t.update(held_harmful=t["held_harmful"][:-1].clone()),
    "rate": lambda r, t: r["threshold"].update(rate=1e-9),
    "rows seen": lambda r, t: r["seen"].pop(),
    "notes": lambda r, t: r["notes"].append("all is well"),
    "weights": lambda r, t: t.update({"weight.0": 2 * t["weight.0"]}),
}


@pytest.mark.parametrize("what", CHANGES)
def test_every_change_is_noticed_by_score_certify_and_serve(folder, what):
    edit(folder, CHANGES[what])
    with pytest.raises(ModelError, match="contents that were changed after it was written"):
        load_guardrail(folder)
    with pytest.raises(ModelError, match="contents that were changed"):
        build_service(folder)
    assert run(["guard", "score", str(folder), "calm1"]) == run(["guard", "certify", str(folder)]) == 2


def test_an_edited_certificate_is_noticed(folder, capsys):
    path = folder / certificate_file.NAME
    record = json.loads(path.read_text())
    assert record["version"]
    path.write_text(json.dumps(record | {"status": "certified", "recall": 1.0}))
    for command in (load_guardrail, build_service):
        with pytest.raises(ModelError, match=r"certificate.json; found contents that were changed.*Certify again"):
            command(folder)
    assert run(["guard", "certify", str(folder)]) == 0
    assert "the certificate before it: certificate" in capsys.readouterr().out
    assert load_guardrail(folder) is not None


def test_rows_swapped_under_a_new_seal_do_not_fit_the_hash_nor_the_certificate(folder):
    edit(folder, harmless_rows, again=True)
    with pytest.raises(ModelError, match="a detector with hash"):
        load_guardrail(folder)


def test_with_a_key_nobody_else_can_seal(folder, monkeypatch, tmp_path):
    monkeypatch.setenv("CUTAWAY_KEY", "secret")
    with pytest.raises(ModelError, match="found no signature; expected one made with the key in CUTAWAY_KEY"):
        load_guardrail(folder)
    reseal(folder)
    assert (folder / "certificate.old.json").is_file()
    certificate_file.write(certificate_file.certify_guardrail(load_guardrail(folder)), folder / certificate_file.NAME)
    assert load_guardrail(folder) is not None
    unsigned = shutil.copytree(folder, tmp_path / "unsigned")
    record = json.loads((unsigned / certificate_file.NAME).read_text())
    monkeypatch.setenv("CUTAWAY_KEY", "guessed")
    (unsigned / certificate_file.NAME).write_text(json.dumps(sealed(record | {"status": "certified"})))
    with pytest.raises(ModelError, match="a signature of another key"):
        load_guardrail(folder)
    monkeypatch.setenv("CUTAWAY_KEY", "secret")
    with pytest.raises(ModelError, match="certificate .*a signature of another key"):
        load_guardrail(unsigned)
    monkeypatch.delenv("CUTAWAY_KEY")
    assert load_guardrail(folder) is not None


def first_format(folder, fitted):
    def change(record, tensors):
        del record["seal"], record["version"]
        record |= {"format": 1, "detector_hash": _first_detector_hash(fitted)}

    edit(folder, change)


def test_the_first_format_is_refused_with_the_command_that_converts_it(folder, fitted):
    first_format(folder, fitted)
    with pytest.raises(FileError, match=r"found format 1; expected format 2. Convert it with cutaway guard seal"):
        load_guardrail(folder)
    assert run(["guard", "seal", str(folder)]) == 0
    assert load_guardrail(folder).threshold_ == fitted.threshold_
    old = json.loads((folder / "certificate.old.json").read_text()) | {"format": 1}
    (folder / "c.json").write_text(json.dumps(old))
    with pytest.raises(FileError, match="format 1 by 0.1.0, before .*expected format 2.*cutaway guard certify"):
        certificate_file.read_certificate(folder / "c.json")


def test_what_was_changed_in_the_first_format_is_not_converted(folder, fitted):
    first_format(folder, fitted)
    edit(folder, CHANGES["weights"])
    with pytest.raises(ModelError, match="a detector with hash"):
        reseal(folder)


WRONG = {
    "float32": lambda r, t: t.update(mean=t["mean"].float()),
    "shape": lambda r, t: t.update({"weight.0": torch.zeros(1, 3, dtype=torch.float64)}),
    "scalar": lambda r, t: t.update(scale=torch.tensor(1.0, dtype=torch.float64)),
    "gap": lambda r, t: t.update({"weight.7": torch.zeros(1, 1, dtype=torch.float64)}),
    "no scale": lambda r, t: t.pop("scale"),
    "no rows": lambda r, t: t.pop("train_harmful"),
    "NaN": lambda r, t: t.update(mean=t["mean"] * torch.nan),
    "no layer": lambda r, t: [t.pop("weight.0"), t.pop("bias.0")],
    "threshold NaN": lambda r, t: r["threshold"].update(logit=float("nan")),
    "threshold text": lambda r, t: r["threshold"].update(logit="1"),
    "threshold key": lambda r, t: r["threshold"].update(x=1),
    "no settings": lambda r, t: r.pop("settings"),
    "settings key": lambda r, t: r["settings"].update(model="x"),
    "batch": lambda r, t: r["settings"].update(batch_size=0),
    "batch text": lambda r, t: r["settings"].update(batch_size="9"),
    "head": lambda r, t: r.update(head="sklearn.svm.SVC"),
    "seen": lambda r, t: r.update(seen=3),
    "format": lambda r, t: r.update(format=True),
}


@pytest.mark.parametrize("what", WRONG)
def test_contents_of_another_form_are_refused_by_name_under_any_seal(folder, what):
    edit(folder, WRONG[what], again=True)
    with pytest.raises(CutawayError, match=r"guard\.(json|safetensors).*[Ff]it it again"):
        load_guardrail(folder)
