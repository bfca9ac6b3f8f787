"""site -- a site that keeps evidence, for tests over the wire: its keys and statements, a tiny model, proxies, a relay on the wire
between them, a signer of RFC 9421 that is not ours (openssl), and the audit."""
import base64, hashlib, http.client, json, os, re, secrets, shutil, socket, subprocess, tempfile, threading, time
from email.utils import formatdate
import tiny_llama
from server import BINARY, Server, free_port

POLICY = """version: 1
groups: {EU: [DE, FR]}
classes: [public, internal]
sites:
  berlin: {jurisdiction: DE, operator-law: [DE]}
tenants:
  clinic: {home: DE, process-in: [EU], default-class: internal}
  notary: {home: DE, process-in: [EU], default-class: internal, signed: true}
models:
  small: {max-class: internal, territory: [EU]}
rules:
  - {id: all, effect: allow, when: {}}
"""
CHAT = "/v1/chat/completions"
TENANTS = ("clinic", "notary")


def await_port(port):
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            time.sleep(0.05)


def until(what, seconds=15, every=0.05):
    end = time.monotonic() + seconds
    while True:
        got = what()
        if got or time.monotonic() > end:
            return got
        time.sleep(every)


def fields(note):
    """A statement's lines; of an offer's or a file's note."""
    text = (note if isinstance(note, str) else note.decode()).split("\n\n")[0]
    return dict(line.split(" ", 1) for line in text.split("\n")[1:])


def commitment(role, salt, content):
    return "c1:" + hashlib.sha256(b"tokenworks/commit/v1\0" + role + base64.b64decode(salt) + content).hexdigest()


def hello(n=2, text="Say hello.", **more):
    return {"messages": [{"role": "user", "content": text}], "max_tokens": n, "temperature": 0, "ignore_eos": True, **more}


def split_stream(text):
    found = re.search(rb": tw-receipt ([A-Za-z0-9+/=]+)\n\n", text)
    return base64.b64decode(found.group(1)), text[:found.start()] + text[found.end():]


class Site:
    def __init__(self, policy=POLICY, witness=False):
        self.work = tempfile.mkdtemp(prefix="tw-site-")
        self.env = {"TOKENWORKS_HOME": self.work}
        self.running = []
        self.model = self.path("tiny.gguf")
        tiny_llama.write(self.model, seed=11, ctx=2048)
        more = []
        if witness:
            port = free_port()
            vkey = self.tool("witness", "init", "--name", "witness.example/w1", home=self.path("w1")).strip()
            more = ["--witness", f"{vkey} http://127.0.0.1:{port}"]
        self.tool("trust", "init", "--site", "berlin.example", *more)
        self.log = re.search(r"^log (\S+)", open(self.path("trust/public/trust.policy")).read(), re.M).group(1)
        if witness:
            self.spawn("witness", "--log", self.log, "--listen", f"127.0.0.1:{port}", "serve", home=self.path("w1"))
            await_port(port)
        self.tool("trust", "release", "--version", "0.1.0", BINARY)
        self.tool("trust", "model", "--name", "small", self.model)
        self.tool("trust", "policy", self.write("policy.yaml", policy))
        self.keys = {}
        for tenant in TENANTS:
            self.tool("tenant", "add", tenant)
            self.keys[tenant] = re.search(r"tw-[A-Za-z0-9_-]{43}", self.tool("key", "add", "-t", tenant)).group(0)
        self.tool("trust", "client", "--tenant", "notary", "--out", self.path("notary.key"))

    def path(self, *names):
        return os.path.join(self.work, *names)

    def write(self, name, text):
        with open(self.path(name), "w") as f:
            f.write(text)
        return self.path(name)

    def tool(self, *args, ok=True, home=None):
        r = subprocess.run([BINARY, *args], capture_output=True, text=True, timeout=60,
                           env={**os.environ, **self.env, **({"TOKENWORKS_HOME": home} if home else {})})
        assert not ok or r.returncode == 0, r.stdout + r.stderr
        return r.stdout if ok else (r.returncode, r.stdout + r.stderr)

    def spawn(self, *args, home=None, stderr=subprocess.DEVNULL):
        p = subprocess.Popen([BINARY, *args], stderr=stderr, text=True,
                             env={**os.environ, **self.env, **({"TOKENWORKS_HOME": home} if home else {})})
        self.running.append(p)
        return p

    def start(self, *options):
        self.s = Server("--site", "berlin", "--state", self.work, "--threads", "1", *options, model=self.model, env=self.env).wait_ready()
        return self.s

    def ask(self, tenant, body=None, path=CHAT, **headers):
        """Status, headers, the answer's bytes; the bytes sent too."""
        c = http.client.HTTPConnection("127.0.0.1", self.s.port, timeout=60)
        data = body if isinstance(body, bytes) else json.dumps(hello() if body is None else body).encode()
        auth = {"Authorization": "Bearer " + self.keys[tenant]} if tenant else {}
        kind = {} if "content-type" in headers else {"Content-Type": "application/json"}
        c.request("POST", path, data, {**kind, **auth, **headers})
        r = c.getresponse()
        text = r.read()
        c.close()
        return r.status, {k.lower(): v for k, v in r.getheaders()}, text, data

    def receipt(self, answer):
        """Of an answer that is no stream; checked against the bytes."""
        status, h, text, sent = answer
        note = base64.b64decode(h["tw-receipt"])
        r = fields(note)
        assert r["id"] == h["tw-receipt-id"], r
        assert r["request"] == commitment(b"request", h["tw-receipt-salt"], sent), "request"
        assert r["response"] == commitment(b"response", h["tw-receipt-salt"], text), "response"
        return r

    def evidence(self):
        status, text, _ = self.s.get("/v1/evidence")
        return status, json.loads(text)

    def node(self):
        """The node statement that clients are shown."""
        def shown():
            status, offer = self.evidence()
            return fields(offer["node"]["note"]) if status == 200 else None
        return until(shown)

    def notes(self, kind):
        folder = self.path("trust/public/notes", kind)
        return [fields(open(os.path.join(folder, n)).read()) for n in sorted(os.listdir(folder))]

    def proxy(self, tenant, *options, url=None, state="client"):
        port = free_port()
        p = self.spawn("proxy", "--url", url or self.s.url, "--policy", self.path("trust/public/trust.policy"), "--api-key",
                       self.keys[tenant], "--listen", f"127.0.0.1:{port}", "--state", self.path(state), *options, stderr=subprocess.PIPE)
        lines = []
        threading.Thread(target=lambda: lines.extend(p.stderr), daemon=True).start()
        await_port(port)
        return Proxy(p, port, self.path(state, "proxy", "receipts"), lines)

    def audit(self, *more, models=True):
        more += ("--models", self.work) if models else ()
        return self.tool("audit", "--pseudonyms", self.path("trust/keys"), *more, self.path("trust/public"),
                         self.path("trust/public/trust.policy"), ok=False)

    def end(self):
        for p in self.running:
            p.terminate()
            p.wait()
        shutil.rmtree(self.work, ignore_errors=True)


class Proxy:
    def __init__(self, process, port, kept, log):
        self.process, self.port, self.kept, self.log = process, port, kept, log

    def ask(self, body=None):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        c.request("POST", CHAT, json.dumps(hello() if body is None else body), {"Content-Type": "application/json"})
        r = c.getresponse()
        text = r.read()
        c.close()
        return r.status, text

    def receipts(self):
        names = [n for n in os.listdir(self.kept) if n.endswith(".note")]
        names.sort(key=lambda n: os.stat(os.path.join(self.kept, n)).st_mtime_ns)
        return [fields(open(os.path.join(self.kept, n), "rb").read()) for n in names]

    def stop(self):
        self.process.terminate()
        self.process.wait()


class Relay:
    """Sits on the wire to a server and sees whole requests: `bend(head, body)` gives what is sent on instead, None for as it came.
    All requests are kept in `seen`."""
    def __init__(self, port):
        self.to, self.bend, self.seen = port, None, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                c, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(c,), daemon=True).start()

    @staticmethod
    def read_request(c):
        data = b""
        while b"\r\n\r\n" not in data:
            more = c.recv(65536)
            if not more:
                return None
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head, re.I)
        while length and len(body) < int(length.group(1)):
            body += c.recv(65536)
        return head, body

    def send(self, head, body):
        """Sends a request by itself, as whoever recorded it would. The whole answer."""
        c = socket.create_connection(("127.0.0.1", self.to))
        head = re.sub(rb"content-length: \d+", b"Content-Length: %d" % len(body), head, flags=re.I)
        c.sendall(head + b"\r\nConnection: close\r\n\r\n" + body)
        answer = b""
        while True:
            more = c.recv(65536)
            if not more:
                return answer
            answer += more

    def serve(self, c):
        try:
            while True:
                got = self.read_request(c)
                if not got:
                    return
                self.seen.append(got)
                got = (self.bend and self.bend(*got)) or got
                c.sendall(self.send(*got))
                c.shutdown(socket.SHUT_WR)
                return
        except OSError:
            pass
        finally:
            c.close()

    def close(self):
        self.listener.close()


def status_of(answer):
    return int(answer.split(b" ", 2)[1])


class Signer:
    """Signs as RFC 9421 says, with openssl: another implementation than the server's."""
    PARTS = ("@method", "@authority", "@path", "@query", "content-type", "content-digest", "date", "tw-node", "tw-model", "tw-data-class",
             "tw-policy")

    def __init__(self, file, work):
        tag, name, number, secret = re.match(r"(PRIVATE\+KEY)\+(.+)\+([0-9a-f]{8})\+(.+)\n", open(file).read()).groups()
        self.keyid = f"{name}+{number}"
        self.pem = os.path.join(work, name.replace("/", "-") + ".pem")
        der = bytes.fromhex("302e020100300506032b657004220420") + base64.b64decode(secret)[1:]
        with open(self.pem, "w") as f:
            f.write("-----BEGIN PRIVATE KEY-----\n" + base64.b64encode(der).decode() + "\n-----END PRIVATE KEY-----\n")
        self.text = self.pem + ".base"

    def sign(self, data):
        with open(self.text, "wb") as f:
            f.write(data)
        return subprocess.run(["openssl", "pkeyutl", "-sign", "-inkey", self.pem, "-rawin", "-in", self.text], capture_output=True,
                              check=True).stdout

    def headers(self, site, body, path=CHAT, parts=PARTS, now=None, created=None, expires=None, nonce=None, host=None, tag="tokenworks-v1",
                **change):
        offer = site.evidence()[1]
        node = fields(offer["node"]["note"])
        digest = lambda note: "sha256:" + hashlib.sha256(note.encode()).hexdigest()
        now = int(time.time() if now is None else now)
        created = now if created is None else created
        expires = created + 60 if expires is None else expires
        h = {"content-type": "application/json", "content-digest": f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:",
             "date": formatdate(now, usegmt=True), "tw-node": f"{node['boot']}.{node['epoch']}", "tw-model": digest(offer["model"]["note"]),
             "tw-data-class": "", "tw-policy": digest(offer["policy"]["note"])}
        h.update({k.replace("_", "-"): v for k, v in change.items()})
        special = {"@method": "POST", "@authority": host or f"127.0.0.1:{site.s.port}", "@path": path, "@query": "?"}
        params = "(" + " ".join(f'"{p}"' for p in parts) + f');created={created};expires={expires};nonce="{nonce or secrets.token_hex(16)}"' \
            f';keyid="{self.keyid}";tag="{tag}"'
        base = "".join(f'"{p}": {special.get(p, h.get(p))}\n' for p in parts) + f'"@signature-params": {params}'
        signature = base64.b64encode(self.sign(base.encode())).decode()
        return {**h, "signature-input": f"tw={params}", "signature": f"tw=:{signature}:"}
