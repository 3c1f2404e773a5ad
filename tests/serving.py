"""A server on the loopback address that answers as the publishers of weights do."""

import hashlib
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from threading import Thread
from urllib.parse import parse_qs, urlsplit

from tstitch.runs.digest import file_sha256

HUB = re.compile(r"/(?:huggingface\.co/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)")
CHUNK_BYTES = 1 << 20
COMMIT = "0123456789abcdef0123456789abcdef01234567"
# The form stands on one line, as Drive writes it.
SCAN_PAGE = (
    "<!DOCTYPE html><html><head><title>Google Drive - Virus scan warning</title></head><body>"
    '<p class="uc-warning-caption">Google Drive can\'t scan this file for viruses.</p>'
    '<form id="download-form" action="{action}" method="get"><input type="submit" value="Download anyway"/>'
    '<input type="hidden" name="id" value="{id}"><input type="hidden" name="export" value="download">'
    '<input type="hidden" name="confirm" value="t"><input type="hidden" name="uuid" value="a-b"></form></body></html>'
)
QUOTA_PAGE = """<!DOCTYPE html><html><head><title>Google Drive - Quota exceeded</title></head><body>
<p class="uc-error-caption">Sorry, you can't view or download this file at this time.</p>
<p class="uc-error-subcaption">Too many users have viewed or downloaded this file recently.</p></body></html>"""
SIGN_IN_PAGE = "<!doctype html><html><head><title>Google Drive: Sign-in</title></head><body>Sign in</body></html>"


@dataclass
class Published:
    """What the server has: contents by path, or by the id of a Drive file; and what it was asked for."""

    contents: dict[str, bytes | Path]
    pages: dict[str, str] = field(default_factory=dict)
    cuts: dict[str, int] = field(default_factory=dict)
    """Answers still to be broken off half-way, by path."""
    checksums: dict[str, str] = field(default_factory=dict)
    """SHA-256 that the Hub names, by path, where it is not the content's."""
    ranges: bool = True
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)
    sent: int = 0
    """Bytes of bodies that were sent."""


@cache
def digest_of(content: bytes | Path) -> str:
    """The SHA-256 of what is served."""
    return file_sha256(content) if isinstance(content, Path) else hashlib.sha256(content).hexdigest()


def make_handler(published: Published) -> Callable[..., BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def _answer(self, with_body: bool) -> None:
            path, query = urlsplit(self.path).path, parse_qs(urlsplit(self.path).query)
            key = query["id"][0] if "id" in query else path
            published.requests.append((self.command, self.path, self.headers.get("Range")))
            if key in published.pages and "confirm" not in query:
                return self._page(published.pages[key])
            if key not in published.contents:
                return self._page("<html>not found</html>", status=404)
            content = published.contents[key]
            size = content.stat().st_size if isinstance(content, Path) else len(content)
            start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-")) if self._has_range() else 0
            if start >= size > 0:
                return self._page("", status=416)
            self.send_response(206 if self._has_range() else 200)
            self.send_header("Content-Type", "application/octet-stream")
            self.send_header("Content-Length", str(size - start))
            self.send_header("ETag", f'"{published.checksums.get(key) or digest_of(content)}"')
            if self._has_range():
                self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
            if HUB.fullmatch(path):
                self.send_header("X-Repo-Commit", COMMIT)
            if "id" in query:
                self.send_header("Content-Disposition", 'attachment; filename="checkpoint.pt"')
            self.end_headers()
            if not with_body:
                return None
            stop = size
            if published.cuts.get(key, 0) > 0:
                published.cuts[key] -= 1
                stop = start + (size - start) // 2
                self.close_connection = True
            try:
                with content.open("rb") if isinstance(content, Path) else BytesIO(content) as file:
                    file.seek(start)
                    while file.tell() < stop:
                        self.wfile.write(file.read(min(CHUNK_BYTES, stop - file.tell())))
                published.sent += stop - start
            except OSError:
                self.close_connection = True  # the client looked at the headers only
            return None

        def _has_range(self) -> bool:
            return published.ranges and "Range" in self.headers

        def _page(self, text: str, status: int = 200) -> None:
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


class Server(ThreadingHTTPServer):
    """Says nothing of clients that hang up, as one does that has seen an error in the headers."""

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def served(published: Published) -> Iterator[str]:
    """Serve on a free port; the address, as a mirror's."""
    server = Server(("127.0.0.1", 0), make_handler(published))
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
