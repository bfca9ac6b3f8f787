#!/usr/bin/env python3
"""tenants -- what tenants feel of each other, deadlines under saturation, and what metering costs; on a real model.

    bench/tenants.py [--model NAME] [--seconds N] [--json FILE]

1  time to the first token of one tenant alone, then beside another with 64 streams (tokenworks load, two keys)
2  requests with a deadline on the saturated server: promised, refused at once, met
3  processor time at 32 clients: the ledger's thread, the front, the engine (/proc/PID/task)
4  a budget under 32 clients: how far past it
"""
import argparse, http.client, json, os, random, re, signal, subprocess, sys, tempfile, threading, time

ap = argparse.ArgumentParser()
ap.add_argument("--model", default="default")
ap.add_argument("--seconds", type=int, default=40)
ap.add_argument("--requests", type=int, default=40)
ap.add_argument("--json", default="")
ap.add_argument("--parts", default="1234")
A = ap.parse_args()
B = os.environ.get("B", "build")
TW = os.path.join(B, "tokenworks")
HERE = tempfile.TemporaryDirectory()
MODELS = os.path.join(os.environ.get("TOKENWORKS_HOME", os.path.expanduser("~/.cache/tokenworks")), "models")
model = A.model
if model == "default":
    model = next(os.path.join(MODELS, f) for f in sorted(os.listdir(MODELS)) if f.endswith(".gguf"))


def tw(*words):
    return subprocess.run([TW, *words, "--state", HERE.name], check=True, capture_output=True, text=True).stdout


def key(tenant, *options):
    tw("tenant", "add", tenant)
    return tw("key", "add", "-t", tenant, "-n", tenant, *options).strip()


KEYS = {"noisy": key("noisy"), "calm": key("calm"), "poor": key("poor", "--tokens-per-day", "4000")}
server = subprocess.Popen([TW, "serve", "--model", model, "--listen", "127.0.0.1:0", "--state", HERE.name],
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
PORT = int(re.search(r":(\d+)$", server.stdout.readline().strip()).group(1))
URL = f"http://127.0.0.1:{PORT}"


def call(path, body=None, tenant="calm", timeout=120):
    c = http.client.HTTPConnection("127.0.0.1", PORT, timeout=timeout)
    try:
        c.request("POST" if body else "GET", path, json.dumps(body) if body else None,
                  {"Content-Type": "application/json", "Authorization": f"Bearer {KEYS[tenant]}"})
        r = c.getresponse()
        return r.status, r.read().decode()
    finally:
        c.close()


while call("/health")[0] != 200:
    time.sleep(0.2)


def load(tenant, *options):
    return subprocess.Popen([TW, "load", "--url", URL, "--key", KEYS[tenant], "--json", *options],
                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def result(p):
    return json.loads(p.communicate()[0])


def ttft(run):
    text = json.dumps(run)
    r = run["runs"][0] if "runs" in run else run
    t = r.get("ttft_ms") or r.get("ttft")
    return t if t else text


def cpu():
    """Seconds of each thread of the front and of the engine processes together."""
    tick, out = os.sysconf("SC_CLK_TCK"), {"ledger": 0.0, "front": 0.0, "engine": 0.0}

    def threads(pid):
        for t in os.listdir(f"/proc/{pid}/task"):
            text = open(f"/proc/{pid}/task/{t}/stat").read()
            name, rest = text[text.index("(") + 1:text.rindex(")")], text[text.rindex(")") + 2:].split()
            yield name, (int(rest[11]) + int(rest[12])) / tick

    for name, s in threads(server.pid):
        out["ledger" if name == "ledger" else "front"] += s
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if int(open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[1]) == server.pid:
                out["engine"] += sum(s for _, s in threads(pid))
        except OSError:
            pass
    return out


def metric(name):
    text = call("/metrics")[1]
    return sum(float(v) for v in re.findall(rf"^tokenworks_{name}(?:{{[^}}]*}})? ([\d.e+]+)$", text, re.M))


out = {}
calm = ["-c", "1", "-r", str(A.requests), "-p", "256", "-n", "8"]
try:
    if "1" in A.parts:
        result(load("calm", "-c", "1", "-r", "4", "-p", "256", "-n", "8"))
        alone = result(load("calm", *calm))
        noisy = load("noisy", "-c", "64", "-r", "100000", "-p", "128", "-n", "64")
        time.sleep(8)
        steps = metric("steps_total"), metric("step_seconds_total")
        beside = result(load("calm", *calm))
        steps = metric("steps_total") - steps[0], metric("step_seconds_total") - steps[1]
        noisy.send_signal(signal.SIGKILL)
        noisy.wait()
        out["ttft_alone"], out["ttft_beside_64_streams"] = ttft(alone), ttft(beside)
        out["mean_step_ms"] = 1000 * steps[1] / max(1, steps[0])
    if "2" in A.parts:
        noisy = load("noisy", "-c", "64", "-r", "100000", "-p", "128", "-n", "64")
        time.sleep(5)
        names = ("deadlines_total", "deadlines_refused_total", "deadlines_missed_total")
        before, seen, end = [metric(n) for n in names], [], time.time() + A.seconds

        def device(seed):
            rng = random.Random(seed)
            while time.time() < end:
                words = " ".join(rng.choice(["red", "blue", "left", "right", "stop", "go"]) for _ in range(30))
                limit, start = rng.choice([1500, 2500, 4000]), time.time()
                status, _ = call("/v1/chat/completions", {"messages": [{"role": "user", "content": words}],
                                                          "max_tokens": 8, "deadline_ms": limit})
                seen.append((status, time.time() - start <= limit / 1000 + 0.05))
                time.sleep(rng.random() * 0.5)

        threads = [threading.Thread(target=device, args=(i,)) for i in range(8)]
        [t.start() for t in threads]
        [t.join() for t in threads]
        time.sleep(0.6)
        asked, refused, missed = [metric(n) - b for n, b in zip(names, before)]
        noisy.send_signal(signal.SIGKILL)
        noisy.wait()
        promised = asked - refused
        out["deadlines"] = {"asked": asked, "refused_at_once": refused, "promised": promised, "missed": missed,
                            "met_percent": 100 * (promised - missed) / max(1, promised),
                            "answered_200_in_time_at_the_client": sum(1 for s, ok in seen if s == 200 and ok),
                            "answered_200": sum(1 for s, _ in seen if s == 200)}
    if "3" in A.parts:
        before, rows = cpu(), metric("ledger_rows_total")
        run = result(load("noisy", "-c", "32", "-r", "192", "-p", "64", "-n", "32"))
        spent = {k: v - before[k] for k, v in cpu().items()}
        total = sum(spent.values())
        out["cpu_32_clients"] = {"seconds": spent, "percent": {k: 100 * v / total for k, v in spent.items()},
                                 "rows": metric("ledger_rows_total") - rows}
    if "4" in A.parts:
        result_ = load("poor", "-c", "32", "-r", "96", "-p", "64", "-n", "64").communicate()
        used = [r for r in json.loads(tw("usage", "--json")) if r["tenant"] == "poor"]
        tw("usage", "verify")
        out["budget_4000_tokens"] = {"used": sum(r["prompt_tokens"] + r["output_tokens"] for r in used)}
finally:
    server.send_signal(signal.SIGTERM)
    server.wait(40)
print(json.dumps(out, indent=1))
if A.json:
    open(A.json, "w").write(json.dumps(out))
