#!/usr/bin/env python3
"""soak -- random faults under constant load for MINUTES (20): make soak. Prints its seed; the same one strikes the same
faults in the same order. No token may be missing, doubled or another; the table at the end says how long silences were."""
import argparse, os, random, sys, time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "cmd")]
sys.dont_write_bytecode = True
from lab import Lab
from gates import Gates

p = argparse.ArgumentParser()
p.add_argument("--minutes", type=float, default=20)
p.add_argument("--seed", type=int, default=random.getrandbits(32))
p.add_argument("--slow", type=float, default=1.0)
o = p.parse_args()
if why := Lab.missing():
    sys.exit(f"soak: {why}")
print(f"seed {o.seed}", flush=True)
dice = random.Random(o.seed)
failed = 0
with Lab() as lab:
    gates = Gates(lab, o.slow)
    lab.start()
    gates.learn()
    two = lambda: dice.choice(["fra", "par"])
    faults = [lambda: gates.kill_worker(two()), lambda: gates.kill_engine(two()), lambda: gates.stop_worker(two()),
              lambda: gates.stop_engine(two()), lambda: gates.worker_link(two()), lambda: gates.one_way(two(), "drop-up"),
              lambda: gates.one_way(two(), "drop-down"), lambda: gates.site_link(dice.choice(["silent", "cut"])),
              lambda: gates.lose_workers(two()), lambda: gates.stop_broker(two()), lambda: gates.kill_broker(two()),
              lambda: gates.delay(two()), lambda: gates.slow_client(two()), lambda: gates.gone_client(two()),
              lambda: gates.kill_gateway("par", "fra"), lambda: gates.kill_gateway("fra", "par"), gates.residency]
    end, n = time.monotonic() + 60 * o.minutes, 0
    while time.monotonic() < end:
        n += 1
        try:
            dice.choice(faults)()
        except AssertionError as e:
            failed += 1
            print(f"round {n}: {e}", flush=True)
        try:
            gates.home()
        except AssertionError as e:
            failed += 1
            print(f"round {n}, afterwards: {e}", flush=True)
    print("\n".join(gates.table()))
print(f"{n} faults, {failed} failures, seed {o.seed}")
sys.exit(1 if failed else 0)
