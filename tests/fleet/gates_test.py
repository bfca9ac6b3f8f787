#!/usr/bin/env python3
"""gates_test -- the fleet's gates, once each, on three sites in network namespaces (lab.py) with the default model.
Runs alone: it judges silences."""
import os, sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "cmd")]
sys.dont_write_bytecode = True
from server import MODEL, Tap
from lab import Lab
from gates import Gates

tap = Tap()
why = Lab.missing()
if why:
    tap.skip_all(why)
if not os.path.exists(MODEL):
    tap.skip_all("the default model is not here (tools/deps run)")
if os.environ.get("SANITIZE"):
    tap.skip_all("not with six sanitized engines")

with Lab() as lab:
    gates = Gates(lab, slow=float(os.environ.get("SLOW", "2")))  # other tests may run beside this one
    with tap.case("three sites start and give the same answers"):
        lab.start()
        gates.learn()
        print(f"# {gates.idle} KV pages in use when idle")
    if tap.failed:
        for name in lab.nodes:
            print(f"# {name}\n# " + lab.tail(name, 8).replace("\n", "\n# "))
        tap.done()
    only = sys.argv[1:]
    for name, run in [
            ("a prompt stays where it must: taps on every server and on Zurich's link", gates.residency),
            ("kill -9 of a worker", gates.kill_worker),
            ("kill -9 of an engine", gates.kill_engine),
            ("SIGSTOP of a worker, and what it says when it wakes", gates.stop_worker),
            ("an engine stands still while its worker goes on beating", gates.stop_engine),
            ("a worker's link goes down and comes back", gates.worker_link),
            ("one-way loss from a worker", lambda: gates.one_way(way="drop-up")),
            ("one-way loss to a worker", lambda: gates.one_way(way="drop-down")),
            ("the link between two sites falls silent", lambda: gates.site_link("silent")),
            ("the link between two sites is cut", lambda: gates.site_link("cut")),
            ("all workers of a site are lost", gates.lose_workers),
            ("SIGSTOP of the broker", gates.stop_broker),
            ("kill -9 of the broker", gates.kill_broker),
            ("every wire takes 80 ms longer", gates.delay),
            ("a slow client holds nobody up", gates.slow_client),
            ("a client that hangs up is not computed for", gates.gone_client),
            ("bodies of 0.9, 1.1 and 8 MB; 40 MB are refused", gates.payloads),
            ("kill -9 of a gateway: a retry elsewhere, no orphan", gates.kill_gateway)]:
        if only and not any(word in name for word in only):
            continue
        with tap.case(name):
            try:
                run()
            except AssertionError:
                for node in lab.nodes:
                    print(f"# {node}:\n#" + lab.tail(node, 6).rstrip().replace("\n", "\n#"))
                raise
            finally:
                gates.home()
    print("\n".join("# " + line for line in gates.table()))
tap.done()
