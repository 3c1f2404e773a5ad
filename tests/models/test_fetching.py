"""Downloads from a server on this machine's loopback address, through the libraries that users download with."""

import io
import os
import random
import signal
import subprocess
import sys
import time
import zipfile
from hashlib import sha256
from pathlib import Path
from threading import Thread

import pytest
import requests

from models.weights.addresses import browser_address, hub_file, on_mirror
from models.weights.fetching import check_disk, fetch_file
from models.weights.published import PublishedFile, read_manifest, read_pins, verify_file
from tests.conftest import ROOT
from tests.serving import QUOTA_PAGE, SCAN_PAGE, SIGN_IN_PAGE, Published, served
from tstitch.errors import UserError

CONTENT = random.Random(0).randbytes(1 << 20)
DIGEST = sha256(CONTENT).hexdigest()
DRIVE = "https://drive.google.com/uc?id=1YOSNrFbP36vHlPQPBosqZKbPLokymRuO"
HUB = "https://huggingface.co/someone/net/resolve/main/deep/net.safetensors"
PLAIN = "https://example.org/files/net.pt"
PLAIN_PATH = "/example.org/files/net.pt"


def fetch(file: PublishedFile, directory: Path, mirror: str | None, lines: list[str] | None = None) -> Path:
    show = print if lines is None else lines.append
    return fetch_file(file, directory, mirror, show, lambda name: lambda done, total: None)


def leftovers(directory: Path) -> list[str]:
    return [str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()]


def archive(content: bytes = CONTENT, member: str = "vq-f8/model.ckpt") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("vq-f8/config.yaml", "model: {}")
        file.writestr(member, content)
    return buffer.getvalue()


@pytest.fixture
def drive(monkeypatch):
    """Lead the hosts of Google Drive to a server of the test, beneath requests and gdown."""

    def lead(address: str) -> None:
        send = requests.adapters.HTTPAdapter.send

        def to_server(self, request: requests.PreparedRequest, **settings) -> requests.Response:
            asked = request.url
            for host in ("https://drive.google.com", "https://drive.usercontent.google.com"):
                request.url = request.url.replace(host, address)
            response = send(self, request, **settings)
            response.url = asked
            return response

        monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", to_server)

    return lead


def test_a_file_is_checked_pinned_and_not_fetched_twice(tmp_path: Path) -> None:
    published, file, lines = Published({PLAIN_PATH: CONTENT}), PublishedFile("deep/net.pt", PLAIN), []
    with served(published) as mirror:
        assert fetch(file, tmp_path, mirror, lines).read_bytes() == CONTENT
        assert read_pins(tmp_path) == {"deep/net.pt": DIGEST}
        num_requests = len(published.requests)
        fetch(file, tmp_path, mirror, lines)
        assert "there already" in lines[-1]
        assert len(published.requests) == num_requests
    assert sorted(leftovers(tmp_path)) == ["checksums.json", "deep/net.pt"]
    (tmp_path / "deep/net.pt").write_bytes(CONTENT[:-1])
    with pytest.raises(UserError, match=f"want {DIGEST}"):
        verify_file(file, tmp_path)


def test_a_file_that_is_there_and_differs_is_refused_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "net.pt").write_bytes(b"mine")
    with served(Published({PLAIN_PATH: CONTENT})) as mirror, pytest.raises(UserError, match="remove it and fetch"):
        fetch(PublishedFile("net.pt", PLAIN, sha256=DIGEST), tmp_path, mirror)
    assert (tmp_path / "net.pt").read_bytes() == b"mine"


@pytest.mark.parametrize(("url", "path"), [(PLAIN, PLAIN_PATH), (HUB, f"/huggingface.co{HUB[22:]}")])
def test_a_cut_download_goes_on_where_it_was(tmp_path: Path, url: str, path: str) -> None:
    """Cut more often than the library itself tries again, so that a second command has to go on."""
    published, file, lines = Published({path: CONTENT}, cuts={path: 8}), PublishedFile("net.pt", url), []
    with served(published) as mirror:
        with pytest.raises(UserError, match="continues the download"):
            fetch(file, tmp_path, mirror)
        assert not (tmp_path / "net.pt").exists()
        begun = sum(path.stat().st_size for path in tmp_path.rglob("*.part"))
        assert begun >= len(CONTENT) // 2
        published.cuts.clear()
        published.requests.clear()
        assert fetch(file, tmp_path, mirror, lines).read_bytes() == CONTENT
    assert ("GET", path, f"bytes={begun}-") in published.requests
    assert any("continuing" in line for line in lines)


def test_a_part_of_something_else_does_not_block_the_file(tmp_path: Path) -> None:
    """Longer than the file, as an extracted member was in the place of its archive; and on a server without ranges."""
    for name, ranges, size in (("a", True, 3 * len(CONTENT)), ("b", False, 1000)):
        part = tmp_path / name / ".unfinished/net.pt/0/net.pt12345678.part"
        part.parent.mkdir(parents=True)
        part.write_bytes(b"x" * size)
        with served(Published({PLAIN_PATH: CONTENT}, ranges=ranges)) as mirror:
            assert fetch(PublishedFile("net.pt", PLAIN), tmp_path / name, mirror).read_bytes() == CONTENT


@pytest.mark.parametrize("killed_after", ["part complete", "archive", "half a member", "member", "in place"])
def test_an_archive_recovers_from_a_kill_at_any_moment(tmp_path: Path, killed_after: str) -> None:
    url, packed = "https://example.org/vq-f8.zip", archive()
    file = PublishedFile("vq-f8.ckpt", url, member="model.ckpt", size=len(packed))
    folder = tmp_path / ".unfinished/vq-f8.ckpt/0"
    folder.mkdir(parents=True)
    if killed_after == "part complete":
        (folder / "vq-f8.zipabcdefgh.part").write_bytes(packed)
    else:
        (folder / "vq-f8.zip").write_bytes(packed)
    if killed_after in ("half a member", "member"):
        stop = len(CONTENT) // (2 if killed_after == "half a member" else 1)
        (folder / "vq-f8.ckpt.member").write_bytes(CONTENT[:stop])
    if killed_after == "in place":
        (tmp_path / "vq-f8.ckpt").write_bytes(CONTENT)
    published = Published({"/example.org/vq-f8.zip": packed})
    with served(published) as mirror:
        assert fetch(file, tmp_path, mirror).read_bytes() == CONTENT
    assert published.requests == []
    assert not list(tmp_path.rglob("*.zip")) and not list(tmp_path.rglob("*.member"))


def test_an_archive_without_the_member_says_what_it_has(tmp_path: Path) -> None:
    file, message = (
        PublishedFile("a.ckpt", "https://example.org/a.zip", member="b.ckpt"),
        "no b.ckpt; it has vq-f8",
    )
    with served(Published({"/example.org/a.zip": archive()})) as mirror, pytest.raises(UserError, match=message):
        fetch(file, tmp_path, mirror)


@pytest.mark.parametrize(
    ("content", "changes", "message"),
    [
        (CONTENT, {"sha256": "0" * 64}, "nothing was kept"),
        (CONTENT, {"size": 5}, "want 5; nothing was kept"),
        (b"\n<!DOCTYPE html><html>please sign in</html>", {}, "answers with a web page, not a file; open https://ex"),
        (CONTENT, {"url": "https://example.org/gone"}, "answers 404 Not Found; open https://example.org/gone in a"),
        (CONTENT, {"member": "model.ckpt"}, "damaged archive"),
    ],
)
def test_bad_answers_leave_nothing(tmp_path: Path, content: bytes, changes: dict, message: str) -> None:
    file = PublishedFile(**{"file": "net.pt", "url": PLAIN, **changes})
    with served(Published({PLAIN_PATH: content})) as mirror, pytest.raises(UserError, match=message) as caught:
        fetch(file, tmp_path, mirror)
    assert "\n" not in str(caught.value)
    assert leftovers(tmp_path) == []


def test_no_server_is_one_clear_error(tmp_path: Path) -> None:
    for url in (PLAIN, HUB):
        with pytest.raises(UserError, match="continues the download"):
            fetch(PublishedFile("net.pt", url), tmp_path, "http://127.0.0.1:9")


def test_another_address_is_tried(tmp_path: Path) -> None:
    file, lines = PublishedFile("net.pt", "https://example.org/gone", also=(PLAIN,)), []
    with served(Published({PLAIN_PATH: CONTENT})) as mirror:
        assert fetch(file, tmp_path, mirror, lines).read_bytes() == CONTENT
    assert any(line.endswith(f"trying {PLAIN}") for line in lines)


def test_a_file_on_the_hub_is_checked_with_the_hubs_checksum(tmp_path: Path) -> None:
    """The body that comes is not the one that the Hub has named."""
    path = f"/huggingface.co{HUB[22:]}"
    published = Published({path: CONTENT[:-1] + b"?"}, checksums={path: DIGEST})
    with served(published) as mirror, pytest.raises(UserError, match=f"want {DIGEST}; nothing was kept"):
        fetch(PublishedFile("net.safetensors", HUB), tmp_path, mirror)
    assert hub_file(HUB).file == "deep/net.safetensors"
    assert leftovers(tmp_path) == []


def test_a_mirror_may_be_a_plain_folder(tmp_path: Path) -> None:
    """Without the Hub's headers, as `python -m http.server` answers."""
    place = tmp_path / "mirror" / HUB.removeprefix("https://")
    place.parent.mkdir(parents=True)
    place.write_bytes(CONTENT)
    command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "-d", str(tmp_path / "mirror")]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        port = server.stdout.readline().split(" port ")[1].split()[0]
        file = PublishedFile("net.safetensors", HUB)
        assert fetch(file, tmp_path / "w", f"http://127.0.0.1:{port}/").read_bytes() == CONTENT
    finally:
        server.terminate()
        server.wait()
    assert on_mirror(PLAIN, "http://m/") == "http://m/example.org/files/net.pt"


def test_drives_virus_scan_page_is_passed(tmp_path: Path, drive) -> None:
    name = DRIVE.partition("id=")[2]
    page = SCAN_PAGE.format(action="https://drive.usercontent.google.com/download", id=name)
    with served(Published({name: CONTENT}, pages={name: page})) as address:
        drive(address)
        assert fetch(PublishedFile("net.pt", DRIVE), tmp_path, None).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("page", "reason"), [(QUOTA_PAGE, "Too many users have viewed"), (SIGN_IN_PAGE, "change the permission")]
)
def test_drives_other_pages_say_what_to_do(tmp_path: Path, drive, page: str, reason: str) -> None:
    name = DRIVE.partition("id=")[2]
    with served(Published({}, pages={name: page})) as address:
        drive(address)
        with pytest.raises(UserError, match=reason) as caught:
            fetch(PublishedFile("net.pt", DRIVE), tmp_path, None)
    assert f"open {browser_address(DRIVE)} in a browser and save the file as {tmp_path / 'net.pt'}" in str(caught.value)
    assert browser_address(DRIVE) == f"https://drive.google.com/file/d/{name}/view"
    assert "\n" not in str(caught.value)
    assert leftovers(tmp_path) == []


def test_two_fetches_of_one_file_share_it(tmp_path: Path) -> None:
    published, file, failures = Published({PLAIN_PATH: CONTENT * 8}), PublishedFile("net.pt", PLAIN), []
    with served(published) as mirror:

        def run() -> None:
            try:
                fetch(file, tmp_path, mirror)
            except Exception as error:
                failures.append(error)

        threads = [Thread(target=run) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []
    assert (tmp_path / "net.pt").read_bytes() == CONTENT * 8
    assert published.sent == len(CONTENT) * 8
    assert sorted(leftovers(tmp_path)) == ["checksums.json", "net.pt"]


def test_what_does_not_fit_is_refused_before_it_starts(tmp_path: Path) -> None:
    entry = {"license": "MIT", "provenance": "us", "files": [{"file": "net.pt", "url": PLAIN, "size": 10**18}]}
    manifest = read_manifest({"net": entry})
    with pytest.raises(UserError, match=r"1000000000\.0 GB are missing, but .* GB free; make room"):
        check_disk(list(manifest.values()), tmp_path)


def test_a_killed_fetch_goes_on(tmp_path: Path) -> None:
    """The process is killed in the middle of a download, as by a batch system that has run out of time."""
    big = CONTENT * 64
    published = Published({PLAIN_PATH: big})
    with served(published) as mirror:
        code = (
            "import time; from pathlib import Path; from models.weights.fetching import fetch_file\n"
            "from models.weights.published import PublishedFile\n"
            f"fetch_file(PublishedFile('net.pt', {PLAIN!r}), Path({str(tmp_path)!r}), {mirror!r}, print, "
            "lambda name: lambda done, total: time.sleep(0.05))"
        )
        process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
        while not any(path.stat().st_size > len(CONTENT) for path in tmp_path.rglob("*.part")):
            assert process.poll() is None
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        published.requests.clear()
        assert fetch(PublishedFile("net.pt", PLAIN), tmp_path, mirror).read_bytes() == big
    assert any(asked_range is not None for _, _, asked_range in published.requests)
