"""Data sets: named ones, files of the user, texts. Images are NCHW float32 in [0, 1], labels int64."""

from cutaway.data.anything import as_dataset
from cutaway.data.dataset import Dataset
from cutaway.data.files import load_image_folder, load_npy, load_npz, load_parquet, load_text
from cutaway.data.named import NAMED, available, load
from cutaway.data.text import TextSet

__all__ = [
    "NAMED",
    "Dataset",
    "TextSet",
    "as_dataset",
    "available",
    "load",
    "load_image_folder",
    "load_npy",
    "load_npz",
    "load_parquet",
    "load_text",
]
