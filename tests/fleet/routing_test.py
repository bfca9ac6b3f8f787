#!/usr/bin/env python3
# routing_test -- on made conversations the router finds the worker that has the beginning: far more hits than by lot,
# and the first token sooner. The router, the roster and the heartbeats are the real ones (routing_tool.c).
import json
import os
import random
import subprocess
import tempfile

B = os.environ.get("B", "build")


def conversations(path, count=60, turns=8):
    dice, requests, block = random.Random(5), [], 0
    for _ in range(count):
        at, ids = dice.uniform(0, 600e3), []
        for _ in range(turns):
            grow = dice.randint(1, 4)
            ids = ids + list(range(block, block + grow))
            block += grow
            requests.append((at, list(ids)))
            at += dice.uniform(5e3, 60e3)
    with open(path, "w") as f:
        for at, ids in sorted(requests):
            f.write(json.dumps({"timestamp": int(at), "input_length": 512 * len(ids) - 100,
                                "output_length": 50, "hash_ids": ids}) + "\n")


def main():
    print("1..2")
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "trace.jsonl")
        conversations(path)
        out = subprocess.run([f"{B}/tests/fleet/routing_tool", path, "8", "500", "1.0"], check=True, text=True,
                             capture_output=True).stdout
    rows = {line[:13].strip(): line[13:].split() for line in out.splitlines() if not line.startswith("#")}
    hits = {name: float(row[0]) for name, row in rows.items()}
    mean = {name: float(row[2]) for name, row in rows.items()}
    for line in out.splitlines():
        print("#", line)
    ok = [hits["prefix-aware"] > 2 * hits["random"] and hits["prefix-aware"] > 60,
          mean["prefix-aware"] < mean["load only"] < mean["random"]]
    print("ok 1 - hits" if ok[0] else "not ok 1 - hits")
    print("ok 2 - first token" if ok[1] else "not ok 2 - first token")
    return 0 if all(ok) else 1


raise SystemExit(main())
