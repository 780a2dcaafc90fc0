"""`cutaway.files`: written whole or not at all; read only as far as the memory given."""

import json
import os
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cutaway import files
from cutaway.errors import FileError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=40,
)


def fail():
    raise ZeroDivisionError


def half_written(kind, path):
    with kind(path) as temporary:
        (temporary / "one" if kind is files.atomic_folder else temporary).write_text("half")
        fail()


class TestWriting:
    def test_what_fails_leaves_the_old_file_and_nothing_else(self, tmp_path):
        file = files.write_text(tmp_path / "a.txt", "old")
        with pytest.raises(ZeroDivisionError):
            half_written(files.atomic, file)
        assert file.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]

    def test_a_full_disk_is_a_file_error_that_names_the_target(self, tmp_path, monkeypatch):
        def full(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(FileError, match=r"writing .*a\.txt.*No space left on device.*nothing half-written"):
            files.write_text(tmp_path / "a.txt", "new")
        assert os.listdir(tmp_path) == []

    def test_a_folder_appears_whole_or_not_at_all(self, tmp_path):
        with pytest.raises(ZeroDivisionError):
            half_written(files.atomic_folder, tmp_path / "new")
        assert os.listdir(tmp_path) == []
        with files.atomic_folder(tmp_path / "new") as folder:
            (folder / "one").write_text("1")
            assert not (tmp_path / "new").exists()
        assert (tmp_path / "new/one").read_text() == "1" and os.listdir(tmp_path) == ["new"]

    def test_entries_of_others_in_the_folder_stay(self, tmp_path):
        (tmp_path / "notes").write_text("mine")
        (tmp_path / "one").write_text("old")
        with files.atomic_folder(tmp_path) as folder:
            (folder / "one").write_text("new")
        assert (tmp_path / "notes").read_text() == "mine" and (tmp_path / "one").read_text() == "new"


class TestReading:
    @given(value=st.dictionaries(st.text(), VALUES, max_size=4))
    def test_json_comes_back_as_it_was(self, value):
        assert files.parse_json(json.dumps(value), "text") == value

    @given(value=VALUES)
    def test_depth_is_counted_outside_texts(self, value):
        def depth(v):
            inner = v if isinstance(v, list) else list(v.values()) if isinstance(v, dict) else None
            return 0 if inner is None else 1 + max(map(depth, inner), default=0)

        padding = "[" * files.DEEPEST + '"\\'  # brackets in a text are no levels
        assert files._depth(json.dumps([padding, value])) == 1 + depth(value)

    @pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "[" * 300 + "]" * 300])
    def test_deep_json_is_refused_before_it_is_parsed(self, text, tmp_path):
        (tmp_path / "deep.json").write_text(text)
        with pytest.raises(FileError, match=r"record '.*deep\.json'; found JSON nested more than 200 deep"):
            files.read_json(tmp_path / "deep.json", "record")

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (b"[1]", "found a list; expected a JSON object"),
            (b"", "found no valid JSON"),
            (b"\x00", "found no valid JSON"),
            (b'{"a": 1', "found no valid JSON"),
            (b'{"a":\n\xff}', "found a byte that is not UTF-8 in line 2"),
            (b'{"a": ' + b"9" * 5000 + b"}", "found no valid JSON"),
        ],
    )
    def test_what_is_no_record_is_refused(self, content, words, tmp_path):
        (tmp_path / "r.json").write_bytes(content)
        with pytest.raises(FileError, match=words):
            files.read_json(tmp_path / "r.json", "record")

    def test_size_comes_before_content(self, tmp_path):
        with open(tmp_path / "large", "wb") as file:
            file.truncate(10**12)  # a sparse terabyte
        with pytest.raises(FileError, match=r"found 1,000,000 MB; expected at most 200 MB.*Split it"):
            files.read_json(tmp_path / "large")
        with pytest.raises(FileError, match="expected at most"):
            files.read_bytes("/dev/zero", largest=10**6)

    def test_missing_files_and_folders(self, tmp_path):
        with pytest.raises(FileError, match="record .*found no such file"):
            files.read_bytes(tmp_path / "none", "record")
        with pytest.raises(FileError, match="found is a directory"):
            files.read_bytes(tmp_path)

    def test_a_zip_is_measured_by_what_it_unpacks_to(self, tmp_path):
        with zipfile.ZipFile(tmp_path / "z.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("zeros", bytes(10**6))
        assert (tmp_path / "z.zip").stat().st_size < 2000
        assert [m.filename for m in files.check_zip(tmp_path / "z.zip", "archive")] == ["zeros"]
        with pytest.raises(FileError, match="archive; found 1 MB unpacked; expected at most 1 MB"):
            files.check_zip(tmp_path / "z.zip", "archive", largest=999_999)

    def test_a_zip_with_one_name_twice_means_two_things(self, tmp_path):
        with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
            archive.writestr("a", "1")
            with pytest.warns(UserWarning, match="Duplicate"):
                archive.writestr("a", "2")
        with pytest.raises(FileError, match="two members called 'a'"):
            files.check_zip(tmp_path / "z.zip", "archive")
