#!/usr/bin/env python3
"""fleet_proxy -- what the gateway and the bus cost before a worker, beside nginx and LiteLLM before the same server.

usage: bench/fleet_proxy.py [--program build/tokenworks] [--nginx PROGRAM] [--litellm PROGRAM] [--seconds 2] [--rounds 5]

A model of two tiny layers answers with one token, so that what is measured is the way there and back:
    direct    client - serve                                the upstream of nginx and LiteLLM, too
    gateway   client - gateway - nats-server - worker       the same engine in the worker; mutual TLS on the bus
    nginx     client - nginx - serve                        one process, connections kept, no buffering
    litellm   client - litellm - serve                      one process
All stand side by side; a round goes over all of them in slices of a quarter second, so that what else the machine does
meets each alike. Closed loop, connections kept, the first slice of all is not counted.
    added     of a round: this percentile of all its requests less direct's own, one connection; median of the rounds
              and, in brackets, the least. p99 beside it is the row's own: where direct's is large, the machine was busy
    per core  requests by processor second of the proxy's own processes (gateway: the gateway and the nats-server, then
              each, then with the worker's front, which stands where serve's front stands in the other rows), under
              --connections of them
    streams   200 tokens each: how much later than direct's the first and the mean token come, one connection; tokens by
              processor second of the same processes, eight connections
nginx: apt; LiteLLM: pip install 'litellm[proxy]'."""
import argparse, importlib.machinery, importlib.util, json, os, select, shutil, signal, socket, statistics, subprocess
import sys, tempfile, time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(HERE, "..")
sys.path.insert(0, os.path.join(ROOT, "tests", "cmd"))
sys.dont_write_bytecode = True
import tiny_llama

STREAMS, STREAM_TOKENS, PROMPT, SLICE_S = 8, 200, "b", 0.25
KEY = "sk-" + os.urandom(32).hex()  # LiteLLM wants one; the others do not look

def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def sites_tool():
    loader = importlib.machinery.SourceFileLoader("sites", os.path.join(ROOT, "packaging", "nats", "tokenworks-sites"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("sites", loader))
    loader.exec_module(module)
    return module


def cpu(pid):
    """Processor seconds of a process, all the threads it has, not its children."""
    ns = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/schedstat") as f:
            ns += int(f.read().split()[0])
    return ns / 1e9


def children(pid):
    mine = []
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/children") as f:
            mine += [int(c) for c in f.read().split()]
    return mine + [g for c in mine for g in children(c)]


def percentile(values, p):
    return sorted(values)[min(len(values) - 1, int(p * len(values)))] if values else float("nan")


class Row:
    """processes: {part: Popen}, the proxy's own and, below `more`, others'; family: with all their children."""
    def __init__(self, name, port, processes, more=(), family=False):
        self.name, self.port, self.processes, self.more, self.family = name, port, processes, more, family
        self.counts = {"times": [], "n": 0, "seconds": 0, "tokens": 0, "first": [], "mean": [],
                       "load": {p: 0 for p in processes}, "stream": {p: 0 for p in processes}}
        self.rounds = []

    def times(self):
        return {n: sum(cpu(p) for p in [x.pid, *(children(x.pid) if self.family else ())])
                for n, x in self.processes.items()}

    def spent(self, before, into):
        for part, now in self.times().items():
            into[part] += now - before[part]


class Setup:
    def __init__(self, o):
        self.o, self.dir, self.running, self.upstream = o, tempfile.mkdtemp(prefix="tw-proxy-"), [], None
        tiny_llama.write(f"{self.dir}/tiny.gguf", 1, ctx=1024)

    def start(self, name, command, **more):
        with open(f"{self.dir}/{name}.log", "w") as log:
            p = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True, **more)
        self.running.append(p)
        return p

    def direct(self):
        port = self.upstream = free_port()
        p = self.start("serve", [self.o.program, "serve", "--model", f"{self.dir}/tiny.gguf", "--listen", f"127.0.0.1:{port}",
                                 "--threads", "1", "--state", f"{self.dir}/serve", "--no-ledger"])
        return Row("direct", port, {"serve": p})

    def gateway(self):
        table = {"sites": {"one": {"jurisdiction": "de", "hub": True, "address": f"127.0.0.1:{free_port()}",
                                   "workers": ["work"], "gateways": ["gate"]}}}
        tools = sites_tool()
        fleet = tools.Fleet(table)
        tools.certificates(fleet, self.dir)
        site, at = fleet.sites[0], f"{self.dir}/one"
        with open(f"{at}/nats.conf", "w") as f:
            f.write(tools.configuration(fleet, site, at))
        nats = self.start("nats", ["nats-server", "-c", f"{at}/nats.conf"])
        time.sleep(0.5)
        bus = lambda n: ["--nats", f"tls://{site.address[0]}", "--site", "one", "--jurisdiction", "de", "--name", n,
                         "--nats-ca", f"{at}/ca.pem", "--nats-cert", f"{at}/nodes/{n}.pem", "--nats-key",
                         f"{at}/nodes/{n}.key", "--state", f"{self.dir}/{n}"]
        worker = self.start("worker", [self.o.program, "worker", "--model", f"{self.dir}/tiny.gguf", "--threads", "1", *bus("work")])
        port = free_port()
        gate = self.start("gateway", [self.o.program, "gateway", "--listen", f"127.0.0.1:{port}", *bus("gate")])
        return Row("gateway", port, {"gateway": gate, "nats": nats, "worker": worker}, ["worker"])

    def nginx(self):
        port = free_port()
        with open(f"{self.dir}/nginx.conf", "w") as f:
            f.write(f"""daemon off; worker_processes 1; pid {self.dir}/nginx.pid; error_log {self.dir}/nginx.err;
events {{ worker_connections 256; }}
http {{ access_log off; client_body_temp_path {self.dir}/body; proxy_temp_path {self.dir}/proxy;
  fastcgi_temp_path {self.dir}/f; uwsgi_temp_path {self.dir}/u; scgi_temp_path {self.dir}/s; keepalive_requests 1000000;
  upstream up {{ server 127.0.0.1:{self.upstream}; keepalive 32; keepalive_requests 1000000; }}
  server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://up; proxy_http_version 1.1; proxy_buffering off;
    proxy_set_header Connection ""; proxy_set_header Host localhost; }} }} }}
""")
        p = self.start("nginx", [self.o.nginx, "-p", self.dir, "-e", f"{self.dir}/nginx.err", "-c", f"{self.dir}/nginx.conf"])
        return Row("nginx", port, {"nginx": p}, family=True)

    def litellm(self):
        port = free_port()
        with open(f"{self.dir}/litellm.yaml", "w") as f:
            json.dump({"model_list": [{"model_name": "tiny", "litellm_params": {
                "model": "openai/tiny", "api_base": f"http://127.0.0.1:{self.upstream}/v1", "api_key": "none"}}],
                "litellm_settings": {"telemetry": False}}, f)
        p = self.start("litellm", [self.o.litellm, "--config", f"{self.dir}/litellm.yaml", "--host", "127.0.0.1", "--port", str(port),
                                   "--num_workers", "1"], env={**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True",
                                                               "LITELLM_LOG": "ERROR", "LITELLM_MASTER_KEY": KEY})
        return Row("litellm", port, {"litellm": p}, family=True)

    def wait(self, row, seconds=120):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            dead = [n for n, p in row.processes.items() if p.poll() is not None]
            if dead:
                with open(f"{self.dir}/{dead[0]}.log") as f:
                    raise SystemExit(f"{dead[0]} ended:\n" + "".join(f.readlines()[-10:]))
            try:
                Connection(row, 1, False).ask()
                return
            except (OSError, ValueError):
                pass
            time.sleep(0.2)
        raise SystemExit(f"{row.name} does not answer; logs in {self.dir}")

    def stop(self):
        for p in self.running:
            if p.poll() is None:
                p.terminate()
        for p in self.running:
            try:
                p.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(p.pid, signal.SIGKILL)
                p.wait()
        self.running.clear()


class Connection:
    """A kept connection that asks the same again and again. The prompt is one that the tiny model does not stop answering."""
    def __init__(self, row, tokens, stream):
        body = json.dumps({"model": "tiny", "messages": [{"role": "user", "content": PROMPT}], "max_tokens": tokens, "seed": 1,
                           "temperature": 0, "stream": stream}).encode()
        self.request = (f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                        f"Authorization: Bearer {KEY}\r\nContent-Length: {len(body)}\r\n\r\n").encode() + body
        self.sock = socket.create_connection(("127.0.0.1", row.port), timeout=30)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self):
        self.data, self.began = b"", time.monotonic()
        self.sock.sendall(self.request)

    def receive(self):
        """Takes what is there; true: the answer is whole."""
        more = self.sock.recv(1 << 18)
        if not more:
            raise ValueError("closed")
        self.data += more
        head = self.data.find(b"\r\n\r\n")
        if head < 0:
            return False
        fields = self.data[:head].lower()
        if not self.data.startswith(b"HTTP/1.1 200"):
            raise ValueError(self.data[:300])
        at = fields.find(b"content-length: ")
        if at < 0:
            return self.data.endswith(b"0\r\n\r\n")
        return len(self.data) >= head + 4 + int(fields[at + 16:].split(b"\r", 1)[0])

    def ask(self):
        """Seconds it took."""
        self.send()
        while not self.receive():
            pass
        return time.monotonic() - self.began

    def ask_stream(self):
        """Seconds to the first token and to the mean one."""
        self.send()
        seen, total, first, whole = 0, 0.0, None, False
        while not whole:
            whole = self.receive()
            now, n = time.monotonic() - self.began, self.data.count(b'"content":')
            first = now if first is None and n else first
            total, seen = total + now * (n - seen), n
        if seen < STREAM_TOKENS / 2:
            raise ValueError(f"only {seen} tokens")
        return first, total / seen


def load(row, count, seconds, tokens=1, stream=False):
    """Requests done and tokens seen by so many connections."""
    poll, open_, done, seen, end = select.epoll(), {}, 0, 0, time.monotonic() + seconds
    for c in [Connection(row, tokens, stream) for _ in range(count)]:
        poll.register(c.sock, select.EPOLLIN)
        open_[c.sock.fileno()] = c
        c.send()
    while open_:
        for fd, _ in poll.poll(30):
            c = open_[fd]
            if not c.receive():
                continue
            done, seen = done + 1, seen + c.data.count(b'"content":')
            if time.monotonic() < end:
                c.send()
            else:
                poll.unregister(c.sock)
                c.sock.close()
                del open_[fd]
    return done, seen


def slices(row, o):
    """A quarter second of each kind."""
    c = row.counts
    one, end = Connection(row, 1, False), time.monotonic() + SLICE_S
    while time.monotonic() < end:
        c["times"].append(1e3 * one.ask())
    one, end = Connection(row, STREAM_TOKENS, True), time.monotonic() + SLICE_S
    while time.monotonic() < end:
        first, mean = one.ask_stream()
        c["first"].append(1e3 * first)
        c["mean"].append(1e3 * mean)
    before, began = row.times(), time.monotonic()
    c["n"] += load(row, o.connections, SLICE_S)[0]
    c["seconds"] += time.monotonic() - began
    row.spent(before, c["load"])
    before = row.times()
    c["tokens"] += load(row, STREAMS, SLICE_S, STREAM_TOKENS, True)[1]
    row.spent(before, c["stream"])


def close_round(row):
    c = row.counts
    row.rounds.append({"p50": percentile(c["times"], .5), "p99": percentile(c["times"], .99), "asked": len(c["times"]),
                       "rate": c["n"] / c["seconds"], "n": c["n"], "load": c["load"], "tokens": c["tokens"],
                       "stream": c["stream"], "first": statistics.median(c["first"]), "mean": statistics.median(c["mean"])})
    row.counts = Row(row.name, 0, row.processes).counts
    print(row.name, {k: round(v, 3) if isinstance(v, float) else v for k, v in row.rounds[-1].items()}, file=sys.stderr, flush=True)


def per_core(row, what, cost):
    """Medians of the rounds: of the proxy's own, of each part, of all."""
    rate = lambda parts: statistics.median(r[what] / max(sum(r[cost][p] for p in parts), 1e-6) for r in row.rounds)
    own = [p for p in row.processes if p not in row.more]
    text = f"{rate(own):.0f}"
    if len(row.processes) > 1:
        text += " (" + ", ".join([f"{p} {rate([p]):.0f}" for p in own] + [f"all {rate(row.processes):.0f}"]) + ")"
    return text


def report(rows):
    base = next((r for r in rows if r.name == "direct"), rows[0]).rounds
    print(f"{'':9} {'p50 ms':>7} {'added':>14} {'p99 ms':>7} {'added':>14} {'req/s':>7} {'first +ms':>9} {'mean +ms':>9}  requests per core; "
          "tokens per core")
    for row in rows:
        middle = lambda k: statistics.median(r[k] for r in row.rounds)
        more = lambda k: [r[k] - b[k] for r, b in zip(row.rounds, base)]
        both = lambda k: f"{statistics.median(more(k)):.2f} ({min(more(k)):.2f})"
        print(f"{row.name:9} {middle('p50'):7.2f} {both('p50'):>14} {middle('p99'):7.2f} {both('p99'):>14} {middle('rate'):7.0f} "
              f"{statistics.median(more('first')):9.2f} {statistics.median(more('mean')):9.2f}  {per_core(row, 'n', 'load')}; "
              f"{per_core(row, 'tokens', 'stream')}")


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0].partition(" -- ")[2])
    p.add_argument("--program", default=f"{ROOT}/build/tokenworks")
    p.add_argument("--nginx", default=shutil.which("nginx"))
    p.add_argument("--litellm", default=shutil.which("litellm"))
    p.add_argument("--seconds", type=float, default=2, help="of each kind in a round")
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--connections", type=int, default=32)
    p.add_argument("--rows", default="direct,gateway,nginx,litellm")
    o = p.parse_args()
    o.program = os.path.abspath(o.program)
    kinds = [k for k in o.rows.split(",") if k not in ("nginx", "litellm") or getattr(o, k)]
    setup = Setup(o)
    try:
        rows = [getattr(setup, k)() for k in kinds]
        for row in rows:
            setup.wait(row)
            slices(row, o)
            row.counts = Row(row.name, 0, row.processes).counts
        for _ in range(o.rounds):
            for _ in range(max(1, round(o.seconds / SLICE_S))):
                for row in rows:
                    slices(row, o)
            for row in rows:
                close_round(row)
        report(rows)
    finally:
        setup.stop()
        shutil.rmtree(setup.dir, ignore_errors=True)


if __name__ == "__main__":
    main()
