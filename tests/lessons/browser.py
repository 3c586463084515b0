# SPDX-License-Identifier: GPL-2.0-only
"""A headless Chromium, driven over a pipe: sizes, colour schemes, keys, and what it fetches."""

import base64
import json
import os
import select
import subprocess
import time

from kvm_vmx import host

PATIENCE = 60
# One window of one site: no page makes or keeps a process for another one.
FRUGAL = "--disable-features=ProactivelySwapBrowsingInstance,BackForwardCache,RenderDocument"
KEYS = {"ArrowLeft": 37, "ArrowRight": 39, "Home": 36, "End": 35}


class Browser:
    """One browser with one page. Its errors are exceptions, its requests are kept."""

    def __init__(self, profile):
        to_read, self.to = os.pipe()
        self.back, to_write = os.pipe()
        self.process = subprocess.Popen(
            ["bash", "-c", f'exec "$0" "$@" 3<&{to_read} 4>&{to_write}', host.find("browser"),
             "--headless",
             "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", FRUGAL,
             f"--user-data-dir={profile}", "about:blank"],
            pass_fds=(to_read, to_write), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(to_read)
        os.close(to_write)
        self.number, self.session, self.buffer = 0, None, b""
        self.requests, self.errors, self.loaded = [], [], False
        self.stands = None      # which page, and how wide, for who keeps account of it
        self.worn = None        # the colour scheme and the medium
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call(
            "Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def close(self):
        """End it."""
        self.process.terminate()
        self.process.wait(PATIENCE)
        os.close(self.to)
        os.close(self.back)

    def message(self, until):
        """The next message of the browser."""
        while b"\0" not in self.buffer:
            ready, _, _ = select.select([self.back], [], [], max(0, until - time.monotonic()))
            read = os.read(self.back, 1 << 20) if ready else b""
            if not read:
                raise TimeoutError("the browser does not answer")
            self.buffer += read
        text, _, self.buffer = self.buffer.partition(b"\0")
        return json.loads(text)

    def call(self, method, **parameters):
        """Ask for something and return its result."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        until = time.monotonic() + PATIENCE
        while (found := self.message(until)).get("id") != self.number:
            self.notice(found)
        if "error" in found:
            raise RuntimeError(found["error"])
        return found["result"]

    def notice(self, event):
        """Keep what the page asks the network for, and what it complains of."""
        method, about = event.get("method"), event.get("params", {})
        if method == "Network.requestWillBeSent":
            self.requests.append(about["request"]["url"])
        elif method in ("Runtime.exceptionThrown", "Log.entryAdded"):
            self.errors.append(about)
        elif method == "Page.loadEventFired":
            self.loaded = True

    def open(self, path):
        """Load a file, and wait until it is there."""
        self.stands = None
        self.requests, self.errors, self.loaded = [], [], False
        self.call("Page.navigate", url=path.as_uri())
        until = time.monotonic() + PATIENCE
        while not self.loaded:
            self.notice(self.message(until))

    def size(self, width, height=900):
        """The window's size in pixels."""
        self.stands = None
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=1, mobile=False)

    def media(self, scheme="light", medium=""):
        """light or dark; medium print is the page on paper."""
        if self.worn == (scheme, medium):
            return
        self.worn = scheme, medium
        self.call("Emulation.setEmulatedMedia", media=medium,
                  features=[{"name": "prefers-color-scheme", "value": scheme},
                            {"name": "prefers-reduced-motion", "value": "reduce"}])

    def press(self, key):
        """One key, pressed and released."""
        for kind in ("rawKeyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key,
                      windowsVirtualKeyCode=KEYS[key])

    def evaluate(self, script):
        """The value of an expression in the page."""
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True,
                           awaitPromise=True)
        if "exceptionDetails" in result:
            raise RuntimeError(result["exceptionDetails"])
        return result["result"].get("value")

    def picture(self):
        """The whole page as PNG."""
        return base64.b64decode(self.call(
            "Page.captureScreenshot", format="png", captureBeyondViewport=True)["data"])

    def pdf(self):
        """The page as it is printed."""
        return base64.b64decode(self.call("Page.printToPDF")["data"])
