#!/usr/bin/env python3
"""telemetry_test -- spans at a collector of ours: OTLP's JSON, gen_ai attributes, continued traces, and never a prompt."""
import http.server
import json
import os
import re
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from server import Reply, Server, equal, run, until

SECRET = "the patient in room seven"


class Collector:
    def __init__(self, delay=0, status=200):
        self.bodies, self.heads, self.delay, self.status = [], [], delay, status
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *a):
                pass

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                time.sleep(outer.delay)
                outer.heads.append((self.path, dict(self.headers)))
                outer.bodies.append(body)
                self.send_response(outer.status)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *a: None
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def spans(self):
        return [s for b in self.bodies for s in checked(json.loads(b))]


def value(v):
    kind, x = next(iter(v.items()))
    equal(len(v), 1)
    if kind == "stringValue":
        assert isinstance(x, str)
    elif kind == "intValue":
        assert isinstance(x, str) and re.fullmatch(r"-?\d+", x), x  # proto3 JSON: 64-bit numbers are text
        return int(x)
    elif kind == "boolValue":
        assert isinstance(x, bool)
    elif kind == "arrayValue":
        return [value(i) for i in x["values"]]
    else:
        raise AssertionError(f"unknown kind of value {kind}")
    return x


def attributes(s):
    names = [a["key"] for a in s["attributes"]]
    equal(len(names), len(set(names)))
    assert all(set(a) == {"key", "value"} for a in s["attributes"])
    return {a["key"]: value(a["value"]) for a in s["attributes"]}


def checked(request):
    """ExportTraceServiceRequest as opentelemetry-proto's JSON mapping has it."""
    equal(set(request), {"resourceSpans"})
    out = []
    for rs in request["resourceSpans"]:
        equal(set(rs), {"resource", "scopeSpans"})
        resource = attributes(rs["resource"])
        assert resource["service.name"] and resource["service.version"]
        for ss in rs["scopeSpans"]:
            equal(ss["scope"]["name"], "tokenworks")
            for s in ss["spans"]:
                assert set(s) <= {"traceId", "spanId", "parentSpanId", "name", "kind", "startTimeUnixNano",
                                  "endTimeUnixNano", "attributes", "status"}, s
                assert re.fullmatch("[0-9a-f]{32}", s["traceId"]) and re.fullmatch("[0-9a-f]{16}", s["spanId"])
                assert int(s["traceId"], 16) and int(s["spanId"], 16)
                assert re.fullmatch("[0-9a-f]{16}", s.get("parentSpanId", "0" * 16))
                assert s["kind"] in (1, 2) and s["name"]
                assert isinstance(s["startTimeUnixNano"], str) and isinstance(s["endTimeUnixNano"], str)
                assert abs(int(s["startTimeUnixNano"]) / 1e9 - time.time()) < 300
                assert int(s["endTimeUnixNano"]) >= int(s["startTimeUnixNano"])
                out.append({**s, "resource": resource, "a": attributes(s)})
    return out


def wait_for(collector, n):
    until(lambda: len([s for s in collector.spans() if s["kind"] == 2]) >= n, f"{n} requests")
    return collector.spans()


def a_span_says_what_was_done_and_nothing_of_what_was_said():
    c = Collector()
    with Server("--otlp", c.url) as s:
        equal(s.do(do="echo", messages=[{"role": "user", "content": SECRET}], max_tokens=9).status, 200)
        spans = wait_for(c, 1)
    (top,) = [x for x in spans if x["kind"] == 2]
    a = top["a"]
    equal(top["name"], "chat tiny")
    want = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "tokenworks", "gen_ai.request.model": "tiny",
            "gen_ai.response.model": "tiny", "gen_ai.request.max_tokens": 9, "gen_ai.usage.input_tokens": 7,
            "gen_ai.usage.cache_read.input_tokens": 3, "gen_ai.response.finish_reasons": ["stop"], "http.request.method": "POST",
            "http.route": "/v1/chat/completions", "http.response.status_code": 200, "tokenworks.stream": False}
    equal({k: a.get(k) for k in want}, want)
    assert a["gen_ai.response.id"].startswith("chatcmpl-") and "status" not in top and "parentSpanId" not in top
    equal(top["resource"]["service.name"], "tokenworks")
    inner = [x for x in spans if x["kind"] == 1]
    assert inner and all(x["parentSpanId"] == top["spanId"] and x["traceId"] == top["traceId"] for x in inner)
    (queue,) = [x for x in inner if x["name"] == "queue"]
    equal(int(queue["endTimeUnixNano"]) - int(queue["startTimeUnixNano"]), 1500000)
    assert not any(SECRET.encode() in b for b in c.bodies)
    equal([h[0] for h in c.heads], ["/v1/traces"] * len(c.heads))
    equal(c.heads[0][1]["Content-Type"], "application/json")


def a_trace_is_continued():
    c = Collector()
    trace, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    with Server("--otlp", c.url) as s:
        good = f"00-{trace}-{parent}-01"
        s.post("/v1/chat/completions", {"do": "echo"}, traceparent=good)
        s.post("/v1/chat/completions", {"do": "echo"}, traceparent=f"00-{trace}-{parent}-00")  # not sampled
        bad = ["00-" + "0" * 32 + f"-{parent}-01", f"00-{trace}-{'0' * 16}-01", f"ff-{trace}-{parent}-01", good[:-1],
               good.upper(), good + "-x", good.replace("-", "_"), "", "00-" + "g" * 32 + f"-{parent}-01"]
        for b in bad:
            s.post("/v1/chat/completions", {"do": "echo"}, traceparent=b)
        s.post("/v1/chat/completions", {"do": "echo"}, traceparent=f"01-{trace}-{parent}-01-later")  # a later version
        spans = [x for x in wait_for(c, 2 + len(bad)) if x["kind"] == 2]
    with_parent = [x for x in spans if "parentSpanId" in x]
    equal([(x["traceId"], x["parentSpanId"]) for x in with_parent], [(trace, parent)] * 2)
    equal(len(spans), 2 + len(bad))
    assert all(x["traceId"] != trace for x in spans if "parentSpanId" not in x)


def what_went_wrong_is_a_status():
    c = Collector()
    with Server(env={"OTEL_EXPORTER_OTLP_ENDPOINT": c.url + "/", "OTEL_SERVICE_NAME": "ward 9",
                     "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer abc,x-scope=us"}) as s:
        equal(s.do(do="refuse", status=429).status, 429)
        with s.open(do="stall") as left:
            until(lambda: s.stats()["in_flight"] == 1, "the request")
        until(lambda: s.stats()["in_flight"] == 0, "its end")
        equal(s.do(do="crash").status, 503)
        spans = [x for x in wait_for(c, 3) if x["kind"] == 2]
        equal(sorted((x["a"]["http.response.status_code"], x["a"]["error.type"], x["status"]["code"]) for x in spans),
              [(429, "refused", 2), (499, "client_left", 2), (503, "engine_restarting", 2)])
        equal(spans[0]["resource"]["service.name"], "ward 9")
        equal((c.heads[0][1]["authorization"], c.heads[0][1]["x-scope"]), ("Bearer abc", "us"))
        environ = open(f"/proc/{engine_pid(s)}/environ").read()
        assert "Bearer abc" not in environ
        until(lambda: s.get("/health").status == 200, "the engine")


def engine_pid(s):
    until(lambda: s.get("/health").status == 200, "the engine")
    return s.do(do="echo").json()["pid"]


def a_collector_that_is_slow_or_gone_holds_up_nobody():
    slow = Collector(delay=30)
    with Server("--otlp", slow.url) as s:
        start = time.monotonic()
        with s.connect() as c:
            for _ in range(2600):
                c.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                          b"Content-Length: 13\r\n\r\n{\"do\":\"echo\"}")
                equal(Reply(c).status, 200)
        assert time.monotonic() - start < 20
        figures = s.get("/metrics").body.decode()
        dropped = int(re.search(r'spans_total\{result="dropped"\} (\d+)', figures).group(1))
        assert dropped > 100, figures
        s.process.send_signal(9)  # the collector's delay is not the test's
        s.process.wait()
        s.stop = lambda: 0
    with Server("--otlp", "http://127.0.0.1:9") as s:
        for _ in range(5):
            equal(s.do(do="echo").status, 200)
        until(lambda: 'result="refused"} 5' in s.get("/metrics").body.decode(), "the count", 20)


def an_endpoint_that_is_none_is_refused():
    s = Server("--otlp", "collector:4318", wait=False)
    equal(s.process.wait(10), 1)
    until(lambda: "http or https URL" in s.log, "the sentence")
    s.reader.join(5)


def log_lines_are_objects_without_content():
    with Server("--log-json", "--log-requests") as s:
        s.do(do="echo", messages=[{"role": "user", "content": SECRET}])
        s.get("/" + SECRET.replace(" ", "-"))
        until(lambda: "/v1/chat/completions 200" in s.log, "the line")
        lines = [json.loads(line) for line in s.lines if line.startswith("{")]
        assert len(lines) >= 2 and all(set(x) == {"ts", "level", "floor", "msg"} for x in lines), lines
        assert SECRET not in s.log and SECRET.replace(" ", "-") not in s.log


run([a_span_says_what_was_done_and_nothing_of_what_was_said, a_trace_is_continued, what_went_wrong_is_a_status,
     a_collector_that_is_slow_or_gone_holds_up_nobody, an_endpoint_that_is_none_is_refused,
     log_lines_are_objects_without_content])
