#!/usr/bin/env python3
"""bench_test -- bench --json: one object of the keys that are promised, whose figures agree with each other (TAP)."""
import json, os, subprocess, sys, tempfile

B = os.environ.get("B", "build")
SHARED = "../shared" if os.path.isdir("../shared/golden") else os.environ.get("TW_SHARED", "")
count, failed = 0, False


def tw(*args):
    return subprocess.run([os.path.join(B, "tokenworks"), *args], capture_output=True, text=True)


def ok(good, name, note=""):
    global count, failed
    count += 1
    failed |= not good
    print(f"{'ok' if good else 'not ok'} {count} - {name}" + (f"\n# {note}" if note and not good else ""), flush=True)


def main():
    model = os.path.join(SHARED, "golden/models/llama-256.gguf")
    if not os.path.exists(model):
        print("ok 1 - bench --json # SKIP no golden data\n1..1")
        return False
    r = tw("bench", "-m", model, "-p", "32", "-n", "8", "-b", "1,4", "-d", "0,64", "-r", "3", "--json")
    ok(r.returncode == 0, "it runs", r.stderr)
    j = json.loads(r.stdout)
    ok({"model", "file_bytes", "isa", "threads", "probe", "results"} <= set(j), "the keys of the whole", j.keys())
    ok(j["file_bytes"] == os.path.getsize(model) and j["model"] == "llama-256", "the model and its size")
    ok([t["test"] for t in j["results"]] == ["pp32", "tg8", "tg8@d64", "tg8@b4", "tg8@b4@d64"], "the tests' names")
    ok(all(t["min"] <= t["tokens_per_s"] <= t["max"] and t["repeats"] == 3 for t in j["results"]),
       "median within least and most")
    ok(all(abs(t["bytes_per_token"] * t["tokens_per_s"] / 1e9 / t["gb_per_s"] - 1) < 1e-6 for t in j["results"]),
       "gb_per_s is what a token reads times tokens")
    per = {t["test"]: t["tflops"] / t["tokens_per_s"] for t in j["results"]}
    ok(max(per.values()) / min(per.values()) < 1.000001, "a token costs the same arithmetic everywhere")
    ok(all(j["probe"][w]["read_gb_per_s"] > 0 for w in ("before", "after")), "probed before and after")
    step = j["step"]
    ok(set(step) == set("abcde") and all(v >= 0 for v in step.values()) and sum(step.values()) > 0, "the step times", step)
    with tempfile.NamedTemporaryFile("w", suffix=".json") as f:
        f.write(r.stdout)
        f.flush()
        r = tw("plan", "--fit", f.name)
    ok(r.returncode == 0 and r.stdout.startswith("step: {a: "), "the planner reads it", r.stdout + r.stderr)
    print(f"1..{count}")
    return failed


sys.exit(main())
