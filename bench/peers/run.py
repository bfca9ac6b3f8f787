#!/usr/bin/env python3
"""run -- ours and the packaged peers in turn on one model: A B A B ..., medians, spread, ratio pair by pair.

usage: bench/peers/run.py MODEL.gguf [-p 512] [-n 128] [-r ROUNDS] [-t THREADS] [--llama-bench PATH]

Needs `npm ci` once in bench/peers (the prebuilt libraries travel inside the packages). --llama-bench adds a llama.cpp
built on this machine. Each round runs every engine once; a probe of the two cores stands before and after.
"""
import argparse, json, os, statistics, subprocess, sys

HERE = os.path.dirname(os.path.abspath(__file__))
OURS = os.path.join(HERE, "..", "..", "build", "tokenworks")


def run(command):
    r = subprocess.run(command, capture_output=True, text=True)
    if r.returncode:
        sys.exit(f"{' '.join(command)}: {r.stderr[-800:]}")
    return r.stdout


def ours(a, isa=None):
    text = run([OURS, "bench", "--model", a.model, "-p", str(a.p), "-n", str(a.n), "-r", "1", "--json", "-t", str(a.t)] +
               (["--isa", isa] if isa else []))
    j = json.loads(text)
    probes.append(j["probe"])
    return {r["test"][:2]: r["tokens_per_s"] for r in j["results"]}


def node(a):
    text = run(["node", os.path.join(HERE, "node_llama.mjs"), a.model, str(a.p), str(a.n), str(a.t), "1"])
    j = json.loads(text.strip().splitlines()[-1])
    return {"pp": j["pp"][0], "tg": j["tg"][0]}


def llama_bench(a):
    rows = json.loads(run([a.llama_bench, "-m", a.model, "-p", str(a.p), "-n", str(a.n), "-t", str(a.t), "-r", "1",
                           "-o", "json"]))
    return {("pp" if r["n_prompt"] else "tg"): r["avg_ts"] for r in rows}


ap = argparse.ArgumentParser(usage=__doc__)
ap.add_argument("model")
ap.add_argument("-p", type=int, default=512)
ap.add_argument("-n", type=int, default=128)
ap.add_argument("-r", type=int, default=5)
ap.add_argument("-t", type=int, default=os.cpu_count())
ap.add_argument("--isa", default=None, help="also ours capped at this rung")
ap.add_argument("--llama-bench", default=None)
ap.add_argument("--no-node", action="store_true")
a = ap.parse_args()
probes, engines = [], {"tokenworks": ours}
if a.isa:
    engines[f"tokenworks --isa {a.isa}"] = lambda a: ours(a, a.isa)
if not a.no_node:
    engines["node-llama-cpp"] = node
if a.llama_bench:
    engines["llama.cpp, built here"] = llama_bench
results = {name: {"pp": [], "tg": []} for name in engines}
for round in range(a.r):
    for name, engine in engines.items():
        for kind, value in engine(a).items():
            results[name][kind].append(value)
        print(f"round {round + 1} {name}: pp {results[name]['pp'][-1]:.1f}  tg {results[name]['tg'][-1]:.1f}", file=sys.stderr)
print(f"{os.path.basename(a.model)}, {a.t} threads, {a.r} rounds in turn")
for name, r in results.items():
    line = f"{name:28}"
    for kind, n in (("pp", a.p), ("tg", a.n)):
        ratios = [x / y for x, y in zip(results["tokenworks"][kind], r[kind])]
        line += f"  {kind}{n} {statistics.median(r[kind]):8.1f} [{min(r[kind]):.1f}, {max(r[kind]):.1f}]"
        line += f"  ours/this {statistics.median(ratios):.2f}" if name != "tokenworks" else " " * 15
    print(line)
scaling = [p[k]["thread_scaling"] for p in probes for k in ("before", "after")]
reads = [p[k]["read_gb_per_s"] for p in probes for k in ("before", "after")]
print(f"probe: threads do the work of {statistics.median(scaling):.2f} [{min(scaling):.2f}, {max(scaling):.2f}], "
      f"memory read {statistics.median(reads):.1f} GB/s [{min(reads):.1f}, {max(reads):.1f}]")
