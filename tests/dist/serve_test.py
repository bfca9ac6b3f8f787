#!/usr/bin/env python3
"""serve_test -- serve --ranks: the same bytes as one process, deaths of ranks, memory, what is refused (TAP)."""
import json, os, re, shutil, signal, subprocess, sys, tempfile, threading, time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cmd"))
import tiny_llama
from server import BINARY, Server, Tap, until

tap = Tap()
if not shutil.which("mpirun"):
    tap.skip_all("no mpirun (openmpi-bin)")
if "thread" in os.environ.get("SANITIZE", ""):
    tap.skip_all("MPI's own threads are not instrumented")
os.environ.setdefault("ASAN_OPTIONS", "detect_leaks=0")  # MPI leaves much behind
tmp = tempfile.TemporaryDirectory()
MODEL = os.path.join(tmp.name, "tiny.gguf")
tiny_llama.write(MODEL, seed=11, ctx=1024, layers=4)
OPTIONS = ["--state", os.path.join(tmp.name, "state"), "--threads", "2", "--kv-memory", "4M", "--sandbox",
           "best-effort"]
TEXT = "It was the best of times, it was the worst of times, it was the age of wisdom. "


def start(*options):
    return Server(*OPTIONS, *options, model=MODEL).wait_ready()


def complete(s, prompt, **fields):
    return s.post("/v1/completions", {"prompt": prompt, "max_tokens": 24, "temperature": 0.8, "seed": 3, "logprobs": 3,
                                      "ignore_eos": True, **fields})


def text_of(answer):
    status, body, _ = answer
    assert status == 200, (status, body)
    return body["choices"]


def many(s):
    """Prompts of several lengths at once: chunks of prompts beside decodes, several choices, vectors."""
    out = [None] * 6
    def one(i):
        out[i] = text_of(complete(s, TEXT * (1 + i) + str(i), n=1 + i % 2))
    threads = [threading.Thread(target=one, args=(i,)) for i in range(len(out))]
    [t.start() for t in threads]
    [t.join() for t in threads]
    vectors = s.post("/v1/embeddings", {"input": [TEXT, "two", TEXT * 5]})
    assert vectors[0] == 200, vectors
    return out, [v["embedding"] for v in vectors[1]["data"]]


def processes(s):
    """Of this server: {"engine": [pid], "carrier": [...], "stage": [...], "mpirun": [...]}; carriers by rank."""
    table = subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True).stdout.splitlines()[1:]
    rows = [line.split(None, 2) for line in table]
    family, found = {s.process.pid}, {}
    for _ in range(4):
        family |= {int(pid) for pid, ppid, _ in rows if int(ppid) in family}
    for pid, _, args in rows:
        for kind in ("engine", "carrier", "stage", "mpirun"):
            if int(pid) in family and re.match(r"\S*" + ("mpirun" if kind == "mpirun" else r"tokenworks " + kind), args):
                found.setdefault(kind, []).append(int(pid))
    found.get("carrier", []).sort(key=rank_of)
    return found


def rank_of(pid):
    with open(f"/proc/{pid}/environ") as f:
        return int(re.search(r"OMPI_COMM_WORLD_RANK=(\d+)", f.read()).group(1))


whole = start()
want = many(whole)
assert whole.stop() == 0

for ranks in (2, 3):
    with tap.case(f"{ranks} ranks answer with the bytes of one process, at once and again from the prefix cache"):
        s = start("--ranks", str(ranks))
        assert many(s) == want
        again = complete(s, TEXT * 5 + "4", n=1)
        assert text_of(again)[0]["text"] == want[0][4][0]["text"]
        assert again[1]["usage"]["prompt_tokens_details"]["cached_tokens"] > 0
        found = processes(s)
        assert {k: len(v) for k, v in found.items()} == {"engine": 1, "carrier": ranks, "stage": ranks - 1, "mpirun": 1}, found
    with tap.case(f"every layer is at one of {ranks} ranks, in the memory that inspect tells"):
        told = json.loads(subprocess.run([BINARY, "inspect", "--json", "--ranks", str(ranks), "--kv-memory", "4M", MODEL],
                                         capture_output=True, text=True).stdout)["ranks"]
        log = [re.search(r"rank (\d+) \S*.*has layers (\d+) to (\d+): ([\d.]+) MiB of weights, ([\d.]+) MiB", l) for l in s.log]
        log = {int(m.group(1)): m for m in log if m}
        assert sorted(log) == list(range(ranks)), s.log
        next_layer = 0
        for r in told:
            m = log[r["rank"]]
            assert (int(m.group(2)), int(m.group(3))) == (next_layer, next_layer + r["layers"] - 1), m.group(0)
            next_layer += r["layers"]
            assert m.group(4) == "%.1f" % (r["weight_bytes"] / 2**20), (m.group(0), r)
            assert m.group(5) == "%.1f" % (r["kv_bytes"] / 2**20), (m.group(0), r)
        assert next_layer == 4
    with tap.case(f"{ranks} ranks leave with their server, and nothing stays"):
        pids = sum(processes(s).values(), [])
        assert s.stop() == 0
        until(lambda: not any(os.path.exists(f"/proc/{p}") for p in pids), 10)


def answer_cut_by(s, kill):
    """A long answer is streaming when kill() strikes: what the client sees until the end."""
    import http.client
    c = http.client.HTTPConnection("127.0.0.1", s.port, timeout=60)
    c.request("POST", "/v1/completions", json.dumps({"prompt": TEXT, "max_tokens": 900, "stream": True, "ignore_eos": True}),
              {"Content-Type": "application/json"})
    r = c.getresponse()
    assert r.status == 200
    first = r.readline()
    assert first.startswith(b"data: {"), first
    kill()
    struck = time.monotonic()
    rest = r.read()
    c.close()
    return rest.decode(), time.monotonic() - struck


victims = [("a stage", lambda p: p["stage"][0]), ("the carrier of rank 1", lambda p: p["carrier"][1]),
           ("the carrier of rank 0", lambda p: p["carrier"][0]), ("mpirun", lambda p: p["mpirun"][0]),
           ("the engine", lambda p: p["engine"][0])]
for i, (name, pick) in enumerate(victims):
    if i % 2 == 0:  # each death doubles the pause before the next start
        s = start("--ranks", "2")
    with tap.case(f"kill -9 {name}: the answer ends with an error, new ones get 503 and Retry-After, then it serves again"):
        before = processes(s)
        rest, seconds = answer_cut_by(s, lambda: os.kill(pick(before), signal.SIGKILL))
        assert '"error"' in rest and "[DONE]" not in rest, rest[-300:]
        assert seconds < 10, seconds
        status, _, headers = complete(s, TEXT)
        assert status == 503 and int(headers["retry-after"]) >= 1, (status, headers)
        until(lambda: s.get("/health")[0] == 200)
        assert text_of(complete(s, TEXT + "0"))[0] == want[0][0][0]
        old = set(sum(before.values(), []))
        until(lambda: not any(os.path.exists(f"/proc/{p}") for p in old), 10)
        assert not old & set(sum(processes(s).values(), []))
    if i % 2 and s.stop() != 0:
        sys.exit("not ok 1 - the server stops after deaths")
with tap.case("a rank that dies while nothing runs is noticed, and all start again"):
    before = processes(s)
    os.kill(before["stage"][0], signal.SIGKILL)
    until(lambda: not os.path.exists(f"/proc/{before['engine'][0]}"), 10)
    until(lambda: s.get("/health")[0] == 200)
    assert text_of(complete(s, TEXT + "0"))[0] == want[0][0][0]
with tap.case("the server stops cleanly after all of it"):
    pids = sum(processes(s).values(), [])
    assert s.stop() == 0
    until(lambda: not any(os.path.exists(f"/proc/{p}") for p in pids), 10)

with tap.case("a hostfile spreads the ranks"):
    hosts = os.path.join(tmp.name, "hosts")
    with open(hosts, "w") as f:
        f.write("localhost slots=2\n")
    s = start("--ranks", "2", "--hostfile", hosts)
    assert text_of(complete(s, TEXT + "0"))[0] == want[0][0][0]
    assert s.stop() == 0


def refused(*options, env=None):
    r = subprocess.run([BINARY, "serve", "--model", MODEL, "--listen", "127.0.0.1:0", *OPTIONS, *options],
                       capture_output=True, text=True, timeout=60, env={**os.environ, **(env or {})})
    assert r.returncode != 0, r
    return r.stderr


with tap.case("what ranks cannot do is refused with a sentence"):
    assert "--kv-spill" in refused("--ranks", "2", "--kv-spill", "1M")
    assert "LoRA" in refused("--ranks", "2", "--lora", f"a={MODEL}")
    assert "--memory" in refused("--ranks", "2", "--models", tmp.name)
    assert "4 layers cannot be cut into 5 parts" in refused("--ranks", "5")
    assert "install openmpi-bin" in refused("--ranks", "2", env={"PATH": "/nowhere"})
tap.done()
