#!/usr/bin/env python3
"""ledger_test -- keys, limits and bills of the ledger over HTTP: what `tokenworks key` makes, `serve` obeys and books."""
import json
import os
import re
import subprocess
import time

from server import B, Reply, Server, equal, run, until


def tokenworks(s, *words):
    r = subprocess.run([os.path.join(B, "tokenworks"), *words, "--state", s.dir.name], capture_output=True, text=True)
    equal((r.returncode, words), (0, words))
    return r.stdout


def used(s, by="key"):
    """What the ledger says, as it is on disk."""
    return json.loads(tokenworks(s, "usage", "--by", by, "--json"))


def totals(s):
    text = json.dumps(used(s))
    found = {}
    for name in ("requests", "prompt_tokens", "output_tokens"):
        found[name] = sum(int(n) for n in re.findall(rf'"{name}": (\d+)', text))
    return found


def until_key_is_asked(s):
    until(lambda: s.get("/v1/models").status == 401, "the server to notice the key")


def a_key_made_while_it_runs_is_obeyed():
    with Server() as s:
        equal(s.do(do="stream").status, 200)
        tokenworks(s, "tenant", "add", "hospital")
        key = re.search(r"tw-[\w-]{43}", tokenworks(s, "key", "add", "-t", "hospital", "-n", "ward")).group(0)
        until_key_is_asked(s)
        equal(s.do(do="stream").status, 401)
        equal(s.post("/v1/chat/completions", {"do": "stream"}, x_api_key="tw-" + "A" * 43).status, 401)
        r = s.post("/v1/chat/completions", {"do": "echo"}, Authorization=f"Bearer {key}")
        equal((r.status, r.json()["head"]["tenant"]), (200, "hospital"))
        tokenworks(s, "key", "revoke", key[:11])
        until(lambda: s.get("/v1/models", x_api_key=key).status == 401, "the revocation")
        assert key not in s.log


def what_was_used_is_booked_before_the_reply_ends():
    with Server() as s:
        r = s.do(do="stream", n=12)  # the fake engine says: 7 prompt tokens, 12 completion tokens
        equal(r.body.count(b"word"), 12)
        equal(totals(s), {"requests": 1, "prompt_tokens": 7, "output_tokens": 12})
        for n in (1, 2, 3):
            s.do(do="stream", n=n)
        equal(totals(s), {"requests": 4, "prompt_tokens": 28, "output_tokens": 18})
        s.do(do="refuse", status=400)  # nothing was used: no row
        equal(totals(s)["requests"], 4)


def who_leaves_pays_for_what_was_made():
    with Server() as s:
        c = s.open(do="stream", n=1000, ms=10)
        data = b""
        while data.count(b"word") < 20:
            data += c.recv(65536)
        c.close()
        until(lambda: totals(s)["requests"] == 1, "the row")
        t = totals(s)
        assert t["prompt_tokens"] == 7 and 20 <= t["output_tokens"] < 200, t
        c = s.open(do="silent")  # the engine never began: nothing to pay
        time.sleep(0.1)
        c.close()
        s.do(do="crash-late")
        until(lambda: s.get("/health").status == 200, "the engine")
        equal(totals(s), {"requests": 2, "prompt_tokens": 14, "output_tokens": t["output_tokens"] + 1})
    # Leaving while the last row is written, and stopping with rows under way: nothing is lost, nothing hangs.
    with Server() as s:
        for _ in range(30):
            s.open(do="echo").close()
        replies = [s.open(do="stream", n=3) for _ in range(20)]
        for c in replies:
            equal(Reply(c).body.count(b"word"), 3)
        assert totals(s)["requests"] >= 20


def limits_are_429_with_their_headers():
    with Server() as s:
        tokenworks(s, "tenant", "add", "small")
        key = re.search(r"tw-[\w-]{43}", tokenworks(s, "key", "add", "-t", "small", "-n", "k", "--requests-per-minute",
                                                    "2")).group(0)
        until_key_is_asked(s)
        replies = [s.post("/v1/chat/completions", {"do": "stream", "n": 1}, x_api_key=key) for _ in range(3)]
        equal([r.status for r in replies], [200, 200, 429])
        equal(replies[0].headers["x-ratelimit-limit-requests"], "2")
        equal(replies[2].error()["code"], "rate_limit_exceeded")
        assert 1 <= int(replies[2].headers["retry-after"]) <= 60
        equal(sum(line.lower().startswith("retry-after") for line in replies[2].lines), 1)


run([a_key_made_while_it_runs_is_obeyed, what_was_used_is_booked_before_the_reply_ends,
     who_leaves_pays_for_what_was_made, limits_are_429_with_their_headers])
