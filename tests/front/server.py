"""server -- starts `tokenworks serve` with the fake engine, talks raw HTTP to it, and speaks TAP."""
import json
import os
import re
import resource
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import traceback

B = os.environ.get("B", "build")
FAKE = os.path.join(B, "tests/front/fake_engine_tool")
SLOW = 5 if os.environ.get("SANITIZE") else 1  # sanitizers and busy machines: time limits are this much wider


class Server:
    def __init__(self, *options, env=None, models=("tiny",), listen="127.0.0.1:0", engine=FAKE, wait=True, tls=None, files=None):
        self.dir = tempfile.TemporaryDirectory()
        named = []
        for model in models:
            path = os.path.join(self.dir.name, model + ".gguf")
            with open(path, "wb") as f:
                f.write(b"x" * 1234)
            named += ["--model", path]
        self.address = listen.rsplit(":", 1)[0].strip("[]")
        self.tls = tls
        self.lines = []
        limit = (files, resource.getrlimit(resource.RLIMIT_NOFILE)[1]) if files else None
        shrink = (lambda: resource.setrlimit(resource.RLIMIT_NOFILE, limit)) if limit else None
        self.process = subprocess.Popen(
            [os.path.join(B, "tokenworks"), "serve", *named, "--listen", listen, "--engine", engine, *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env={**os.environ, "TOKENWORKS_HOME": self.dir.name, **(env or {})}, text=True,
            preexec_fn=shrink)
        self.port = None
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        until(lambda: self.port or self.process.poll() is not None, "the server to listen")
        if wait and self.port:
            until(lambda: self.get("/health").status == 200, "the engine to be ready")

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line)
            m = re.match(r"listening on https?://.*:(\d+)$", line.strip())
            if m:
                self.port = int(m.group(1))

    @property
    def log(self):
        return "".join(self.lines)

    def connect(self):
        s = socket.create_connection((self.address, self.port), timeout=10 * SLOW)
        if self.tls:
            s = self.tls.wrap_socket(s, server_hostname="localhost")
        return s

    def raw(self, data):
        """Sends bytes on a fresh connection; returns the Reply."""
        with self.connect() as s:
            try:
                s.sendall(data)
            except OSError:
                pass  # refused early: the reply is there all the same
            return Reply(s)

    def get(self, path, **headers):
        return self.raw(request("GET", path, None, headers))

    def post(self, path, body, **headers):
        return self.raw(request("POST", path, body, headers))

    def do(self, path="/v1/chat/completions", **fields):
        return self.post(path, fields)

    def open(self, **fields):
        """A connection on which a request was sent and nothing was read."""
        s = self.connect()
        s.sendall(request("POST", "/v1/chat/completions", fields, {}))
        return s

    def stats(self):
        return self.get("/tokenworks/stats").json()

    def stop(self, sig=signal.SIGTERM, timeout=20):
        if self.process.poll() is None:
            self.process.send_signal(sig)
        try:
            code = self.process.wait(timeout * SLOW)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = "did not stop"
        self.reader.join(5)
        self.dir.cleanup()
        return code

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        code = self.stop()
        if exc[0]:
            print("# " + self.log.replace("\n", "\n# "))
        elif code != 0:
            raise AssertionError(f"the server's exit status is {code}\n{self.log}")


def request(method, path, body, headers):
    data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    lines = {"Host": "localhost"}
    if body is not None:
        lines.update({"Content-Type": "application/json", "Content-Length": str(len(data))})
    lines.update({k.replace("_", "-"): v for k, v in headers.items()})
    head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in lines.items() if v is not None)
    return head.encode() + b"\r\n" + data


class Reply:
    """Reads one reply from a socket, strictly; `complete` says whether it ended as HTTP says."""

    def __init__(self, s, method="GET", start=b""):
        self.s, self.rest, self.complete, self.body, self.status = s, bytearray(start), False, b"", 0
        pieces = []
        self.headers, self.interim = {}, []
        while True:
            head = self._until(b"\r\n\r\n")
            if head is None:
                return
            lines = head.decode("latin-1").split("\r\n")
            self.status = int(lines[0].split()[1])
            if self.status >= 200:
                break
            self.interim.append(self.status)
        self.lines = lines[1:]
        self.headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines[1:])}
        if method == "HEAD" or self.status == 204:
            self.complete = True
        elif "content-length" in self.headers:
            self.body = self._exactly(int(self.headers["content-length"]))
            self.complete = len(self.body) == int(self.headers["content-length"])
        elif self.headers.get("transfer-encoding") == "chunked":
            while not self.complete:
                size = self._until(b"\r\n")
                piece = self._exactly(int(size, 16) + 2) if size else b""
                pieces.append(piece[:-2])
                if not piece.endswith(b"\r\n"):
                    break
                self.complete = piece == b"\r\n"
            self.body = b"".join(pieces)
        else:
            while self._more():
                pass
            self.body, self.rest, self.complete = bytes(self.rest), bytearray(), True

    def _more(self):
        try:
            data = self.s.recv(65536)
        except (ConnectionResetError, ssl.SSLEOFError):
            data = b""
        self.rest += data
        return bool(data)

    def _until(self, mark):
        while mark not in self.rest:
            if not self._more():
                return None
        at = self.rest.index(mark)
        found = bytes(self.rest[:at])
        del self.rest[:at + len(mark)]
        return found

    def _exactly(self, n):
        while len(self.rest) < n and self._more():
            pass
        found = bytes(self.rest[:n])
        del self.rest[:n]
        return found

    def json(self):
        return json.loads(self.body)

    def error(self):
        return self.json()["error"]


def closed(s):
    """The peer has closed (or closes soon)."""
    s.settimeout(10 * SLOW)
    try:
        return s.recv(65536) == b""
    except ConnectionResetError:
        return True


def until(condition, what, seconds=10):
    deadline = time.monotonic() + seconds * SLOW
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError(f"waited {seconds} s in vain for {what}")


def equal(got, want):
    if got != want:
        raise AssertionError(f"got {got!r}, want {want!r}")


class Skip(Exception):
    """Raised by a test that cannot run here, with the reason."""


def run(tests):
    failed = 0
    for number, test in enumerate(tests, 1):
        try:
            test()
            print(f"ok {number} - {test.__name__}", flush=True)
        except Skip as why:
            print(f"ok {number} - {test.__name__} # SKIP {why}", flush=True)
        except Exception:
            failed += 1
            print("# " + traceback.format_exc().replace("\n", "\n# "))
            print(f"not ok {number} - {test.__name__}", flush=True)
    print(f"1..{len(tests)}")
    sys.exit(1 if failed else 0)
