#!/usr/bin/env python3
"""http_test -- the HTTP server under good and bad clients, and what a request must pass: Host, keys, types, limits."""
import hashlib
import resource
import tempfile
import time

from server import Server, Skip, Reply, request, closed, until, equal, run, SLOW


def keep_alive_and_pipelining():
    with Server() as s, s.connect() as c:
        rest = b""
        for _ in range(3):
            c.sendall(request("GET", "/health", None, {}))
            r = Reply(c, start=rest)
            equal((r.status, r.json()["status"], r.headers.get("connection")), (200, "ok", None))
            rest = r.rest
        # Five at once: served one after the other, in order.
        c.sendall(b"".join(request("POST", "/v1/chat/completions", {"do": "echo", "pad": "x" * n}, {}) for n in range(5)))
        sizes = []
        for _ in range(5):
            r = Reply(c, start=rest)
            sizes.append(r.json()["body_bytes"])
            rest = r.rest
        equal(sizes, [sizes[0] + n for n in range(5)])
        # A pipelined request behind a stream waits for its end.
        c.sendall(request("POST", "/v1/chat/completions", {"n": 5, "ms": 20}, {}) + request("GET", "/health", None, {}))
        r = Reply(c, start=rest)
        equal(r.body.count(b"word"), 5)
        equal(Reply(c, start=r.rest).status, 200)
        c.sendall(request("GET", "/health", None, {"Connection": "close"}))
        equal(Reply(c).headers["connection"], "close")
        assert closed(c)


def a_flood_behind_a_stream_is_cut_off():
    with Server() as s, s.open(do="stall") as c:
        try:
            c.sendall(b"x" * 1000000)
        except OSError:
            pass
        r = Reply(c)
        equal(r.complete, False)
        until(lambda: len(s.do(do="log").json()["cancels"]) == 1, "the cancel")


def http_1_0_and_head():
    with Server() as s:
        r = s.raw(b"GET /health HTTP/1.0\r\nHost: localhost\r\n\r\n")
        equal((r.status, r.headers["connection"]), (200, "close"))
        r = s.raw(request("POST", "/v1/chat/completions", {"n": 3}, {}).replace(b"HTTP/1.1", b"HTTP/1.0"))
        assert "transfer-encoding" not in r.headers and r.body.endswith(b"data: [DONE]\n\n"), r.headers
        with s.connect() as c:
            c.sendall(request("HEAD", "/v1/models", None, {}) + request("GET", "/health", None, {}))
            r = Reply(c, method="HEAD")
            assert int(r.headers["content-length"]) > 50
            equal(Reply(c, start=r.rest).json(), {"status": "ok"})


def expect_100_continue():
    with Server() as s:
        body = b'{"do":"echo"}'
        head = request("POST", "/v1/chat/completions", body, {"Expect": "100-continue"})[:-len(body)]
        with s.connect() as c:
            c.sendall(head)
            c.settimeout(5 * SLOW)
            equal(c.recv(100), b"HTTP/1.1 100 Continue\r\n\r\n")
            c.sendall(body)
            equal(Reply(c).json()["body_bytes"], len(body))
        with s.connect() as c:  # refused on the head alone: no 100, and the body is not waited for
            c.sendall(head.replace(b"/v1/chat/completions", b"/v1/nowhere"))
            r = Reply(c)
            equal((r.status, r.interim, r.headers["connection"]), (404, [], "close"))
        equal(s.raw(head.replace(b"100-continue", b"200-ok")).status, 417)


def malformed_requests():
    good = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    cases = [
        (b"GET /health HTTP/1.1\nHost: localhost\n\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 40, 400),  # TLS to the plain port
        (b"GET /health\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\n\r\n", 400),
        (b"GET /health HTTP/3.0\r\nHost: localhost\r\n\r\n", 505),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nHost : localhost\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\nA: b\r\n c\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\nA: b\x00c\r\n\r\n", 400),
        (good + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (good + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n", 400),
        (good + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}", 400),
        (good + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400),
        (good + b"Content-Length: 2, 2\r\n\r\n{}", 400),
        (good + b"Content-Length: +2\r\n\r\n{}", 400),
        (good + b"Content-Length: 18446744073709551618\r\n\r\n{}", 413),
        (good + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
        (good + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (good + b"Transfer-Encoding: chunked\r\n\r\n2\n{}\n0\n\n", 400),
        (good + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}xx0\r\n\r\n", 400),
        (good + b"X: " + b"y" * 70000 + b"\r\n\r\n", 431),
        (good + b"".join(b"X-%d: y\r\n" % i for i in range(120)) + b"\r\n", 431),
    ]
    with Server() as s:
        for data, status in cases:
            # A second request rides behind each: it must never be answered.
            r = s.raw(data + b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert r.status == status, (data[:120], r.status, status)
            equal((r.headers["connection"], bytes(r.rest)), ("close", b""))
            equal(set(r.error()), {"message", "type", "param", "code"})
        equal(s.get("/health").status, 200)


def large_bodies_are_413():
    with Server("--max-body", "1M") as s:
        ok = b'{"do":"echo","p":"' + b"x" * ((1 << 20) - 20) + b'"}'
        equal((len(ok), s.post("/v1/chat/completions", ok).status), (1 << 20, 200))
        r = s.post("/v1/chat/completions", ok + b" ")
        equal((r.status, r.error()["type"]), (413, "invalid_request_error"))
        assert "1048577" in r.error()["message"]
        # A client that sends all of it before it reads still sees the reply, not a reset.
        equal(s.post("/v1/chat/completions", b'{"p":"' + b"x" * 3000000).status, 413)
        with s.connect() as c:
            c.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                      b"Transfer-Encoding: chunked\r\n\r\n" + (b"10000\r\n" + b"x" * 65536 + b"\r\n") * 17)
            equal(Reply(c).status, 413)


def methods_types_and_unknown_routes():
    with Server() as s:
        r = s.get("/v1/chat/completions")
        equal((r.status, r.headers["allow"]), (405, "POST"))
        r = s.post("/health", {})
        equal((r.status, r.headers["allow"]), (405, "GET, HEAD"))
        equal(s.raw(request("DELETE", "/v1/models/tiny", None, {})).status, 405)
        equal(s.raw(request("OPTIONS", "/v1/chat/completions", None, {})).status, 405)
        for kind in ("text/plain", "application/x-www-form-urlencoded", "application/jsonx", None):
            equal(s.post("/v1/chat/completions", {"do": "echo"}, Content_Type=kind).status, 415)
        equal(s.post("/v1/chat/completions", {"do": "echo"}, Content_Type="Application/JSON; charset=utf-8").status, 200)
        for path in ("/v1/", "/v1/chat", "/v1/chat/completions/", "/v2", "/../etc/passwd", "/v1%2Fmodels", "//"):
            r = s.get(path)
            equal((r.status, r.error()["code"]), (404, "unknown_route"))
        equal(s.get("/health?x=y").status, 200)


def models_and_envelopes():
    with Server() as s:
        equal([m["id"] for m in s.get("/v1/models").json()["data"]], ["tiny"])
        equal(s.get("/v1/models/tiny").json()["meta"]["arch"], "fake")
        equal(s.get("/v1/models/default").json()["id"], "tiny")
        equal(s.get("/v1/models/other").error()["code"], "model_not_found")
        for name in ("tiny", "default"):
            equal(s.do(do="echo", model=name).status, 200)
        r = s.do(do="echo", model="gpt-9")
        equal((r.status, r.error()["code"], r.error()["param"]), (404, "model_not_found", "model"))
        r = s.do(do="echo", model=7)
        equal((r.status, r.error()["param"]), (400, "model"))
        for body in (b"", b"{", b"[]", b'{"a":1}}', b'{"model":"tiny","model":"tiny"}', b"\xff\xfe{}", b"nul"):
            r = s.post("/v1/chat/completions", body)
            equal((r.status, r.error()["type"]), (400, "invalid_request_error"))


def hosts():
    with Server("--allowed-host", "ai.example") as s:
        port = s.port
        for host, status in (("localhost", 200), (f"localhost:{port}", 200), (f"127.0.0.1:{port}", 200), ("[::1]:80", 200),
                             ("AI.example", 200), ("ai.example:443", 200), ("evil.example", 421), ("localhost.evil", 421),
                             ("", 421), ("127.0.0.1.evil", 421), ("192.0.2.1", 421)):
            equal((host, s.raw(request("GET", "/v1/models", None, {"Host": host})).status), (host, status))
        equal(s.raw(b"GET http://evil.example/v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n").status, 421)


def ipv6():
    with Server(listen="[::1]:0") as s:
        equal(s.raw(request("GET", "/health", None, {"Host": f"[::1]:{s.port}"})).status, 200)
        equal(s.raw(request("GET", "/v1/models", None, {"Host": "[2001:db8::1]"})).status, 421)


def every_request_has_its_line():
    with Server("--log-requests") as s:
        s.get("/v1/models")
        s.get("/nowhere")
        s.do(do="stream")
        s.do(do="refuse", status=422)
        s.do(do="crash-late")
        s.post("/v1/chat/completions", b"{")
        until(lambda: s.get("/health").status == 200, "the engine")
        c = s.open(do="stall")
        c.recv(1000)
        c.close()
        until(lambda: " 499 " in s.log, "the last line")
        lines = [line.split("127.0.0.1 ")[1].rsplit(" ", 2)[0] for line in s.lines if "front: 127.0.0.1 " in line]
        lines = [line for line in lines if "/health" not in line]
        post = "POST /v1/chat/completions "
        equal(lines, ["GET /v1/models 200", "GET * 404"] + [post + n for n in ("200", "422", "200", "400", "499")])


def keys():
    key, other = "tw-" + "A" * 43, "tw-" + "B" * 43
    with tempfile.NamedTemporaryFile("w", suffix=".keys") as f:
        f.write(f"# keys\n\n{hashlib.sha256(key.encode()).hexdigest()} team one # a comment\n"
                f"{hashlib.sha256(other.encode()).hexdigest()}\n")
        f.flush()
        with Server("--api-key-file", f.name, env={"TOKENWORKS_API_KEY": "from-env"}) as s:
            equal(s.get("/health").status, 200)
            for path in ("/v1/models", "/metrics", "/tokenworks/stats", "/nowhere"):
                r = s.get(path)
                equal((r.status, r.error()["code"], r.headers["www-authenticate"]), (401, "invalid_api_key", "Bearer"))
            equal(s.post("/v1/chat/completions", {"do": "echo"}).status, 401)
            for headers in ({"Authorization": f"Bearer {key}"}, {"Authorization": f"bearer {other}"}, {"x-api-key": key},
                            {"x-api-key": "from-env"}):
                equal(s.get("/v1/models", **headers).status, 200)
            for headers in ({"Authorization": f"Basic {key}"}, {"Authorization": "Bearer "}, {"x-api-key": key + "A"},
                            {"x-api-key": key[:-1]}, {"Authorization": key}):
                equal(s.get("/v1/models", **headers).status, 401)
            r = s.post("/v1/chat/completions", {"do": "echo"}, Authorization=f"Bearer {key}")
            equal(r.json()["head"]["tenant"], "team one")
            r = s.post("/v1/chat/completions", {"do": "log"}, x_api_key=key).json()
            equal((r["sees_key"], r["core_limit"]), (False, 1))  # the engine knows no key and leaves no core file
            assert key not in s.log and "from-env" not in s.log
        f.write("abc\n")
        f.flush()
        s = Server("--api-key-file", f.name, wait=False)
        s.process.wait(10 * SLOW)
        equal(s.stop(), 1)
        assert "line 5: a key line is the 64 hex digits" in s.log, s.log


def cors():
    with Server() as s:
        r = s.raw(request("GET", "/v1/models", None, {"Origin": "https://a.example"}))
        assert "access-control-allow-origin" not in r.headers
    with Server("--cors-origin", "https://a.example", env={"TOKENWORKS_API_KEY": "k"}) as s:
        r = s.raw(request("OPTIONS", "/v1/chat/completions", None, {"Origin": "https://a.example"}))
        equal((r.status, r.headers["access-control-allow-origin"]), (204, "https://a.example"))
        r = s.raw(request("OPTIONS", "/v1/chat/completions", None, {"Origin": "https://b.example"}))
        assert "access-control-allow-origin" not in r.headers
        r = s.post("/v1/chat/completions", {"n": 1}, Origin="https://a.example", x_api_key="k")
        equal((r.headers["access-control-allow-origin"], r.headers["vary"]), ("https://a.example", "Origin"))


def many_connections():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard < 5000:
        raise Skip(f"this machine allows {hard} descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (5000, hard))
    with Server(files=1024) as s:
        held = [s.connect() for _ in range(1500)]
        equal(s.get("/health").status, 200)
        m = s.get("/metrics").body.decode()
        assert "tokenworks_http_connections 1501" in m
        for c in held:
            c.close()


def connection_limit():
    with Server("--connections", "5") as s:
        held = [s.connect() for _ in range(5)]
        time.sleep(0.1)
        r = s.get("/health")
        equal((r.status, r.headers["retry-after"]), (503, "1"))
        for c in held:
            c.close()
        until(lambda: s.get("/health").status == 200, "room again")


def prompts_stay_out_of_the_log():
    with Server("--log-requests", "--log-json") as s:
        s.do(do="echo", secret="SECRET-PROMPT")
        s.post("/v1/chat/completions?q=SECRET-PROMPT", b'{"broken": SECRET-PROMPT')
        s.get("/SECRET-PROMPT")
        s.do(do="crash", secret="SECRET-PROMPT")
        until(lambda: s.get("/health").status == 200, "the engine")
        assert "SECRET" not in s.log and "/v1/chat/completions" in s.log, s.log
        assert "SECRET" not in s.get("/metrics").body.decode()


def metrics_are_prometheus_text():
    with Server() as s:
        s.do(do="stream")
        until(lambda: s.stats()["models"][0]["stats"], "stats")
        r = s.get("/metrics")
        assert r.headers["content-type"].startswith("text/plain; version=0.0.4")
        types, samples = {}, {}
        for line in r.body.decode().splitlines():
            if line.startswith("# TYPE "):
                _, _, name, kind = line.split()
                assert name not in types, f"{name} twice"
                types[name] = kind
            elif not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                base = name.split("{")[0]
                family = base if base in types else base.rsplit("_", 1)[0]
                assert family in types and list(types)[-1] == family, line
                samples[name] = float(value)
        equal(samples['tokenworks_http_requests_total{route="/v1/chat/completions",status="200"}'], 1)
        equal(samples['tokenworks_kv_pages{model="tiny"}'], 64)
        bucket = 'tokenworks_time_to_first_token_seconds_bucket{model="tiny",le="%s"}'
        equal([samples[bucket % le] for le in ("0.1", "1", "+Inf")], [1, 3, 6])
        equal(samples['tokenworks_time_to_first_token_seconds_count{model="tiny"}'], 6)
    with Server(models=('a"b\\c',)) as s:
        assert 'tokenworks_engine_up{model="a\\"b\\\\c"} 1' in s.get("/metrics").body.decode()


run([keep_alive_and_pipelining, a_flood_behind_a_stream_is_cut_off, http_1_0_and_head, expect_100_continue,
     malformed_requests, large_bodies_are_413, methods_types_and_unknown_routes, models_and_envelopes, hosts, ipv6, every_request_has_its_line, keys, cors,
     many_connections, connection_limit, prompts_stay_out_of_the_log, metrics_are_prometheus_text])
