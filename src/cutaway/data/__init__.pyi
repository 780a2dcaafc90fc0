# Written by tools/write_stubs.py from __init__.py.

from cutaway.data.anything import as_dataset as as_dataset
from cutaway.data.dataset import Dataset as Dataset
from cutaway.data.files import load_npy as load_npy
from cutaway.data.files import load_npz as load_npz
from cutaway.data.files import load_parquet as load_parquet
from cutaway.data.files import load_text as load_text
from cutaway.data.files import load_texts as load_texts
from cutaway.data.images import load_image_folder as load_image_folder
from cutaway.data.named import NAMED as NAMED
from cutaway.data.named import available as available
from cutaway.data.named import load_data as load_data
from cutaway.data.text import TextSet as TextSet
from cutaway.data.votes import two_of_votes as two_of_votes

__all__ = [
    "Dataset",
    "NAMED",
    "TextSet",
    "as_dataset",
    "available",
    "load_data",
    "load_image_folder",
    "load_npy",
    "load_npz",
    "load_parquet",
    "load_text",
    "load_texts",
    "two_of_votes",
]
