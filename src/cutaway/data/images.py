"""Images as tensors: uint8 arrays, and folders of image files by class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from cutaway.data.arrays import unreadable
from cutaway.data.dataset import Dataset, choose_rows
from cutaway.errors import CutawayError, InputError
from cutaway.files import check_size

LARGEST_IMAGE = 500_000_000  # bytes
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")


def image_range(tensor: torch.Tensor) -> tuple[float, float] | None:
    """[0, 1] where images lie inside it, else unknown."""
    if tensor.dim() != 4 or not tensor.is_floating_point() or not len(tensor):
        return None
    return (0.0, 1.0) if float(tensor.min()) >= 0 and float(tensor.max()) <= 1 else None


def images_to_tensor(array: np.ndarray) -> torch.Tensor:
    """uint8 images (N, H, W), (N, H, W, C) or (N, C, H, W) as NCHW float32 in [0, 1]; C is 1, 3 or 4, the last axis
    wins a tie."""
    if array.ndim == 3:
        array = array[:, None]
    elif array.ndim != 4:
        raise InputError(
            "images",
            found=f"shape {array.shape}",
            expected="(N, H, W), (N, H, W, C) or (N, C, H, W)",
            remedy="give an array of one of these shapes",
        )
    elif array.shape[-1] in (1, 3, 4):
        array = array.transpose(0, 3, 1, 2)
    elif array.shape[1] not in (1, 3, 4):
        raise InputError(
            "images",
            found=f"shape {array.shape}",
            expected="1, 3 or 4 channels, first or last",
            remedy="give images with that many channels",
        )
    tensor = torch.from_numpy(np.require(array, requirements=["C", "W"]))
    return tensor.to(torch.float32).div_(255.0) if array.dtype == np.uint8 else tensor.to(torch.float32)


SCALED = "images of whole numbers 0 to 255 were divided by 255"


def told_of_scale(images: torch.Tensor) -> str:
    """A note where images (n, C, H, W) of floating-point numbers look like grey levels to 255; they stay so."""
    if images.dim() != 4 or not images.is_floating_point() or not len(images):
        return ""
    first = images[:64]
    if float(first.min()) < 0 or not 16 <= float(first.max()) <= 255 or not bool((first == first.round()).all()):
        return ""
    return (
        "images hold grey levels up to 255 and stay so: give uint8, or divide by 255, for a network trained on [0, 1]"
    )


def load_image_folder(path: str | Path, *, split: str = "test", num: int | None = None, seed: int = 0) -> Dataset:
    """Images in one subfolder for each class (or in SPLIT/class/), all of one size; colour unless every chosen image
    is grey. Turned as their EXIF orientation says.

    Only the chosen files are decoded. Raises FileError for a broken image, InputError for sizes that differ or no
    images.
    """
    root = Path(path)
    if (root / split).is_dir():
        root = root / split
    folders = sorted(entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    files = [
        (f, k)
        for k, folder in enumerate(folders)
        for f in sorted(folder.iterdir())
        if f.suffix.lower() in IMAGE_SUFFIXES and not f.name.startswith(".")
    ]
    if not files:
        raise InputError(
            f"folder {path}",
            found="no images in subfolders",
            expected="one subfolder for each class, with images in it",
            remedy="arrange it as FOLDER/class/image.png",
        )
    if num is not None:
        if not 1 <= num <= len(files):
            raise InputError(
                f"folder {path}",
                found=f"a request for {num} images",
                expected=f"1 to {len(files)}",
                remedy="give a number in this range",
            )
        files = [files[i] for i in choose_rows(len(files), num, seed, np.array([k for _, k in files]))]
    images = [_read_image(file) for file, _ in files]
    if len({image.dtype for image in images}) > 1:  # 8 beside 16 bits
        images = [image / np.float32(255) if image.dtype == np.uint8 else image for image in images]
    for (file, _), image in zip(files, images):
        if image.shape[:2] != images[0].shape[:2]:
            raise InputError(
                f"image {file}",
                found=f"{image.shape[1]} x {image.shape[0]} pixels",
                expected=f"{images[0].shape[1]} x {images[0].shape[0]} as in {files[0][0].name}",
                remedy="resize the images to one size",
            )
    if any(image.ndim == 3 for image in images):
        images = [image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=-1) for image in images]
    return Dataset(
        name=Path(path).name,
        inputs=images_to_tensor(np.stack(images)),
        labels=torch.tensor([k for _, k in files]),
        class_names=tuple(folder.name for folder in folders),
        value_range=(0.0, 1.0),
    )


def _read_image(path: Path) -> np.ndarray:
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as stored:
            check_size(f"image {path}", 4 * stored.width * stored.height, LARGEST_IMAGE, "unpacked")
            kind = stored.format
            image = ImageOps.exif_transpose(stored)  # as a viewer shows it
            if image.mode == "F" or (image.mode == "I" and kind != "PNG"):
                raise InputError(
                    f"image {path}",
                    found=f"mode {image.mode!r}, whose white is not known",
                    expected="8 or 16 bits",
                    remedy="convert it, or give the numbers themselves as .npz",
                )
            if image.mode.startswith("I"):  # 16 bits
                return np.asarray(image).astype(np.float32) / 65535
            return np.asarray(image.convert("L" if image.mode in ("1", "L") else "RGB"))
    except CutawayError:
        raise
    except Exception as error:  # Pillow raises many kinds for damaged files
        raise unreadable(path, "image", error) from error
