#!/usr/bin/env python3
"""retry_test -- a gateway is killed in the middle of an answer; its client sends the same request with its Idempotency-Key to
another gateway: the same tokens, one row in the book at home however often it is repeated and when the dead gateway is back,
and what the dead one had asked for stops within 5 s. Runs alone: it judges times."""
import http.client, json, os, shutil, signal, socket, sqlite3, subprocess, sys, tempfile, time
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "cmd"))
from server import BINARY, MODEL, Tap, need_model

tap = Tap()
need_model(tap)
if not shutil.which("nats-server"):
    tap.skip_all("nats-server is not here (tools/deps)")
FOLDER = tempfile.TemporaryDirectory()
HOME, SECRET, ORPHAN_S = f"{FOLDER.name}/home", f"{FOLDER.name}/secret", 5.0
SLOW = float(os.environ.get("SLOW", "2"))  # other tests may run beside this one
with open(SECRET, "w") as f:
    f.write("a secret of the fleet's gateways\n")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


BUS = free_port()
processes = [subprocess.Popen(["nats-server", "-js", "-sd", f"{FOLDER.name}/js", "-a", "127.0.0.1", "-p", str(BUS)],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)]
URL = f"nats://127.0.0.1:{BUS}"


def start(*words):
    processes.append(subprocess.Popen([BINARY, *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True))
    return processes[-1]


def run(*words):
    r = subprocess.run([BINARY, *words], capture_output=True, text=True, timeout=60)
    assert r.returncode == 0, (words, r.stderr)
    return r.stdout.strip()


def until(what, condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds} s in vain for {what}"
        time.sleep(0.05)


class Gateway:
    def __init__(self, name):
        self.name, self.state, self.config = name, f"{FOLDER.name}/{name}", f"{FOLDER.name}/{name}.yaml"
        os.makedirs(self.state)
        run("tenant", "add", "clinic", "--state", self.state)
        self.key = run("key", "add", "--tenant", "clinic", "--name", "one", "--state", self.state).split()[-1]
        with open(self.config, "w") as f:
            f.write(f'nats: {{ url: "{URL}", bills: true, secret-file: "{SECRET}" }}\n')
        self.start()

    def start(self):
        self.process = start("gateway", "--config", self.config, "--site", "fra", "--jurisdiction", "de", "--name", self.name,
                             "--listen", "127.0.0.1:0", "--state", self.state)
        self.port = int(self.process.stdout.readline().rsplit(":", 1)[1])
        until("a worker's model", lambda: b"SmolLM2" in self.ask("GET", "/v1/models").read())

    def ask(self, method, path, body=None, **headers):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        c.request(method, path, json.dumps(body) if body else None,
                  {"Content-Type": "application/json", "Authorization": "Bearer " + self.key, **headers})
        return c.getresponse()


def stream(response, tokens=10 ** 9):
    """Its text, of so many events at most; cut off or not."""
    text, whole = "", False
    try:
        for line in response:
            if line.strip() == b"data: [DONE]":
                whole = True
            elif line.startswith(b"data: "):
                for choice in json.loads(line[6:])["choices"]:
                    text += choice["delta"].get("content") or ""
                tokens -= 1
                if tokens <= 0:
                    break
    except (http.client.HTTPException, OSError):
        pass
    return text, whole


def home_rows():
    try:
        db = sqlite3.connect(f"file:{HOME}/ledger.db?mode=ro", uri=True)
        rows = db.execute("SELECT request_id, prompt, output FROM usage WHERE request_id LIKE 'idem-%'").fetchall()
        db.close()
        return rows
    except sqlite3.OperationalError:
        return []


def running():
    c = http.client.HTTPConnection("127.0.0.1", WORKER, timeout=20)
    c.request("GET", "/metrics")
    lines = c.getresponse().read().decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("tokenworks_num_requests_running"))


N = 200
BODY = {"model": os.path.basename(MODEL)[:-5], "messages": [{"role": "user", "content": "Tell me about the sea."}], "stream": True,
        "temperature": 0.8, "max_tokens": N, "min_tokens": N}
try:
    collector = start("collect", "--nats", URL, "--state", HOME)
    assert "collecting" in collector.stdout.readline()
    WORKER = free_port()
    start("worker", "--nats", URL, "--site", "fra", "--jurisdiction", "de", "--name", "w1", "--model", MODEL, "--threads", "1",
          "--ctx", "2048", "--kv-memory", "128M", "--listen", f"127.0.0.1:{WORKER}", "--state", f"{FOLDER.name}/w1")
    gates = [Gateway("gw1"), Gateway("gw2")]

    with tap.case("the same request with its Idempotency-Key at another gateway: the same tokens"):
        response = gates[0].ask("POST", "/v1/chat/completions", BODY, **{"Idempotency-Key": "k-1"})
        orphan = gates[0].ask("POST", "/v1/chat/completions", {**BODY, "max_tokens": 1800, "min_tokens": 1800})
        part, _ = stream(response, 40)
        stream(orphan, 5)
        gates[0].process.kill()
        killed = time.monotonic()
        gates[0].process.wait()
        rest, whole = stream(response)
        assert part and not whole, (part, rest)
        again, whole = stream(gates[1].ask("POST", "/v1/chat/completions", BODY, **{"Idempotency-Key": "k-1"}))
        assert whole and again.startswith(part + rest) and len(again) > len(part + rest), (part, rest, again)

    with tap.case("what the dead gateway had asked for stops within 5 s"):
        until("the orphans to stop", lambda: running() == 0, max(0.1, ORPHAN_S * SLOW - (time.monotonic() - killed)))
        print(f"# {time.monotonic() - killed:.1f} s")

    with tap.case("it stands in the book at home once, also when the dead gateway is back and it is sent there again"):
        until("its row", lambda: len(home_rows()) == 1)
        assert home_rows()[0][2] == N, home_rows()
        gates[0].start()
        once_more, whole = stream(gates[0].ask("POST", "/v1/chat/completions", BODY, **{"Idempotency-Key": "k-1"}))
        assert whole and once_more == again
        time.sleep(2)  # for a second row that must not come
        assert len(home_rows()) == 1 and home_rows()[0][2] == N, home_rows()
finally:
    for p in reversed(processes):
        p.kill()
        p.wait()
tap.done()
