#!/usr/bin/env python3
"""serve_fleet_test -- gateways and workers on a real nats-server: what a client sees through them is what one machine
answers, whatever happens to the workers meanwhile.
Runs alone: workers must be heard in time."""
import glob, http.client, json, os, re, shutil, signal, subprocess, sys, tempfile, threading, time
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "cmd"))
from server import BINARY, MODEL, Tap, free_port, need_model

tap = Tap()
need_model(tap)
if not shutil.which("nats-server"):
    tap.skip_all("nats-server is not here (tools/deps)")
FOLDER = tempfile.TemporaryDirectory()
SAY = [{"role": "user", "content": "Tell me about the sea, the ships on it and those who sail them, at length."}]
CHAT = "/v1/chat/completions"


BUS = free_port()
nats = subprocess.Popen(["nats-server", "-a", "127.0.0.1", "-p", str(BUS)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
nodes = []


class Node:
    """`tokenworks COMMAND` on the bus; port: of its HTTP."""
    def __init__(self, command, name, jurisdiction="de", *options, model=MODEL):
        self.name, self.port, self.log = name, free_port(), []
        words = [BINARY, command, "--nats", f"nats://127.0.0.1:{BUS}", "--site", "s-" + jurisdiction, "--jurisdiction",
                 jurisdiction, "--name", name, "--listen", f"127.0.0.1:{self.port}", "--state", f"{FOLDER.name}/{name}"]
        if command != "gateway":
            words += ["--drain-s", "1", "--model", model, "--threads", "1", "--ctx", "2048", "--kv-memory", "256M"]
        self.process = subprocess.Popen(words + list(options), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        threading.Thread(target=lambda: self.log.extend(self.process.stderr), daemon=True).start()
        nodes.append(self)

    def request(self, method, path, body=None, headers=None, timeout=60):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        data = json.dumps(body) if body is not None and not isinstance(body, bytes) else body
        c.request(method, path, data, {"Content-Type": "application/json", **(headers or {})})
        r = c.getresponse()
        text = r.read()
        c.close()
        return r.status, text

    def json(self, method, path, body=None, headers=None):
        status, text = self.request(method, path, body, headers)
        return status, json.loads(text)

    def stream(self, body, path=CHAT, headers=None):
        """Yields the response's bytes as they come."""
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        c.request("POST", path, json.dumps({**body, "stream": True}), {"Content-Type": "application/json", **(headers or {})})
        r = c.getresponse()
        assert r.status == 200, (r.status, r.read())
        while True:
            piece = r.read1(65536)
            if not piece:
                break
            yield piece
        c.close()

    def metric(self, name):
        for line in self.request("GET", "/metrics")[1].decode().splitlines():
            if re.match(re.escape(name) + r"(\{[^}]*\})? ", line):
                return float(line.rsplit(" ", 1)[1])
        return None

    def wait(self, what, seconds=60):
        end = time.time() + seconds
        while time.time() < end:
            assert self.process.poll() is None, "".join(self.log)[-2000:]
            try:
                if what():
                    return self
            except OSError:
                pass
            time.sleep(0.05)
        raise AssertionError(f"{self.name}: waited in vain\n" + "".join(self.log)[-2000:])

    def healthy(self):
        return self.wait(lambda: self.request("GET", "/health")[0] == 200)

    def family(self):
        out = subprocess.run(["pgrep", "-P", str(self.process.pid)], capture_output=True, text=True).stdout.split()
        return [self.process.pid] + [int(p) for p in out]

    def signal(self, number):
        for pid in self.family():
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass

    def idle(self):
        """Its engine holds nothing of any request."""
        return self.metric("tokenworks_num_requests_running") == 0 and self.metric("tokenworks_kv_pages_used") == 0


def still(text):
    """Without what is this exchange's own: its id and when it was."""
    text = re.sub(rb'"(id|response_id)":"[a-z]+[-_][0-9A-Za-z]+"', b'"id":"x"', text)
    return re.sub(rb'"(created|created_at)":\d+', b'"created":0', re.sub(rb',?"completion_tokens_details":\{[^}]*\}', b"", text))


def workers(gate):
    status, v = gate.json("GET", "/tokenworks/fleet")
    return {w["name"]: w for s in v["sites"] for w in s["workers"]}


def where(gate):
    """The worker that has the gateway's one request."""
    for _ in range(100):
        busy = [n for n, w in workers(gate).items() if w["open"] and w["state"] == "alive"]
        if busy:
            return busy[0]
        time.sleep(0.02)
    raise AssertionError("no worker has it")


def by_name(name):
    return [n for n in nodes if n.name == name and n.process.poll() is None][-1]


def ask_and(gate, body, after, act, **kw):
    """Reads a stream, does act(worker) after so many bytes, reads on; and the longest pause in s."""
    got, acted, longest, last = b"", None, 0, time.time()
    for piece in gate.stream(body, **kw):
        got += piece
        now = time.time()
        longest, last = max(longest, now - last), now
        if acted is None and len(got) > after:
            acted = where(gate)
            act(by_name(acted))
            last = time.time()
    return got, acted, longest


def both_alive(gate):
    gate.wait(lambda: sum(w["state"] == "alive" and bool(w["models"]) for w in workers(gate).values()) >= 2)


N = 200
BODY = {"model": os.path.basename(MODEL)[:-5], "messages": SAY, "temperature": 0.8, "seed": 7, "max_tokens": N, "min_tokens": N}
SECRET = os.path.join(FOLDER.name, "secret")
with open(SECRET, "w") as f:
    f.write("a secret of the fleet's gateways\n")
try:
    one, two = Node("worker", "one"), Node("serve", "two")
    gate = Node("gateway", "gate", "de", "--fleet-secret", SECRET, "--max-body", "1M", "--ledger")
    one.healthy(), two.healthy(), gate.healthy()
    both_alive(gate)

    with tap.case("a gateway offers what the workers have; an unknown model is 404, a worker answers no client"):
        status, v = gate.json("GET", "/v1/models")
        assert [m["id"] for m in v["data"]] == [BODY["model"]] and v["data"][0]["state"] == "ready", v
        assert v["data"][0]["meta"]["numerics"] and v["data"][0]["meta"]["hash"]
        assert gate.json("POST", CHAT, {**BODY, "model": "none"})[0] == 404
        assert one.request("POST", CHAT, BODY)[0] == 404 and one.request("GET", "/health")[0] == 200

    with tap.case("the same bytes through a gateway as from the machine itself: stream, whole, every dialect"):
        want = still(b"".join(two.stream(BODY)))
        assert want.count(b"data: ") > N // 2 and want.endswith(b"data: [DONE]\n\n")
        assert still(b"".join(gate.stream(BODY))) == want
        prompt = two.json("POST", CHAT, {**BODY, "max_tokens": 1, "min_tokens": 0})[1]["usage"]["prompt_tokens"]
        asked, given, read = 1, N, prompt   # what the gateway's ledger is to say
        short = {**BODY, "max_tokens": 20, "min_tokens": 0}
        a, b = (n.json("POST", CHAT, short)[1] for n in (two, gate))
        assert a["choices"] == b["choices"], (a, b)
        asked, given, read = asked + 1, given + b["usage"]["completion_tokens"], read + prompt
        for path, body in (("/v1/completions", dict(model=BODY["model"], prompt="Once", seed=3, max_tokens=20)),
                           ("/api/chat", dict(model=BODY["model"], messages=SAY, stream=False, options=dict(seed=3, num_predict=20)))):
            a, b = (n.json("POST", path, body)[1] for n in (two, gate))
            assert a.get("choices") == b.get("choices") and a.get("message") == b.get("message"), (a, b)
            asked, given = asked + 1, given + (b["usage"]["completion_tokens"] if "usage" in b else b["eval_count"])
            read += b["usage"]["prompt_tokens"] if "usage" in b else b["prompt_eval_count"]

    with tap.case("a worker is killed in the middle: the same bytes, and a short pause"):
        got, victim, pause = ask_and(gate, BODY, 8000, lambda n: n.signal(signal.SIGKILL))
        print(f"# {victim} was killed; the longest pause was {pause:.2f} s")
        assert still(got) == want
        asked, given, read = asked + 1, given + N, read + prompt
        again = Node("worker" if victim == "one" else "serve", victim).healthy()
        one, two = (again, two) if victim == "one" else (one, again)
        both_alive(gate)

    with tap.case("a worker is stopped in the middle, in another dialect: the same bytes, what was cached among them"):
        messages = {k: v for k, v in BODY.items() if k not in ("seed", "min_tokens")} | dict(temperature=0)
        calm = b"".join(gate.stream(messages, path="/v1/messages"))  # now its worker has the prompt, the other does not
        got, victim, pause = ask_and(gate, messages, 3000, lambda n: n.signal(signal.SIGSTOP), path="/v1/messages")
        by_name(victim).signal(signal.SIGCONT)
        print(f"# {victim} stood still; the longest pause was {pause:.2f} s")
        assert b'"cache_read_input_tokens":0' not in got and b"event: error" not in got
        said = [re.findall(rb'"delta":{[^}]*}', t) for t in (calm, got)]
        assert said[0] == said[1] and len(said[0]) > 20
        for t in calm, got:
            asked, read = asked + 1, read + sum(int(x) for x in re.findall(rb'"(?:cache_read_)?input_tokens":(\d+)', t.split(b"\n\n")[0]))
            given += int(re.findall(rb'"output_tokens":(\d+)', t)[-1])
        both_alive(gate)

    with tap.case("its engine alone is killed: the worker gives the request back, and starts it again"):
        got, victim, pause = ask_and(gate, BODY, 8000, lambda n: os.kill(n.family()[1], signal.SIGKILL))
        print(f"# the engine of {victim} was killed; the longest pause was {pause:.2f} s")
        assert still(got) == want
        asked, given, read = asked + 1, given + N, read + prompt
        both_alive(gate)

    with tap.case("an answer that is no stream, and a call of a tool: the next worker draws only what is left"):
        steps, drawn = (lambda n, what=what: n.metric(f"tokenworks_{what}_total") or 0 for what in ("steps", "generation_tokens"))
        tools = [{"type": "function", "function": {"name": "note", "parameters": {"type": "object", "required": ["text"], "properties": {
            "text": {"type": "string", "minLength": 600, "maxLength": 700}}}}}]
        call = {"stream": True, "stream_options": {"include_usage": True}, "tools": tools, "tool_choice": "required", "max_tokens": 900}
        for enough, more in (300, {"max_tokens": 400, "min_tokens": 400}), (100, {**call, "min_tokens": 0}):
            long, got = {**BODY, **more}, []
            begun = {n: drawn(n) for n in (one, two)}
            client = threading.Thread(target=lambda: got.append(gate.request("POST", CHAT, long)))
            client.start()
            victim = by_name(where(gate))
            left = two if victim is one else one
            victim.wait(lambda: drawn(victim) - begun[victim] >= enough)
            before = steps(left)
            victim.signal(signal.SIGKILL)
            client.join()
            left.wait(left.idle)
            again, calm = steps(left) - before, gate.request("POST", CHAT, long)[1]
            fresh = lambda text: re.sub(rb'"cached_tokens":\d+', b'', still(text))  # the prompt is known there by now
            assert got[0][0] == 200 and fresh(got[0][1]) == fresh(calm), (got, calm)
            used = [int(re.findall(rb'"%s":(\d+)' % k, got[0][1])[-1]) for k in (b"prompt_tokens", b"completion_tokens")]
            print(f"# {used[1]} tokens, lost with its worker after {enough} or some more: {again:.0f} steps at the next one")
            assert used[1] > enough and again < used[1] - 0.7 * enough, (used, again)
            asked, given, read = asked + 2, given + 2 * used[1], read + 2 * used[0]
            node = Node("worker" if victim is one else "serve", victim.name).healthy()
            one, two = (node, two) if victim is one else (one, node)
            both_alive(gate)

    with tap.case("what was used is billed once, as if nothing had happened"):
        rows = subprocess.run([BINARY, "usage", "--state", f"{FOLDER.name}/gate", "--by", "model", "--json"], capture_output=True, text=True)
        line = json.loads(rows.stdout)
        line = line[0] if isinstance(line, list) else line
        assert line["requests"] == asked and line["output_tokens"] == given and line["prompt_tokens"] == read, (line, asked, given, read)

    with tap.case("a request that is repeated with its Idempotency-Key has the same answer, at another gateway too"):
        other = Node("gateway", "gate-b", "de", "--fleet-secret", SECRET).healthy()
        other.wait(lambda: other.json("GET", "/v1/models")[1]["data"])
        body = {**BODY, "max_tokens": 30, "min_tokens": 30, "temperature": 1.2}
        del body["seed"]
        said = [n.json("POST", CHAT, body, {"Idempotency-Key": "k1"})[1]["choices"][0]["message"] for n in (gate, other, other)]
        free = gate.json("POST", CHAT, body)[1]["choices"][0]["message"]
        assert said[0] == said[1] == said[2] != free, (said, free)

    with tap.case("a client leaves: its worker's memory is free again"):
        for i, piece in enumerate(gate.stream(BODY)):
            if i > 5:
                break
        one.wait(one.idle, 5), two.wait(two.idle, 5)

    with tap.case("a gateway is killed: what it had asked for stops within 5 s"):
        stream = other.stream({**BODY, "max_tokens": 1800, "min_tokens": 1800})
        next(stream)
        busy = by_name(where(other))
        other.process.kill()
        began = time.time()
        time.sleep(0.5)
        busy.wait(busy.idle, 8)
        print(f"# {time.time() - began:.1f} s")

    with tap.case("too large is 413 at the door"):
        assert gate.request("POST", CHAT, {**BODY, "messages": [{"role": "user", "content": "a " * (1 << 20)}]})[0] == 413

    with tap.case("an order to drain: running requests finish there, new ones go elsewhere, the state says so"):
        def order(n):
            r = subprocess.run([BINARY, "fleet", "drain", "--url", f"http://127.0.0.1:{gate.port}", "s-de", n.name],
                               capture_output=True, text=True)
            assert r.returncode == 0, r.stderr
        got, victim, pause = ask_and(gate, BODY, 5000, order)
        assert still(got) == want and workers(gate)[victim]["state"] == "draining", workers(gate)
        for _ in range(4):
            stream = gate.stream({**BODY, "max_tokens": 8, "min_tokens": 8})
            next(stream)
            assert where(gate) != victim
            list(stream)
        r = subprocess.run([BINARY, "fleet", "status", "--url", f"http://127.0.0.1:{gate.port}"], capture_output=True, text=True)
        assert victim in r.stdout and "draining" in r.stdout, r.stdout + r.stderr
        r = subprocess.run([BINARY, "fleet", "drain", "--url", f"http://127.0.0.1:{gate.port}", "s-de", "nobody"], capture_output=True, text=True)
        assert r.returncode == 1 and "nobody" in r.stderr, r.stderr
        by_name(victim).process.kill()
        again = Node("worker" if victim == "one" else "serve", victim).healthy()
        one, two = (again, two) if victim == "one" else (one, again)
        both_alive(gate)

    with tap.case("SIGTERM and a drain that is too short: the request goes on elsewhere, and the worker ends well"):
        long = {**BODY, "max_tokens": 500, "min_tokens": 500}
        calm = still(b"".join(two.stream(long)))
        got, victim, pause = ask_and(gate, long, 3000, lambda n: n.process.terminate())
        print(f"# {victim} ended; the longest pause was {pause:.2f} s")
        assert still(got) == calm
        ended, left = (one, two) if victim == "one" else (two, one)
        assert ended.process.wait(20) == 0, "".join(ended.log)[-800:]

    with tap.case("data stays where it may be: a gateway in de never asks a worker in us"):
        left.process.terminate()
        left.process.wait(30)
        abroad = Node("worker", "abroad", "us").healthy()
        gate.wait(lambda: workers(gate).get("abroad", {}).get("models"))
        late = Node("gateway", "late", "de")               # one that never heard of a worker in de
        late.wait(lambda: workers(late).get("abroad", {}).get("models"))
        for n, want_status in (gate, 503), (late, 403):
            status, v = n.json("POST", CHAT, {**BODY, "max_tokens": 4, "min_tokens": 0})
            assert status == want_status, (status, v)
            assert n.request("GET", "/livez")[0] == 200, "alive, though nobody may be asked"
            n.wait(lambda: n.json("GET", "/readyz")[0] == 503)  # who has left is heard of for three beats more
            status, v2 = n.json("GET", "/readyz")
            assert status == 503 and "no worker with a model that this gateway may ask" in v2["status"], v2
        assert v["error"]["code"] == "jurisdiction_not_allowed", v
        assert abroad.metric("tokenworks_requests_total") == 0
        wide = Node("gateway", "wide", "de", "--to-jurisdiction", "US").healthy()
        wide.wait(lambda: wide.json("GET", "/v1/models")[1]["data"])
        assert wide.json("POST", CHAT, {**BODY, "max_tokens": 4, "min_tokens": 0})[0] == 200

    with tap.case("nobody has the model any more: it is not offered, and who asks is told to come again"):
        abroad.process.kill()
        gate.wait(lambda: not gate.json("GET", "/v1/models")[1]["data"])
        status, v = gate.json("POST", CHAT, {**BODY, "max_tokens": 4, "min_tokens": 0})
        assert status == 503 and v["error"]["code"] == "no_worker", (status, v)
finally:
    for n in nodes:
        n.signal(signal.SIGCONT)
        n.process.kill()
    nats.kill()
tap.done()
