#!/usr/bin/env python3
"""soak -- random faults for MINUTES (20) while answers stream and others ask all the time: make soak. Prints its seed; the
same one strikes the same faults in the same order. Nothing that began may be missing, doubled or another; nobody's words
may be heard elsewhere; after each fault every worker is idle with its memory free, and nothing has crashed. One summary at
the end; exit 1 on any loss."""
import argparse, os, random, sys, time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "cmd")]
sys.dont_write_bytecode = True
from lab import Lab
from gates import Gates, Load

p = argparse.ArgumentParser()
p.add_argument("--minutes", type=float, default=20)
p.add_argument("--seed", type=int, default=random.getrandbits(32))
p.add_argument("--slow", type=float, default=1.0)
o = p.parse_args()
if why := Lab.missing():
    sys.exit(f"soak: {why}")
print(f"seed {o.seed}", flush=True)
dice = random.Random(o.seed)
failures, struck = [], {}


def memory(lab, name):
    """MB of the front alone: gateway or worker."""
    with open(f"/proc/{lab.nodes[name].process.pid}/statm") as f:
        return int(f.read().split()[1]) * 4096 / 1e6


def faults(g):
    two = lambda: dice.choice(["fra", "par"])
    return {"worker killed": lambda: g.kill_worker(two()), "engine killed": lambda: g.kill_engine(two()),
            "worker stopped": lambda: g.stop_worker(two()), "engine stopped": lambda: g.stop_engine(two()),
            "worker's link down": lambda: g.worker_link(two()), "one-way loss from": lambda: g.one_way(two(), "drop-up"),
            "one-way loss to": lambda: g.one_way(two(), "drop-down"),
            "link between sites": lambda: g.site_link(dice.choice(["silent", "cut"])),
            "site's workers lost": lambda: g.lose_workers(two()), "broker stopped": lambda: g.stop_broker(two()),
            "broker killed": lambda: g.kill_broker(two()), "80 ms on wires": lambda: g.delay(two()),
            "slow client": lambda: g.slow_client(two()), "client gone": lambda: g.gone_client(two()),
            "gateway killed": lambda: g.kill_gateway(*dice.choice([("par", "fra"), ("fra", "par")])),
            "residency": g.residency}


def attempt(what, do):
    try:
        do()
    except AssertionError as e:
        failures.append(f"{what}: {e}")
        print(failures[-1], flush=True)


with Lab() as lab:
    gates = Gates(lab, o.slow)
    lab.start()
    gates.learn()
    began, before = time.monotonic(), {n: memory(lab, n) for n in ("fra-gate", "zrh-gate", "zrh-one")}
    load = gates.load = Load(gates, random.Random(o.seed + 1))
    kinds = faults(gates)
    while time.monotonic() < began + 60 * o.minutes:
        what = dice.choice(list(kinds))
        struck[what] = struck.get(what, 0) + 1
        attempt(what, kinds[what])
        load.listen()
        attempt(f"after {what}", gates.home)
        load.go()
    attempt("the end", load.end)
    load.listen()
    minutes = (time.monotonic() - began) / 60
    after = {n: memory(lab, n) for n in before}
for line in load.lost + load.misrouted:
    print(line)
bad = len(failures) + len(load.lost) + len(load.misrouted)
print(f"""
soak of {minutes:.1f} minutes, seed {o.seed}, limits x {o.slow:g}: {"PASSED" if not bad else "FAILED"}
faults      {sum(struck.values())}: {", ".join(f"{k} {n}" for k, n in sorted(struck.items()))}
requests    {gates.answers + load.whole} answered whole and right ({gates.answers} under faults, {load.whole} of the steady load), {gates.given + load.tokens} tokens
            {load.refused} refused before they began, {load.cut} cut off with their gateway
losses      {len(load.lost)} answers of the load lost or other, {len(failures)} gates failed
misrouted   {len(load.misrouted)}
memory MB   {", ".join(f"{n} {before[n]:.0f} -> {after[n]:.0f}" for n in before)}
""" + "\n".join(gates.table()))
sys.exit(1 if bad else 0)
