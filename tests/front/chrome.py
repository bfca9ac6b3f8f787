"""chrome -- a headless Chromium over its debugging pipe: open a page, run script in it, press keys, watch what it does."""
import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time


def find():
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Chrome:
    def __init__(self, width=1280, height=800):
        self.dir = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        to_read, self.w = os.pipe()
        self.r, to_write = os.pipe()
        # Descriptors 3 and 4 are where Chromium expects its pipe; the shell puts them there.
        command = ('exec "$0" --headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run '
                   '--disable-background-networking --disable-component-update --disable-sync --mute-audio '
                   '--hide-scrollbars --remote-debugging-pipe --user-data-dir="$1" --window-size="$2" about:blank '
                   f'3<&{to_read} 4>&{to_write}')
        self.process = subprocess.Popen(["bash", "-c", command, find(), self.dir.name, f"{width},{height}"],
                                        pass_fds=(to_read, to_write), stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(to_read)
        os.close(to_write)
        self.buffer, self.number, self.events, self.session = b"", 0, [], None
        targets = self.call("Target.getTargets")["targetInfos"]
        page = next(t for t in targets if t["type"] == "page")
        self.session = self.call("Target.attachToTarget", targetId=page["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log", "Accessibility"):
            self.call(f"{domain}.enable")

    def _receive(self, timeout):
        end = time.monotonic() + timeout
        while b"\0" not in self.buffer:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.r], [], [], left)[0]:
                return None
            data = os.read(self.r, 1 << 20)
            if not data:
                raise AssertionError("Chromium is gone")
            self.buffer += data
        message, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(message)

    def call(self, method, **params):
        self.number += 1
        number = self.number
        message = {"id": number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.w, json.dumps(message).encode() + b"\0")
        while True:
            m = self._receive(60)
            if m is None:
                raise AssertionError(f"{method}: no answer from Chromium")
            if m.get("id") == number:
                if "error" in m:
                    raise AssertionError(f"{method}: {m['error']}")
                return m["result"]
            self.events.append(m)

    def pump(self, seconds=0.05):
        m = self._receive(seconds)
        if m:
            self.events.append(m)

    def open(self, url):
        self.call("Page.navigate", url=url)
        self.until("document.readyState === 'complete'")

    def run(self, script):
        r = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in r:
            raise AssertionError(f"{script}: {r['exceptionDetails']}")
        return r["result"].get("value")

    def until(self, script, seconds=15):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            value = self.run(script)
            if value:
                return value
            self.pump()
        raise AssertionError(f"waited {seconds} s in vain for: {script}\n{self.run('document.body.innerText')}")

    def type(self, text):
        self.call("Input.insertText", text=text)

    def press(self, key, code=0, modifiers=0):
        text = "\r" if key == "Enter" and not modifiers else ""
        base = dict(key=key, code=key, windowsVirtualKeyCode=code, modifiers=modifiers)
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **base)
        self.call("Input.dispatchKeyEvent", type="keyUp", **base)

    def screenshot(self, path):
        with open(path, "wb") as f:
            f.write(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def complaints(self):
        """What the page or the browser found wrong: exceptions, console errors, policy violations."""
        self.pump(0.2)
        found = []
        for m in self.events:
            if m.get("method") == "Runtime.exceptionThrown":
                found.append(m["params"]["exceptionDetails"].get("text"))
            if m.get("method") == "Log.entryAdded" and m["params"]["entry"]["level"] == "error":
                found.append(m["params"]["entry"]["text"])
        return found

    def requests(self):
        return [m["params"]["request"]["url"] for m in self.events if m.get("method") == "Network.requestWillBeSent"]

    def close(self):
        try:
            self.session = None
            self.call("Browser.close")
        except (AssertionError, OSError):
            pass
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self.r)
        os.close(self.w)
        self.dir.cleanup()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()
