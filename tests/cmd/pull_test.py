#!/usr/bin/env python3
"""pull_test -- models from a hub on loopback: choice, resume, checks, hostile answers (TAP)."""
import hashlib, http.server, json, os, random, signal, subprocess, sys, tempfile, threading, time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import tiny_llama
from server import BINARY, Tap

tap = Tap()
tmp = tempfile.TemporaryDirectory()
STATE = os.path.join(tmp.name, "state")
MODELS = os.path.join(STATE, "models")
rng = random.Random(1)
tiny_llama.write(os.path.join(tmp.name, "t.gguf"), seed=4)
TINY = open(os.path.join(tmp.name, "t.gguf"), "rb").read()
BIG = rng.randbytes(6 << 20)


class Hub:
    """What the repositories hold, and how the next answers go wrong."""
    repos = {
        "acme/tiny": {"README.md": b"x", "tiny-Q8_0.gguf": TINY, "tiny-Q4_K_M.gguf": BIG, "sub/tiny-F16.gguf": b"GGUF16",
                      "mmproj-Q4_K_M.gguf": b"no"},
        "acme/private": {"p-Q8_0.gguf": b"secret"},
    }
    lists = {}         # repo -> the tree listing instead of the true one
    cut_after = None   # bytes of a file after which the connection breaks, as often as cut_times
    cut_times = 0
    corrupt = False
    no_range = False
    slow = 0
    seen = []          # (path, range, authorization)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *a):
        pass

    def reply(self, status, body=b"", **headers):
        self.send_response(status)
        for k, v in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(k.replace("_", "-"), v)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        path = self.path.split("?")[0]
        Hub.seen.append((path, self.headers.get("Range"), self.headers.get("Authorization")))
        part = path.strip("/").split("/")
        if path.startswith("/api/models/"):
            name = "/".join(part[2:4])
            if name == "acme/private" and self.headers.get("Authorization") != "Bearer hf_good":
                return self.reply(401)
            if name not in Hub.repos and name not in Hub.lists:
                return self.reply(404)
            true = [{"type": "file", "path": p, "size": len(b),
                     **({"lfs": {"oid": hashlib.sha256(b).hexdigest(), "size": len(b), "pointerSize": 130}}
                        if p.endswith(".gguf") else {})} for p, b in Hub.repos.get(name, {}).items()]
            listing = Hub.lists.get(name, true)
            return self.reply(200, listing if isinstance(listing, bytes) else json.dumps(listing).encode())
        if part[2:4] == ["resolve", "main"]:  # as the hub does: to where the bytes are
            return self.reply(302, Location="/cdn/" + "/".join(part[:2] + part[4:]))
        if part[0] == "cdn":
            return self.send_file(Hub.repos["/".join(part[1:3])]["/".join(part[3:])])
        self.reply(404)

    def send_file(self, data):
        if Hub.corrupt:
            data = data[:100] + bytes([data[100] ^ 1]) + data[101:]
        start, status = 0, 200
        if self.headers.get("Range") and not Hub.no_range:
            start, status = int(self.headers["Range"].split("=")[1].rstrip("-")), 206
        if start >= len(data) and start:
            return self.reply(416)
        self.send_response(status)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        end = len(data)
        if Hub.cut_times:
            Hub.cut_times -= 1
            end = min(end, start + Hub.cut_after)
        for at in range(start, end, 65536):
            self.wfile.write(data[at:min(at + 65536, end)])
            if Hub.slow:
                time.sleep(Hub.slow)
        if end < len(data):
            self.close_connection = True


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
server.daemon_threads = True
server.handle_error = lambda *a: None  # a client that leaves
threading.Thread(target=server.serve_forever, daemon=True).start()
URL = f"http://127.0.0.1:{server.server_port}"
ENV = {**os.environ, "HF_ENDPOINT": URL, "TOKENWORKS_PULL_PAUSE_MS": "10", "TOKENWORKS_HOME": STATE}
ENV.pop("HF_TOKEN", None)


def pull(*args, **env):
    Hub.seen.clear()
    return subprocess.run([BINARY, "pull", *args], capture_output=True, text=True, env={**ENV, **env}, timeout=60)


def good(result, name, content):
    assert result.returncode == 0, result.stderr
    path = os.path.join(MODELS, name)
    assert result.stdout.strip() == path, result.stdout
    assert open(path, "rb").read() == content
    assert open(path + ".sha256").read() == f"{hashlib.sha256(content).hexdigest()}  {name}\n"
    assert not [f for f in os.listdir(MODELS) if f.endswith(".part")]


def bad(result, *words):
    assert result.returncode == 1, (result.returncode, result.stdout, result.stderr)
    for w in words:
        assert w in result.stderr, result.stderr


with tap.case("a type is chosen, the redirect followed, the bytes checked"):
    good(pull("hf:acme/tiny"), "tiny-Q4_K_M.gguf", BIG)
with tap.case("what is here is not fetched again"):
    r = pull("hf:acme/tiny")
    assert r.returncode == 0 and len(Hub.seen) == 1, Hub.seen
with tap.case("a file by its type, by its name, by its path"):
    good(pull("hf:acme/tiny:q8_0"), "tiny-Q8_0.gguf", TINY)
    os.remove(os.path.join(MODELS, "tiny-Q8_0.gguf"))
    good(pull("hf:acme/tiny:tiny-Q8_0.gguf"), "tiny-Q8_0.gguf", TINY)
    good(pull("hf:acme/tiny:sub/tiny-F16.gguf"), "tiny-F16.gguf", b"GGUF16")
with tap.case("what is not there is said with what is"):
    bad(pull("hf:acme/tiny:Q2_K"), "no file for 'Q2_K'", "tiny-Q8_0.gguf")
    bad(pull("hf:acme/nothing"), "has no model acme/nothing")
    assert pull().returncode == 2
    for name in ("hf:acme", "hf:../x", "hf:a/..", "hf:a/b:../c.gguf", "hf:a/b:/etc/x.gguf", "hf:a b/c", "nonsense"):
        bad(pull(name), "names no model")
with tap.case("a connection that breaks is taken up where it broke"):
    Hub.cut_after, Hub.cut_times = 1 << 20, 4
    good(pull("hf:acme/tiny", "--name", "again"), "again.gguf", BIG)
    ranges = [s[1] for s in Hub.seen if s[1]]
    assert len(ranges) >= 3 and ranges == sorted(ranges, key=lambda s: int(s[6:-1])), Hub.seen
with tap.case("kill -9 in the middle: the next run goes on, and says nothing of a half file in the meantime"):
    Hub.slow = .02
    p = subprocess.Popen([BINARY, "pull", "hf:acme/tiny", "--name", "killed"], env=ENV, stdout=subprocess.DEVNULL)
    part = lambda: [f for f in os.listdir(MODELS) if f.endswith(".part")]
    end = time.monotonic() + 20
    while not part() or os.path.getsize(os.path.join(MODELS, part()[0])) < 300000:
        assert time.monotonic() < end
        time.sleep(.01)
    busy = pull("hf:acme/tiny", "--name", "killed")
    p.kill()
    p.wait()
    Hub.slow = 0
    bad(busy, "another process")
    assert not os.path.exists(os.path.join(MODELS, "killed.gguf"))
    good(pull("hf:acme/tiny", "--name", "killed"), "killed.gguf", BIG)
    assert int([s[1] for s in Hub.seen if s[1]][0][6:-1]) >= 300000, Hub.seen
with tap.case("a server that knows no Range begins anew"):
    Hub.cut_after, Hub.cut_times, Hub.no_range = 1 << 20, 1, True
    good(pull("hf:acme/tiny", "--name", "whole"), "whole.gguf", BIG)
    Hub.no_range = False
with tap.case("a server that always breaks off ends in an error; what came is kept"):
    Hub.cut_after, Hub.cut_times = 0, 99
    bad(pull("hf:acme/tiny", "--name", "never"))
    Hub.cut_times = 0
    good(pull("hf:acme/tiny", "--name", "never"), "never.gguf", BIG)
with tap.case("one wrong bit: nothing is kept"):
    Hub.corrupt = True
    bad(pull("hf:acme/tiny", "--name", "wrong"), "SHA-256 is", hashlib.sha256(BIG).hexdigest())
    Hub.corrupt = False
    assert not [f for f in os.listdir(MODELS) if "wrong" in f], os.listdir(MODELS)
    good(pull("hf:acme/tiny", "--name", "wrong"), "wrong.gguf", BIG)
with tap.case("a hub's hostile names and lies go nowhere"):
    sha = hashlib.sha256(TINY).hexdigest()
    entry = lambda path, **lfs: [{"type": "file", "path": path, "size": 9, "lfs": {"oid": sha, "size": len(TINY), **lfs}}]
    before = sorted(os.listdir(tmp.name)), sorted(os.listdir(STATE)), sorted(os.listdir(MODELS))
    for listing in (entry("../../evil-Q4_K_M.gguf"), entry("/tmp/evil.gguf"), entry("a/../evil.gguf"), entry(".evil.gguf"),
                    entry("ev\nil.gguf"), entry("ev il.gguf"), entry("e;reboot.gguf"), entry("x" * 300 + ".gguf"),
                    entry("evil.gguf", oid="00"), entry("evil.gguf", oid=7), entry("evil.gguf", size=-1),
                    entry("evil.gguf", size="9"), [{"path": "evil.gguf"}], [7, None, {"path": 3}], {"error": "x"},
                    b"\xff\xfe", b"[" * 100000, b"", entry("m-00001-of-00002.gguf")):
        Hub.lists["acme/evil"] = listing
        r = pull("hf:acme/evil")
        assert r.returncode == 1 and r.stderr.strip(), (listing, r)
    assert before == (sorted(os.listdir(tmp.name)), sorted(os.listdir(STATE)), sorted(os.listdir(MODELS)))
    Hub.lists["acme/evil"] = entry("tiny-Q8_0.gguf", size=10)  # the file is longer than it says
    Hub.repos["acme/evil"] = {"tiny-Q8_0.gguf": TINY}
    bad(pull("hf:acme/evil", "--name", "long"), "more than the 10 bytes")
with tap.case("a file of the same name from elsewhere is not overwritten by a slip"):
    Hub.repos["other/tiny"] = {"tiny-Q8_0.gguf": b"GGUF other"}
    bad(pull("hf:other/tiny"), "came from hf:acme/tiny:tiny-Q8_0.gguf")
    good(pull("hf:other/tiny", "--force"), "tiny-Q8_0.gguf", b"GGUF other")
    good(pull("hf:acme/tiny:Q8_0", "--force"), "tiny-Q8_0.gguf", TINY)
with tap.case("a link in the way is not written through"):
    outside = os.path.join(tmp.name, "outside")
    open(outside, "w").write("mine")
    os.symlink(outside, os.path.join(MODELS, "linked.gguf"))
    bad(pull("hf:acme/tiny:Q8_0", "--name", "linked", "--force"))
    assert open(outside).read() == "mine"
    for f in os.listdir(MODELS):
        if f.startswith((".linked", "linked")):
            os.remove(os.path.join(MODELS, f))
with tap.case("a token opens what is private, is not sent on by the redirect's host rules, and never in the clear elsewhere"):
    bad(pull("hf:acme/private"), "HF_TOKEN")
    good(pull("hf:acme/private", HF_TOKEN="hf_good"), "p-Q8_0.gguf", b"secret")
    bad(pull("hf:acme/private", HF_TOKEN="hf_good", HF_ENDPOINT="http://hub.invalid"), "in the clear")
with tap.case("a plain URL with its SHA-256"):
    url = URL + "/cdn/acme/tiny/tiny-Q8_0.gguf"
    bad(pull(url), "--sha256")
    bad(pull(url, "--sha256", "12"), "64 hexadecimal")
    bad(pull(url, "--sha256", "0" * 64, "--name", "u"), "SHA-256 is")
    good(pull(url, "--sha256", hashlib.sha256(TINY).hexdigest(), "--name", "u"), "u.gguf", TINY)
    assert not any(s[2] for s in Hub.seen)
with tap.case("serve and inspect find what was pulled by what it was pulled as"):
    p = subprocess.Popen([BINARY, "serve", "--model", "hf:acme/tiny:Q8_0", "--listen", "127.0.0.1:0", "--threads", "1"],
                         env=ENV, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert "listening" in p.stdout.readline()
    for line in p.stderr:
        if "model ready: tiny-Q8_0" in line:
            break
    p.send_signal(signal.SIGTERM)
    assert p.wait(20) == 0
    r = subprocess.run([BINARY, "serve", "--model", "hf:acme/absent"], capture_output=True, text=True, env=ENV, timeout=20)
    assert r.returncode == 1 and "tokenworks pull hf:acme/absent" in r.stderr, r.stderr
with tap.case("--list and --plan fetch nothing"):
    assert "smollm2-135m" in pull("--list").stdout
    r = pull("hf:acme/tiny:F16", "--plan", "--name", "planned")
    assert r.returncode == 0 and "planned.gguf" in r.stdout and not os.path.exists(os.path.join(MODELS, "planned.gguf"))
tap.done()
