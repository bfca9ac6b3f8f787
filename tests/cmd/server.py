"""server -- starts `tokenworks serve` for a test, speaks HTTP to it, stops it; and says TAP."""
import http.client, json, os, re, signal, socket, subprocess, sys, time

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
BUILD = os.environ.get("B", os.path.join(ROOT, "build"))
BINARY = os.path.join(BUILD, "tokenworks")
STATE = os.environ.get("TOKENWORKS_HOME", os.path.expanduser("~/.cache/tokenworks"))
MODEL = os.path.join(STATE, "models", "SmolLM2-135M-Instruct.Q4_1.gguf")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def until(condition, what="what is asked for", seconds=60, every=0.02):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s in vain for {what}"
        time.sleep(every)


class Server:
    def __init__(self, *options, model=MODEL, env=None):
        command = [BINARY, "serve", "--model", model, "--listen", "127.0.0.1:0", *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                        env={**os.environ, **(env or {})})
        self.port, self.log = None, []
        for line in self.process.stdout:
            found = re.search(r"http://127\.0\.0\.1:(\d+)", line)
            if found:
                self.port = int(found.group(1))
                break
        if not self.port:
            sys.exit("not ok 1 - the server starts\n# " + "".join(self.log)[-2000:])
        self.url = f"http://127.0.0.1:{self.port}"
        # its narration must not fill the pipe
        import threading
        for pipe in (self.process.stderr, self.process.stdout):
            threading.Thread(target=lambda p=pipe: self.log.extend(p), daemon=True).start()

    def wait_ready(self, seconds=120):
        deadline = time.time() + seconds
        while time.time() < deadline:
            try:
                if self.get("/health")[0] == 200:
                    return self
            except OSError:
                pass
            time.sleep(0.05)
        sys.exit("not ok 1 - the server becomes ready\n# " + "".join(self.log)[-2000:])

    def request(self, method, path, body=None, headers=None, timeout=120):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        data = json.dumps(body) if body is not None and not isinstance(body, (str, bytes)) else body
        c.request(method, path, data, {"Content-Type": "application/json", **(headers or {})})
        r = c.getresponse()
        text = r.read()
        c.close()
        return r.status, text, dict((k.lower(), v) for k, v in r.getheaders())

    def get(self, path, **kw):
        return self.request("GET", path, **kw)

    def post(self, path, body, **kw):
        status, text, headers = self.request("POST", path, body, **kw)
        return status, json.loads(text), headers

    def chat(self, prompt, **fields):
        body = {"messages": [{"role": "user", "content": prompt}], "temperature": 0, **fields}
        return self.post("/v1/chat/completions", body)

    def metric(self, name):
        for line in self.get("/metrics")[1].decode().splitlines():
            if re.match(re.escape(name) + r"(\{[^}]*\})? ", line):
                return float(line.rsplit(" ", 1)[1])
        raise KeyError(name)

    def engine_pid(self):
        out = subprocess.run(["pgrep", "-P", str(self.process.pid)], capture_output=True, text=True).stdout.split()
        return int(out[0]) if out else None

    def engine_pid_of(self, name):
        """Of a child by its name: tw-engine, tw-keeper."""
        return int(subprocess.run(["pgrep", "-P", str(self.process.pid), name], capture_output=True, text=True).stdout.split()[0])

    def stop(self, seconds=60):
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return -1


class Tap:
    """with tap.case("name"): ... an exception or a false check fails the case; all others go on."""
    def __init__(self):
        self.count = self.failed = 0

    def case(self, name):
        self.name = name
        return self

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.count += 1
        if kind is None:
            print(f"ok {self.count} - {self.name}", flush=True)
        else:
            import traceback
            self.failed += 1
            print(f"not ok {self.count} - {self.name}")
            print("# " + "".join(traceback.format_exception(kind, value, trace)).strip().replace("\n", "\n# "), flush=True)
        return True

    def skip_all(self, why):
        print(f"ok 1 - all # SKIP {why}\n1..1")
        sys.exit(0)

    def done(self):
        print(f"1..{self.count}")
        sys.exit(1 if self.failed else 0)


def need_model(tap):
    if not os.path.exists(MODEL):
        tap.skip_all("the default model is not here (tools/deps run)")
