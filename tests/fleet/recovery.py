#!/usr/bin/env python3
"""recovery -- how long streams pause when a fault strikes: each kind TIMES (15) times on the three sites of lab.py. Prints
per kind the longest silence of any of the four streams under way, over all faults: p50, p99, max.

    tests/fleet/recovery.py [--times 15] [--tokens 96] [KIND ..]      kinds: see KINDS; all unless named; needs root"""
import argparse, os, sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "cmd")]
sys.dont_write_bytecode = True
from lab import Lab
from gates import Gates

KINDS = {"kill": "kill_worker", "stop": "stop_worker", "engine-kill": "kill_engine", "engine-stop": "stop_engine",
         "link": "worker_link", "deaf": "one_way", "site": "lose_workers", "broker-stop": "stop_broker", "broker-kill": "kill_broker"}
p = argparse.ArgumentParser()
p.add_argument("--times", type=int, default=15)
p.add_argument("--tokens", type=int, default=96)
p.add_argument("kinds", nargs="*", choices=[[], *KINDS], default=[])
o = p.parse_args()
if why := Lab.missing():
    sys.exit(f"recovery: {why}")
with Lab(sites={"fra": "de", "par": "fr"}) as lab:
    gates = Gates(lab, slow=100, tokens=o.tokens)  # here nothing is judged but the answers
    gates.whole_too = False
    lab.start()
    gates.learn()
    for i in range(o.times):
        for kind in o.kinds or KINDS:
            getattr(gates, KINDS[kind])(("fra", "par")[i % 2])
            gates.home()
    print("\n".join(gates.table()))
