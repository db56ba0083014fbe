"""A headless Chromium that tests drive, over the pipe that its DevTools protocol speaks.

Messages are JSON with a zero byte behind each: no websocket, no port, no package. Whatever goes wrong in the
page (exceptions, console errors, loads that its policy refuses) is kept in `Page.troubles`.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
TIMEOUT_S = 30.0
# By these the browser itself knows them, to close a dialog for instance.
_KEY_CODES = {"Enter": 13, "Escape": 27}


def find_chromium() -> str | None:
    """Return the path of a Chromium (or of what `CHROMIUM` names), None where there is none."""
    named = os.environ.get("CHROMIUM")
    return shutil.which(named) if named else next(filter(None, map(shutil.which, NAMES)), None)


class BrowserError(AssertionError):
    """The browser said no, or nothing."""


class Browser:
    """One process of Chromium with its own profile."""

    def __init__(self, program: str, profile: str) -> None:
        to_browser, self._write = os.pipe()
        self._read, from_browser = os.pipe()

        def place_pipes() -> None:  # the protocol is spoken on descriptors 3 and 4, whatever they are now
            incoming, outgoing = os.dup(to_browser), os.dup(from_browser)
            os.dup2(incoming, 3)
            os.dup2(outgoing, 4)

        options = ["--headless", "--remote-debugging-pipe", f"--user-data-dir={profile}", "--disable-gpu"]
        options += ["--no-first-run", "--hide-scrollbars", "--disable-dev-shm-usage", "--disable-extensions"]
        options += [
            "--disable-background-networking",
            "--disable-component-update",
            "--force-color-profile=srgb",
        ]
        if os.geteuid() == 0:
            options.append("--no-sandbox")  # Chromium refuses to sandbox root
        self._process = subprocess.Popen(
            [program, *options, "about:blank"],
            close_fds=False,
            preexec_fn=place_pipes,  # noqa: PLW1509 - the tests that use it start no threads before
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(to_browser)
        os.close(from_browser)
        self._buffer = b""
        self._number = 0
        self._listeners: list[Callable[[dict[str, Any]], None]] = []

    def close(self) -> None:
        """End the browser and all its processes."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._write)
        os.close(self._read)

    def open_page(self, width: int = 1280, height: int = 900, *, dark: bool = False) -> Page:
        """Open an empty page of that size."""
        target = self.call("Target.createTarget", {"url": "about:blank"})["targetId"]
        session = self.call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        return Page(self, session, target, width, height, dark=dark)

    def listen(self, listener: Callable[[dict[str, Any]], None]) -> None:
        """Call `listener` with each event from now on."""
        self._listeners.append(listener)

    def call(self, method: str, parameters: dict[str, Any] | None = None, session: str | None = None) -> Any:
        """Call a method of the protocol and return its result."""
        self._number += 1
        number = self._number
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters or {}}
        if session:
            message["sessionId"] = session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._write, data) :]
        answer = self._next(lambda received: received.get("id") == number, method)
        if "error" in answer:
            raise BrowserError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def wait_for(self, method: str, session: str) -> dict[str, Any]:
        """Read on until that event came."""
        return self._next(
            lambda received: received.get("method") == method and received.get("sessionId") == session, method
        )

    def _next(self, wanted: Callable[[dict[str, Any]], bool], what: str) -> dict[str, Any]:
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            while b"\0" not in self._buffer:
                ready, _, _ = select.select([self._read], [], [], max(deadline - time.monotonic(), 0))
                piece = os.read(self._read, 1 << 20) if ready else b""
                if not piece:
                    raise BrowserError(f"Chromium did not answer ({what})" if not ready else "Chromium ended")
                self._buffer += piece
            line, _, self._buffer = self._buffer.partition(b"\0")
            received = json.loads(line)
            if "method" in received:
                for listener in self._listeners:
                    listener(received)
            if wanted(received):
                return received  # type: ignore[no-any-return]


class Page:
    """One tab."""

    def __init__(
        self, browser: Browser, session: str, target: str, width: int, height: int, *, dark: bool
    ) -> None:
        self._browser = browser
        self._session = session
        self._target = target
        self.troubles: list[str] = []
        self.requests: list[str] = []
        browser.listen(self._note)
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", {"features": [scheme]})

    def call(self, method: str, parameters: dict[str, Any] | None = None) -> Any:
        """Call a method of the protocol for this tab."""
        return self._browser.call(method, parameters, self._session)

    def open(self, address: str) -> None:
        """Load the address and wait until its `load` event."""
        self.call("Page.navigate", {"url": address})
        self._browser.wait_for("Page.loadEventFired", self._session)

    def evaluate(self, expression: str) -> Any:
        """Return what the expression is in the page; a promise is awaited."""
        answer = self.call(
            "Runtime.evaluate", {"expression": expression, "returnByValue": True, "awaitPromise": True}
        )
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise BrowserError(details.get("exception", {}).get("description", details["text"]))
        return answer["result"].get("value")

    def wait_until(self, condition: str) -> None:
        """Wait until the expression is true, asked again with each frame that is drawn."""
        milliseconds = int(TIMEOUT_S * 1000)
        held = self.evaluate(
            f"""new Promise((done) => {{
                const until = performance.now() + {milliseconds};
                const look = () => {{
                    if ({condition}) done(true);
                    else if (performance.now() > until) done(false);
                    else setTimeout(look, 16);
                }};
                look();
            }})"""
        )
        if not held:
            raise BrowserError(f"never became true: {condition}")

    def settle(self) -> None:
        """Wait until what was asked for has been drawn."""
        self.evaluate(
            "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done())))"
        )

    def press(self, key: str, text: str | None = None) -> None:
        """Press and release a key."""
        code = {"windowsVirtualKeyCode": _KEY_CODES[key]} if key in _KEY_CODES else {}
        pressed: dict[str, Any] = {"type": "keyDown", "key": key, **code}
        if text or len(key) == 1:
            pressed["text"] = text or key
        self.call("Input.dispatchKeyEvent", pressed)
        self.call("Input.dispatchKeyEvent", {"type": "keyUp", "key": key, **code})
        self.settle()

    def type(self, text: str) -> None:
        """Put the text where the focus is."""
        self.call("Input.insertText", {"text": text})
        self.settle()

    def mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        """Send one event of the mouse."""
        self.call("Input.dispatchMouseEvent", {"type": kind, "x": x, "y": y, **more})

    def click(self, x: float, y: float) -> None:
        """Click at that place of the window."""
        for kind in ("mousePressed", "mouseReleased"):
            self.mouse(kind, x, y, button="left", clickCount=1)
        self.settle()

    def click_on(self, selector: str) -> None:
        """Click in the middle of the element."""
        place = self.evaluate(
            f"""(() => {{
                const found = document.querySelector({json.dumps(selector)});
                found.scrollIntoView({{ block: "center", behavior: "instant" }});
                const box = found.getBoundingClientRect();
                return [box.left + box.width / 2, box.top + box.height / 2];
            }})()"""
        )
        self.click(*place)

    def text(self, selector: str) -> str:
        """Return the text of the element as it is shown."""
        return str(self.evaluate(f"document.querySelector({json.dumps(selector)}).innerText"))

    def screenshot(self, *, full: bool = False) -> bytes:
        """Return a PNG of the window, or of the whole page."""
        import base64

        answer = self.call("Page.captureScreenshot", {"format": "png", "captureBeyondViewport": full})
        return base64.b64decode(answer["data"])

    def close(self) -> None:
        """Close the tab."""
        self._browser.call("Target.closeTarget", {"targetId": self._target})

    def _note(self, event: dict[str, Any]) -> None:
        if event.get("sessionId") != self._session:
            return
        parameters = event["params"]
        method = event["method"]
        if method == "Runtime.exceptionThrown":
            details = parameters["exceptionDetails"]
            self.troubles.append(details.get("exception", {}).get("description", details["text"]))
        elif method == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "warning", "assert"):
            self.troubles.append(str([each.get("value") for each in parameters["args"]]))
        elif method == "Log.entryAdded" and parameters["entry"]["level"] in ("error", "warning"):
            self.troubles.append(parameters["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])


@contextlib.contextmanager
def chromium(profile: str) -> Iterator[Browser]:
    """Give a browser, and end it."""
    program = find_chromium()
    if program is None:
        raise BrowserError("there is no Chromium")
    browser = Browser(program, profile)
    try:
        yield browser
    finally:
        browser.close()
