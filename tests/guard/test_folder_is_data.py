"""A guard folder is data: whatever its JSON names as the language model, no code of it runs."""

import json

import pytest

from cutaway.errors import FileError, InputError
from cutaway.guard import certificate_file, load_guardrail


def folder_with(tmp_path, **fields):
    (tmp_path / "guard.json").write_text(json.dumps({"format": 2, **fields}))
    return tmp_path


@pytest.mark.parametrize("spec", ["{}/evil.py:make", "os:getcwd", "subprocess:getoutput('touch ran')", "{}/model.pt"])
def test_code_named_by_a_guard_folder_is_refused_before_anything_is_opened(spec, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil.py").write_text("open('ran', 'w')\ndef make(): raise SystemExit\n")
    (tmp_path / "model.pt").write_bytes(b"")
    from safetensors.torch import save_file

    save_file({}, tmp_path / "guard.safetensors")
    with pytest.raises(InputError, match=r"in .*guard\.json; found a (factory|pickle), which would run code"):
        load_guardrail(folder_with(tmp_path, model=spec.format(tmp_path)))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"[" * 100_000, b"[1]", b"\x00", b"\xff\xfe{", b"", b"{}", b'{"format": "1"}'])
def test_damaged_records_are_refused(content, tmp_path):
    (tmp_path / "guard.json").write_bytes(content)
    with pytest.raises(FileError, match=r"guard\.json.*Fit it again"):
        load_guardrail(tmp_path)
    (tmp_path / "certificate.json").write_bytes(content)
    with pytest.raises(FileError, match=r"certificate\.json.*Certify again"):
        certificate_file.read_certificate(tmp_path / "certificate.json")
