#!/usr/bin/env python3
"""evidence_test -- a gateway that keeps evidence, workers in three countries, a real nats-server: whoever dies meanwhile,
each request has one receipt, which names who computed, where, and as many tokens as the client counted; and the audit.
Runs alone: workers must be heard in time."""
import base64, glob, hashlib, http.client, json, os, re, shutil, signal, socket, subprocess, sys, tempfile, threading, time
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "cmd"))
from server import BINARY, MODEL, Tap, need_model

POLICY = """version: 1
groups: {EU: [DE, FR]}
classes: [public, internal]
sites:
  s-de: {jurisdiction: DE, operator-law: [DE]}
  s-fr: {jurisdiction: FR, operator-law: [FR]}
  s-us: {jurisdiction: US, operator-law: [US]}
tenants:
  clinic: {home: DE, process-in: [EU], default-class: internal}
  office: {home: DE, process-in: [DE], default-class: internal}
  notary: {home: DE, process-in: [EU], default-class: internal, signed: true}
models:
  small: {max-class: internal, territory: [EU, US]}
rules:
  - {id: all, effect: allow, when: {}}
"""
tap = Tap()
need_model(tap)
if not shutil.which("nats-server"):
    tap.skip_all("nats-server is not here (tools/deps)")
FOLDER = tempfile.TemporaryDirectory()
CHAT, NAME = "/v1/chat/completions", os.path.basename(MODEL)[:-5]
SAY = [{"role": "user", "content": "Tell me about the sea, the ships on it and those who sail them, at length."}]
nodes, extra, keys = [], [], {}


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def path(*names):
    return os.path.join(FOLDER.name, *names)


def write(name, text):
    with open(path(name), "w") as f:
        f.write(text)
    return path(name)


def tool(home, *args, ok=True):
    r = subprocess.run([BINARY, *args], capture_output=True, text=True, env={**os.environ, "TOKENWORKS_HOME": path(home)})
    assert not ok or r.returncode == 0, r.stdout + r.stderr
    return r.stdout if ok else r


class Node:
    """`tokenworks COMMAND` on the bus; port: of its HTTP."""
    def __init__(self, command, name, country, *options):
        self.name, self.port, self.log = name, free_port(), []
        words = [BINARY, command, "--nats", f"nats://127.0.0.1:{BUS}", "--site", "s-" + country.lower(), "--jurisdiction", country,
                 "--name", name, "--listen", f"127.0.0.1:{self.port}", "--state", path(name)]
        if command == "worker":
            words += ["--drain-s", "1", "--model", MODEL, "--threads", "1", "--ctx", "2048", "--kv-memory", "256M"]
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
        return r.status, text, {k.lower(): v for k, v in r.getheaders()}

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

    def metric(self, name):
        for line in self.request("GET", "/metrics")[1].decode().splitlines():
            if re.match(re.escape(name) + r"(\{[^}]*\})? ", line):
                return float(line.rsplit(" ", 1)[1])

    def kill(self):
        out = subprocess.run(["pgrep", "-P", str(self.process.pid)], capture_output=True, text=True).stdout.split()
        for pid in [self.process.pid] + [int(p) for p in out]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.wait()


class Answer:
    """A stream's content, tokens as the client counts them (by their log probabilities), receipt; act is called on the way."""
    def __init__(self, gate, key, act=None, after=6000, stop=None, **more):
        body = {"model": NAME, "messages": SAY, "temperature": 0.8, "seed": 7, "max_tokens": 120, "min_tokens": 120, "stream": True,
                "logprobs": True, **{k: v for k, v in more.items() if k != "headers"}}
        body = {k: v for k, v in body.items() if v is not None}
        self.sent, self.text = json.dumps(body).encode(), b""
        c = http.client.HTTPConnection("127.0.0.1", gate.port, timeout=60)
        c.request("POST", CHAT, self.sent, {"Content-Type": "application/json", "Authorization": "Bearer " + keys[gate.name, key],
                                            **more.get("headers", {})})
        r = c.getresponse()
        self.status, self.headers = r.status, {k.lower(): v for k, v in r.getheaders()}
        while True:
            piece = r.read1(65536)
            self.text += piece
            if act and len(self.text) > after:
                act()
                act = None
            if not piece or (stop and len(self.text) > stop):
                break
        c.close()
        self.id = self.headers.get("tw-receipt-id")
        found = re.search(rb": tw-receipt ([A-Za-z0-9+/=]+)\n\n", self.text)
        self.note = base64.b64decode(found.group(1) if found else self.headers.get("tw-receipt", ""))
        self.bytes = self.text.replace(found.group(0), b"") if found else self.text
        events = [json.loads(e[6:]) for e in self.bytes.split(b"\n\n") if e.startswith(b"data: {")]
        said = [t for e in events for x in e.get("choices", []) for t in (x.get("logprobs") or {}).get("content") or []]
        self.tokens, self.content = len(said), "".join(t["token"] for t in said)

    def receipt(self):
        """Its receipt, which commits to what was sent and received, and names as many tokens as came."""
        r = fields(self.note)
        for role, content in ("request", self.sent), ("response", self.bytes):
            salt = base64.b64decode(self.headers["tw-receipt-salt"])
            assert r[role] == "c1:" + hashlib.sha256(b"tokenworks/commit/v1\0" + role.encode() + salt + content).hexdigest(), role
        parts = computed(r)
        assert r["id"] == self.id and int(r["tokens-out"]) == self.tokens == sum(p["tokens"] for p in parts), (r, self.tokens)
        return r, parts


def fields(note):
    return dict(line.split(" ", 1) for line in note.decode().split("\n\n")[0].split("\n")[1:])


def computed(r):
    out = []
    for item in r["computed"].split(",") if "computed" in r else []:
        place, *pairs = item.split(" ")
        p = dict(x.split("=", 1) for x in pairs)
        out.append({**p, "tokens": int(p["tokens"]), "at": place, "worker": place.split("/")[2]})
    return out


def workers(gate):
    v = json.loads(gate.request("GET", "/tokenworks/fleet", headers={"Authorization": "Bearer " + keys[gate.name, "admin"]})[1])
    return {w["name"]: w for s in v["sites"] for w in s["workers"]}


def where(gate):
    for _ in range(100):
        busy = [n for n, w in workers(gate).items() if w["open"] and w["state"] == "alive"]
        if busy:
            return busy[0]
        time.sleep(0.02)
    raise AssertionError("no worker has it")


def by_name(name):
    return [n for n in nodes if n.name == name and n.process.poll() is None][-1]


def alive(gate, *names):
    gate.wait(lambda: all(workers(gate).get(n, {}).get("state") == "alive" and workers(gate)[n]["models"] for n in names))


def setup(name):
    """The site of a gateway: its log, what it signs, its tenants."""
    tool(name, "trust", "init", "--site", name + ".example")
    tool(name, "trust", "release", "--version", "0.1.0", BINARY)
    tool(name, "trust", "model", "--name", "small", MODEL)
    tool(name, "trust", "policy", write("policy.yaml", POLICY))
    for tenant in ("clinic", "office", "notary", "admin"):
        tool(name, "tenant", "add", tenant)
        role = ["--role", "admin"] if tenant == "admin" else []
        keys[name, tenant] = re.search(r"tw-[A-Za-z0-9_-]{43}", tool(name, "key", "add", "-t", tenant, *role)).group(0)


def start(name, *countries):
    more = [w for c in countries for w in ("--to-jurisdiction", c)]
    config = write(name + ".yaml", f"batches:\n  dir: {path(name, 'batches')}\n")
    gate = Node("gateway", name, "DE", "--fleet-secret", path("secret"), "--ledger", "--config", config, *more).healthy()
    gate.wait(lambda: json.loads(gate.request("GET", "/v1/models", headers={"Authorization": "Bearer " + keys[name, "admin"]})[1])["data"])
    return gate


def audit(name, *more):
    r = tool(name, "audit", "--pseudonyms", path(name, "trust/keys"), *more, path(name, "trust/public"),
             path(name, "trust/public/trust.policy"), ok=False)
    return r.returncode, r.stdout + r.stderr


def all_receipts(name):
    """Every note of every boot."""
    out = []
    for file in glob.glob(path(name, "trust/public/receipts/*.notes")):
        data = open(file, "rb").read()
        while data:
            n, _, rest = data.partition(b"\n")
            out.append(rest[:int(n)])
            data = rest[int(n):]
    return out


def usage(name):
    v = json.loads(tool(name, "usage", "--by", "tenant", "--json"))
    return {row["tenant"]: row for row in (v if isinstance(v, list) else [v])}


BUS = free_port()
nats = subprocess.Popen(["nats-server", "-a", "127.0.0.1", "-p", str(BUS)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
write("secret", "a secret of the fleet's gateways\n")
made = []       # every receipt a client of gate was given: (id, tokens)
try:
    for name in ("gate", "other"):
        setup(name)
    one, two, abroad = Node("worker", "one", "DE"), Node("worker", "two", "FR"), Node("worker", "abroad", "US")
    for n in (one, two, abroad):
        n.healthy()
    gate = start("gate", "FR", "US")
    alive(gate, "one", "two", "abroad")
    weights = hashlib.sha256(open(MODEL, "rb").read()).hexdigest()

    def note(a):
        r, parts = a.receipt()
        made.append((a.id, a.tokens))
        return r, parts

    with tap.case("a receipt names the worker that computed: where, which life of it, its weights and arithmetic, its tokens"):
        a = Answer(gate, "clinic")
        r, parts = note(a)
        assert a.tokens == 120 and parts and r["site"] == "s-de" and r["jurisdiction"] == "DE", r
        for p in parts: # more than one where this machine was so busy that a worker came under suspicion
            said = workers(gate)[p["worker"]]
            assert p["at"] in ("DE/s-de/one", "FR/s-fr/two") and p["boot"] == said["boot"] and p["model"] == "sha256:" + weights, (p, said)
            assert r["numerics"] == p["numerics"], r
        assert r["model"].startswith("sha256:") and r["decision"] == "allow rule=all", r
        want = a.content

    with tap.case("what the policy keeps at home is computed at home, though the gateway may ask elsewhere; nothing goes to the third"):
        for i in range(6):
            r, parts = note(Answer(gate, "office", max_tokens=8, min_tokens=8))
            assert [p["at"] for p in parts] == ["DE/s-de/one"], parts
        assert abroad.metric("tokenworks_requests_total") == 0

    with tap.case("a worker is killed in the middle: the same answer, a receipt of both and of the tokens each gave"):
        victims = []
        def kill():
            victims.append(where(gate))
            by_name(victims[0]).kill()
        a = Answer(gate, "clinic", act=kill)
        r, parts = note(a)
        assert a.content == want and r["finish"] == "length", r
        assert len(parts) >= 2 and victims[0] in [p["worker"] for p in parts] and len({p["boot"] for p in parts}) == len(parts), parts
        assert parts[0]["worker"] != victims[0] or sum(p["tokens"] > 0 for p in parts) >= 2, parts
        Node("worker", victims[0], "DE" if victims[0] == "one" else "FR").healthy()
        alive(gate, "one", "two")
        assert workers(gate)[victims[0]]["boot"] not in [p["boot"] for p in parts]

    with tap.case("an answer that is no stream, its worker killed: the same, by the receipt's head field"):
        body = {"model": NAME, "messages": SAY, "temperature": 0, "max_tokens": 120, "min_tokens": 120}
        got = []
        asking = threading.Thread(target=lambda: got.append(gate.request("POST", CHAT, body, {"Authorization": "Bearer " + keys["gate", "clinic"]})))
        asking.start()
        victim = where(gate)
        time.sleep(0.3)
        by_name(victim).kill()
        asking.join()
        status, text, headers = got[0]
        r = fields(base64.b64decode(headers["tw-receipt"]))
        assert status == 200 and int(r["tokens-out"]) == json.loads(text)["usage"]["completion_tokens"] == 120, (status, text)
        assert victim in [p["worker"] for p in computed(r)] and sum(p["tokens"] for p in computed(r)) == 120, r
        made.append((r["id"], 120))
        Node("worker", victim, "DE" if victim == "one" else "FR").healthy()
        alive(gate, "one", "two")

    with tap.case("twelve at a time and a worker killed among them: each receipt counts what its client counted"):
        answers = []
        asking = [threading.Thread(target=lambda i=i: answers.append(Answer(gate, "clinic", seed=i, max_tokens=40 + i, min_tokens=40 + i)))
                  for i in range(12)]
        for t in asking:
            t.start()
        time.sleep(0.8)
        victim = max(("one", "two"), key=lambda n: workers(gate)[n]["open"])
        by_name(victim).kill()
        for t in asking:
            t.join()
        moved = 0
        for a in answers:
            r, parts = note(a)
            assert a.status == 200 and r["finish"] == "length", r
            moved += len(parts) > 1
        assert sorted(a.tokens for a in answers) == list(range(40, 52)), sorted(a.tokens for a in answers)
        print(f"# {moved} of 12 were moved")
        assert moved
        Node("worker", victim, "DE" if victim == "one" else "FR").healthy()
        alive(gate, "one", "two")

    with tap.case("a client leaves: its receipt counts the tokens that it is billed for"):
        before = usage("gate")["clinic"]["output_tokens"]
        a = Answer(gate, "clinic", stop=3000, max_tokens=1500, min_tokens=1500)
        time.sleep(1)
        r = fields(gate.request("GET", f"/v1/receipts/{a.id}", headers={"Authorization": "Bearer " + keys["gate", "clinic"]})[1])
        assert r["finish"] == "aborted" and int(r["tokens-out"]) == sum(p["tokens"] for p in computed(r)) >= a.tokens > 0, (r, a.tokens)
        assert usage("gate")["clinic"]["output_tokens"] - before == int(r["tokens-out"]), (usage("gate"), before, r)
        made.append((a.id, int(r["tokens-out"])))

    with tap.case("a batch: each line's receipt names its worker"):
        bearer = {"Authorization": "Bearer " + keys["gate", "office"]}
        lines = [{"custom_id": f"l{i}", "method": "POST", "url": CHAT, "body": {"model": NAME, "messages": SAY, "max_tokens": 5 + i,
                  "min_tokens": 5 + i}} for i in range(3)]
        form = "".join(f'--b\r\nContent-Disposition: form-data; name="{n}"\r\n\r\n{v}\r\n' for n, v in (
            ("purpose", "batch"), ('file"; filename="a.jsonl', "".join(json.dumps(v) + "\n" for v in lines)))) + "--b--\r\n"
        status, v, _ = gate.request("POST", "/v1/files", form.encode(), {**bearer, "Content-Type": "multipart/form-data; boundary=b"})
        assert status == 200, v
        status, v, _ = gate.request("POST", "/v1/batches", {"input_file_id": json.loads(v)["id"], "endpoint": CHAT,
                                                            "completion_window": "24h"}, bearer)
        assert status == 200, v
        batch = json.loads(v)["id"]
        gate.wait(lambda: json.loads(gate.request("GET", "/v1/batches/" + batch, headers=bearer)[1])["status"] == "completed")
        for i in range(3):
            r = fields(gate.request("GET", f"/v1/receipts/{batch}-{i}", headers=bearer)[1])
            assert int(r["tokens-out"]) == 5 + i and [(p["at"], p["tokens"]) for p in computed(r)] == [("DE/s-de/one", 5 + i)], r
            made.append((r["id"], 5 + i))

    with tap.case("signed through a gateway: the tenant whose policy asks for it, by the proxy, which keeps the receipt"):
        tool("gate", "trust", "client", "--tenant", "notary", "--out", path("notary.key"))
        time.sleep(1.5)
        def proxy(*options):
            port = free_port()
            p = subprocess.Popen([BINARY, "proxy", "--url", gate_url, "--policy", path("gate/trust/public/trust.policy"), "--key",
                                  path("notary.key"), "--listen", f"127.0.0.1:{port}", "--state", path("proxy"), "--model", NAME, "--api-key",
                                  keys["gate", "notary"], *options],
                                 stdout=subprocess.DEVNULL, stderr=open(path("proxy.log"), "a"))
            extra.append(p)
            for _ in range(100):
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                except OSError:
                    time.sleep(0.05)
            c = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            c.request("POST", CHAT, json.dumps({**body, "max_tokens": 9, "min_tokens": 9}),
                      {"Content-Type": "application/json", "Authorization": "Bearer " + keys["gate", "notary"]})
            r = c.getresponse()
            text = r.read()
            p.terminate()
            p.wait()
            return r.status, text
        gate_url = f"http://127.0.0.1:{gate.port}"
        status, text = proxy("--no-seal", "--country", "DE", "--country", "FR")
        assert status == 200 and json.loads(text)["usage"]["completion_tokens"] == 9, (status, text, open(path("proxy.log")).read()[-800:])
        kept = [open(f, "rb").read() for f in glob.glob(path("proxy/**/receipts/*.note"), recursive=True)]
        r = fields(kept[0])
        assert len(kept) == 1 and r["reqsig"].startswith("sha256:") and sum(p["tokens"] for p in computed(r)) == 9, r
        made.append((r["id"], 9))
        status, v, _ = gate.request("POST", CHAT, body, {"Authorization": "Bearer " + keys["gate", "notary"]})
        assert status == 403 and json.loads(v)["rule"] == "builtin/signature", v

    with tap.case("sealed requests are refused by a gateway, in words; the proxy says so before it sends"):
        status, v, _ = gate.request("POST", "/v1/sealed", b"\1" + bytes(100), {"Content-Type": "message/ohttp-chunked-req",
                                                                            "Authorization": "Bearer " + keys["gate", "clinic"]})
        assert status == 404 and json.loads(v)["error"]["code"] == "sealed_not_taken" and "--no-seal" in v.decode(), (status, v)
        status, text = proxy()
        assert status >= 400 and b"takes no sealed requests" in text, (status, text)

    with tap.case("a gateway dies in the middle: the retry at another has the same answer, one receipt, one bill"):
        other = start("other", "FR")
        body = dict(temperature=1.2, seed=None, headers={"Idempotency-Key": "k1"})
        first = Answer(other, "clinic", **{**body, "headers": {"Idempotency-Key": "k0"}})   # what is before and after stays
        billed = usage("other")["clinic"]["output_tokens"]
        try:
            cut = Answer(other, "clinic", act=other.kill, **body)
            got = cut.content
        except (OSError, http.client.HTTPException):
            got = ""
        a = Answer(gate, "clinic", **body)
        r, parts = note(a)
        assert a.tokens == 120 and a.content.startswith(got), (got, a.content)
        other = start("other", "FR")
        assert usage("other")["clinic"]["output_tokens"] == billed == 120, usage("other")
        again = Answer(other, "clinic", **body)     # and at the one that died, once it is back
        assert again.content == a.content and again.receipt()[0]["finish"] == "length"

    with tap.case("whoever has the model stands where this tenant's data must not go: 403, and a receipt that says so"):
        by_name("one").kill()
        other.process.terminate()
        other.process.wait(30)
        other = start("other", "FR")    # it never heard of the one that is gone
        for n, want_status, decision in (other, 403, "deny rule=limit/place"), (gate, 503, "allow rule=all"):
            n.wait(lambda: n is other or workers(n)["one"]["state"] == "dead")
            status, v, headers = n.request("POST", CHAT, {"model": NAME, "messages": SAY},
                                           {"Authorization": "Bearer " + keys[n.name, "office"]})
            r = fields(base64.b64decode(headers["tw-receipt"]))
            assert status == want_status and r["decision"] == decision and "computed" not in r, (status, v, r)

    with tap.case("the log is whole: one receipt for each request, tokens as clients and ledger counted them; the audit passes"):
        gate.process.terminate()
        assert gate.process.wait(30) == 0
        have = {}
        for n in all_receipts("gate"):
            have.setdefault(fields(n)["id"], []).append(fields(n))
        for id, tokens in made:
            assert len(have[id]) == 1 and int(have[id][0]["tokens-out"]) == tokens, (id, tokens, have.get(id))
        allowed = [x[0] for x in have.values() if x[0]["decision"].startswith("allow") and "computed" in x[0]]
        assert len(allowed) == len(made), (len(allowed), len(made))
        total = sum(row["output_tokens"] for row in usage("gate").values())
        assert total == sum(t for _, t in made), (total, made)
        assert not any("US/" in x.get("computed", "") for x in allowed)
        for name in ("gate", "other"):
            if name == "other":
                other.process.terminate()
                other.process.wait(30)
            code, text = audit(name)
            print(f"# {name}: {text.strip().splitlines()[-1]}")
            assert code == 0 and "nothing is wrong" in text and "workers of a fleet named" in text, text

    with tap.case("a receipt of a worker where the policy lets nobody compute: the audit finds it"):
        boot = open(path("gate/trust/boot")).read().strip()
        tool("gate", "trust", "receipts", "--place", "s-de", "--tenant", "clinic", "--model", "small", "-n", "1", "--previous", boot,
             "--computed", f"US/s-us/abroad boot=00000000000000ab model=sha256:{weights} numerics=- tokens=30")
        code, text = audit("gate")
        assert code == 1 and "computed by US/s-us/abroad, where the policy in force denies it by builtin/process-in" in text, text
finally:
    for n in nodes:
        n.kill() if n.process.poll() is None else None
    for p in extra:
        p.kill()
    nats.kill()
tap.done()
