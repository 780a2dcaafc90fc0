"""Data sets: named ones, files of the user, texts. Images are NCHW float32 in [0, 1], labels int64."""

from cutaway import _facade

__all__, __getattr__, __dir__ = _facade.front(
    __name__,
    {
        "anything": "as_dataset",
        "dataset": "Dataset",
        "files": "load_npy load_npz load_parquet load_text load_texts",
        "images": "load_image_folder",
        "named": "NAMED available load_data",
        "text": "TextSet",
        "votes": "two_of_votes",
    },
)
