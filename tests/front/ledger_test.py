#!/usr/bin/env python3
"""ledger_test -- keys, limits and bills of the ledger over HTTP: what `tokenworks key` makes, `serve` obeys and books."""
import csv
import hashlib
import json
import os
import re
import subprocess
import tempfile
import threading
import time

from server import B, Reply, SLOW, Server, equal, request, run, until


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
    with Server("--ledger") as s:
        r = s.do(do="stream", n=12)  # the fake engine says: 7 prompt tokens, 12 completion tokens
        equal(r.body.count(b"word"), 12)
        equal(totals(s), {"requests": 1, "prompt_tokens": 7, "output_tokens": 12})
        for n in (1, 2, 3):
            s.do(do="stream", n=n)
        equal(totals(s), {"requests": 4, "prompt_tokens": 28, "output_tokens": 18})
        s.do(do="refuse", status=400)  # nothing was used: no row
        equal(totals(s)["requests"], 4)


def who_leaves_pays_for_what_was_made():
    with Server("--ledger") as s:
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
    with Server("--ledger") as s:
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



def make_key(s, *limits, tenant="ward", wait=True, **options):
    """A limited key of a new tenant, as an operator makes it, and the server knows it."""
    tokenworks(s, "tenant", "add", tenant)
    words = [w for k, v in options.items() for w in ("--" + k.replace("_", "-"), v)]
    key = tokenworks(s, "key", "add", "-t", tenant, *words, *limits).strip()
    if wait:
        until(lambda: s.get("/v1/models", x_api_key=key).status == 200 and s.get("/v1/models").status == 401, "the key")
    return key


def ask(s, key, **fields):
    headers = {k: fields.pop(k) for k in list(fields) if k[0].isupper() or k.startswith("x_")}
    return s.post("/v1/chat/completions", fields, x_api_key=key, **headers)


def rows(s):
    """Each request's row, as the export has it."""
    path = os.path.join(s.dir.name, "rows.csv")
    if os.path.exists(path):
        os.unlink(path)
    tokenworks(s, "usage", "export", "--from", "2020-01-01", "--to", "2100-01-01", "--out", path)
    return list(csv.DictReader(open(path)))


def sums(s):
    r = rows(s)
    return [len(r)] + [sum(int(x[c]) for x in r) for c in ("x_PromptTokens", "x_CachedTokens", "x_OutputTokens")]


def verified(s):
    tokenworks(s, "usage", "verify")


def nothing_is_booked_before_a_key_exists():
    with Server() as s:
        equal(s.do(do="stream").status, 200)
        assert not os.path.exists(os.path.join(s.dir.name, "ledger.db"))
    with Server("--no-ledger") as s:
        tokenworks(s, "tenant", "add", "ward")
        tokenworks(s, "key", "add", "-t", "ward")
        time.sleep(1.2)
        equal(s.do(do="stream").status, 200)
        equal(rows(s), [])


def every_route_asks_but_health_and_the_console():
    with Server("--ledger") as s:
        key = make_key(s)
        open_routes = {"/health": 200, "/": 200, "/console.js": 200, "/console.css": 200, "/icon.svg": 200}
        equal({p: s.get(p).status for p in open_routes}, open_routes)
        closed_routes = ["/metrics", "/tokenworks/stats", "/v1/models", "/v1/models/tiny", "/nowhere"]
        equal([s.get(p).status for p in closed_routes], [401] * 5)
        for wrong in ("tw-" + "A" * 43, key[:-1], key + "A", "", key.upper(), "sk-x"):
            equal((wrong, s.get("/v1/models", Authorization="Bearer " + wrong).status), (wrong, 401))
        equal(s.get("/v1/models", Authorization="Bearer " + key).status, 200)


def keys_of_the_file_and_of_the_ledger_both_work():
    with tempfile.NamedTemporaryFile("w", suffix=".keys") as f:
        f.write(hashlib.sha256(b"plain").hexdigest() + " old\n")
        f.flush()
        with Server("--api-key-file", f.name, "--ledger", wait=False) as s:
            until(lambda: s.get("/health").status == 200, "the engine")
            tokenworks(s, "tenant", "add", "ward")
            key = tokenworks(s, "key", "add", "-t", "ward").strip()
            until(lambda: s.get("/v1/models", x_api_key=key).status == 200, "the key")
            equal([ask(s, k, do="stream", n=2).status for k in (key, "plain", "other")], [200, 200, 401])
            equal(ask(s, "plain", do="echo").json()["head"]["tenant"], "old")


def a_revoked_last_key_does_not_open_the_doors():
    with Server("--ledger") as s:
        key = make_key(s)
        tokenworks(s, "key", "revoke", key[:8])
        until(lambda: s.get("/v1/models", x_api_key=key).status == 401, "the revocation")
        equal(s.get("/v1/models").status, 401)
        again = Server(env={"TOKENWORKS_HOME": s.dir.name})
        equal(again.get("/v1/models").status, 401)
        equal(again.stop(), 0)


def a_budget_ends_in_429_and_is_not_overrun():
    with Server("--ledger") as s:
        key = make_key(s, "--tokens-per-day", "40")  # a request of 10 events: 7 + 10 tokens
        replies = [ask(s, key, do="stream", events=10, max_tokens=10) for _ in range(4)]
        equal([r.status for r in replies], [200, 200, 429, 429])
        equal((replies[2].error()["type"], replies[2].error()["code"]), ("rate_limit_error", "rate_limit_exceeded"))
        assert "tokens per day" in replies[2].error()["message"], replies[2].body
        assert int(replies[2].headers["retry-after"]) >= 1
        r = ask(s, key, do="stream", events=1, max_tokens=1000)
        equal(r.status, 429)
        assert "retry-after" not in r.headers  # it can never fit
        equal(sums(s), [2, 14, 6, 20])
        verified(s)


def the_prompt_is_counted_before_the_first_token():
    with Server("--ledger") as s:
        key = make_key(s, "--tokens-per-day", "10")
        r = ask(s, key, do="stream", events=4, max_tokens=4)  # 4 fit, 7 + 4 do not
        equal((r.status, r.error()["code"]), (429, "rate_limit_exceeded"))
        assert b"word" not in r.body
        equal(rows(s), [])


def the_request_carries_its_tenant_and_allowance():
    with Server("--ledger") as s:
        key = make_key(s, "--tokens-per-day", "1000")
        head = ask(s, key, do="echo", max_tokens=100).json()["head"]
        equal((head["tenant"], head["allowance"], head["weight"], head["priority"]), ("ward", 1000, 1, 0))
        assert ask(s, key, do="echo", max_tokens=100).json()["head"]["allowance"] < 1000
        r = ask(s, key, do="echo")  # not stated: the worst case is the whole context
        equal((r.status, r.error()["code"]), (429, "rate_limit_exceeded"))
        assert "retry-after" not in r.headers


def classes_and_deadlines_reach_the_engine():
    with Server("--ledger") as s:
        head = s.do(do="echo", priority=5, deadline_ms=250).json()["head"]  # nobody's: every class is open
        equal((head["priority"], head["deadline_ms"]), (5, 250))
        r = s.post("/v1/chat/completions", {"do": "echo"}, TW_Priority="-3", TW_Deadline_Ms="70")
        equal((r.json()["head"]["priority"], r.json()["head"]["deadline_ms"]), (-3, 70))
        for wrong in ({"TW_Priority": "high"}, {"TW_Priority": "101"}, {"TW_Deadline_Ms": "0"}, {"TW_Deadline_Ms": ""}):
            equal(s.post("/v1/chat/completions", {"do": "echo"}, **wrong).status, 400)
        key = make_key(s)
        r = ask(s, key, do="echo", priority=1)
        equal((r.status, r.error()["code"], r.error()["param"]), (403, "priority_not_allowed", "priority"))
        equal(ask(s, key, do="echo", priority=-1).status, 200)
        tokenworks(s, "tenant", "set", "ward", "--priority", "2", "--weight", "3")
        until(lambda: ask(s, key, do="echo", priority=2).status == 200, "the new class")
        equal(ask(s, key, do="echo").json()["head"]["weight"], 3)


def a_key_is_served_only_where_it_may_be():
    with Server("--ledger", "--jurisdiction", "DE-BY") as s:
        at_home = make_key(s, "--jurisdictions", "FR, DE")
        abroad = make_key(s, "--jurisdictions", "CH", tenant="other", wait=False)
        until(lambda: s.get("/v1/models", x_api_key=abroad).status == 200, "the key")
        equal(ask(s, at_home, do="echo").status, 200)
        r = ask(s, abroad, do="echo")
        equal(r.status, 403)
        assert "CH" in r.error()["message"] and "DE-BY" in r.error()["message"]


def a_hang_up_is_billed_for_what_was_sent():
    with Server("--ledger") as s, s.connect() as c:
        c.sendall(request("POST", "/v1/chat/completions", {"do": "stall"}, {}))
        got = b""
        while b"word0" not in got:
            got += c.recv(65536)
        c.close()
        until(lambda: rows(s), "the row")
        equal(sums(s), [1, 7, 3, 1])
        with s.connect() as slow:  # takes nothing; the system's buffers hold some 31,000 events: no other was sent
            slow.sendall(request("POST", "/v1/chat/completions", {"do": "stream", "n": 300000}, {}))
            time.sleep(0.5 * SLOW)
        until(lambda: len(rows(s)) == 2, "the row")
        assert sums(s)[3] < 150000
        verified(s)


def a_crash_is_billed_for_what_was_sent():
    with Server("--ledger") as s:
        r = s.do(do="crash-late")
        equal((r.status, r.body.count(b"word")), (200, 1))
        until(lambda: rows(s), "the row")
        equal(sums(s), [1, 7, 3, 1])
        until(lambda: s.get("/health").status == 200, "the engine")
        equal(s.do(do="crash").status, 503)  # nothing was sent: nothing is billed
        until(lambda: s.get("/health").status == 200, "the engine")
        equal(sums(s)[0], 1)


def rows_add_up_to_what_clients_received():
    with Server("--ledger") as s:
        key = make_key(s)
        got = []
        def client(i):
            for n in range(1, 6):
                got.append(ask(s, key, do="stream", n=n + i).body.count(b"word"))
        threads = [threading.Thread(target=client, args=(i,)) for i in range(8)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        equal(len(got), 40)
        equal(sums(s), [40, 280, 120, sum(got)])
        verified(s)
        lines = s.get("/metrics", x_api_key=key).body.decode().splitlines()
        assert 'tokenworks_tenant_requests_total{tenant="ward"} 40' in lines, lines
        assert f'tokenworks_tenant_tokens_total{{tenant="ward",kind="output"}} {sum(got)}' in lines


def counts_outlive_a_restart():
    with Server("--ledger") as s:
        key = make_key(s, "--tokens-per-day", "40")
        equal(ask(s, key, do="stream", events=10, max_tokens=10).status, 200)
        again = Server(env={"TOKENWORKS_HOME": s.dir.name})
        replies = [ask(again, key, do="stream", events=10, max_tokens=10).status for _ in range(3)]
        equal(replies, [200, 429, 429])
        equal(again.stop(), 0)
        equal(sums(s), [2, 14, 6, 20])


def answers_say_what_they_took():
    with Server("--ledger") as s:
        tokenworks(s, "usage", "price", "*", "--prompt", "1000", "--cached", "500", "--output", "2000")
        key = make_key(s)
        r = ask(s, key, do="echo")
        want = "prompt=7, cached=3, output=0"  # (4 x 1000 + 3 x 500) / 1,000,000
        assert r.headers["x-tokenworks-usage"].startswith(want), r.headers
        assert r.headers["x-tokenworks-usage"].endswith("cost=0.005500"), r.headers
        equal(int(r.headers["content-length"]), len(r.body))
        r = ask(s, key, do="stream", n=3)
        equal((r.complete, b"x-tokenworks-usage" in r.body), (True, False))
        r = ask(s, key, do="stream", n=3, x_tokenworks_usage="1")
        last = r.body.decode().strip().split("\n\n")
        equal(last[-2], "data: [DONE]")
        assert last[-1].startswith(": x-tokenworks-usage: prompt=7, cached=3, output=3"), last


def a_repeated_request_is_billed_once():
    with Server("--ledger") as s:
        key = make_key(s)
        def again(name, **fields):
            return ask(s, key, Idempotency_Key=name, **fields).status
        equal([again("a", do="stream", n=5) for _ in range(4)], [200, 200, 200, 409])
        equal(sums(s), [1, 7, 3, 5])
        equal(again("a", do="stream", n=6), 422)
        equal(again("b", do="stream", n=5), 200)
        equal(sums(s)[0], 2)
        equal(again("c", do="refuse", status=400), 400)  # nothing was booked: no try was used
        with s.connect() as c:
            c.sendall(request("POST", "/v1/chat/completions", {"do": "stall"}, {"x-api-key": key, "Idempotency-Key": "d"}))
            got = b""
            while b"word0" not in got:
                got += c.recv(65536)
            equal(again("d", do="stall"), 409)
        until(lambda: len(rows(s)) == 3, "the row")
        equal(ask(s, key, Idempotency_Key="é", do="stream").status, 400)
        other = make_key(s, tenant="other")
        equal(ask(s, other, Idempotency_Key="a", do="stream", n=5).status, 200)
        equal(sums(s)[0], 4)
        verified(s)
        lines = s.get("/metrics", x_api_key=key).body.decode()
        assert 'tokenworks_tenant_requests_total{tenant="ward"} 3' in lines, lines
        assert "tokenworks_ledger_duplicates_total 2" in lines
        after = Server(env={"TOKENWORKS_HOME": s.dir.name})  # it remembers nothing but the rows
        equal(ask(after, key, Idempotency_Key="b", do="stream", n=5).status, 200)
        equal(after.stop(), 0)
        equal(sums(s)[0], 4)


def admins_do_over_http_what_the_commands_do():
    with Server("--ledger") as s:
        def verb(key, path, **fields):
            return s.post("/tokenworks/admin/" + path, fields, x_api_key=key)
        equal(s.get("/tokenworks/admin/key/list").status, 403)  # while no key exists: nobody is an admin
        admin = make_key(s, role="admin")
        user = tokenworks(s, "key", "add", "-t", "ward").strip()
        auditor = tokenworks(s, "key", "add", "-t", "ward", "--role", "auditor").strip()
        until(lambda: s.get("/v1/models", x_api_key=auditor).status == 200, "the keys")
        equal([verb(k, "key/list").status for k in (user, auditor, admin, "tw-x")], [403, 200, 200, 401])
        equal([verb(k, "tenant/add", name="clinic").status for k in (user, auditor, admin)], [403, 403, 200])
        equal(verb(admin, "tenant/add", name="clinic").status, 400)  # it exists
        r = verb(admin, "key/add", tenant="clinic", name="x", requests_per_minute=1, money_per_day="12.50", expires_days=9)
        key = r.json()["key"]
        until(lambda: s.get("/v1/models", x_api_key=key).status == 200, "the key")
        equal([ask(s, key, do="stream", n=2).status for _ in range(2)], [200, 429])
        limits = {(x["scope"], x["what"]): x["value"] for x in s.get("/tokenworks/admin/key/limits", x_api_key=admin).json()}
        equal(limits, {("key", "requests per minute"): 1, ("key", "money per day (micro-units)"): 12500000})
        equal(limits and json.loads(tokenworks(s, "key", "limits", "--json")), s.get("/tokenworks/admin/key/limits", x_api_key=admin).json())
        equal(verb(admin, "key/limit", id=r.json()["id"], requests_per_minute=0).status, 200)
        until(lambda: ask(s, key, do="stream", n=2).status == 200, "the limit to go")
        used = verb(auditor, "usage/show", by="tenant").json()
        equal([(x["tenant"], x["requests"], x["output_tokens"]) for x in used], [("clinic", 2, 4)])
        equal(verb(admin, "key/revoke", id=r.json()["id"]).status, 200)
        until(lambda: ask(s, key, do="stream").status == 401, "the revocation")
        # What is refused changes nothing.
        for path, fields, status in (("key/add", {"tenant": "nobody"}, 404), ("key/add", {}, 400), ("nothing", {}, 404),
                                     ("key/add", {"tenant": "ward", "colour": "red"}, 400),
                                     ("key/add", {"tenant": "ward", "role": "king"}, 400),
                                     ("key/add", {"tenant": "ward", "tokens_per_day": -1}, 400),
                                     ("tenant/add", {"name": "half", "tokens_per_day": "x"}, 400)):
            equal((path, fields, verb(admin, path, **fields).status), (path, fields, status))
        equal(s.get("/tokenworks/admin/key/add", x_api_key=admin).status, 405)
        equal(len(verb(admin, "key/list").json()), 4)
        equal([t["name"] for t in verb(admin, "tenant/list").json()], ["local", "ward", "clinic"])
        assert key not in s.log


run([a_key_made_while_it_runs_is_obeyed, what_was_used_is_booked_before_the_reply_ends,
     who_leaves_pays_for_what_was_made, limits_are_429_with_their_headers,
     nothing_is_booked_before_a_key_exists, every_route_asks_but_health_and_the_console,
     keys_of_the_file_and_of_the_ledger_both_work, a_revoked_last_key_does_not_open_the_doors,
     a_budget_ends_in_429_and_is_not_overrun, the_prompt_is_counted_before_the_first_token,
     the_request_carries_its_tenant_and_allowance, classes_and_deadlines_reach_the_engine,
     a_key_is_served_only_where_it_may_be, a_hang_up_is_billed_for_what_was_sent,
     a_crash_is_billed_for_what_was_sent, rows_add_up_to_what_clients_received, counts_outlive_a_restart,
     answers_say_what_they_took, a_repeated_request_is_billed_once, admins_do_over_http_what_the_commands_do])
