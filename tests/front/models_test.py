#!/usr/bin/env python3
"""models_test -- who is in memory, with engines that need what their files weigh (1234 bytes) and answer slowly."""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from server import Reply, Server, equal, run, until

THREE = ("one", "two", "three")


def states(s):
    return {m["id"]: m["state"] for m in s.get("/v1/models").json()["data"]}


def three(*options, **env):
    """--model loads at the start: two fit, the third stays outside until it is asked for."""
    return Server("--memory", "3000", *options, models=THREE, env=env)


def only_what_fits_is_loaded_at_the_start():
    with three() as s:
        equal(states(s), {"one": "ready", "two": "ready", "three": "unloaded"})
        equal(s.do(model="three", do="echo").status, 200)
        now = states(s)
        equal((now["three"], sorted(now.values())[0]), ("ready", "ready"))
        assert "unloaded" in now.values() or "unloading" in now.values(), now


def a_busy_model_finishes_before_it_leaves():
    with three() as s, s.open(model="one", do="stream", n=40, ms=50) as a, \
            s.open(model="two", do="stream", n=40, ms=50) as b:
        with s.open(model="three", do="echo") as c:
            until(lambda: "model_requests_waiting 1" in s.get("/metrics").body.decode(), "three to wait")
            late = s.open(model="one", do="echo")  # after the patience it may have to wait for its turn: not lost
            equal(Reply(c).status, 200)
            for busy in (a, b):
                r = Reply(busy)
                equal((r.complete, r.body.count(b"word"), b"[DONE]" in r.body), (True, 40, True))
            equal(Reply(late).status, 200)
            late.close()


def nobody_starves():
    """Two models always have a request under way; the third is served all the same."""
    with three() as s:
        keep = [s.open(model=m, do="stream", n=10, ms=30) for m in ("one", "two") * 3]
        for _ in range(3):
            equal(s.do(model="three", do="echo").status, 200)
            keep += [s.open(model=m, do="stream", n=10, ms=30) for m in ("one", "two")]
        for c in keep:
            r = Reply(c)
            equal((r.status, r.complete, r.body.count(b"word")), (200, True, 10))
            c.close()


def one_that_can_never_fit_is_refused_with_both_numbers():
    with Server("--memory", "1000", models=("one",), wait=False) as s:
        equal(s.process.wait(20), 1)
        until(lambda: "needs 1234 bytes and --memory is 1000 bytes" in s.log, "the sentence")
        s.stop = lambda: 0


def a_wait_has_an_end():
    with three("--load-wait-s", "1") as s, s.open(model="one", do="stall") as a, s.open(model="two", do="stall") as b:
        until(lambda: s.stats()["in_flight"] == 2, "both to be busy")
        r = s.do(model="three", do="echo")
        equal((r.status, r.error()["code"]), (503, "model_loading"))
        assert "retry-after" in r.headers
        a.close()
        b.close()
        until(lambda: s.do(model="three", do="echo").status == 200, "room")


def an_engine_that_cannot_load_is_told_and_others_go_on():
    with three() as s:
        path = os.path.join(s.dir.name, "three.gguf")
        os.remove(path)
        r = s.do(model="three", do="echo")
        equal((r.status, r.error()["code"]), (503, "model_failed"))
        equal(s.do(model="one", do="echo").status, 200)
        with open(path, "wb") as f:
            f.write(b"x" * 1200)
        until(lambda: s.do(model="three", do="echo").status == 200, "it to be tried again")


def an_engine_that_dies_is_started_again_within_its_memory():
    with three() as s:
        equal(s.do(model="one", do="crash").status, 503)
        equal(s.do(model="three", do="echo").status, 200)  # two leaves for it, or one's new engine
        until(lambda: s.do(model="one", do="echo").status == 200, "one")
        equal(s.do(model="two", do="echo").status, 200)


run([only_what_fits_is_loaded_at_the_start, a_busy_model_finishes_before_it_leaves, nobody_starves,
     one_that_can_never_fit_is_refused_with_both_numbers, a_wait_has_an_end,
     an_engine_that_cannot_load_is_told_and_others_go_on, an_engine_that_dies_is_started_again_within_its_memory])
