#!/usr/bin/env python3
"""fleet_proxy -- what the gateway and the bus cost before a worker, beside nginx and LiteLLM before the same server.

usage: bench/fleet_proxy.py [--program build/tokenworks] [--nginx PROGRAM] [--litellm PROGRAM] [--seconds 3] [--rounds 3]

A model of two tiny layers answers with one token, so that what is measured is the way there and back:
    direct    client - serve                                the upstream of nginx and LiteLLM
    gateway   client - gateway - nats-server - worker       the same engine in the worker; mutual TLS on the bus
    nginx     client - nginx - serve                        one process, connections kept, no buffering
    litellm   client - litellm - serve                      one process
Latency is of one connection, request after request; "added" is against direct of the same round. "per core" is requests
by processor second of the proxy's own processes (gateway: the gateway and the nats-server, and in brackets the worker's
front too, which stands where serve's front stands in the other rows) under eight connections. "CPU a token" is of answers
streamed at 200 tokens each. Medians of the rounds, which are interleaved. nginx: apt; LiteLLM: pip install 'litellm[proxy]'."""
import argparse, http.client, importlib.machinery, importlib.util, json, os, shutil, signal, socket, statistics, subprocess
import sys, tempfile, threading, time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(HERE, "..")
sys.path.insert(0, os.path.join(ROOT, "tests", "cmd"))
sys.dont_write_bytecode = True
import tiny_llama

TICK = os.sysconf("SC_CLK_TCK")
CONNECTIONS, STREAM_TOKENS, PROMPT = 8, 200, "b"
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
    """Processor seconds of a process, all its threads, not its children."""
    with open(f"/proc/{pid}/stat") as f:
        return sum(map(int, f.read().rsplit(")")[-1].split()[11:13])) / TICK


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as f:
        mine = [int(c) for c in f.read().split()]
    return mine + [g for c in mine for g in children(c)]


def percentile(values, p):
    return sorted(values)[min(len(values) - 1, int(p * len(values)))]


class Row:
    """processes: {part: Popen}; parts whose processor time is the proxy's own, whole families for those of others."""
    def __init__(self, name, port, model, processes, own, more=(), family=False):
        self.name, self.port, self.model, self.processes = name, port, model, processes
        self.own, self.more, self.family = own, more, family

    def time_of(self, parts):
        pids = [self.processes[p].pid for p in parts]
        return sum(cpu(p) for pid in pids for p in [pid, *(children(pid) if self.family else ())])


class Setup:
    def __init__(self, o):
        self.o, self.dir, self.running = o, tempfile.mkdtemp(prefix="tw-proxy-"), []
        tiny_llama.write(f"{self.dir}/tiny.gguf", 1, ctx=1024)

    def start(self, name, command, **more):
        with open(f"{self.dir}/{name}.log", "w") as log:
            p = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True, **more)
        self.running.append(p)
        return p

    def serve(self):
        port = free_port()
        p = self.start("serve", [self.o.program, "serve", "--model", f"{self.dir}/tiny.gguf", "--listen", f"127.0.0.1:{port}",
                                 "--threads", "1", "--state", f"{self.dir}/serve", "--no-ledger"])
        return port, p

    def direct(self):
        port, p = self.serve()
        return Row("direct", port, "tiny", {"serve": p}, ["serve"])

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
        return Row("gateway", port, "tiny", {"gateway": gate, "nats": nats, "worker": worker}, ["gateway", "nats"], ["worker"])

    def nginx(self):
        upstream, serve = self.serve()
        port = free_port()
        with open(f"{self.dir}/nginx.conf", "w") as f:
            f.write(f"""daemon off; worker_processes 1; pid {self.dir}/nginx.pid; error_log {self.dir}/nginx.err;
events {{ worker_connections 256; }}
http {{ access_log off; client_body_temp_path {self.dir}/body; proxy_temp_path {self.dir}/proxy;
  fastcgi_temp_path {self.dir}/f; uwsgi_temp_path {self.dir}/u; scgi_temp_path {self.dir}/s; keepalive_requests 1000000;
  upstream up {{ server 127.0.0.1:{upstream}; keepalive 32; keepalive_requests 1000000; }}
  server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://up; proxy_http_version 1.1; proxy_buffering off;
    proxy_set_header Connection ""; proxy_set_header Host localhost; }} }} }}
""")
        p = self.start("nginx", [self.o.nginx, "-p", self.dir, "-e", f"{self.dir}/nginx.err", "-c", f"{self.dir}/nginx.conf"])
        return Row("nginx", port, "tiny", {"nginx": p, "serve": serve}, ["nginx"], family=True)

    def litellm(self):
        upstream, serve = self.serve()
        port = free_port()
        with open(f"{self.dir}/litellm.yaml", "w") as f:
            json.dump({"model_list": [{"model_name": "tiny", "litellm_params": {
                "model": "openai/tiny", "api_base": f"http://127.0.0.1:{upstream}/v1", "api_key": "none"}}],
                "litellm_settings": {"telemetry": False}}, f)
        p = self.start("litellm", [self.o.litellm, "--config", f"{self.dir}/litellm.yaml", "--host", "127.0.0.1", "--port", str(port),
                                   "--num_workers", "1"], env={**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True",
                                                               "LITELLM_LOG": "ERROR", "LITELLM_MASTER_KEY": KEY})
        return Row("litellm", port, "tiny", {"litellm": p, "serve": serve}, ["litellm"], family=True)

    def wait(self, row, seconds=120):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            dead = [n for n, p in row.processes.items() if p.poll() is not None]
            if dead:
                with open(f"{self.dir}/{dead[0]}.log") as f:
                    raise SystemExit(f"{dead[0]} ended:\n" + "".join(f.readlines()[-10:]))
            try:
                if len(ask(row, http.client.HTTPConnection("127.0.0.1", row.port, timeout=10))) > 20:
                    return
            except (OSError, http.client.HTTPException, AssertionError):
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


def ask(row, c, tokens=1, stream=False):
    """The answer's bytes; the prompt is one that the tiny model does not stop answering."""
    body = json.dumps({"model": row.model, "messages": [{"role": "user", "content": PROMPT}], "max_tokens": tokens, "seed": 1,
                       "temperature": 0, "stream": stream})
    c.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json", "Authorization": "Bearer " + KEY})
    r = c.getresponse()
    data = r.read()
    assert r.status == 200, data
    return data


def connection(row):
    c = http.client.HTTPConnection("127.0.0.1", row.port, timeout=30)
    c.connect()
    c.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return c


def latencies(row, seconds):
    c, out, end = connection(row), [], time.monotonic() + seconds
    while (t := time.monotonic()) < end:
        ask(row, c)
        out.append(1e3 * (time.monotonic() - t))
    return out[len(out) // 10:]  # the first tenth warms up


def load(row, seconds, tokens=1, stream=False, connections=CONNECTIONS):
    """Requests done by several connections, and processor seconds of the proxy's own and further parts."""
    done, events, failed, end = [0] * connections, [0] * connections, [], time.monotonic() + seconds

    def one(i):
        c = connection(row)
        while time.monotonic() < end:
            try:
                events[i] += ask(row, c, tokens, stream).count(b'"content":')
                done[i] += 1
            except (AssertionError, OSError, http.client.HTTPException) as e:
                failed.append(e)
                c = connection(row)
    own, more = row.time_of(row.own), row.time_of(row.more)
    threads = [threading.Thread(target=one, args=(i,)) for i in range(connections)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if failed:
        print(f"{row.name}: {len(failed)} requests failed: {failed[0]}", file=sys.stderr)
    return sum(events if stream else done), row.time_of(row.own) - own, row.time_of(row.more) - more


def measure(setup, kind, seconds):
    row = getattr(setup, kind)()
    try:
        setup.wait(row)
        times = latencies(row, seconds)
        n, own, more = load(row, seconds)
        tokens, s_own, s_more = load(row, seconds, STREAM_TOKENS, True, 2)
        return {"p50": percentile(times, .5), "p99": percentile(times, .99), "rate": n / seconds, "n": n, "own": own, "more": more,
                "tokens": tokens, "s_own": s_own, "s_more": s_more}
    finally:
        setup.stop()


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0].partition(" -- ")[2])
    p.add_argument("--program", default=f"{ROOT}/build/tokenworks")
    p.add_argument("--nginx", default=shutil.which("nginx"))
    p.add_argument("--litellm", default=shutil.which("litellm"))
    p.add_argument("--seconds", type=float, default=3)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--rows", default="direct,gateway,nginx,litellm")
    o = p.parse_args()
    o.program = os.path.abspath(o.program)
    kinds = [k for k in o.rows.split(",") if k not in ("nginx", "litellm") or getattr(o, k)]
    setup, found = Setup(o), {k: [] for k in kinds}
    try:
        for _ in range(o.rounds):
            for k in kinds:
                found[k].append(measure(setup, k, o.seconds))
                print(k, {n: round(v, 3) for n, v in found[k][-1].items()}, file=sys.stderr, flush=True)
    finally:
        setup.stop()
        shutil.rmtree(setup.dir, ignore_errors=True)
    print(f"{'':9} {'p50 ms':>7} {'added':>7} {'p99 ms':>7} {'added':>7} {'req/s':>7} {'per core':>16} {'CPU a token, us':>18}")
    middle = lambda k, f: statistics.median(f(i, r) for i, r in enumerate(found[k]))
    for k in kinds:
        base = found.get("direct") or found[k]
        added = [middle(k, lambda i, r, q=q: r[q] - base[i][q]) for q in ("p50", "p99")]
        whole = any(r["more"] for r in found[k])
        core = f"{middle(k, lambda i, r: r['n'] / max(r['own'], .01)):.0f}"
        token = f"{middle(k, lambda i, r: 1e6 * r['s_own'] / max(r['tokens'], 1)):.1f}"
        if whole:
            core += f" ({middle(k, lambda i, r: r['n'] / (r['own'] + r['more'])):.0f})"
            token += f" ({middle(k, lambda i, r: 1e6 * (r['s_own'] + r['s_more']) / max(r['tokens'], 1)):.1f})"
        print(f"{k:9} {middle(k, lambda i, r: r['p50']):7.2f} {added[0]:7.2f} {middle(k, lambda i, r: r['p99']):7.2f} "
              f"{added[1]:7.2f} {middle(k, lambda i, r: r['rate']):7.0f} {core:>16} {token:>18}")


if __name__ == "__main__":
    main()
