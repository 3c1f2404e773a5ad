"""Downloads, against a server on this machine's loopback address."""

import hashlib
import io
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from models.published import Published, fetch, missing_message, read_manifest, verify
from scripts.weights import load_manifest
from tstitch.errors import UserError

CONTENT = bytes(range(256)) * 40
LINES: list[str] = []


class Handler(BaseHTTPRequestHandler):
    """Serves CONTENT with ranges; `/cut` breaks off half-way, `/page` is HTML, `/archive` a zip of CONTENT."""

    def do_GET(self) -> None:
        body = self.archive() if self.path == "/archive" else CONTENT
        if self.path == "/gone":
            self.send_error(404)
            return
        start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-")) if "Range" in self.headers else 0
        self.send_response(206 if start else 200)
        self.send_header("Content-Type", "text/html; charset=utf-8" if self.path == "/page" else "binary/octet-stream")
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        stop = len(body) // 2 if self.path == "/cut" and not start else len(body)
        self.wfile.write(body[start:stop])

    def archive(self) -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("vq-f8/model.ckpt", CONTENT)
        return buffer.getvalue()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


make = partial(Published, name="net", file="deep/net.pt", license="MIT", provenance="us")
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def test_fetch_checks_pins_and_does_not_repeat(tmp_path: Path, address: str) -> None:
    entry, lines = make(url=f"{address}/file"), []
    path = fetch(entry, tmp_path, lines.append)
    assert path.read_bytes() == CONTENT
    assert verify(entry, tmp_path) == SHA256
    fetch(entry, tmp_path, lines.append)
    assert "there already" in lines[-1]
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(UserError, match=f"want {SHA256}"):
        verify(entry, tmp_path)


def test_fetch_continues_what_was_cut(tmp_path: Path, address: str) -> None:
    entry, lines = make(url=f"{address}/cut"), []
    with pytest.raises(UserError, match="continues the download"):
        fetch(entry, tmp_path, lines.append)
    assert not (tmp_path / entry.file).exists()
    assert fetch(entry, tmp_path, lines.append).read_bytes() == CONTENT
    assert any("continuing at" in line for line in lines)


def test_fetch_takes_the_member_of_an_archive(tmp_path: Path, address: str) -> None:
    entry = make(url=f"{address}/archive", member="model.ckpt")
    assert fetch(entry, tmp_path, print).read_bytes() == CONTENT
    assert verify(entry, tmp_path) == SHA256
    with pytest.raises(UserError, match=r"holds no other\.ckpt"):
        fetch(make(name="two", file="two", url=f"{address}/archive", member="other.ckpt"), tmp_path, print)


@pytest.mark.parametrize(
    ("path", "changes", "message"),
    [
        ("/file", {"sha256": "0" * 64}, "nothing was kept"),
        ("/page", {}, "answers with a web page"),
        ("/gone", {}, "answers 404"),
        ("/file", {"member": "model.ckpt"}, "damaged archive"),
    ],
)
def test_bad_answers_leave_nothing(tmp_path: Path, address: str, path: str, changes: dict, message: str) -> None:
    entry = make(url=f"{address}{path}", **changes)
    with pytest.raises(UserError, match=message):
        fetch(entry, tmp_path, print)
    assert not [file for file in tmp_path.rglob("*") if file.is_file()]


def test_no_server_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be reached"):
        fetch(make(url="http://127.0.0.1:9/file"), tmp_path, print)


def test_the_manifest_names_every_file_that_a_pair_needs() -> None:
    import yaml

    from tests.conftest import ROOT

    files = {f"weights/{entry.file}" for entry in load_manifest().values()}
    wanted = set()
    for group in ("denoiser", "autoencoder"):
        for path in (ROOT / "configs" / group).glob("*.yaml"):
            wanted.add(yaml.safe_load(path.read_text())["path"])
    for path in (ROOT / "configs/pair").glob("*.yaml"):
        evaluation = yaml.safe_load(path.read_text())["evaluation"]
        wanted |= {evaluation["reference"], evaluation["extractor_weights"]}
    for name in wanted:
        if name.startswith("weights/"):
            assert any(file == name or file.startswith(f"{name}/") for file in files), name


def test_a_missing_file_says_where_it_is_published(tmp_path: Path) -> None:
    manifest = read_manifest({"net": {"file": "net.pt", "url": "https://x", "license": "MIT", "provenance": "us"}})
    message = missing_message(tmp_path / "net.pt", manifest, tmp_path)
    assert "published by us at https://x" in message
    assert "scripts.weights fetch net" in message
    assert missing_message(tmp_path / "own.pt", manifest, tmp_path).endswith("own.pt do not exist")
