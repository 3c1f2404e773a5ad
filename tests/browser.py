"""Headless Chromium, driven through a pipe by its DevTools protocol; it reaches this machine alone."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium in PATH (Debian: apt install chromium)")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--enable-logging=stderr",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]  # fmt: skip


class Browser:
    """One page. `requests` are the addresses that it asked for, `mistakes` what its console and its scripts said."""

    def __init__(self, profile: Path, width: int = 1400, height: int = 1000, is_dark: bool = False):
        from_browser, to_test = os.pipe()
        from_test, to_browser = os.pipe()
        flags = [*FLAGS, "--remote-debugging-pipe", f"--user-data-dir={profile}", f"--window-size={width},{height}"]
        command = f'exec "$0" "$@" 3<&{from_test} 4>&{to_test}'
        self.process = subprocess.Popen(
            ["bash", "-c", command, CHROMIUM, *flags], pass_fds=(from_test, to_test), stderr=subprocess.DEVNULL
        )
        os.close(from_test)
        os.close(to_test)
        self.read_from, self.write_to, self.buffer, self.number = from_browser, to_browser, b"", 0
        self.requests: list[str] = []
        self.mistakes: list[str] = []
        self.session = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network"):
            self.call(f"{domain}.enable")
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=scheme)
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.read_from)
        os.close(self.write_to)

    def call(self, method: str, **parameters: object) -> dict:
        """Call a method of the protocol, and wait for its result."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session is not None:
            message["sessionId"] = self.session
        os.write(self.write_to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next(60)
            if answer.get("id") == self.number:
                assert "error" not in answer, answer
                return answer["result"]
            self._note(answer)

    def open(self, address: str) -> None:
        """Go to an address."""
        self.call("Page.navigate", url=address)

    def value(self, expression: str) -> object:
        """The value of an expression in the page."""
        done = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def wait(self, expression: str, seconds: float = 60) -> object:
        """The value of an expression once it is true."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if value := self.value(expression):
                return value
            time.sleep(0.1)
        raise AssertionError(f"{expression} did not come true in {seconds} s: {self.value('document.body.innerText')}")

    def click(self, selector: str) -> None:
        """Click on the first element of a selector."""
        self.value(f"document.querySelector({json.dumps(selector)}).click()")

    def write(self, selector: str, text: str) -> None:
        """Replace the text of an input, as if it were typed."""
        place = f"document.querySelector({json.dumps(selector)})"
        self.value(f"{place}.focus(); {place}.select()")
        self.call("Input.insertText", text=text)

    def shot(self, path: Path) -> None:
        """Take a picture of the whole page."""
        picture = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(picture["data"]))

    def _next(self, seconds: float) -> dict:
        while b"\0" not in self.buffer:
            ready, _, _ = select.select([self.read_from], [], [], seconds)
            assert ready, "the browser is silent"
            self.buffer += os.read(self.read_from, 1 << 20)
        message, _, self.buffer = self.buffer.partition(b"\0")
        return json.loads(message)

    def _note(self, event: dict) -> None:
        parameters = event.get("params", {})
        if event.get("method") == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])
        elif event.get("method") == "Runtime.exceptionThrown":
            self.mistakes.append(str(parameters["exceptionDetails"]))
        elif event.get("method") == "Runtime.consoleAPICalled" and parameters["type"] == "error":
            self.mistakes.append(str(parameters["args"]))
