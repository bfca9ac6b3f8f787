"""lab -- the fleet's test bed on one machine: three sites in network namespaces, a real nats-server, a gateway and two
workers each, every connection to a server through a proxy with faults on demand.

Needs root (ip netns), nats-server and a built tokenworks; Lab.missing() says what is not there. Everything a Lab made is
gone when it is closed. Times are CLOCK_MONOTONIC seconds.

    root namespace 10.N.0.1/16 on a bridge: the test, its clients, the fault proxy
    site S (1 fra de, 2 par fr, 3 zrh ch): 10.N.S.1 nats-server, 10.N.S.2 gateway, 10.N.S.11 and .12 workers,
    a namespace each"""
import atexit, http.client, importlib.machinery, importlib.util, json, os, random, re, shutil, signal, socket, subprocess
import sys, tempfile, threading, time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(HERE, "..", "..")
sys.path[:0] = [HERE, os.path.join(ROOT, "tests", "cmd")]
from nats_client import Client
from server import BINARY, MODEL, until

SITES = {"fra": "de", "par": "fr", "zrh": "ch"}
WORKERS = ("one", "two")


def load_sites():
    sys.dont_write_bytecode = True
    loader = importlib.machinery.SourceFileLoader("sites", os.path.join(ROOT, "packaging", "nats", "tokenworks-sites"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("sites", loader))
    loader.exec_module(module)
    return module


def ip(*words, check=True):
    run = subprocess.run(["ip", *words], capture_output=True, text=True)
    if check and run.returncode:
        raise RuntimeError(f"ip {' '.join(words)}: {run.stderr.strip()}")
    return run.returncode == 0


class Node:
    """A process in a namespace of its own, that can be stopped, killed, cut off and started again."""
    def __init__(self, lab, name, address, command, env=None):
        self.lab, self.name, self.address, self.command = lab, name, address, command
        self.env, self.process = {**os.environ, **(env or {})}, None
        self.killed = None  # when it was by us
        self.space = f"tw{lab.number}-{name}"
        self.veth = f"tw{lab.number}{name.replace('-', '')}"[:15]
        self.log = os.path.join(lab.dir, name + ".log")
        ip("netns", "add", self.space)
        ip("link", "add", self.veth, "type", "veth", "peer", "name", "eth0", "netns", self.space)
        ip("link", "set", self.veth, "master", lab.bridge, "up")
        for words in (("addr", "add", address + "/16", "dev", "eth0"), ("link", "set", "eth0", "up"), ("link", "set", "lo", "up")):
            ip("-n", self.space, *words)

    def start(self):
        with open(self.log, "a") as log:
            self.process = subprocess.Popen(["nsenter", f"--net=/run/netns/{self.space}", *self.command], stdout=log,
                                            stderr=log, stdin=subprocess.DEVNULL, env=self.env)
        self.ended = False
        return self

    def crashed(self):
        """It ended, and nobody here ended it."""
        return self.process is not None and self.process.poll() is not None and not self.ended

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def family(self):
        """The process and its children (front, then engines and keeper)."""
        pids, found = [self.process.pid], []
        while pids:
            found += pids
            with_kids = (f"/proc/{p}/task/{p}/children" for p in pids)
            pids = [int(c) for f in with_kids if os.path.exists(f) for c in open(f).read().split()]
        return found

    def engine(self):
        """The process that computes: the child with the most processor time."""
        return max(self.family()[1:], key=lambda p: sum(map(int, open(f"/proc/{p}/stat").read().rsplit(")")[-1].split()[11:13])))

    def signal(self, number, pids=None):
        for pid in pids or self.family():
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass

    def kill(self):
        self.ended, self.killed = True, time.monotonic()
        self.signal(signal.SIGKILL, [self.process.pid])
        self.process.wait()

    def stop(self, seconds=20):
        if self.alive():
            self.signal(signal.SIGCONT)
            self.process.terminate()
            try:
                return self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.signal(signal.SIGKILL)
                self.process.wait()
        return self.process.returncode if self.process else None

    def link(self, state):
        ip("link", "set", self.veth, state)

    def says(self, pattern):
        with open(self.log) as f:
            return re.search(pattern, f.read())

    def close(self):
        self.stop(5)
        ip("netns", "del", self.space, check=False)


class Lab:
    """nodes: "fra-nats", "fra-gate", "fra-one" .. ; routes of the proxy: "fra-gate", "fra-one" .., "par-link", "zrh-link"."""

    @staticmethod
    def missing():
        if os.geteuid() != 0:
            return "network namespaces need root"
        for tool in ("ip", "nsenter", "nats-server", "openssl"):
            if not shutil.which(tool):
                return f"no {tool}"
        if sys.version_info < (3, 11):
            return "python is older than 3.11"
        help_text = subprocess.run([BINARY, "help"], capture_output=True, text=True)
        for sub in ("worker", "gateway"):
            if not re.search(rf"^ *{sub}\b", help_text.stdout + help_text.stderr, re.M):
                return f"this build has no `tokenworks {sub}`"
        probe = f"twprobe{os.getpid()}"
        if not ip("netns", "add", probe, check=False):
            return "no network namespace can be made here"
        ip("netns", "del", probe, check=False)
        return None

    def __init__(self, model=MODEL, workers=WORKERS, worker_options=(), gateway_options=(), sites=SITES):
        self.number, self.dir = os.getpid() % 100000, tempfile.mkdtemp(prefix="tw-lab-")
        self.bridge, self.net = f"tw{self.number}br", random.randint(200, 254)
        self.nodes, self.spies, self.proxy, self.crashes = {}, {}, None, []
        atexit.register(self.close)
        self.places, self.workers, self.model = sites, workers, model
        self.worker_options, self.gateway_options = worker_options, gateway_options
        ip("link", "add", self.bridge, "type", "bridge")
        ip("addr", "add", f"10.{self.net}.0.1/16", "dev", self.bridge)
        ip("link", "set", self.bridge, "up")
        self.tools = load_sites()
        self._configure()
        self._start_proxy()
        for name in list(self.places):
            self._add_nodes(name)

    # ---- what is where
    def at(self, site, host):
        return f"10.{self.net}.{list(self.places).index(site) + 1}.{host}"

    def _routes(self):
        """name: (port of the proxy, target)."""
        clients = [f"{s}-{n}" for s in self.places for n in ("gate", *self.workers, "spy")]
        out = {name: (20001 + i, self.at(name[:3], 1) + ":4222") for i, name in enumerate(clients)}
        for i, s in enumerate(list(self.places)[1:]):
            out[s + "-link"] = (20101 + i, self.at(next(iter(self.places)), 1) + ":7422")
        return out

    def proxied(self, route):
        return f"10.{self.net}.0.1:{self.routes[route][0]}"

    def tap_file(self, route):
        return os.path.join(self.dir, route + ".tap")

    def _configure(self):
        self.routes = self._routes()
        table = {"flows": {"de": ["fr"], "fr": ["de"]} if "par" in self.places else {}, "sites": {}}
        for i, (s, j) in enumerate(self.places.items()):
            table["sites"][s] = {"jurisdiction": j, "address": self.at(s, 1) + ":4222", "monitor": self.at(s, 1) + ":8222",
                                 "names": [f"10.{self.net}.0.1"], "workers": list(self.workers), "gateways": ["gate"]}
            table["sites"][s] |= {"hub": True, "links": self.at(s, 1) + ":7422"} if i == 0 else {"dial": self.proxied(s + "-link")}
        fleet = self.fleet = self.tools.Fleet(table)
        self.tools.certificates(fleet, self.dir)
        for site in fleet.sites:
            folder = f"{self.dir}/{site.name}"
            self.tools.certificate(f"{self.dir}/ca", f"{folder}/nodes/spy", "spy", "DNS:spy.node.tokenworks", "clientAuth")
            spy = '      { user: "spy.node.tokenworks", permissions: { publish: ">", subscribe: ">" } }\n'
            with open(f"{folder}/nats.conf", "w") as f:
                f.write(plain_links(self.tools.configuration(fleet, site, folder, spy)))

    def _start_proxy(self):
        words = [f"{name}=10.{self.net}.0.1:{port}={target}" + (f"={self.tap_file(name)}" if name.endswith("-link") else "")
                 for name, (port, target) in self.routes.items()]
        self.proxy = subprocess.Popen([sys.executable, os.path.join(HERE, "fault_proxy.py"), *words], stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE, text=True)
        assert self.proxy.stdout.readline() == "ok\n", "the proxy does not start"

    def fault(self, route, mode, ms=""):
        self.proxy.stdin.write(f"{route} {mode} {ms}\n")
        self.proxy.stdin.flush()
        assert self.proxy.stdout.readline() == "ok\n"

    def _bus(self, site, name):
        folder = f"{self.dir}/{site}"
        return ["--nats", "tls://" + self.proxied(f"{site}-{name}"), "--site", site, "--jurisdiction", self.places[site],
                "--name", name, "--nats-ca", f"{folder}/ca.pem", "--nats-cert", f"{folder}/nodes/{name}.pem",
                "--nats-key", f"{folder}/nodes/{name}.key", "--state", f"{self.dir}/{site}-{name}"]

    def _gateway(self, site):
        j = self.places[site]
        return [w for k in sorted(self.fleet.allowed[j] - {j}) for w in ("--to-jurisdiction", k)] + [
            "--fleet-secret", f"{self.dir}/{site}/fleet.secret"]

    def _add(self, name, host, command):
        self.nodes[name] = Node(self, name, self.at(name[:3], host), command)

    def _add_nodes(self, s):
        self._add(f"{s}-nats", 1, ["nats-server", "-c", f"{self.dir}/{s}/nats.conf"])
        self._add(f"{s}-gate", 2, [BINARY, "gateway", "--listen", self.at(s, 2) + ":8080", *self._bus(s, "gate"),
                                   *self._gateway(s), *self.gateway_options])
        for i, w in enumerate(self.workers):
            self._add(f"{s}-{w}", 11 + i, [BINARY, "worker", "--model", self.model, "--threads", "1", "--kv-memory", "64M",
                                           *self._bus(s, w),
                                           *self.worker_options])

    # ---- life
    def start(self):
        for name in sorted(self.nodes, key=lambda n: not n.endswith("-nats")):
            if name.endswith("-nats"):
                self.nodes[name].start()
        time.sleep(0.5)
        for node in self.nodes.values():
            if not node.process:
                node.start()
        for s in self.places:
            self.spies[s] = Spy(self, s)
        self.wait_ready()
        return self

    def ready(self, site):
        """The gateway has a model that would take a request now."""
        try:
            return self.request(site, "GET", "/health", timeout=2)[0] == 200
        except OSError:
            return False

    def wait_ready(self, seconds=120):
        for s in self.places:
            until(lambda: self.ready(s), f"the gateway of {s}\n" + self.tail(f"{s}-gate"), seconds)
        want = {f"{s}-{w}" for s in self.places for w in self.workers}
        until(lambda: want <= set(self.beating()), f"heartbeats of {want - set(self.beating())}", seconds)

    def beating(self):
        """Workers whose heartbeat of the last second says that they have a model: what somebody at their site hears."""
        now = time.monotonic()
        return [f"{s}-{w}" for s in self.spies for w, (t, beat) in self.spies[s].beats.items() if now - t < 1 and beat["models"]]

    def beat(self, name):
        return self.spies[name[:3]].beats[name[4:]][1]

    def tail(self, name, lines=15):
        try:
            with open(self.nodes[name].log) as f:
                return "".join("  " + line for line in f.readlines()[-lines:])
        except OSError:
            return ""

    def restart(self, name):
        if self.nodes[name].alive():
            self.nodes[name].kill()
        self.nodes[name].start()

    def heal(self):
        """Every fault undone, every node running, every worker heard. What ended by itself is remembered in crashes."""
        for node in self.nodes.values():
            if node.crashed():
                self.crashes.append(f"{node.name} ended by itself, status {node.process.returncode}:\n{self.tail(node.name, 5)}")
        for name, (port, target) in self.routes.items():
            self.fault(name, "open")
        for node in self.nodes.values():
            node.link("up")
            if node.alive():
                node.signal(signal.SIGCONT)
            else:
                node.start()
        for spy in self.spies.values():
            spy.again()
        self.wait_ready()

    def close(self):
        atexit.unregister(self.close)
        for node in self.nodes.values():
            if node.alive():
                node.signal(signal.SIGCONT)
                node.signal(signal.SIGKILL)
        for node in self.nodes.values():
            node.close()
        if self.proxy:
            self.proxy.kill()
            self.proxy.wait()
        ip("link", "del", self.bridge, check=False)
        if not os.environ.get("KEEP"):
            shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *why):
        self.close()

    # ---- asking
    def connection(self, site, timeout=60):
        return http.client.HTTPConnection(self.at(site, 2), 8080, timeout=timeout)

    def request(self, site, method, path, body=None, headers=None, timeout=60):
        c = self.connection(site, timeout)
        try:
            data = json.dumps(body) if isinstance(body, dict) else body
            c.request(method, path, data, {"Content-Type": "application/json", **(headers or {})})
            r = c.getresponse()
            return r.status, r.read()
        finally:
            c.close()


def plain_links(text):
    """For the byte tap: links between sites without TLS, users by password. Only of the test's configuration."""
    lines, inside = [], False
    for line in text.split("\n"):
        inside = inside and line != "}" or line.startswith("leafnodes")
        if inside and line.strip().startswith("tls "):
            continue
        line = re.sub(r'user: "(\S+\.link\.tokenworks)"', r'user: "\1", password: "lab"', line)
        lines.append(line)
    text = "\n".join(lines)
    own = re.search(r'server_name: "(\w+)"', text).group(1)
    return text.replace('urls: ["tls://', f'urls: ["nats://{own}.{SITES[own]}.link.tokenworks:lab@')


class Spy:
    """Listens at a site's server with every right: heartbeats as they come, and everything that is content."""
    def __init__(self, lab, site):
        self.lab, self.site, self.beats, self.content, self.client = lab, site, {}, [], None
        self.again()

    def again(self):
        if self.client and not self.client.closed:
            return
        def connect():
            try:
                self.client = Client(self.lab.proxied(f"{self.site}-spy"), f"{self.lab.dir}/{self.site}", "spy").flush()
                return True
            except (OSError, AssertionError):
                return False
        until(connect, f"the server of {self.site}", 20)
        for s, j in SITES.items():
            for last in ("w.*.req", "g.*.in", "w.*.ctl"):
                self.client.subscribe(f"tw.v1.{j}.{s}.{last}")
            self.client.subscribe(f"tw.v1.{j}.m.*.any")
        self.client.subscribe("tw.v1.*.*.w.*.hb")
        self.client.flush()
        threading.Thread(target=self._listen, args=(self.client,), daemon=True).start()

    def _listen(self, client):
        while not client.closed:
            client.wait(lambda: client.messages or client.closed, 1)
            with client.heard:
                taken, client.messages = client.messages, []
            for subject, data in taken:
                words = subject.split(".")
                if words[-1] != "hb":
                    self.content.append((time.monotonic(), subject, data))
                elif words[3] == self.site:
                    self.beats[words[5]] = (time.monotonic(), json.loads(data))

    def saw(self, text):
        return [subject for _, subject, data in self.content if text in data]


class Stream:
    """A streamed chat completion on a thread of its own: what came, and when."""
    def __init__(self, lab, site, prompt, seed=1, tokens=96, temperature=0.0, headers=None, pace=0.0, pad=0, stream=True,
                 timeout=60):
        self.lab, self.site, self.headers, self.pace, self.pad, self.timeout = lab, site, headers or {}, pace, pad, timeout
        self.fields = {"model": "default", "messages": [{"role": "user", "content": prompt}], "seed": seed, "stream": stream,
                       "temperature": temperature, "max_tokens": tokens, "ignore_eos": True,
                       **({"stream_options": {"include_usage": True}} if stream else {})}
        self.pieces, self.times, self.usage, self.status, self.error, self.id = [], [], None, 0, "", ""
        self.started, self.whole = time.monotonic(), False
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        c = self.lab.connection(self.site, self.timeout)
        try:
            body = json.dumps(self.fields)
            c.connect()
            self.socket = c.sock
            try:
                c.request("POST", "/v1/chat/completions", body[:-1] + " " * self.pad + "}",
                          {"Content-Type": "application/json", **self.headers})
            except BrokenPipeError:
                pass  # refused before it was read: the answer is there
            r = c.getresponse()
            self.status = r.status
            if r.status != 200:
                self.error = r.read().decode()
                return
            if not self.fields["stream"]:
                self._whole(json.loads(r.read()))
                return
            for line in r:
                self._line(line)
                if self.pace:
                    time.sleep(self.pace)
        except (OSError, http.client.HTTPException, ValueError) as e:
            self.error = f"{type(e).__name__}: {e}"
        finally:
            c.close()

    def _line(self, line):
        if not line.startswith(b"data: "):
            return
        if line.strip() == b"data: [DONE]":
            self.whole = True
            return
        event = json.loads(line[6:])
        if "error" in event:
            self.error = json.dumps(event["error"])
            return
        self.id = event.get("id", self.id)
        self.usage = event.get("usage") or self.usage
        for choice in event["choices"]:
            text = choice["delta"].get("content")
            if text:
                self.pieces.append(text)
                self.times.append(time.monotonic())

    def _whole(self, v):
        self.id, self.usage, self.whole = v["id"], v["usage"], True
        self.pieces.append(v["choices"][0]["message"]["content"])
        self.times.append(time.monotonic())

    def hang_up(self):
        self.socket.shutdown(socket.SHUT_RDWR)

    @property
    def text(self):
        return "".join(self.pieces)

    def wait(self, seconds=90):
        self.thread.join(seconds)
        assert not self.thread.is_alive(), f"no end after {seconds} s: {len(self.pieces)} pieces, usage {self.usage}"
        return self

    def gap(self, since=0.0):
        """The longest silence that ended after since."""
        points = [self.started] + self.times
        return max((b - max(a, since) for a, b in zip(points, points[1:]) if b > since), default=0.0)


def percentile(values, p):
    values = sorted(values)
    return values[min(len(values) - 1, int(p * len(values)))] if values else 0.0
