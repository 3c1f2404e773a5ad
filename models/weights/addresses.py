"""Addresses of published files, their own or a mirror's, and what a person does where they fail."""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from tstitch.errors import UserError

DRIVE = re.compile(r"https://drive\.google\.com/uc\?id=([\w-]+)")
HUB = re.compile(r"https://huggingface\.co/([\w.-]+/[\w.-]+)/resolve/([\w.-]+)/(.+)")


@dataclass(frozen=True)
class HubFile:
    """A file of a model repository on the Hugging Face Hub."""

    repository: str
    revision: str
    file: str


def drive_id(url: str) -> str | None:
    """Take the id out of a Google Drive address; None for any other."""
    match = DRIVE.fullmatch(url)
    return match and match.group(1)


def hub_file(url: str) -> HubFile | None:
    """Take a Hub address apart; None for any other."""
    match = HUB.fullmatch(url)
    return match and HubFile(*match.groups())


def on_mirror(url: str, mirror: str | None) -> str:
    """Translate an address to a mirror's, which has the host as the first folder: https://a/b -> MIRROR/a/b."""
    if mirror is None:
        return url
    return f"{mirror.rstrip('/')}/{url.removeprefix(f'{urlsplit(url).scheme}://')}"


def check_mirror(mirror: str | None) -> None:
    """Raise `UserError` unless the address of a mirror is one of the web."""
    if mirror is None:
        return
    try:
        parts = urlsplit(mirror)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        is_address = False
    if not is_address:
        raise UserError(f"the mirror must be an address such as https://HOST/FOLDER, got {mirror!r}")


def browser_address(url: str) -> str:
    """Give the address that a person opens in a browser."""
    file = drive_id(url)
    return url if file is None else f"https://drive.google.com/file/d/{file}/view"
