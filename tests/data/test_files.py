"""Files of the user: every kind read right, every broken one refused with its name, the reason and the next step."""

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from cutaway.data import load_data, load_parquet, load_text, load_texts
from cutaway.errors import FileError, InputError


def pixels(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


class TestNpz:
    @pytest.mark.parametrize("keys", [("x", "y"), ("inputs", "labels"), ("x_test", "y_test")])
    def test_names(self, tmp_path, keys):
        x, y = np.arange(12.0).reshape(4, 3), np.array([0, 1, 2, 1])
        np.savez(tmp_path / "d.npz", **{keys[0]: x, keys[1]: y})
        data = load_data(tmp_path / "d.npz")
        assert data.inputs.tolist() == x.tolist()
        assert data.labels.tolist() == [0, 1, 2, 1]
        assert data.inputs.dtype == torch.float32
        assert data.name == "d"

    def test_splits_are_told_apart(self, tmp_path):
        np.savez(tmp_path / "d.npz", x_train=np.zeros((2, 1)), y_train=[0, 0], x_test=np.ones((3, 1)), y_test=[1, 1, 1])
        assert load_data(tmp_path / "d.npz", split="train").labels.tolist() == [0, 0]
        assert load_data(tmp_path / "d.npz").inputs.tolist() == [[1.0]] * 3

    @pytest.mark.parametrize("layout", ["NHW", "NHWC", "NCHW"])
    def test_image_layouts(self, tmp_path, layout):
        x = pixels(5, 6, 7) if layout == "NHW" else pixels(5, 6, 7, 3)
        stored = x.transpose(0, 3, 1, 2) if layout == "NCHW" else x
        np.savez(tmp_path / "d.npz", x=stored)
        data = load_data(tmp_path / "d.npz")
        expected = x[:, None] if layout == "NHW" else x.transpose(0, 3, 1, 2)
        assert torch.equal(data.inputs, torch.from_numpy(expected.copy()).float() / 255)
        assert data.value_range == (0.0, 1.0)
        assert data.labels is None

    def test_num(self, tmp_path):
        np.savez(tmp_path / "d.npz", x=np.zeros((40, 2)), y=np.arange(40) % 4)
        assert load_data(tmp_path / "d.npz", num=8).labels.bincount().tolist() == [2, 2, 2, 2]

    def test_broken(self, tmp_path, says):
        np.savez(tmp_path / "d.npz", x=np.zeros((40, 20)), y=np.arange(40) % 4)
        raw = (tmp_path / "d.npz").read_bytes()
        for keep in (10, len(raw) // 2, len(raw) - 30):
            (tmp_path / "cut.npz").write_bytes(raw[:keep])
            says(FileError, lambda: load_data(tmp_path / "cut.npz"), "cut.npz", "not a complete npz", "truncated")
        damaged = bytearray(raw)
        damaged[200] ^= 255
        (tmp_path / "bad.npz").write_bytes(damaged)
        says(FileError, lambda: load_data(tmp_path / "bad.npz"), "bad.npz", "not a complete npz")

    def test_pickled_objects_are_refused(self, tmp_path, says):
        np.savez(tmp_path / "o.npz", x=np.array([{"a": 1}], dtype=object))
        says(FileError, lambda: load_data(tmp_path / "o.npz"), "pickled objects", "without object arrays")

    def test_contents(self, tmp_path, says):
        np.savez(tmp_path / "k.npz", a=np.zeros(3))
        says(InputError, lambda: load_data(tmp_path / "k.npz"), "arrays a", "name the arrays x and y".capitalize())
        np.savez(tmp_path / "s.npz", x=np.array([["a"]]))
        says(InputError, lambda: load_data(tmp_path / "s.npz"), "dtype <U1", "numbers")
        np.savez(tmp_path / "f.npz", x=np.zeros((2, 1)), y=np.array([0.5, 1.0]))
        says(InputError, lambda: load_data(tmp_path / "f.npz"), "float64", "integer class numbers")
        x = np.zeros((3, 1))
        x[2] = np.nan
        np.savez(tmp_path / "n.npz", x=x)
        says(InputError, lambda: load_data(tmp_path / "n.npz"), "row 2", "NaN")


def test_npy(tmp_path, says):
    np.save(tmp_path / "x.npy", np.arange(6.0).reshape(3, 2))
    assert load_data(tmp_path / "x.npy").inputs.tolist() == [[0, 1], [2, 3], [4, 5]]
    (tmp_path / "cut.npy").write_bytes((tmp_path / "x.npy").read_bytes()[:-5])
    says(FileError, lambda: load_data(tmp_path / "cut.npy"), "cut.npy", "not a complete npy")


class TestParquet:
    @pytest.fixture
    def table(self, tmp_path):
        frame = pd.DataFrame({"a": [1.0, 2, 3], "b": [4, 5, 6], "kind": ["x", "y", "x"], "label": [1, 0, 1]})
        frame.to_parquet(tmp_path / "t.parquet")
        return tmp_path / "t.parquet"

    def test_columns(self, table):
        data = load_data(table)
        assert data.inputs.tolist() == [[1, 4], [2, 5], [3, 6]]
        assert data.labels.tolist() == [1, 0, 1]
        named = load_data(f"{table}:kind")
        assert named.labels.tolist() == [0, 1, 0]
        assert named.class_names == ("x", "y")
        assert named.inputs.shape == (3, 3)  # the other label column is a number like the rest
        assert load_parquet(table, columns=("b",)).inputs.tolist() == [[4], [5], [6]]

    def test_refusals(self, table, tmp_path, says):
        says(InputError, lambda: load_data(f"{table}:kin"), "column 'kin'", "Did you mean 'kind'?")
        says(InputError, lambda: load_parquet(table, columns=("kind",)), "column 'kind'", "numbers")
        pd.DataFrame({"text": ["a"]}).to_parquet(tmp_path / "w.parquet")
        says(InputError, lambda: load_data(tmp_path / "w.parquet"), "no numeric column among text", "load_text")
        (tmp_path / "cut.parquet").write_bytes(table.read_bytes()[:-20])
        says(FileError, lambda: load_data(tmp_path / "cut.parquet"), "not a complete parquet")

    def test_texts(self, tmp_path, says):
        frame = pd.DataFrame(
            {"text": ["one", "two", "three"], "label": ["odd", "even", "odd"], "from": ["p", "q", "p"]}
        )
        frame.to_parquet(tmp_path / "t.parquet")
        texts = load_text(tmp_path / "t.parquet", group_column="from")
        assert texts.texts == ("one", "two", "three")
        assert texts.labels.tolist() == [1, 0, 1]
        assert texts.class_names == ("even", "odd")
        assert texts.groups == ("p", "q", "p")
        says(InputError, lambda: load_text(tmp_path / "t.parquet", text_column="txt"), "Did you mean 'text'?")
        frame.loc[1, "label"] = None
        frame.to_parquet(tmp_path / "n.parquet")
        says(InputError, lambda: load_text(tmp_path / "n.parquet"), "row 1", "no value in label column")

    @pytest.mark.parametrize("kind", ["parquet", "csv"])
    def test_texts_as_people_have_them(self, kind, tmp_path, says):
        def kept(name, **columns):
            path = tmp_path / f"{name}.{kind}"
            frame = pd.DataFrame(columns)
            frame.to_parquet(path) if kind == "parquet" else frame.to_csv(path, index=False)
            return path

        alone = load_texts(kept("alone", text=["one", "NA"]))
        assert alone.texts == ("one", "NA") and alone.labels is None and alone.groups is None
        path = kept("whole", Prompt=["one", "two"], label=["b", "a"], answer=["x", "y"], when=["old", "new"])
        whole = load_texts(path, group_column="when")
        assert whole.texts == ("one", "two") and whole.labels.tolist() == [1, 0] and whole.groups == ("old", "new")
        assert load_texts(kept("single", n=[1, 2], story=["one", "two"])).texts == ("one", "two")
        says(InputError, lambda: load_texts(kept("two", a=["x"], b=["y"])), "columns a, b", "column of the texts text")
        says(InputError, lambda: load_texts(path, group_column="wen"), "column 'wen'", "Did you mean 'when'?")
        says(InputError, lambda: load_texts(kept("no", text=["one", None])), "row 1", "expected a text")

    def test_texts_of_another_file(self, tmp_path, says):
        (tmp_path / "t.txt").write_text("one")
        says(FileError, lambda: load_texts(tmp_path / "t.txt"), "suffix .txt", "a column text")
        says(FileError, lambda: load_texts(tmp_path / "none.md"), "no such file")


class TestImageFolder:
    def make(self, root, sizes=((6, 5), (6, 5)), mode="RGB"):
        for label, size in zip(("cat", "dog"), sizes):
            (root / label).mkdir(parents=True)
            for k in range(3):
                shape = (size[1], size[0], 3) if mode == "RGB" else (size[1], size[0])
                Image.fromarray(pixels(*shape, seed=k)).save(root / label / f"{k}.png")

    def test_reads_classes_in_order(self, tmp_path):
        self.make(tmp_path / "pets")
        data = load_data(tmp_path / "pets")
        assert data.inputs.shape == (6, 3, 5, 6)
        assert data.labels.tolist() == [0, 0, 0, 1, 1, 1]
        assert data.class_names == ("cat", "dog")
        assert torch.equal(data.inputs[1], torch.from_numpy(pixels(5, 6, 3, seed=1)).permute(2, 0, 1) / 255)
        assert load_data(tmp_path / "pets", num=2).labels.tolist() == [0, 1]

    def test_grey_images_and_splits(self, tmp_path):
        self.make(tmp_path / "pets" / "train", mode="L")
        assert load_data(tmp_path / "pets", split="train").inputs.shape == (6, 1, 5, 6)

    def test_mixed_grey_and_colour_become_colour(self, tmp_path):
        self.make(tmp_path / "pets")
        Image.fromarray(pixels(5, 6)).save(tmp_path / "pets" / "cat" / "0.png")
        data = load_data(tmp_path / "pets")
        assert data.inputs.shape == (6, 3, 5, 6)
        assert torch.equal(data.inputs[0, 0], data.inputs[0, 2])

    def test_refusals(self, tmp_path, says):
        (tmp_path / "none").mkdir()
        says(InputError, lambda: load_data(tmp_path / "none"), "no images", "FOLDER/class/image.png")
        self.make(tmp_path / "sizes", sizes=((6, 5), (5, 5)))
        says(InputError, lambda: load_data(tmp_path / "sizes"), "5 x 5 pixels", "6 x 5 as in 0.png")
        self.make(tmp_path / "cut")
        whole = (tmp_path / "cut" / "dog" / "1.png").read_bytes()
        (tmp_path / "cut" / "dog" / "1.png").write_bytes(whole[:60])
        says(FileError, lambda: load_data(tmp_path / "cut"), "1.png", "not a complete image")


def test_unknown_names_and_suffixes(tmp_path, says):
    says(InputError, lambda: load_data("mnits"), "neither a named set nor a file", "Did you mean 'mnist'?")
    says(FileError, lambda: load_data("somewhere/x.npz"), "no such file")
    (tmp_path / "x.tsv").write_text("1,2")
    says(FileError, lambda: load_data(tmp_path / "x.tsv"), "suffix .tsv", "numpy.savez")
    says(InputError, lambda: load_data("digits", split="validation"), "split 'validation'", "train or test")


def test_images_of_an_npz_lie_in_the_range_that_their_numbers_show(tmp_path):
    """Attacks keep to it; numbers beyond it, and tables, are in no known range."""
    pixels = np.random.default_rng(0).random((6, 1, 4, 4), dtype=np.float32)
    for name, inputs, wanted in (
        ("images", pixels, (0.0, 1.0)),
        ("scaled", 2 * pixels - 1, None),
        ("table", pixels.reshape(6, -1), None),
    ):
        np.savez(tmp_path / f"{name}.npz", x=inputs, y=np.arange(6) % 2)
        assert load_data(tmp_path / f"{name}.npz").value_range == wanted
