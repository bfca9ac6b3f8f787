#!/usr/bin/env python3
"""table -- ours beside the peers, row by row, in one interleaved run: medians, spread, ratios, share of the limit.

usage: make bench ARGS="..."   or   bench/table.py [options]
  --models DIR      models made by ../shared/tools/mkshape.py and `tokenworks quantize`: NAME-TYPE.gguf (build/shapes)
  --llama DIR       a llama.cpp built on this machine: llama-bench, llama-batched-bench, llama-server
  --ik DIR          ik_llama.cpp, likewise
  --openvino PYTHON a Python with openvino_genai (PyPI)
  --node            node-llama-cpp (npm ci in bench/peers)
  --model FILE      instead of the rows below: prefill and decode of this model alone
  --types A,B       only the rows of these types
  -r N              rounds (3)       -t N   threads (all)       --isa NAME   also ours, capped at this rung
  --no-guess        in server, memory, trace: ours with --speculate off as well, for a random model repeats itself
  --brief           each peer once, with the options that were its best here
  --rows A,B        of: decode small prefill streams context server memory trace (all but trace)
  --trace FILE      for the row trace: a trace file (../shared/traces/azure-2023-conversation.csv)
  --trace-rows N    its first N rows (200), as many as fit in --trace-minutes N (4) a run
  --trace-rates A,B one run of each server at these requests/s, instead of the search for the highest it keeps
  --trace-p, -n N   its prompts cut to N tokens (256), its answers (32): four runs a server, 10 to 25 minutes each

A round runs every engine once, ours first; a ratio is taken pair by pair within its round. "of reads" is what ours read
of weights and keys and values against the memory reads measured in the same run. Best of a peer's own options counts.
"""
import argparse, os, statistics, sys, time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "peers"))
import engines
import servers
import texted
from engines import Test

TYPES = ("Q4_0", "Q4_K_M", "Q8_0")
ROWS = {
    "decode": [(f"llama3.2-1b-{t}", Test(n=64)) for t in TYPES],
    "small": [(f"smollm2-135m-{t}", Test(n=128)) for t in ("Q4_0", "Q4_K_M")],
    "prefill": [(f"llama3.2-1b-{t}", Test(p=512)) for t in TYPES],
    "streams": [(f"llama3.2-1b-{t}", Test(n=64, b=32, d=128)) for t in TYPES],
    "context": [("llama3.2-1b-Q4_K_M", Test(n=16, d=4096))],
}
SERVED = "qwen3-0.6b-Q4_K_M"


def spread(values, digits=1):
    if not values:
        return "-"
    return f"{statistics.median(values):.{digits}f} [{min(values):.{digits}f}, {max(values):.{digits}f}]"


def name_of(t):
    text = f"pp{t.p}" if t.p else f"tg{t.n}"
    return text + (f"@b{t.b}" if t.b > 1 else "") + (f"@d{t.d}" if t.d else "")


def say(text):
    print(text, file=sys.stderr, flush=True)


def speed_rows(a, rows, table):
    us = table[0]
    for model, test in rows:
        if a.types and not any(model.endswith("-" + t) for t in a.types.split(",")):
            continue
        path = model if os.path.exists(model) else os.path.join(a.models, model + ".gguf")
        if not os.path.exists(path):
            say(f"left out: no {path}")
            continue
        got, details = {e.name: [] for e in table}, []
        for r in range(a.r):
            for e in table:
                try:
                    value = e.speed(path, test)
                except (RuntimeError, OSError, StopIteration, ValueError) as error:
                    say(f"{e.name}: {error}")
                    value = None
                got[e.name].append(value)
                if e is us:
                    details.append(us.detail)
                say(f"round {r + 1} {os.path.basename(path)} {name_of(test)} {e.name}: {value and round(value, 1)}")
        print_speeds(os.path.basename(path).removesuffix(".gguf"), test, got, details, us.name)


def print_speeds(model, test, got, details, us):
    base = got[us]
    share = ""
    if details and details[0] and None not in base:
        if test.p:
            share = f"{statistics.median(d['tflops'] for d in details):.2f} TFLOP/s"
        else:
            reads = [d["gb_per_s"] / max(d["read_gb_per_s"]) for d in details]
            share = f"{100 * statistics.median(reads):.0f} % of reads"
    print(f"| {model} {name_of(test)} | {us} | {spread([v for v in base if v])} | | {share} |")
    for name, values in got.items():
        pairs = [x / y for x, y in zip(base, values) if x and y]
        if name != us and pairs:
            print(f"| | {name} | {spread([v for v in values if v])} | {spread(pairs, 2)} | |")
    sys.stdout.flush()


def texted_model(a):
    """SERVED with text for every token (texted.py): made once, in build/."""
    made = os.path.join(HERE, "..", "build", SERVED + "-texted.gguf")
    source = os.path.join(a.models, SERVED + ".gguf")
    if not os.path.exists(made) or os.path.getsize(made) != os.path.getsize(source):
        texted.make(source, made)
    return made


def server_row(a, fleet):
    model = texted_model(a)
    print("| server, clients | who | out tokens/s | TTFT p50 / p99 ms | ITL p50 / p99 ms |")
    for clients in (1, 8, 32):
        for r in range(max(1, a.r // 3)):
            for s in fleet:
                with s.running(model, 32, 512) as (pid, url, _):
                    run = s.load(url, "-c", clients, "-r", max(4, clients * 2), "-p", 190, "-n", 64)[0]
                    t, i = run["ttft_ms"], run["itl_ms"]
                    print(f"| {SERVED}, {clients} | {s.name} | {run['output_tokens_per_s']:.1f} | {t['p50']:.0f} / "
                          f"{t['p99']:.0f} | {i['p50']:.1f} / {i['p99']:.0f} |", flush=True)


def memory_row(a, fleet):
    model = os.path.join(a.models, SERVED + ".gguf")
    size = os.path.getsize(model)
    print(f"| memory for a file of {size / 1e6:.0f} MB, slots | who | MB after as many requests | over the file | ready, s |")
    for slots in (8, 32):
        for s in fleet:
            with s.running(model, slots, 512) as (pid, url, seconds):
                s.load(url, "-c", slots, "-r", slots, "-p", 190, "-n", 16)
                m = servers.memory(pid)
                print(f"| {slots} | {s.name} | {m / 1e6:.0f} | {m / size:.2f} | {seconds:.2f} |", flush=True)


def span(path, rows):
    """How many of the first `rows` rows of a trace there are, and the seconds between the first and the last of them."""
    times = []
    with open(path) as f:
        next(f)
        for line in f:
            if len(times) == rows:
                break
            clock = line.split(",")[0].split(" ")[-1].split(":")
            times.append(sum(float(x) * y for x, y in zip(clock, (3600, 60, 1))))
    return len(times), times[-1] - times[0]


def replay(s, model, a, rate, slots):
    """The trace at so many requests a second: was it kept up with? That is: nothing lost, ITL p99 below 200 ms, and the
    last answer not much later than the last request; who queues without end keeps no rate."""
    rows, seconds = span(a.trace, max(10, min(a.trace_rows, int(rate * 60 * a.trace_minutes))))
    limit, started = 1.25 * rows / rate + 30, time.monotonic()
    with s.running(model, slots, a.trace_p + a.trace_n + 64) as (pid, url, _):
        run = s.load(url, "--trace", a.trace, "--speed", rate * seconds / rows, "-r", rows, "-p", a.trace_p,
                     "-n", a.trace_n, "--timeout", int(limit))[0]
    took = time.monotonic() - started
    p99 = run["itl_ms"]["p99"] if run["completed"] else float("inf")
    good = run["completed"] == run["requests"] and p99 < 200 and took < limit
    ttft = run["ttft_ms"]
    say(f"trace {s.name}: {rows} rows at {rate:.3f}/s in {took:.0f} s: {run['completed']} answered, ITL p99 {p99:.0f} ms"
        f", TTFT p50 / p99 {ttft['p50']:.0f} / {ttft['p99']:.0f} ms: {'kept' if good else 'not kept'}")
    return good


def trace_row(a, fleet):
    """Four runs for each server: from seven tenths of what it does in a closed loop, up or down by the root of two. With
    --trace-rates one run for each server at its given rate."""
    model, slots = texted_model(a), 16
    if a.trace_rates:
        for s, rate in zip(fleet, map(float, a.trace_rates.split(","))):
            replay(s, model, a, rate, slots)
        return
    print(f"| {os.path.basename(a.trace)}, prompts cut to {a.trace_p}, answers to {a.trace_n} tokens | who |"
          f" closed loop of 8, requests/s | kept with ITL p99 < 200 ms | not kept |", flush=True)
    for s in fleet:
        with s.running(model, slots, a.trace_p + a.trace_n + 64) as (pid, url, _):
            closed = s.load(url, "-c", 8, "-r", 16, "-p", a.trace_p, "-n", a.trace_n)[0]["requests_per_s"]
        rate, kept, lost = 0.7 * closed, 0, float("inf")
        for _ in range(4):
            if replay(s, model, a, rate, slots):
                kept = max(kept, rate)
            else:
                lost = min(lost, rate)
            rate = (kept * lost) ** 0.5 if kept and lost < float("inf") else kept * 2 ** 0.5 or lost / 2 ** 0.5
        print(f"| | {s.name} | {closed:.3f} | {kept:.3f} | {lost:.3f} |", flush=True)


ap = argparse.ArgumentParser(usage=__doc__)
ap.add_argument("--models", default=os.path.join(HERE, "..", "build", "shapes"))
ap.add_argument("--llama")
ap.add_argument("--ik")
ap.add_argument("--openvino")
ap.add_argument("--node", action="store_true")
ap.add_argument("--model")
ap.add_argument("--brief", action="store_true")
ap.add_argument("--types", default=None, help="only these of Q4_0,Q4_K_M,Q8_0")
ap.add_argument("-r", type=int, default=3)
ap.add_argument("-t", type=int, default=os.cpu_count())
ap.add_argument("--isa")
ap.add_argument("--no-guess", action="store_true", help="ours with --speculate off as well")
ap.add_argument("--rows", default="decode,small,prefill,streams,context,server,memory")
ap.add_argument("--trace", default=os.path.join(HERE, "..", "..", "shared", "traces", "azure-2023-conversation.csv"))
ap.add_argument("--trace-rows", type=int, default=200)
ap.add_argument("--trace-minutes", type=float, default=4, help="of a run: what does not fit in takes fewer rows")
ap.add_argument("--trace-rates", help="requests/s, one for each server: one run each instead of the search")
ap.add_argument("--trace-p", type=int, default=256, help="prompts are cut to so many tokens")
ap.add_argument("--trace-n", type=int, default=32, help="and answers")
a = ap.parse_args()

ours = engines.Ours(a.t)
table = [ours] + ([engines.Ours(a.t, a.isa)] if a.isa else [])
fleet = [servers.ours(a.t)] + ([servers.ours(a.t, "--speculate", "off")] if a.no_guess else [])
if a.llama:
    table += [engines.Llama("llama.cpp", a.llama, a.t, ["-fa", "off"])] if not a.brief or "context" in a.rows else []
    table += [engines.Llama("llama.cpp -fa on", a.llama, a.t, ["-fa", "on"])]
    fleet.append(servers.llama("llama-server", a.llama, a.t))
if a.ik:
    table += [] if a.brief else [engines.Llama("ik_llama.cpp", a.ik, a.t, ["-gp"])]
    table += [engines.Llama("ik_llama.cpp -rtr", a.ik, a.t, ["-rtr", "1", "-gp"])]
if a.openvino:
    table.append(engines.OpenVino(a.openvino, a.t))
if a.node:
    table.append(engines.Node(a.t))
print(f"{a.t} threads, {a.r} rounds in turn; medians [least, most]\n")
print("| test | who | tokens/s | ours over this | ours, of the limit |\n|---|---|---|---|---|")
if a.model:
    speed_rows(a, [(a.model, Test(p=512)), (a.model, Test(n=128))], table)
else:
    for row in a.rows.split(","):
        if row in ROWS:
            speed_rows(a, ROWS[row], table)
        elif row in ("server", "memory", "trace"):
            {"server": server_row, "memory": memory_row, "trace": trace_row}[row](a, fleet)
        else:
            sys.exit(f"bench: no row {row}; choose of {', '.join(ROWS)}, server, memory, trace")
if ours.probes:
    reads = [p["read_gb_per_s"] for p in ours.probes]
    scale = [p["thread_scaling"] for p in ours.probes]
    print(f"\nprobe before and after each run of ours: two threads do the work of {spread(scale, 2)}, memory read "
          f"{spread(reads)} GB/s")
