#!/usr/bin/env python3
"""relay_test -- requests to an engine and back: streaming, hang-up, slow clients, crashes, drain. Fake engine.
Runs alone: it judges times."""
import json
import random
import signal
import socket
import threading
import time

from server import Server, Reply, request, closed, until, equal, run, SLOW


def fnv(data):
    h = 14695981039346656037
    for b in data:
        h = (h ^ b) * 1099511628211 % 2**64
    return f"{h:016x}"


def the_request_arrives_whole():
    with Server() as s:
        r = s.do(do="echo", text="grüße")
        equal(r.status, 200)
        head = r.json()["head"]
        equal((head["method"], head["path"]), ("POST", "/v1/chat/completions"))
        assert head["response_id"].startswith("chatcmpl-") and len(head["response_id"]) == 27, head
        assert abs(head["created"] - time.time()) < 5
        body = json.dumps({"do": "echo", "text": "grüße"}).encode()
        equal((r.json()["body_bytes"], r.json()["fnv"]), (len(body), fnv(body)))
        other = s.do(do="echo").json()["head"]["response_id"]
        assert other != head["response_id"]
        equal(s.do(path="/v1/completions", do="echo").json()["head"]["response_id"][:5], "cmpl-")
        equal(s.post("/v1/chat/completions", {"do": "echo", "priority": 3}, TW_Deadline_Ms="1500").json()["head"]
              ["deadline_ms"], 1500)
        equal(s.do(do="log").json()["model_bytes"], 1234)  # the descriptor that came with hello


def large_bodies_travel_in_parts():
    with Server() as s:
        for size in (1 << 20, (1 << 20) - 300, 5 << 20):
            body = json.dumps({"do": "echo", "pad": "x" * size}).encode()
            r = s.post("/v1/chat/completions", body)
            equal((r.status, r.json()["body_bytes"]), (200, len(body)))
        body = json.dumps({"do": "echo", "pad": "y" * 3000000}).encode()
        equal(s.post("/v1/chat/completions", body).json()["fnv"], fnv(body))
        # The same body, chunked.
        with s.connect() as c:
            c.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                      b"Transfer-Encoding: chunked\r\n\r\n")
            for at in range(0, len(body), 77777):
                part = body[at:at + 77777]
                c.sendall(b"%x\r\n%s\r\n" % (len(part), part))
            c.sendall(b"0\r\n\r\n")
            equal(Reply(c).json()["fnv"], fnv(body))


def events_arrive_as_they_are_made():
    with Server() as s, s.open(do="stream", n=5, ms=100) as c:
        start, seen, data = time.monotonic(), [], b""
        while b"[DONE]" not in data:
            piece = c.recv(65536)
            assert piece
            data += piece
            seen += [time.monotonic() - start] * piece.count(b"word")
        equal(data.count(b"word"), 5)
        assert b"content-type: text/event-stream" in data.lower()
        assert seen[0] < 0.25 * SLOW and seen[4] - seen[0] > 0.3, seen


def a_hang_up_cancels_at_once():
    with Server() as s:
        for what in ("stall", "silent", "stream"):
            before = len(s.do(do="log").json()["cancels"])
            c = s.open(do=what, ms=20, n=100000)
            time.sleep(0.2)
            now = time.monotonic_ns()
            c.close()
            until(lambda: len(s.do(do="log").json()["cancels"]) > before, "the cancel frame")
            took = (s.do(do="log").json()["cancels"][-1]["ns"] - now) / 1e6
            assert took < 100 * SLOW, f"{what}: {took} ms"
        equal(s.stats()["in_flight"], 0)


def a_slow_client_holds_back_its_own_stream_only():
    with Server() as s:
        c = s.open(do="huge", n=4000, bytes=10000)  # 40 MB nobody reads
        time.sleep(0.5)
        before = s.do(do="log").json()["frames"]
        start = time.monotonic()
        equal(s.do(do="stream", n=20).body.count(b"word"), 20)
        assert time.monotonic() - start < 2 * SLOW
        time.sleep(0.3)
        grown = s.do(do="log").json()["frames"] - before
        assert before < 1500 and grown < 100, (before, grown)  # the window, the sockets' buffers, and no more
        rss = int(open(f"/proc/{s.process.pid}/statm").read().split()[1]) * 4096
        assert rss < (120 << 20) * SLOW, rss
        r = Reply(c)  # then it reads: all of it is there
        equal((r.complete, len(r.body)), (True, 40000000))
        c.close()


def a_crash_before_the_head_is_503():
    with Server() as s:
        others = [s.open(do="silent") for _ in range(3)]
        time.sleep(0.1)
        r = s.do(do="crash")
        equal((r.status, r.error()["type"], r.error()["code"]), (503, "server_error", "engine_restarting"))
        assert int(r.headers["retry-after"]) >= 1
        for c in others:
            equal(Reply(c).status, 503)
            c.close()
        until(lambda: s.get("/health").status == 200, "the engine to come back")
        equal(s.do(do="stream").body.count(b"word"), 10)
        m = s.get("/metrics").body.decode()
        assert 'tokenworks_engine_restarts_total{model="tiny"} 1' in m


def a_crash_within_a_stream_is_an_error_event():
    with Server() as s:
        for what in ("crash-late", "cut"):
            until(lambda: s.get("/health").status == 200, "the engine")
            r = s.do(do=what)
            equal((r.status, r.complete), (200, True))
            events = [e for e in r.body.decode().split("\n\n") if e]
            assert "word0" in events[0]
            error = json.loads(events[-1].removeprefix("data: "))["error"]
            equal(set(error), {"message", "type", "param", "code"})
        until(lambda: s.get("/health").status == 200, "the engine")
        # Not an event stream: nothing can be said, so the reply is visibly cut.
        with s.open(do="huge", n=1000000, bytes=1000, ms=5) as c:
            time.sleep(0.2)
            s.do(do="crash")
            r = Reply(c)
            equal((r.status, r.complete), (200, False))


def garbage_from_the_engine_is_a_restart():
    with Server() as s:
        equal(s.do(do="garbage").status, 503)
        until(lambda: s.get("/health").status == 200, "the engine to come back")
        assert "broke the frame protocol" in s.log


def engine_errors_keep_their_fields():
    with Server() as s:
        r = s.do(do="refuse", status=429)
        equal((r.status, r.headers["retry-after"]), (429, "1"))
        equal(r.json(), {"error": {"message": "the fake engine refuses", "type": "invalid_request_error", "param": "do",
                                   "code": "refused"}})
        equal(s.do(path="/v1/messages", do="refuse", status=400).json(),
              {"type": "error", "error": {"type": "invalid_request_error", "message": "the fake engine refuses", "details": {"error_code": "refused"}}})
        equal(s.do(path="/api/chat", do="refuse", status=400).json(), {"error": "the fake engine refuses"})
        equal(s.do(do="refuse", status=7).status, 500)


def engine_headers_cannot_split_a_reply():
    with Server() as s:
        r = s.do(do="headers")
        names = sorted(line.split(":")[0].lower() for line in r.lines)
        equal([n for n in names if n in ("content-length", "transfer-encoding")], ["transfer-encoding"])
        equal((r.status, r.headers["x-good"]), (200, "yes"))
        assert "set-cookie" not in r.headers and "x-bad" not in r.headers and "x bad" not in r.headers, r.headers


def loading_is_told():
    with Server("--load-wait-s", "0", env={"FAKE_LOADING_MS": "2000"}, wait=False) as s:
        r = s.get("/health")
        equal((r.status, r.json()["status"]), (503, "loading"))
        r = s.do(do="echo")
        equal((r.status, r.error()["code"]), (503, "model_loading"))
        assert "retry-after" in r.headers
        equal(s.get("/v1/models").json()["data"][0]["id"], "tiny")
        until(lambda: s.get("/health").json().get("percent", 0) >= 30, "progress")
        until(lambda: s.get("/health").status == 200, "the model")
        until(lambda: "model ready: tiny" in s.log, "the narration")


def a_request_waits_for_its_model():
    with Server(env={"FAKE_LOADING_MS": "800"}, wait=False) as s:
        with s.open(do="echo") as left:
            until(lambda: "tokenworks_model_requests_waiting 1" in s.get("/metrics").body.decode(), "it to wait")
            left.close()
            until(lambda: "tokenworks_model_requests_waiting 0" in s.get("/metrics").body.decode(), "it to be forgotten")
        equal(s.do(do="echo").status, 200)


def a_model_that_is_refused_ends_the_server():
    s = Server(env={"FAKE_REFUSE": "1"}, wait=False)
    equal(s.process.wait(10 * SLOW), 1)
    equal(s.stop(), 1)
    assert "tokenworks serve: this file is no model: bad magic" in s.log, s.log
    s = Server(env={"FAKE_EXIT_LOADING": "1"}, wait=False)
    equal(s.process.wait(10 * SLOW), 1)
    s.stop()
    s = Server(engine="/nonexistent", wait=False)
    equal(s.process.wait(10 * SLOW), 1)
    s.stop()


def drain_lets_running_requests_finish():
    s = Server()
    with s.open(do="stream", n=20, ms=50) as c, s.connect() as idle:
        idle.sendall(request("GET", "/health", None, {}))
        equal(Reply(idle).status, 200)
        time.sleep(0.2)
        s.process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        assert closed(idle)
        r = s.do(do="echo")
        equal((r.status, r.headers["connection"]), (503, "close"))
        assert int(r.headers["retry-after"]) > 0
        r = s.get("/health")
        equal((r.status, r.json()["status"], r.headers["connection"]), (503, "draining", "close"))
        r = Reply(c)
        equal((r.complete, r.body.count(b"word")), (True, 20))
    start = time.monotonic()
    equal(s.stop(), 0)
    assert time.monotonic() - start < 2 * SLOW


def drain_has_an_end():
    s = Server("--drain-s", "1")
    with s.open(do="stall") as c, s.open(do="silent") as d:
        time.sleep(0.1)
        start = time.monotonic()
        s.process.send_signal(signal.SIGINT)
        r, silent = Reply(c), Reply(d)
        assert b'"shutting_down"' in r.body and r.complete, r.body
        equal(silent.status, 503)
        equal(s.process.wait(5 * SLOW), 0)
        assert 0.8 < time.monotonic() - start < 4 * SLOW
    equal(s.stop(), 0)


def the_engine_dies_with_the_front():
    s = Server()
    pid = s.do(do="echo").json()["pid"]
    s.process.kill()
    until(lambda: not alive(pid), "the engine to die")
    s.stop()


def alive(pid):
    try:
        return open(f"/proc/{pid}/stat").read().rsplit(")")[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def two_models_are_two_engines():
    with Server(models=("one", "two")) as s:
        equal([m["id"] for m in s.get("/v1/models").json()["data"]], ["one", "two"])
        one, two = (s.do(do="echo", model=name).json()["pid"] for name in ("one", "two"))
        assert one != two
        equal(s.do(do="echo", model="default").json()["pid"], one)
        with s.open(do="stream", n=20, ms=20, model="one") as c:
            equal(s.do(do="crash", model="two").status, 503)
            equal(s.do(do="echo", model="one").json()["pid"], one)
            equal(Reply(c).body.count(b"word"), 20)
        until(lambda: s.get("/health").status == 200, "the other engine")
        lines = s.get("/metrics").body.decode().splitlines()
        at = [i for i, line in enumerate(lines) if line.startswith("tokenworks_kv_pages{")]
        equal((len(at), at[1] - at[0]), (2, 1))


def an_engine_that_ignores_credit_is_cut_off():
    with Server() as s, s.open(do="huge", n=200, bytes=1 << 20, ignore_credit=True) as c:
        until(lambda: s.do(do="log").json()["cancels"], "the cancel", 30)
        rss = int(open(f"/proc/{s.process.pid}/statm").read().split()[1]) * 4096
        assert rss < (200 << 20) * SLOW, rss
        equal(Reply(c).complete, False)
        equal(s.stats()["models"][0]["restarts"], 0)


def many_at_once():
    with Server() as s:
        replies = []
        def one():
            replies.append(s.do(do="stream", n=30, ms=5))
        threads = [threading.Thread(target=one) for _ in range(100)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        equal(len(replies), 100)
        assert all(r.complete and r.body.count(b"word") == 30 for r in replies)


def mutated_bodies_never_hurt():
    seed = random.SystemRandom().randrange(2**32)
    print(f"# seed {seed}")
    r = random.Random(seed)
    good = json.dumps({"model": "tiny", "messages": [{"role": "user", "content": "a \"b\" é"}], "stream": True,
                       "do": "echo", "max_tokens": 3}).encode()
    with Server() as s:
        statuses = {}
        c = s.connect()
        for i in range(1000):
            b = bytearray(good)
            for _ in range(r.randrange(1, 4)):
                at = r.randrange(len(b))
                kind = r.randrange(4)
                if kind == 0:
                    b[at] = r.randrange(256)
                elif kind == 1:
                    del b[at:at + r.randrange(1, 9)]
                elif kind == 2:
                    b[at:at] = bytes(r.randrange(256) for _ in range(r.randrange(1, 5)))
                else:
                    b[at:at] = b[at:at + 20]
                if not b:
                    b = bytearray(b"{")
            if b"crash" in b:
                continue
            c.sendall(request("POST", "/v1/chat/completions", bytes(b), {}))
            reply = Reply(c)
            statuses[reply.status] = statuses.get(reply.status, 0) + 1
            assert reply.status in (200, 400, 404) and reply.complete, (reply.status, bytes(b))
            if reply.headers.get("connection") == "close":
                c.close()
                c = s.connect()
        c.close()
        print("#", statuses)
        equal(s.stats()["models"][0]["restarts"], 0)
        equal(s.do(do="stream").body.count(b"word"), 10)


run([the_request_arrives_whole, large_bodies_travel_in_parts, events_arrive_as_they_are_made, a_hang_up_cancels_at_once,
     a_slow_client_holds_back_its_own_stream_only, a_crash_before_the_head_is_503,
     a_crash_within_a_stream_is_an_error_event, garbage_from_the_engine_is_a_restart, engine_errors_keep_their_fields,
     engine_headers_cannot_split_a_reply, loading_is_told, a_request_waits_for_its_model, a_model_that_is_refused_ends_the_server,
     drain_lets_running_requests_finish, drain_has_an_end, the_engine_dies_with_the_front, two_models_are_two_engines,
     an_engine_that_ignores_credit_is_cut_off, many_at_once,
     mutated_bodies_never_hurt])
