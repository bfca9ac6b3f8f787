#!/usr/bin/env python3
"""books_test -- two gateways, one worker: bills reach the home site's ledger exactly once whoever dies meanwhile, and a
tenant's limits hold for both gateways together."""
import http.client, json, os, shutil, signal, sqlite3, subprocess, sys, tempfile, threading, time
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "cmd"))
import tiny_llama
from server import BINARY, Tap, free_port

tap = Tap()
if not shutil.which("nats-server"):
    tap.skip_all("nats-server is not here (tools/deps)")
FOLDER = tempfile.TemporaryDirectory()
MODEL = f"{FOLDER.name}/tiny.gguf"
tiny_llama.write(MODEL, 7)
PROMPT_WORDS, OUTPUT = 8, 4


BUS = free_port()
nats = subprocess.Popen(["nats-server", "-js", "-sd", f"{FOLDER.name}/js", "-a", "127.0.0.1", "-p", str(BUS)],
                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
processes = [nats]


def start(*words):
    p = subprocess.Popen([BINARY, *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    processes.append(p)
    return p


def run(*words):
    r = subprocess.run([BINARY, *words], capture_output=True, text=True, timeout=60)
    assert r.returncode == 0, (words, r.stderr)
    return r.stdout.strip()


class Gateway:
    def __init__(self, name):
        self.name, self.state = name, f"{FOLDER.name}/{name}"
        os.makedirs(self.state)
        run("tenant", "add", "clinic", "--state", self.state)
        self.key = run("key", "add", "--tenant", "clinic", "--name", "one", "--state", self.state).split()[-1]
        self.admin = run("key", "add", "--tenant", "clinic", "--name", "ops", "--role", "admin", "--state", self.state).split()[-1]
        self.config = f"{FOLDER.name}/{name}.yaml"
        with open(self.config, "w") as f:
            f.write(f'nats: {{ url: "nats://127.0.0.1:{BUS}", bills: true, limits: true }}\n')

    def start(self):
        self.process = start("gateway", "--config", self.config, "--site", "fra", "--jurisdiction", "de", "--name", self.name,
                             "--listen", "127.0.0.1:0", "--state", self.state)
        self.port = int(self.process.stdout.readline().rsplit(":", 1)[1])
        end = time.time() + 20
        while time.time() < end and self.ask("/v1/models", None)[1].find(b"tiny") < 0:
            time.sleep(0.1)
        return self

    def ask(self, path, body, key=None, headers=None):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        c.request("POST" if body else "GET", path, json.dumps(body) if body else None,
                  {"Content-Type": "application/json", "Authorization": "Bearer " + (key or self.key), **(headers or {})})
        r = c.getresponse()
        text = r.read()
        c.close()
        return r.status, text, r.headers

    def complete(self, text, **headers):
        return self.ask("/v1/completions", {"model": "tiny", "prompt": text, "max_tokens": OUTPUT, "ignore_eos": True},
                        headers=headers)

    def rows(self):
        db = sqlite3.connect(f"file:{self.state}/ledger.db?mode=ro", uri=True)
        rows = db.execute("SELECT request_id, prompt, output, cost_micros FROM usage").fetchall()
        db.close()
        return rows


HOME = f"{FOLDER.name}/home"


def collect():
    p = start("collect", "--nats", f"nats://127.0.0.1:{BUS}", "--state", HOME)
    assert "collecting" in p.stdout.readline()
    return p


def home_rows():
    try:
        db = sqlite3.connect(f"file:{HOME}/ledger.db?mode=ro", uri=True)
        rows = db.execute("SELECT u.request_id, u.prompt, u.output, u.cost_micros FROM usage u JOIN tenant t ON t.id = u.tenant"
                          " WHERE t.name = 'clinic'").fetchall()
        db.close()
        return rows
    except sqlite3.OperationalError:
        return []


def arrives(want, seconds=30):
    end = time.time() + seconds
    while time.time() < end and sorted(home_rows()) != sorted(want()):
        time.sleep(0.1)
    have, due = sorted(home_rows()), sorted(want())
    assert have == due, (len(have), len(due))
    return have


try:
    collector = collect()
    worker = start("worker", "--nats", f"nats://127.0.0.1:{BUS}", "--site", "fra", "--jurisdiction", "de", "--name", "w1",
                   "--model", MODEL, "--threads", "1", "--kv-memory", "64M", "--state", f"{FOLDER.name}/w1")
    gates = [Gateway("gw1").start(), Gateway("gw2").start()]

    with tap.case("what both gateways bill stands in one book"):
        for i in range(10):
            status, text, _ = gates[i % 2].complete(f"a word of {i} letters")
            assert status == 200, text
        rows = arrives(lambda: gates[0].rows() + gates[1].rows())
        assert len(rows) == 10 and all(r[2] == OUTPUT for r in rows), rows

    with tap.case("rows billed while nobody collects come later; those told twice count once"):
        collector.send_signal(signal.SIGKILL)
        collector.wait()
        for i in range(10):
            assert gates[i % 2].complete(f"another word of {i} letters")[0] == 200
        gates[0].process.send_signal(signal.SIGKILL)
        gates[0].process.wait()
        mark = f"{gates[0].state}/fleet-bills.mark"
        os.remove(mark)  # as if it had died before it was written
        gates[0].start()
        collector = collect()
        rows = arrives(lambda: gates[0].rows() + gates[1].rows())
        assert len(rows) == 20, len(rows)
        status, text, _ = gates[0].ask("/tokenworks/fleet", None, key=gates[0].admin)
        assert status == 200 and json.loads(text)["bills"]["sent"] >= 10, text

    with tap.case("the same request with its Idempotency-Key at the other gateway is billed once at home"):
        for g in gates:
            assert g.complete("said twice", **{"Idempotency-Key": "k-1"})[0] == 200
        end = time.time() + 10
        while time.time() < end and len(home_rows()) < 21:
            time.sleep(0.1)
        time.sleep(1.5)  # for a second one that must not come
        assert len(home_rows()) == 21 and len(gates[0].rows()) + len(gates[1].rows()) == 22

    with tap.case("the book at home proves its sums"):
        collector.send_signal(signal.SIGTERM)
        assert collector.wait(10) == 0
        run("usage", "verify", "--state", HOME)
        shown = json.loads(run("usage", "--by", "tenant", "--json", "--state", HOME))
        assert "clinic" in json.dumps(shown), shown

    with tap.case("a tenant's requests a minute hold for both gateways together"):
        for g in gates:
            run("tenant", "set", "clinic", "--requests-per-minute", "12", "--state", g.state)
        time.sleep(1.5)  # the servers notice within a second
        while time.time() % 60 > 40:  # all of it within one minute
            time.sleep(0.5)
        taken = []

        def press(g):
            for i in range(15):
                taken.append(g.complete(f"press {i}")[0])
        threads = [threading.Thread(target=press, args=(g,)) for g in gates]
        [t.start() for t in threads]
        [t.join() for t in threads]
        assert set(taken) == {200, 429}, taken
        assert 10 <= taken.count(200) <= 12, taken.count(200)  # a slice may lie unused at the other one
        status, text, headers = gates[0].complete("one more")
        assert status == 429 and int(headers["Retry-After"]) >= 1, (status, text)
finally:
    for p in reversed(processes):
        p.kill()
        p.wait()
tap.done()
