"""The named data sets, by one function: `load_data("digits")`, `load_data("mnist")`, `load_data("fashion-mnist")`,
`load_data("cifar10")`, or a path.

Images come out NCHW float32 in [0, 1], labels int64. `digits` needs no network (it ships with scikit-learn). The
others are looked for in the folder that the environment variable CUTAWAY_DATA names (NumPy archives, sha256 pinned
below), then downloaded once into the user's cache from their public addresses (checksums pinned below).
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cutaway.data.arrays import opened_npz
from cutaway.data.columns import no_columns
from cutaway.data.dataset import Dataset, choose_rows
from cutaway.data.files import load_file
from cutaway.data.formats import read_cifar_archive, read_idx
from cutaway.data.images import images_to_tensor
from cutaway.errors import FileError, InputError, did_you_mean

SPLITS = ("train", "test")
MIRROR_VARIABLE = "CUTAWAY_DATA"

DIGITS = tuple(str(k) for k in range(10))
FASHION = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

# file in the mirror -> sha256
MIRROR = {
    "mnist/mnist.npz": "06af5dfe73b70e3bc1c36439982b18a8d76803db9b544f6fdf838a37fbb01b64",
    "fashion_mnist/fashion_mnist.npz": "5b6d2c4c694a91887af8ab7d039c04f80af3c29378d731c93a538d2e831aa469",
    "cifar10/cifar10_exact.npz": "11e452152ec70cf4e0c5a412b9639bd83c7f68f108e5b3ef3a40b2402d1b9fea",
    "cifar10/cifar10_jpeg.npz": "15d2974d539f8557c28448df01ba76b0d57dc9c8bad7eb2d7222cd41b1d0038c",
}

# file -> md5 (the checksums that the publishers give)
MNIST_URL = "https://ossci-datasets.s3.amazonaws.com/mnist/"
MNIST_FILES = {
    "train": (
        ("train-images-idx3-ubyte.gz", "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
        ("train-labels-idx1-ubyte.gz", "d53e105ee54ea40749a09fcbcd1e9432"),
    ),
    "test": (
        ("t10k-images-idx3-ubyte.gz", "9fb629c4189551a2d022fa330f9573f3"),
        ("t10k-labels-idx1-ubyte.gz", "ec29112dd5afa0611ce80d1b7f02629c"),
    ),
}
FASHION_URL = "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/"
FASHION_FILES = {
    "train": (
        ("train-images-idx3-ubyte.gz", "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
        ("train-labels-idx1-ubyte.gz", "25c81989df183df01b3e8a0aad5dffbe"),
    ),
    "test": (
        ("t10k-images-idx3-ubyte.gz", "bef4ecab320f06d8554ea6380940ec79"),
        ("t10k-labels-idx1-ubyte.gz", "bb300cfdad3c16e7a12a480ee83cd310"),
    ),
}
CIFAR_URL = "https://www.cs.toronto.edu/~kriz/"
CIFAR_FILE = ("cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a")


@dataclass(frozen=True, slots=True)
class _Raw:
    """Labels (N,), and a function from row numbers to images (uint8, or float32 in [0, 1]) that decodes only those."""

    labels: np.ndarray
    images: Callable[[np.ndarray], np.ndarray]
    classes: tuple[str, ...]
    note: str = ""


def load_data(
    name_or_path: Any,
    split: str = "test",
    num: int | None = None,
    seed: int = 0,
    *,
    groups: str | None = None,
    labels2: str | None = None,
) -> Dataset:
    """A named set or a data file (see cutaway.data.files), optionally `num` of its rows drawn with `seed`, equal over
    the classes. What is neither a name nor a path is read as `as_dataset` reads it: tensors, arrays, frames, torch
    and Hugging Face data sets.

    split: "train" or "test"; files without splits ignore it. groups, labels2: names of an array (.npz) or a column
    (.csv, .parquet) of the file. Raises InputError for an unknown name, split or too
    large a `num`, FileError for a file that is missing, altered or broken.
    """
    if split not in SPLITS:
        raise InputError(f"split {split!r}", expected=" or ".join(SPLITS), remedy="give one of these")
    if not isinstance(name_or_path, str | Path):
        from cutaway.data.anything import as_dataset

        data = as_dataset(name_or_path, groups=groups, labels2=labels2)
        return data if num is None else data.take(num, seed)
    name = str(name_or_path).lower().replace("_", "-")
    if name not in NAMED:
        text = str(name_or_path)
        if Path(text).exists() or ".parquet:" in text or "/" in text or Path(text).suffix:
            return load_file(name_or_path, split=split, num=num, seed=seed, groups=groups, labels2=labels2)
        raise InputError(
            f"data set {str(name_or_path)!r}",
            found="neither a named set nor a file",
            expected=f"{', '.join(NAMED)}, or a path",
            remedy=did_you_mean(name, NAMED),
        )
    no_columns(f"data set {name!r}", groups, labels2)
    raw = NAMED[name](split)
    rows = np.arange(len(raw.labels))
    if num is not None:
        if not 1 <= num <= len(rows):
            raise InputError(
                f"data set {name!r}, split {split!r}",
                found=f"a request for {num} rows",
                expected=f"1 to {len(rows)}, the number of rows there are",
                remedy=f"ask for at most {len(rows)}",
            )
        rows = choose_rows(len(rows), num, seed, raw.labels)
    return Dataset(
        name=name,
        inputs=images_to_tensor(raw.images(rows)),
        labels=_int64(raw.labels[rows]),
        num_classes=len(raw.classes),
        class_names=raw.classes,
        value_range=(0.0, 1.0),
        note=raw.note,
    )


def available(name: str, split: str = "test") -> int:
    """How many rows a named set has in this split (it is fetched for that). Raises as `load_data`."""
    return len(NAMED[name](split).labels)


def _int64(labels: np.ndarray):
    import torch

    return torch.from_numpy(labels.astype(np.int64))


def _digits(split: str) -> _Raw:
    """1797 digits of 8 x 8; every fifth of each class, in a fixed shuffled order, is the test set (364)."""
    from sklearn.datasets import load_digits

    bunch: Any = load_digits()
    images = (bunch.images / 16.0).astype(np.float32)  # 17 grey levels, exact in float32
    labels = bunch.target.astype(np.uint8)
    order = np.random.default_rng(20240229).permutation(len(labels))
    rank = np.empty(len(labels), dtype=np.int64)
    for value in range(10):
        (where,) = np.nonzero(labels[order] == value)
        rank[where] = np.arange(len(where))
    is_test = rank % 5 == 0
    rows = np.sort(order[is_test if split == "test" else ~is_test])
    return _array_raw(images[rows], labels[rows], DIGITS)


def _mnist(split: str) -> _Raw:
    return _mnist_like(split, "mnist/mnist.npz", MNIST_URL, MNIST_FILES, "mnist", DIGITS)


def _fashion(split: str) -> _Raw:
    return _mnist_like(split, "fashion_mnist/fashion_mnist.npz", FASHION_URL, FASHION_FILES, "fashion-mnist", FASHION)


def _mnist_like(split: str, mirrored: str, url: str, files, folder: str, classes: tuple[str, ...]) -> _Raw:
    path = _from_mirror(mirrored)
    if path is not None:
        with opened_npz(path) as archive:
            return _array_raw(archive[f"x_{split}"], archive[f"y_{split}"], classes)
    images, labels = (read_idx(_download(url + file, md5, folder)) for file, md5 in files[split])
    return _array_raw(images, labels, classes)


def _cifar10(split: str) -> _Raw:
    path = _from_mirror("cifar10/cifar10_exact.npz")
    if path is not None:
        with opened_npz(path) as archive:
            images, labels = archive[f"x_{split}"], archive[f"y_{split}"]
        note = (
            f"{len(labels)} of the 10000 test images, most of them chosen because some network classifies "
            "them correctly: accuracy on them is too high"
            if split == "test"
            else f"the first {len(labels)} of the 50000 training images"
        )
        return _array_raw(images, labels, CIFAR10, note)
    file, md5 = CIFAR_FILE
    images, labels = read_cifar_archive(_download(CIFAR_URL + file, md5, "cifar10"), split)
    return _array_raw(images.transpose(0, 2, 3, 1), labels, CIFAR10)


def _cifar10_jpeg(split: str) -> _Raw:
    path = _from_mirror("cifar10/cifar10_jpeg.npz")
    if path is None:
        raise FileError(
            "data set 'cifar10-jpeg'",
            found="no cifar10/cifar10_jpeg.npz",
            expected=f"it in the folder that the environment variable {MIRROR_VARIABLE} names",
            remedy="this set has no public download; use cifar10",
        )
    with opened_npz(path) as archive:
        head, tail, body = (archive[key].tobytes() for key in ("head", "tail", "body"))
        offset, all_labels, is_train = archive["offset"], archive["label"], archive["is_train"]
    (members,) = np.nonzero(is_train == (split == "train"))
    members = np.random.default_rng(0).permutation(members)  # the file is sorted by class

    def decode(rows: np.ndarray) -> np.ndarray:
        from PIL import Image

        parts = ((head, body[offset[i] : offset[i + 1]], tail) for i in members[rows])
        return np.stack([np.asarray(Image.open(io.BytesIO(b"".join(part)))) for part in parts])

    note = "lossy (JPEG of quality 75): accuracies are some points below those on the original pixels"
    return _Raw(all_labels[members], decode, CIFAR10, note)


NAMED: dict[str, Callable[[str], _Raw]] = {
    "digits": _digits,
    "mnist": _mnist,
    "fashion-mnist": _fashion,
    "cifar10": _cifar10,
    "cifar10-jpeg": _cifar10_jpeg,
}
"""Name -> what reads a split of it."""


def _array_raw(images: np.ndarray, labels: np.ndarray, classes: tuple[str, ...], note: str = "") -> _Raw:
    return _Raw(labels, lambda rows: images if len(rows) == len(images) else images[rows], classes, note)


def _from_mirror(relative: str) -> Path | None:
    """The file in the folder CUTAWAY_DATA, its sha256 checked, or None when there is no such folder or file."""
    folder = os.environ.get(MIRROR_VARIABLE)
    if not folder:
        return None
    path = Path(folder) / relative
    if not path.is_file():
        return None
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != MIRROR[relative]:
        raise FileError(
            f"file {path}",
            found=f"sha256 {digest[:16]}...",
            expected=f"{MIRROR[relative][:16]}...",
            remedy=f"the file is altered or truncated: copy it again, or unset {MIRROR_VARIABLE} to download the set",
        )
    return path


def _download(url: str, md5: str, folder: str) -> Path:
    """The file at `url` in the user's cache, downloaded once, its checksum verified."""
    import pooch
    from requests import exceptions as offline

    cache = Path(pooch.os_cache("cutaway")) / folder
    try:
        return Path(pooch.retrieve(url, known_hash=f"md5:{md5}", fname=url.rsplit("/", 1)[1], path=cache))
    except (OSError, ValueError) as error:  # no connection, refused, full disk; wrong checksum
        raise FileError(
            f"download of {url}",
            found=f"no connection ({type(error).__name__})"
            if isinstance(error, (offline.ConnectionError, offline.Timeout))
            else str(error).splitlines()[0][:200] or type(error).__name__,
            expected=f"the file with md5 {md5}",
            remedy=f"check the connection, name a folder with the data in {MIRROR_VARIABLE}, or use --data digits",
        ) from error
