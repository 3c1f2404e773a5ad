"""Bytes from the network by kept libraries: gdown downloads and continues, huggingface_hub says what the Hub has.

Both are imported here alone, and only when something is fetched. `hf_hub_download` itself is not used: since
huggingface_hub 2 it begins a file anew after an interruption and leaves the cut one behind.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from models.weights.addresses import HubFile, browser_address, drive_id, hub_file, on_mirror
from tstitch.errors import UserError

CONNECT_AND_READ_TIMEOUT_S = (30, 60)
RETRIES = 2
CONTINUES = "the same command continues the download"
PAGE_STARTS = (b"<!doctype html", b"<html")
SHA256 = re.compile(r"[0-9a-f]{64}")
Progress = Callable[[int, int | None], None]


@dataclass(frozen=True)
class Source:
    """One address of a file, with what is known of its bytes before they come."""

    url: str
    asked_at: str
    size: int | None
    sha256: str | None


def open_source(url: str, size: int | None, sha256: str | None, mirror: str | None) -> Source:
    """Find where a file is asked for; a file on the Hub is looked up there, for its size and checksum.

    Raises:
        UserError: the Hub cannot be reached or lacks the file.
    """
    source = Source(url, on_mirror(url, mirror), size, sha256)
    file = hub_file(url)
    return source if file is None else _look_up(file, source, mirror)


def _look_up(file: HubFile, source: Source, mirror: str | None) -> Source:
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import FileMetadataError

    endpoint = None if mirror is None else on_mirror("https://huggingface.co", mirror)
    address = hf_hub_url(file.repository, file.file, revision=file.revision, endpoint=endpoint)
    try:
        metadata = get_hf_file_metadata(address)
        if metadata.commit_hash is None and mirror is None:
            raise FileMetadataError(f"{address} answers without the Hub's headers")
    except Exception as error:  # its own, httpx's, requests' and offline mode's, by version
        raise UserError(f"{source.url}: the Hub does not answer ({_one_line(error)}); {CONTINUES}") from error
    published = metadata.etag if metadata.etag is not None and SHA256.fullmatch(metadata.etag) else None
    return replace(
        source,
        asked_at=address,
        size=source.size if source.size is not None else metadata.size,
        sha256=source.sha256 or published,
    )


def download(source: Source, target: Path, destination: Path, progress: Progress) -> None:
    """Download to `target`, continuing the `.part` file beside it.

    Args:
        target: a file below a directory that nothing else writes to meanwhile.
        destination: where the file goes in the end, for messages.
        progress: called with the bytes that are there and the bytes in all, or None.

    Raises:
        UserError: the address cannot be reached or gives something else than the file. What came is kept where the
            download can be continued.
    """
    import gdown
    import requests

    parts = _parts(target)
    for part in parts[1:]:
        part.unlink()
    if parts and source.size is not None and parts[0].stat().st_size == source.size:
        parts[0].replace(target)  # killed after the last byte
        return
    if parts and not parts[0].stat().st_size:
        parts[0].unlink()
    by_hand = f"open {browser_address(source.url)} in a browser and save the file as {destination}"
    try:
        try:
            _run(gdown, source, target, progress)
        except gdown.exceptions.DownloadError as error:
            if "byte range" not in str(error) or not _parts(target):
                raise
            # The part is not the beginning of what the server has now, or the server cannot continue.
            for part in _parts(target):
                part.unlink()
            _run(gdown, source, target, progress)
    except UserError:
        raise
    except gdown.exceptions.FileURLRetrievalError as error:
        raise UserError(f"Google Drive does not give {source.url} ({_drive_reason(error)}); {by_hand}") from error
    except requests.HTTPError as error:
        status = f"{error.response.status_code} {error.response.reason}"
        raise UserError(f"{source.asked_at} answers {status}; {by_hand}") from error
    except gdown.exceptions.DownloadError as error:
        message = _one_line(error)
        if isinstance(error.__cause__, requests.ConnectionError) and "incomplete" not in message:
            raise UserError(f"{source.asked_at} cannot be reached ({message}); {CONTINUES}") from error
        raise UserError(f"{source.asked_at}: {message}; {CONTINUES}") from error
    except requests.RequestException as error:
        raise UserError(f"{source.asked_at} cannot be reached ({_one_line(error)}); {CONTINUES}") from error
    except (KeyError, AssertionError) as error:  # gdown, on an answer without the headers of Drive
        raise UserError(f"{source.asked_at} answers in a way that is not understood; {by_hand}") from error
    _refuse_page(source, target, by_hand)


def _run(gdown, source: Source, target: Path, progress: Progress) -> None:
    gdown.download(
        source.asked_at,
        str(target),
        quiet=True,
        use_cookies=False,
        resume=True,
        progress=progress,
        timeout=CONNECT_AND_READ_TIMEOUT_S,
        retries=RETRIES,
    )


def _parts(target: Path) -> list[Path]:
    """List what gdown has begun of a file, the longest first."""
    parts = [path for path in target.parent.glob("*.part") if path.name.startswith(target.name)]
    return sorted(parts, key=lambda path: path.stat().st_size, reverse=True)


def _refuse_page(source: Source, target: Path, by_hand: str) -> None:
    with target.open("rb") as file:
        start = file.read(1024).lstrip().lower()
    if start.startswith(PAGE_STARTS):
        target.unlink()
        where = "Google Drive" if drive_id(source.url) else source.asked_at
        raise UserError(f"{where} answers with a web page, not a file; {by_hand}")


def _drive_reason(error: Exception) -> str:
    """Take the page's own words out of gdown's message."""
    reason = re.search(r"Failed to retrieve file url:\s*(.*?)\s*You may still be able", str(error), re.S)
    words = " ".join((reason.group(1) if reason else str(error)).split())
    return words.partition(" Check FAQ")[0].rstrip(".")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
