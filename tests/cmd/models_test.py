#!/usr/bin/env python3
"""models_test -- many models in one server: on demand, swapped under a memory limit, never wrong, never aborted (TAP)."""
import json, os, signal, subprocess, sys, tempfile, threading, time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import tiny_llama
from server import BINARY, Server, Tap, until

tap = Tap()
tmp = tempfile.TemporaryDirectory()
FOLDER = os.path.join(tmp.name, "models")
NAMES = ["a-tiny", "b-tiny", "c-tiny"]
os.mkdir(FOLDER)
for i, name in enumerate(NAMES):
    tiny_llama.write(os.path.join(FOLDER, name + ".gguf"), seed=i + 1)
STATE = ["--state", os.path.join(tmp.name, "state"), "--kv-memory", "1M", "--threads", "1"]


def path(name):
    return os.path.join(FOLDER, name + ".gguf")


class Many(Server):
    """A server without --model."""
    def __init__(self, *options):
        popen = subprocess.Popen

        def without_model(command, **kw):
            at = command.index("--model")
            return popen(command[:at] + command[at + 2:], **kw)
        subprocess.Popen = without_model
        try:
            super().__init__(*STATE, *options)
        finally:
            subprocess.Popen = popen

    def ask(self, model, prompt="once upon a time", n=12, **fields):
        return self.post("/v1/completions", {"model": model, "prompt": prompt, "max_tokens": n, "temperature": 0,
                                             "ignore_eos": True, **fields})

    def text(self, model, **kw):
        status, answer, _ = self.ask(model, **kw)
        assert status == 200, answer
        return answer["choices"][0]["text"]

    def states(self):
        return {m["id"]: m["state"] for m in json.loads(self.get("/v1/models")[1])["data"]}

    def count(self, name):
        lines = self.get("/metrics")[1].decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name + "{"))

    def pids(self):
        return subprocess.run(["pgrep", "-P", str(self.process.pid)], capture_output=True, text=True).stdout.split()


def need(name):
    out = subprocess.run([BINARY, "inspect", "--json", "--kv-memory", "1M", path(name)], capture_output=True, text=True)
    return json.loads(out.stdout)["needs"]["total_bytes"]


PROMPTS = ["once upon a time", "the quick brown fox", "0123456789"]
right = {}
with tap.case("each model alone gives the answers to compare with"):
    for name in NAMES:
        s = Many("--model", path(name)).wait_ready()
        for p in PROMPTS:
            right[name, p] = s.text(name, prompt=p, n=24)
        assert s.stop() == 0
    assert len({right[name, PROMPTS[0]] for name in NAMES}) == 3, right

TWO = str(need(NAMES[0]) * 5 // 2)
s = Many("--models", FOLDER, "--memory", TWO).wait_ready()
with tap.case("a folder's models are listed and none is loaded before a request names it"):
    assert s.states() == {n: "unloaded" for n in NAMES} and not s.pids()
with tap.case("a request loads its model; default is the first; the plan's bytes are those of inspect"):
    assert s.text("c-tiny", n=24) == right["c-tiny", PROMPTS[0]]
    assert s.states()["c-tiny"] == "ready"
    assert s.text("default", n=24) == right["a-tiny", PROMPTS[0]]
    listed = json.loads(s.get("/v1/models/c-tiny")[1])
    assert listed["memory_bytes"] == need("c-tiny"), (listed, need("c-tiny"))
    assert listed["meta"]["ctx"] == 256
with tap.case("an unknown model is 404 with the names of those there are"):
    status, answer, _ = s.ask("d-tiny")
    assert status == 404 and all(n in answer["error"]["message"] for n in NAMES), answer
with tap.case("memory for two: the least recently used one leaves"):
    s.text("b-tiny")  # c was used before a
    states = s.states()
    assert states["a-tiny"] == states["b-tiny"] == "ready" and states["c-tiny"] != "ready", states
    until(lambda: s.states()["c-tiny"] == "unloaded" and len(s.pids()) == 2, "c to leave")
with tap.case("three models, six clients, memory for two: every answer right, none aborted"):
    wrong, done, before = [], [0] * 3, s.count("tokenworks_model_unloads_total")
    end = time.monotonic() + 3

    def client(k):
        turn = k
        while time.monotonic() < end:
            name, prompt = NAMES[(k + turn // 3) % 3], PROMPTS[turn % 3]
            turn += 1
            try:
                status, answer, _ = s.ask(name, prompt=prompt, n=24)
                if status != 200 or answer["choices"][0]["text"] != right[name, prompt]:
                    wrong.append((name, status, answer))
                else:
                    done[NAMES.index(name)] += 1
            except Exception as e:
                wrong.append((name, repr(e)))
    threads = [threading.Thread(target=client, args=(k,)) for k in range(6)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    swaps = s.count("tokenworks_model_unloads_total") - before
    assert not wrong, wrong[:3]
    assert swaps >= 3 and min(done) > 0, (swaps, done)
    print(f"# {sum(done)} answers, {swaps:.0f} swaps, by model {done}")
with tap.case("a long answer is finished although another model needs the memory"):
    until(lambda: not s.metric("tokenworks_model_requests_waiting"), "the queue to empty")
    got = []
    busy = [threading.Thread(target=lambda n=n: got.append(s.ask(n, n=200))) for n in NAMES[:2]]
    [t.start() for t in busy]
    time.sleep(.05)
    assert s.text("c-tiny", n=24) == right["c-tiny", PROMPTS[0]]
    [t.join() for t in busy]
    assert all(g[0] == 200 and g[1]["usage"]["completion_tokens"] == 200 for g in got), got
with tap.case("kill -9 of an engine: its requests fail or wait, the others go on, and it comes back"):
    s.text("a-tiny")
    s.text("b-tiny")
    pid = int(s.pids()[0])
    os.kill(pid, signal.SIGKILL)
    until(lambda: str(pid) not in s.pids(), "its end")
    until(lambda: all(s.ask(n, n=24)[0] == 200 for n in NAMES), "all models to answer again")
    for n in NAMES:
        assert s.text(n, n=24) == right[n, PROMPTS[0]]
with tap.case("an operator unloads and loads"):
    status, answer, _ = s.post("/tokenworks/models/load", {"model": "c-tiny"})
    assert status == 200, answer
    until(lambda: s.states()["c-tiny"] == "ready", "c")
    status, answer, _ = s.post("/tokenworks/models/unload", {"model": "c-tiny"})
    assert status == 200, answer
    until(lambda: s.states()["c-tiny"] == "unloaded", "c to leave")
    assert s.post("/tokenworks/models/unload", {"model": "nope"})[0] == 404
    assert s.post("/tokenworks/models/unload", {})[0] == 400
    assert s.post("/tokenworks/models/other", {"model": "c-tiny"})[0] == 404
with tap.case("a file that comes to the folder is found; one that is no model is refused and harms nobody"):
    tiny_llama.write(path("d-tiny"), seed=1)
    with open(path("e-bad"), "wb") as f:
        f.write(b"GGUF and no more")
    time.sleep(1.1)
    assert s.text("d-tiny", n=24) == right["a-tiny", PROMPTS[0]]  # the same weights
    status, answer, _ = s.ask("e-bad")
    assert status == 503 and answer["error"]["code"] == "model_failed", answer
    assert s.text("a-tiny", n=24) == right["a-tiny", PROMPTS[0]]
with tap.case("a model larger than the limit is refused with both numbers"):
    tiny_llama.write(path("f-large"), seed=9, ffn=16384)
    time.sleep(1.1)
    status, answer, _ = s.ask("f-large")
    assert status == 503 and answer["error"]["code"] == "model_does_not_fit", answer
    assert answer["error"]["message"].count("MiB") == 2, answer
    assert s.text("b-tiny", n=24) == right["b-tiny", PROMPTS[0]]
with tap.case("it stops clean"):
    assert s.stop() == 0
    for name in ("d-tiny", "e-bad", "f-large"):
        os.remove(path(name))

config = os.path.join(tmp.name, "c.yaml")
with tap.case("the configuration: aliases, defaults, pinned, keep-alive"):
    with open(config, "w") as f:
        f.write(f"models:\n  - {{file: {path('b-tiny')}, alias: [quick, b], pinned: true, defaults: {{max_tokens: 3}}}}\n"
                f"  - {{file: {path('a-tiny')}, alias: slow, keep-alive-s: 1, ctx: 64}}\n  - {{dir: {FOLDER}}}\n"
                f"memory: {{limit: {TWO}}}\n")
    s = Many("--config", config).wait_ready()
    assert s.states() == {"b-tiny": "ready", "a-tiny": "unloaded", "c-tiny": "unloaded"}, s.states()
    status, answer, _ = s.post("/v1/completions", {"model": "quick", "prompt": "x", "ignore_eos": True})
    assert status == 200 and answer["usage"]["completion_tokens"] == 3, answer
    assert s.ask("slow")[0] == 200 and json.loads(s.get("/v1/models/slow")[1])["meta"]["ctx"] == 64
    until(lambda: s.states()["a-tiny"] == "unloaded", "keep-alive")
    assert s.post("/tokenworks/models/unload", {"model": "b"})[0] == 409
    for n in NAMES:
        assert s.text(n, n=12) == right[n, PROMPTS[0]][:len(s.text(n, n=12))]
    assert s.states()["b-tiny"] == "ready"
    assert s.stop() == 0
with tap.case("mistakes in the configuration are refused with their line"):
    for text, line, word in (("models:\n  - {file: x.gguf, alais: y}\n", 2, "alais"),
                             ("models:\n  - {alias: y}\n", 2, "file"),
                             (f"models:\n  - file: {path('a-tiny')}\n    load: sometimes\n", 3, "start or demand"),
                             (f"models:\n  - file: {path('a-tiny')}\n    defaults: {{temprature: 1}}\n", 3, "temprature"),
                             (f"models:\n  - file: {path('a-tiny')}\n    defaults: {{top_p: high}}\n", 3, "a number")):
        with open(config, "w") as f:
            f.write(text)
        out = subprocess.run([BINARY, "serve", "--config", config], capture_output=True, text=True, timeout=20)
        if word == "alais":  # the file is looked for first: name one that is there
            with open(config, "w") as f:
                f.write(text.replace("x.gguf", path("a-tiny")))
            out = subprocess.run([BINARY, "serve", "--config", config], capture_output=True, text=True, timeout=20)
        assert out.returncode and f"c.yaml:{line}" in out.stderr and word in out.stderr, (text, out.stderr)
tap.done()
