"""Captions from a file: one a line, or the annotations of MS-COCO."""

from pathlib import Path

from tstitch.errors import UserError, explain_no_file
from tstitch.runs.json_files import read_json, show_value

ANNOTATION = (("image_id", int, "a whole number"), ("id", int, "a whole number"), ("caption", str, "text"))


def read_captions(path: Path) -> list[str]:
    """The captions of a text file, one a line, or of a `.json` with COCO's `annotations`, one for each image.

    Of COCO's five captions of an image it is the one with the lowest id; images come in the order of their ids.

    Raises:
        UserError: the file is not there, holds no captions, or an empty one.
    """
    if not path.is_file():
        raise UserError(f"captions={path} {explain_no_file(path)}; give one prompt a line, or COCO's .json")
    captions = _coco(path) if path.suffix == ".json" else _text(path).splitlines()
    captions = [" ".join(caption.split()) for caption in captions]
    while captions and not captions[-1]:
        captions.pop()
    if not captions:
        raise UserError(f"captions={path} holds no captions")
    if "" in captions:
        raise UserError(f"captions={path} has an empty caption at {captions.index('') + 1}; one prompt a line")
    return captions


def _text(path: Path) -> str:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"captions={path} is not text in UTF-8: {error.reason} at byte {error.start}") from error
    if "\0" in text:
        raise UserError(f"captions={path} is not text: it holds zero bytes")
    return text


def _coco(path: Path) -> list[str]:
    try:
        content = read_json(path)
        annotations = content.get("annotations")
        if not isinstance(annotations, list):
            raise UserError(f"{path}: annotations must be a list, got {show_value(annotations)}")
        for number, entry in enumerate(annotations):
            _check_annotation(f"{path}: annotations.{number}", entry)
    except UserError as error:
        raise UserError(f"captions={error}; want COCO's captions, or a .txt with one prompt a line") from error
    first: dict[int, dict] = {}
    for entry in annotations:
        kept = first.setdefault(entry["image_id"], entry)
        if entry["id"] < kept["id"]:
            first[entry["image_id"]] = entry
    return [first[image]["caption"] for image in sorted(first)]


def _check_annotation(name: str, entry: object) -> None:
    """Raise `UserError` unless an entry has COCO's ids and its caption."""
    if not isinstance(entry, dict):
        raise UserError(f"{name} must be an object, got {show_value(entry)}")
    for key, kind, wanted in ANNOTATION:
        if type(entry.get(key)) is not kind:
            raise UserError(f"{name}.{key} must be {wanted}, got {show_value(entry.get(key))}")
