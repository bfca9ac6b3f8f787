#!/usr/bin/env python3
"""replay_test -- the planner's simulator against the scheduler itself (tests/sched/replay_tool.c): the same requests,
the same step-time model, a clock turned by hand. The plan asks for 10 % on throughput, TTFT and ITL p50 and 20 % on
p99; as no clock is involved here they must agree within 1 % on all percentiles, and on what was cached and parked."""
import json
import os
import random
import subprocess
import tempfile

B = os.path.abspath(os.environ.get("B", "build"))
TOOL, PROGRAM = B + "/tests/sched/replay_tool", B + "/tokenworks"
number = 0


def ok(good, name, why=""):
    global number
    number += 1
    print(("ok" if good else "not ok") + " %d - %s" % (number, name))
    if not good:
        print("# " + why)


SCENARIO = """
scenario: machine
start: 2027-Q1
quarters: 1
models: [{id: m, weights: 1, kv_per_token: 1000}]
slos: [{id: any, ttft_p99: 1000 s, itl_p99: 100 s}]
hardware:
  - id: box
    memory: 16 GB
    price: 1000
    power_load: 100 W
    power_idle: 30 W
    performance:
      - model: m
        step: {a: %(a)r, b: %(b)r, c: %(c)r, d: %(d)r, e: %(e)r}
        serving: {target_itl: %(itl)r, target_ttft: %(ttft)r, running_max: %(running)d, batch_rows: %(rows)d,
                  prefill_rows: %(prefill)d, kv: %(kv)d, shared_prefix: %(shared)d}
suppliers: [{id: shop, country: here, sells: [{hardware: box, capacity: 1, lead_time: 1}]}]
sites: [{id: desk, jurisdiction: here, power: 1 kW, power_price: 0.2 USD/kWh, pue: 1,
         existing: [{hardware: box, count: 1}]}]
demand:
  - {id: people, model: m, slo: any, residency: any, output_per_day: 0.001, input_tokens: 100, output_tokens: 50}
"""
CASE = dict(a=8.0, b=0.11, c=0.35, d=0.0004, e=0.00006, itl=60.0, ttft=0.0, running=32, rows=256, prefill=64, kv=32 * 400,
            shared=0, requests=120, gap=0.11, seed=1, texts=0)


def requests_of(case):
    r, at, out = random.Random(case["seed"]), 0.0, []
    for _ in range(case["requests"]):
        at += r.expovariate(1 / case["gap"])
        out.append((int(at * 1e9), max(2, min(400, int(r.lognormvariate(4.6, .8)))),
                    max(1, min(110, int(r.lognormvariate(3.2, .7)))), r.randrange(case["texts"]) if case["texts"] else -1))
    first = out[0][0]
    return [(a - first, i, o, t) for a, i, o, t in out]


def spread(v):
    v = sorted(v)
    rank = lambda p: v[max(0, -(-len(v) * p // 100) - 1)]
    return {"mean": sum(v) / len(v), "p50": rank(50), "p90": rank(90), "p99": rank(99), "max": v[-1]}


def of_scheduler(case, requests):
    args = [case["kv"] // 32, case["rows"], case["prefill"], case["running"], case["itl"], case["ttft"], case["shared"]]
    args += [case[k] for k in "abcde"]
    text = "".join("%d %d %d %d\n" % q for q in requests)
    out = subprocess.run([TOOL] + [repr(x) for x in args], input=text, capture_output=True, text=True, check=True).stdout
    times, cached, parked = [[] for _ in requests], 0, 0
    for line in out.splitlines():
        word, *rest = line.split()
        assert word in ("token", "start", "parked"), line
        if word == "token":
            times[int(rest[0])].append(int(rest[1]))
        cached += int(rest[1]) if word == "start" else 0
        parked = int(rest[0]) if word == "parked" else parked
    assert all(len(t) == q[2] for t, q in zip(times, requests))
    end = max(t[-1] for t in times)
    return {"ttft_ms": spread([(t[0] - q[0]) / 1e6 for t, q in zip(times, requests)]),
            "itl_ms": spread([(y - x) / 1e6 for t in times for x, y in zip(t, t[1:])]),
            "end_to_end_ms": spread([(t[-1] - q[0]) / 1e6 for t, q in zip(times, requests)]),
            "output_tokens_per_s": sum(q[2] for q in requests) / end * 1e9, "cached_tokens": cached, "parked": parked}


def of_simulator(case, requests, folder):
    scenario, trace = folder + "/s.yaml", folder + "/t.jsonl"
    with open(scenario, "w") as f:
        f.write(SCENARIO % case)
    with open(trace, "w") as f: # whole ms there: the rest as speed 1e-6
        for at, i, o, text in requests:
            f.write(json.dumps({"timestamp": at, "input_length": i, "output_length": o,
                                "hash_ids": [text] if text >= 0 else []}) + "\n")
    out = subprocess.run([PROGRAM, "simulate", scenario, "--units", "box@desk=1", "--no-failures", "--trace", trace,
                          "--speed", "1e6", "--json"], capture_output=True, text=True)
    assert out.returncode == 0, out.stderr
    all_of_it = json.loads(out.stdout)
    run = all_of_it["runs"][0]
    run["parked"] = all_of_it["groups"][0]["preemptions"]
    assert run["completed"] == len(requests), run
    return run


def compare(name, folder, **changes):
    case = dict(CASE, **changes)
    requests = requests_of(case)
    real, sim = of_scheduler(case, requests), of_simulator(case, requests, folder)
    worst, where = abs(sim["output_tokens_per_s"] / real["output_tokens_per_s"] - 1), "throughput"
    for what in ("ttft_ms", "itl_ms", "end_to_end_ms"):
        for p, v in real[what].items():
            off = abs(sim[what][p] / v - 1) if v else 0
            if off > worst:
                worst, where = off, "%s %s: %g, simulated %g" % (what, p, v, sim[what][p])
    print("# %s: TTFT p50 %.0f p99 %.0f, ITL p50 %.1f p99 %.1f ms, %.0f tok/s, %d cached, %d parked; off by %.4f %%" % (
        name, real["ttft_ms"]["p50"], real["ttft_ms"]["p99"], real["itl_ms"]["p50"], real["itl_ms"]["p99"],
        real["output_tokens_per_s"], real["cached_tokens"], real["parked"], 100 * worst))
    ok(worst < 0.01, name, where)
    ok((real["cached_tokens"], real["parked"]) == (sim["cached_tokens"], sim["parked"]), name + ": cached and parked",
       "%r, simulated %r" % ([real[k] for k in ("cached_tokens", "parked")], [sim[k] for k in ("cached_tokens", "parked")]))
    return real


def main():
    with tempfile.TemporaryDirectory() as d:
        compare("a target between tokens", d)
        compare("too much to do", d, gap=0.02, seed=2)
        compare("no target", d, itl=0.0, seed=3)
        compare("a target that steps miss", d, itl=15.0, seed=4)
        compare("a target to the first token", d, ttft=400.0, gap=0.06, seed=5)
        r = compare("memory runs out", d, kv=32 * 30, gap=0.05, seed=6)
        ok(r["parked"] > 3, "and sequences are parked", str(r["parked"]))
        r = compare("a beginning that all share", d, shared=70, seed=7)
        ok(r["cached_tokens"] > 64 * 50, "and is found", str(r["cached_tokens"]))
        compare("a few texts, little memory", d, texts=6, kv=32 * 40, gap=0.05, seed=8)
        compare("few places", d, running=6, kv=32 * 96, gap=0.07, seed=9)
    print("1..%d" % number)


main()
