#!/usr/bin/env python3
"""example_test -- examples/fleet as make run-fleet starts it: every gateway answers alike, a killed worker's answer goes on,
and ^C leaves nothing behind."""
import http.client, json, os, re, shutil, signal, sqlite3, subprocess, sys, tempfile, time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(HERE, "..", "..")
sys.path.insert(0, os.path.join(ROOT, "tests", "cmd"))
sys.dont_write_bytecode = True
from server import BINARY, MODEL, Tap

tap = Tap()
if not shutil.which("nats-server") or sys.version_info < (3, 11):
    tap.skip_all("no nats-server, or python older than 3.11")
if not os.path.exists(MODEL):
    tap.skip_all("the default model is not here (tools/deps run)")
if os.environ.get("SANITIZE"):
    tap.skip_all("not with five sanitized engines")
if subprocess.run([BINARY, "worker", "--help"], capture_output=True).returncode:
    tap.skip_all("this build has no tokenworks worker")

state = tempfile.TemporaryDirectory()
fleet = subprocess.Popen([f"{ROOT}/examples/fleet/run", "--program", BINARY, "--model", MODEL, "--state", state.name],
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def family(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as f:
        mine = [int(c) for c in f.read().split()]
    return mine + [g for c in mine for g in family(c)]


def ask(port, **fields):
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    c.request("POST", "/v1/chat/completions", json.dumps({
        "messages": [{"role": "user", "content": "Name five rivers."}], "temperature": 0, "max_tokens": 100, "ignore_eos": True,
        **fields}), {"Content-Type": "application/json"})
    return c.getresponse()


def ready(port):
    """It has heard of a worker that it may ask."""
    try:
        c = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        c.request("GET", "/readyz")
        return c.getresponse().status == 200
    except OSError:
        return False


def tokenworks(*words):
    return subprocess.run([BINARY, *words], capture_output=True, text=True, check=True).stdout


def rows(place):
    path = f"{state.name}/state/{place}/ledger.db"
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    found = {r[0] for r in db.execute("SELECT request_id FROM usage")}
    db.close()
    return found


def answer(port):
    """Whole, once a worker of the gateway's was heard."""
    deadline = time.monotonic() + 60
    while True:
        v = json.loads(ask(port).read())
        if "choices" in v or time.monotonic() > deadline:
            return v["choices"][0]["message"]["content"]
        time.sleep(0.2)


def busiest():
    """The worker whose engine has used the processor most since it was last asked: as /proc says."""
    used = {}
    for pid in family(fleet.pid):
        with open(f"/proc/{pid}/cmdline") as f:
            words = f.read().split("\0")
        if "worker" in words[1:2]:
            used[pid] = sum(sum(map(int, open(f"/proc/{p}/stat").read().rsplit(")")[-1].split()[11:13])) for p in family(pid))
    return used


lines, ports, everyone = [], [], []
try:
    with tap.case("three gateways come up"):
        for line in fleet.stdout:
            lines.append(line)
            ports += [int(p) for p in re.findall(r"http://127.0.0.1:(\d+)$", line.strip())]
            if "--requests-per-minute" in line:
                break
        assert len(ports) == 3, "".join(lines)
        deadline = time.monotonic() + 120
        while not all(ready(p) for p in ports):
            assert fleet.poll() is None and time.monotonic() < deadline, "".join(lines) + fleet.stdout.read()
            time.sleep(0.1)
        everyone = family(fleet.pid)
    with tap.case("they give the same answer"):
        answers = {answer(p) for p in ports}
        assert len(answers) == 1, answers
    with tap.case("a worker is killed while it answers, and the answer is the same"):
        before = busiest()
        r, text, killed = ask(ports[0], stream=True), "", False
        for line in r:
            if line.startswith(b"data: {"):
                text += (json.loads(line[6:])["choices"] or [{"delta": {}}])[0]["delta"].get("content") or ""
            if len(text) > 60 and not killed:
                killed, after = True, busiest()
                os.kill(max(before, key=lambda p: after[p] - before[p]), signal.SIGKILL)
        assert killed and {text} == answers, (killed, text, answers)
    with tap.case("what Frankfurt and Paris billed is in the book at home, what Zurich billed is not"):
        deadline = time.monotonic() + 20
        while (want := rows("fra-gate") | rows("par-gate")) != (home := rows("home")) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert want == home and rows("fra-gate") and rows("par-gate"), (len(want), len(home))
        assert rows("zrh-gate") and not rows("zrh-gate") & home
        tokenworks("usage", "verify", "--state", f"{state.name}/state/home")
    with tap.case("a quota holds for Frankfurt and Paris together, and not for Zurich"):
        for place in ("fra-gate", "par-gate"):
            tokenworks("tenant", "set", "local", "--requests-per-minute", "6", "--state", f"{state.name}/state/{place}")
        time.sleep(1.5)  # a running gateway notices within a second
        while time.time() % 60 > 40:
            time.sleep(0.5)
        taken = []
        for i in range(12):
            r = ask(ports[i % 2], max_tokens=1)
            taken.append(r.status)
            r.read()
        assert set(taken) == {200, 429} and 4 <= taken.count(200) <= 6, taken
        assert ask(ports[2], max_tokens=1).status == 200
finally:
    with tap.case("^C ends it all"):
        fleet.send_signal(signal.SIGINT)
        assert fleet.wait(60) == 0, fleet.stdout.read()
        deadline = time.monotonic() + 10  # a killed worker's engine goes by itself
        while (left := [p for p in everyone if os.path.exists(f"/proc/{p}")]) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not left, left
tap.done()
