"""Captions from a file: one a line, or the annotations of MS-COCO."""

import json
from pathlib import Path

from tstitch.errors import UserError


def read_captions(path: Path) -> list[str]:
    """The captions of a text file, one a line, or of a `.json` with COCO's `annotations`, one for each image.

    Of COCO's five captions of an image it is the one with the lowest id; images come in the order of their ids.

    Raises:
        UserError: the file is not there, holds no captions, or an empty one.
    """
    if not path.is_file():
        raise UserError(f"captions={path} does not exist; give a text file with one prompt a line, or COCO's .json")
    try:
        captions = _coco(path) if path.suffix == ".json" else path.read_text().splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"captions={path} is not text: {error}") from error
    captions = [" ".join(caption.split()) for caption in captions]
    while captions and not captions[-1]:
        captions.pop()
    if not captions:
        raise UserError(f"captions={path} holds no captions")
    if "" in captions:
        raise UserError(f"captions={path} has an empty caption at {captions.index('') + 1}; one prompt a line")
    return captions


def _coco(path: Path) -> list[str]:
    try:
        annotations = json.loads(path.read_text())["annotations"]
        first: dict[int, dict] = {}
        for entry in annotations:
            kept = first.setdefault(entry["image_id"], entry)
            if entry["id"] < kept["id"]:
                first[entry["image_id"]] = entry
        return [first[image]["caption"] for image in sorted(first)]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"captions={path} is not a COCO captions file: {type(error).__name__} {error}") from error
