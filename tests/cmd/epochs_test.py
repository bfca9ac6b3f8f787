#!/usr/bin/env python3
"""epochs_test -- keys for sealed requests are renewed while the server runs: made by the engine, certified and logged before they
are offered; the one before opens requests for a grace, then no more (TAP)."""
import os, re, sys, time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from server import Tap
from site_keeper import Relay, Site, status_of, until

tap = Tap()
site = Site(witness=True)
s = site.start("--key-epoch", "3", "--key-grace", "2")
first = site.node()

with tap.case("a node note names the epoch, the arithmetic, and a day"):
    assert first["epoch"] == "1" and first["numerics"].startswith("sha256:"), first
    assert first["not-after"] > first["not-before"]

with tap.case("requests sealed to the key before are opened for the grace, then no more; the proxy seals again"):
    relay = Relay(s.port)
    p = site.proxy("notary", "--key", site.path("notary.key"), url=relay.url)
    held = {}

    def wait_for_next(head, body):
        """Holds a sealed request back until another key is offered than the one it was sealed to."""
        if b"/v1/sealed" in head and not held:
            key = body[0]
            held["waited"] = until(lambda: int(site.node()["epoch"]) & 255 != key)
            held["sent"] = (head, body)
    relay.bend = wait_for_next
    status, text = p.ask()
    assert status == 200 and held["waited"], (status, text)
    assert len([1 for head, _ in relay.seen if b"/v1/sealed" in head]) == 1, "it was opened at the first try"
    retired = held["sent"][1][0]

    def is_gone():
        """Not 400, which a request that was seen before gets from the engine that has the key."""
        return b"sealed_key_gone" in relay.send(*held["sent"])
    assert b"sealed_key_gone" not in relay.send(*held["sent"])
    assert until(is_gone), "its key is retired"
    held.clear()

    def too_late(head, body):
        if b"/v1/sealed" in head and not held:
            held["key"] = body[0]
            until(lambda: b"sealed_key_gone" in relay.send(head, body[:1] + b"\0" * 80))
    relay.bend = too_late
    status, text = p.ask()
    assert status == 200, (status, text)
    kept = p.receipts()
    assert len(kept) == 2 and all(r["transport"] == "sealed" for r in kept), kept

with tap.case("every epoch has a node note of its own, each a new key, all with the boot's receipt key"):
    until(lambda: int(site.node()["epoch"]) >= 4)
    nodes = [n for n in site.notes("node") if n["epoch"] != "0"]
    epochs = {n["epoch"] for n in nodes}
    assert len(epochs) >= 4 and len({n["ohttp-key"] for n in nodes}) == len({(n["epoch"], n["ohttp-key"]) for n in nodes}) == len(epochs)
    assert len({n["receipt-key"] for n in nodes}) == 1 and len({n["numerics"] for n in nodes}) == 1
    bare = [n for n in site.notes("node") if n["epoch"] == "0"]
    assert len(bare) >= 2, "the boot's own note is renewed too"

with tap.case("an engine that dies takes its keys along; the next has an epoch never used before"):
    last = int(site.node()["epoch"])
    before = {n["ohttp-key"] for n in site.notes("node")}
    os.kill(s.engine_pid_of("tw-engine"), 9)
    status, text = p.ask()
    assert status == 200, (status, text)
    now = site.node()
    assert int(now["epoch"]) > last and now["ohttp-key"] not in before, now

with tap.case("the whole of it is audited"):
    p.stop()
    assert s.stop() == 0
    code, text = site.audit()
    assert code == 0 and "nothing is wrong" in text, text
site.end()
tap.done()
