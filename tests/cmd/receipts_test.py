#!/usr/bin/env python3
"""receipts_test -- a server that keeps evidence, over the wire: every answer, refusal and abort leaves a receipt that commits
to the bytes exchanged; sealed requests through the proxy; and the audit of it all."""
import base64, csv, hashlib, http.client, json, os, re, shutil, signal, socket, subprocess, sys, tempfile, time
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from server import BINARY, MODEL, Server, Tap, free_port, need_model

POLICY = """version: 1
groups: {EU: [DE, FR]}
classes: [public, internal]
sites:
  berlin: {jurisdiction: DE, operator-law: [DE]}
tenants:
  clinic: {home: DE, process-in: [EU], default-class: internal}
  clinic2: {home: DE, process-in: [EU], default-class: internal}
  notary: {home: DE, process-in: [EU], default-class: internal, signed: true, sealed: true}
  yankee: {home: US, process-in: [US], default-class: internal}
models:
  small: {max-class: internal, territory: [EU]}
rules:
  - {id: all, effect: allow, when: {}}
"""
CANARY = "canary-5a1ad-marmalade"
CHAT = "/v1/chat/completions"
tap = Tap()
need_model(tap)
work = tempfile.mkdtemp(prefix="tw-receipts-")
env = {"TOKENWORKS_HOME": work}


def path(*names):
    return os.path.join(work, *names)


def tool(*args, ok=True):
    r = subprocess.run([BINARY, *args], capture_output=True, text=True, env={**os.environ, **env})
    assert not ok or r.returncode == 0, r.stdout + r.stderr
    return r.stdout


def write(name, text):
    with open(path(name), "w") as f:
        f.write(text)
    return path(name)


def witness_server(vkey, port):
    w = subprocess.Popen([BINARY, "witness", "--log", vkey, "--listen", f"127.0.0.1:{port}", "serve"], stderr=subprocess.DEVNULL,
                         env={**os.environ, "TOKENWORKS_HOME": path("w1")})
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            break
        except OSError:
            time.sleep(0.05)
    return w


def setup():
    global witness
    port = free_port()
    vkey = subprocess.run([BINARY, "witness", "init", "--name", "witness.example/w1"], capture_output=True, text=True, check=True,
                          env={**os.environ, "TOKENWORKS_HOME": path("w1")}).stdout.strip()
    tool("trust", "init", "--site", "berlin.example", "--witness", f"{vkey} http://127.0.0.1:{port}")
    log = re.search(r"^log (\S+)", open(path("trust/public/trust.policy")).read(), re.M).group(1)
    witness = witness_server(log, port)
    tool("trust", "release", "--version", "0.1.0", BINARY)
    tool("trust", "model", "--name", "small", MODEL)
    tool("trust", "policy", write("policy.yaml", POLICY))
    keys = {}
    for tenant in ("clinic", "clinic2", "notary", "yankee"):
        tool("tenant", "add", tenant)
        keys[tenant] = re.search(r"tw-[A-Za-z0-9_-]{43}", tool("key", "add", "-t", tenant)).group(0)
    tool("trust", "client", "--tenant", "notary", "--out", path("notary.key"))
    return keys


def start(*options):
    return Server("--site", "berlin", "--state", work, *options, env=env).wait_ready()


def ask(key, body, stream=False, server=None, **headers):
    """Status, headers and the raw bytes of the answer; the bytes sent too."""
    c = http.client.HTTPConnection("127.0.0.1", (server or s).port, timeout=60)
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    c.request("POST", CHAT, data, {"Content-Type": "application/json", **({"Authorization": "Bearer " + key} if key else {}), **headers})
    r = c.getresponse()
    text = r.read()
    c.close()
    return r.status, {k.lower(): v for k, v in r.getheaders()}, text, data


def fields(note):
    text = note.decode().split("\n\n")[0]
    return dict(line.split(" ", 1) for line in text.split("\n")[1:])


def commitment(role, salt, content):
    return "c1:" + hashlib.sha256(b"tokenworks/commit/v1\0" + role + base64.b64decode(salt) + content).hexdigest()


def check(note, headers, sent, got):
    r = fields(note)
    assert r["id"] == headers["tw-receipt-id"], r
    assert r["request"] == commitment(b"request", headers["tw-receipt-salt"], sent), "request"
    assert r["response"] == commitment(b"response", headers["tw-receipt-salt"], got), "response"
    return r


def hello(n=4, text="Say hello.", **more):
    return {"messages": [{"role": "user", "content": text}], "max_tokens": n, "temperature": 0, **more}


def split_stream(text):
    found = re.search(rb": tw-receipt ([A-Za-z0-9+/=]+)\n\n", text)
    return base64.b64decode(found.group(1)), text[:found.start()] + text[found.end():]


keys = setup()
s = start()

with tap.case("a whole answer carries the receipt that commits to it"):
    status, h, text, sent = ask(keys["clinic"], hello())
    assert status == 200, text
    first = base64.b64decode(h["tw-receipt"])
    r = check(first, h, sent, text)
    assert r["decision"] == "allow rule=all" and r["tokens-out"] == "4" and r["finish"] == "length", r
    assert r["seed"].isdigit() and "temperature=0" in r["sampling"] and r["numerics"].startswith("sha256:"), r
    first_id = h["tw-receipt-id"]

with tap.case("replay: the disclosed request gives the answer again, and no other request or answer does"):
    def replay(note, body, salt, *more):
        files = [path("r.note"), path("r.json")]
        for name, data in zip(files, (note, body)):
            with open(name, "wb") as f:
                f.write(data)
        return subprocess.run([BINARY, "replay", files[0], "--request", files[1], "--salt", salt, "--model", MODEL, *more],
                              capture_output=True, text=True)
    salt = h["tw-receipt-salt"]
    p = replay(first, sent, salt, "--out", path("again"))
    assert p.returncode == 0 and "the same answer: 4 tokens" in p.stdout, p.stdout + p.stderr
    assert open(path("again"), "rb").read() == text
    p = replay(first, sent + b" ", salt)
    assert p.returncode == 1 and "not the request" in p.stderr, p.stderr
    p = replay(first, sent, salt, "--isa", "ref")
    assert p.returncode == 1 and "another arithmetic" in p.stderr, p.stderr
    p = replay(re.sub(rb"response c1:....", b"response c1:0000", first), sent, salt)
    assert p.returncode == 1 and "not the one the receipt commits to" in p.stderr, p.stderr

with tap.case("a stream carries it before its end"):
    status, h, text, sent = ask(keys["clinic"], hello(stream=True))
    note, rest = split_stream(text)
    assert text.endswith(b"\n\ndata: [DONE]\n\n") and text.index(b": tw-receipt") < text.index(b"[DONE]")
    r = check(note, h, sent, rest)
    assert r["finish"] == "length" and r["decision"] == "allow rule=all", r
    p = replay(note, sent, h["tw-receipt-salt"])
    assert p.returncode == 0, p.stderr

with tap.case("refusals before any policy: no key, no such model, no request"):
    for key, body, status, rule in ((None, hello(), 401, "gate/key"), (keys["clinic"], hello(model="x"), 404, "gate/not-found"),
                                    (keys["clinic"], b"{", 400, "gate/request")):
        got, h, text, sent = ask(key, body)
        assert got == status, (got, text)
        r = check(base64.b64decode(h["tw-receipt"]), h, b"" if status == 401 else sent, text)
        assert r["decision"] == "deny rule=" + rule and r["finish"] == "denied", r

with tap.case("a body that nobody may send is not read, and its refusal has a receipt"):
    c = socket.create_connection(("127.0.0.1", s.port))
    c.sendall(b"POST " + CHAT.encode() + b" HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
              b"Content-Length: 9999999\r\n\r\n" + b"x" * 100000)
    answer = c.recv(65536)
    assert b" 401 " in answer and b"TW-Receipt: " in answer, answer[:300]
    c.close()

with tap.case("residency: a tenant whose data may not be processed here gets a problem with the rule, and a receipt"):
    status, h, text, sent = ask(keys["yankee"], hello())
    assert status == 403 and h["content-type"] == "application/problem+json", (status, text)
    assert json.loads(text)["rule"] == "builtin/process-in", text
    assert check(base64.b64decode(h["tw-receipt"]), h, sent, text)["decision"] == "deny rule=builtin/process-in"

with tap.case("a class may be raised, never beyond the model's, never lowered, never made up"):
    assert ask(keys["clinic"], hello(1), **{"TW-Data-Class": "public"})[0] == 200
    status, h, text, _ = ask(keys["clinic"], hello(1), **{"TW-Data-Class": "secret"})
    assert status == 403 and json.loads(text)["rule"] == "builtin/unknown-class", text
    for bad in ("?", "a b", "x" * 200, "\xe4"):
        assert ask(keys["clinic"], hello(1), **{"TW-Data-Class": bad})[0] == 403, bad

with tap.case("a tenant whose policy asks for signatures is refused without one"):
    status, h, text, _ = ask(keys["notary"], hello())
    assert status == 403 and json.loads(text)["rule"] == "builtin/signature", text

with tap.case("equal requests leave commitments that nobody can link or guess without their salts"):
    seen = set()
    for _ in range(3):
        _, h, text, sent = ask(keys["clinic"], hello(1))
        r = fields(base64.b64decode(h["tw-receipt"]))
        seen |= {r["request"], r["response"]}
        for guess in (sent, json.dumps(hello(1)).encode()):  # whoever knows the dictionary, but not the salt
            for salt in (b"", b"\0" * 32, h["tw-receipt-id"].encode()):
                assert r["request"] != "c1:" + hashlib.sha256(b"tokenworks/commit/v1\0request" + salt + guess).hexdigest()
    assert len(seen) == 6, seen

with tap.case("one tenant's prompt does not warm the cache for another"):
    long = hello(1, text="A prompt of some length that two tenants happen to share. " * 20)
    def cached(key):
        return json.loads(ask(key, long)[2])["usage"]["prompt_tokens_details"]["cached_tokens"]
    assert cached(keys["clinic"]) == 0
    assert cached(keys["clinic"]) > 0
    assert cached(keys["clinic2"]) == 0
    assert cached(keys["clinic2"]) > 0

with tap.case("engine and keeper run confined: no network but a dead loopback, no core, no capability, a filter that kills"):
    for name in ("tw-engine", "tw-keeper"):
        pid = subprocess.run(["pgrep", "-P", str(s.process.pid), name], capture_output=True, text=True).stdout.split()[0]
        status = dict(line.split(":\t", 1) for line in open(f"/proc/{pid}/status").read().splitlines() if ":\t" in line)
        assert status["Seccomp"] == "2" and status["NoNewPrivs"] == "1" and int(status["CapEff"], 16) == 0, status
        devices = [line.split(":")[0].strip() for line in open(f"/proc/{pid}/net/dev").read().splitlines()[2:]]
        assert devices == ["lo"] and len(open(f"/proc/{pid}/net/route").read().splitlines()) <= 1, devices
        assert re.search(r"Max core file size\s+0", open(f"/proc/{pid}/limits").read())
        assert os.readlink(f"/proc/{pid}/ns/net") != os.readlink("/proc/self/ns/net")

with tap.case("an aborted stream leaves a receipt"):
    c = http.client.HTTPConnection("127.0.0.1", s.port)
    c.request("POST", CHAT, json.dumps(hello(400, stream=True, ignore_eos=True)),
              {"Content-Type": "application/json", "Authorization": "Bearer " + keys["clinic"]})
    r = c.getresponse()
    aborted = dict((k.lower(), v) for k, v in r.getheaders())["tw-receipt-id"]
    r.read(50)
    c.sock and c.sock.close()
    r.close(), c.close()
    for _ in range(100):
        status, note, _ = s.get("/v1/receipts/" + aborted, headers={"Authorization": "Bearer " + keys["clinic"]})
        if status == 200:
            break
        time.sleep(0.05)
    r = fields(note)
    assert r["finish"] == "aborted" and r["decision"] == "allow rule=all" and int(r["tokens-out"]) < 400, r

with tap.case("receipt, proof, checkpoint and tiles are served, and nothing else"):
    auth = {"Authorization": "Bearer " + keys["clinic"]}
    assert s.get("/v1/receipts/" + first_id, headers=auth)[1] == first
    for _ in range(100):  # until the witness has seen it
        status, proof, _ = s.get("/v1/receipts/" + first_id + ".tlog-proof", headers=auth)
        if status != 503:
            break
        time.sleep(0.1)
    assert status == 200 and b"witness.example/w1" in proof and proof.startswith(b"c2sp.org/tlog-proof@v1\n"), proof
    checkpoint = s.get("/log/checkpoint")[1]
    size = int(checkpoint.split(b"\n")[1])
    tile = s.get("/log/tile/0/000.p/%d" % size)[1]
    assert len(tile) == 32 * size, (len(tile), size)
    leaf = b"tokenworks/leaf/receipt/v1 sha256:" + hashlib.sha256(first).hexdigest().encode()
    entries = s.get("/log/tile/entries/000.p/%d" % size)[1]
    assert leaf in entries
    for bad in ("../root.note", "head", "lock", "tile/0/../../head", "tile/0/000.p/0", "%2e%2e/keys/log.key", "tile/entries/../0/000"):
        assert s.get("/log/" + bad)[0] == 404, bad
    for bad in ("..%2f" * 3, "nothing", "../../boot", "x" * 300):
        assert s.get("/v1/receipts/" + bad, headers=auth)[0] == 404, bad
    assert s.get("/v1/receipts/" + first_id)[0] == 401


def proxy(key, *options):
    port = free_port()
    p = subprocess.Popen([BINARY, "proxy", "--url", s.url, "--policy", path("trust/public/trust.policy"), "--api-key", key,
                          "--listen", f"127.0.0.1:{port}", "--state", path("client"), *options], stderr=subprocess.PIPE, text=True)
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            break
        except OSError:
            time.sleep(0.05)
    return p, port


def through(port, body):
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    c.request("POST", CHAT, json.dumps(body), {"Content-Type": "application/json"})
    r = c.getresponse()
    text = r.read()
    c.close()
    return r.status, text


p, port = proxy(keys["notary"], "--key", path("notary.key"), "--country", "DE")
with tap.case("sealed and signed through the proxy: whole answers and streams, receipts kept"):
    status, text = through(port, hello(text=CANARY))
    assert status == 200 and json.loads(text)["usage"]["completion_tokens"] == 4, (status, text)
    status, text = through(port, hello(stream=True, text=CANARY))
    assert status == 200 and text.count(b"data: ") > 3 and text.endswith(b"data: [DONE]\n\n") and b"tw-receipt" not in text, text
    kept = [n for n in os.listdir(path("client/proxy/receipts")) if n.endswith(".note")]
    assert len(kept) == 2, kept
    for n in kept:
        r = fields(open(path("client/proxy/receipts", n), "rb").read())
        assert r["transport"] == "sealed" and r["decision"] == "allow rule=all" and r["reqsig"].startswith("sha256:"), r
        assert r["tokens-out"] == "4" and r["finish"] == "length", r

with tap.case("an error inside stays inside, with a receipt"):
    status, text = through(port, {"messages": "?"})
    assert status == 400 and b"messages" in text, (status, text)
    assert len([n for n in os.listdir(path("client/proxy/receipts")) if n.endswith(".note")]) == 3

with tap.case("the proxy fetches and checks the proofs"):
    for _ in range(100):
        if len([n for n in os.listdir(path("client/proxy/receipts")) if n.endswith(".tlog-proof")]) == 3:
            break
        time.sleep(0.1)
    else:
        raise AssertionError(os.listdir(path("client/proxy/receipts")))

with tap.case("the ledger books sealed requests by what the engine counted"):
    rows = json.loads(tool("usage", "--json"))
    assert "notary" in json.dumps(rows), rows

with tap.case("a row of the export names the receipt of its answer by hash, open or sealed"):
    tool("usage", "export", "--out", path("export.csv"))
    lines = list(csv.DictReader(open(path("export.csv"))))
    hashes = {line["x_ReceiptHash"].lower() for line in lines}
    assert hashlib.sha256(first).hexdigest() in hashes, hashes
    for n in os.listdir(path("client/proxy/receipts")):
        if n.endswith(".note") and b"tokens-out 4" in open(path("client/proxy/receipts", n), "rb").read():
            assert hashlib.sha256(open(path("client/proxy/receipts", n), "rb").read()).hexdigest() in hashes, n

with tap.case("the engine dies: a new one has a new key and node note, and the proxy seals to it"):
    before = s.get("/v1/evidence")[1]
    pid = int(subprocess.run(["pgrep", "-P", str(s.process.pid), "tw-engine"], capture_output=True, text=True).stdout.split()[0])
    os.kill(pid, signal.SIGKILL)
    status, text = through(port, hello())
    assert status == 200, text
    assert s.get("/v1/evidence")[1] != before
p.terminate()
p.wait()

with tap.case("the prompt is nowhere: not in evidence, ledger, log lines, metrics, nor any file of the server"):
    assert s.stop() == 0
    hay = "".join(s.log).encode()
    for folder, _, names in os.walk(work):
        for n in names:
            with open(os.path.join(folder, n), "rb") as f:
                hay += f.read()
    assert len(hay) > 10000
    for needle in (CANARY.encode(), base64.b64encode(CANARY.encode())[:-4], CANARY.encode().hex().encode()):
        assert needle not in hay, needle


def audit():
    r = subprocess.run([BINARY, "audit", "--pseudonyms", path("trust/keys"), "--models", os.path.dirname(MODEL),
                        path("trust/public"), path("trust/public/trust.policy")], capture_output=True, text=True)
    return r.returncode, r.stdout + r.stderr


with tap.case("the audit finds nothing wrong: each decision comes out the same again"):
    code, text = audit()
    assert code == 0 and "nothing is wrong" in text, text
    assert int(re.search(r"(\d+) decisions evaluated again", text).group(1)) >= 18, text

with tap.case("the next boot follows the last, after a crash too"):
    s = start()
    assert ask(keys["clinic"], hello(1))[0] == 200
    s.process.kill()
    s.process.wait()
    s = start()
    assert ask(keys["clinic"], hello(1))[0] == 200
    assert s.stop() == 0
    code, text = audit()
    assert code == 0 and "nothing is wrong" in text, text

with tap.case("an air-gapped start proves that neither process has a way out; half a sandbox will not do"):
    s = start("--air-gapped")
    assert ask(keys["clinic"], hello(1))[0] == 200 and s.stop() == 0
    for name in ("keeper", "engine"):
        assert re.search(name + r" has no way out: devices: lo \(down\); tcp 192.0.2.1: ENETUNREACH; .*unix @abstract: ECONNREFUSED",
                         "".join(s.log)), s.log
    r = subprocess.run([BINARY, "serve", "--model", MODEL, "--air-gapped", "--sandbox", "best-effort"], capture_output=True, text=True,
                       timeout=60, env={**os.environ, **env})
    assert r.returncode == 1 and "whole sandbox" in r.stderr, r.stderr

with tap.case("swapped weights are not served"):
    other = path("small-copy")
    os.makedirs(other)
    swapped = os.path.join(other, os.path.basename(MODEL))
    shutil.copy(MODEL, swapped)
    with open(swapped, "r+b") as f:
        f.seek(-1000, 2)
        byte = f.read(1)
        f.seek(-1000, 2)
        f.write(bytes([byte[0] ^ 1]))
    r = subprocess.run([BINARY, "serve", "--model", swapped, "--listen", "127.0.0.1:0", "--site", "berlin"], capture_output=True,
                       text=True, timeout=60, env={**os.environ, **env})
    assert r.returncode == 1 and "not the weights that were signed" in r.stderr, r.stderr

with tap.case("a policy that is not in the log is not served"):
    shutil.copytree(path("trust"), path("elsewhere/trust"))
    subprocess.run([BINARY, "trust", "policy", path("policy.yaml")], env={**os.environ, "TOKENWORKS_HOME": path("elsewhere")}, check=True,
                   capture_output=True)
    for n in os.listdir(path("elsewhere/trust/public/notes/policy")):
        shutil.copy(path("elsewhere/trust/public/notes/policy", n), path("trust/public/notes/policy", n))
    r = subprocess.run([BINARY, "serve", "--model", MODEL, "--listen", "127.0.0.1:0", "--site", "berlin"], capture_output=True,
                       text=True, timeout=60, env={**os.environ, **env})
    assert r.returncode == 1 and "not in the log" in r.stderr, r.stderr
witness.terminate()
witness.wait()
shutil.rmtree(work, ignore_errors=True)
tap.done()
