#!/usr/bin/env python3
"""provider_test -- an outside provider as a worker on the bus: a fake service behind it, frames in front of it."""
import http.client, json, os, shutil, signal, socket, struct, subprocess, sys, tempfile, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "engine")]
from frames import BINARY, CANCEL, CREDIT, REQUEST, DATA, END, ERROR, HEAD, Answer, Engine
from nats_client import Client
import zlib

KEY = "sk-outside-1234"
INBOX = "tw.v1.de.fra.g.gw1.in"
WORKER = "tw.v1.us.outside.w.vendor"
count = failed = 0


def check(name, fn):
    global count, failed
    count += 1
    try:
        fn()
        print(f"ok {count} - {name}", flush=True)
    except Exception as e:
        failed += 1
        print(f"not ok {count} - {name}\n# {type(e).__name__}: {str(e)[:400]}", flush=True)


class Vendor:
    """The outside service. What it does stands in the last message's text."""
    def __init__(self):
        vendor = self
        self.seen, self.hung_up = [], threading.Event()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            def log_message(self, *a): pass

            def whole(self, status, value, headers=()):
                data = json.dumps(value).encode()
                self.send_response(status)
                for h in headers: self.send_header(*h)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def event(self, data):
                data = data if isinstance(data, str) else json.dumps(data)
                self.wfile.write(f"{len(data) + 8:x}\r\ndata: {data}\n\n\r\n".encode())
                self.wfile.flush()

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                vendor.seen.append((self.path, dict(self.headers), body))
                text = body["messages"][-1]["content"] if "messages" in body else "whole"
                usage = {"prompt_tokens": 100, "completion_tokens": 3, "cost": 0.002,
                         "prompt_tokens_details": {"cached_tokens": 40}}
                if text.startswith("status "):
                    self.whole(int(text.split()[1]), {"error": {"message": "vendor's own words"}}, [("Retry-After", "7")])
                elif not body.get("stream"):
                    self.whole(200, {"id": "v1", "choices": [{"index": 0, "finish_reason": "length",
                               "message": {"role": "assistant", "content": "a b c"}}], "usage": usage})
                else:
                    self.stream(text, usage)

            def stream(self, text, usage):
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                words = int(text.split()[1]) if text.startswith("words ") else 3
                try:
                    for i in range(words):
                        self.event({"id": "v1", "choices": [{"index": 0, "delta": {"content": f"w{i} "}}]})
                        time.sleep(0 if words > 100 else 0.02)
                        if text == "cut" and i == 1:
                            self.close_connection = True
                            self.connection.shutdown(socket.SHUT_RDWR)
                            return
                        while text == "stall" and i == 1:
                            self.event({"id": "v1", "choices": [{"index": 0, "delta": {"content": ""}}]})
                            time.sleep(0.05)
                    self.event({"id": "v1", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
                    self.event({"id": "v1", "choices": [], "usage": usage})
                    self.event("[DONE]")
                    self.wfile.write(b"0\r\n\r\n")
                except OSError:
                    self.close_connection = True
                    vendor.hung_up.set()

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Gateway:
    """Frames over the bus, as a gateway sends and hears them."""
    def __init__(self, address):
        self.bus, self.id, self.stop = Client(address), 0, False
        self.bus.subscribe(INBOX)
        self.bus.subscribe(WORKER + ".hb")
        threading.Thread(target=self.beat, daemon=True).start()

    def beat(self):  # a worker stops what nobody listens to
        while not self.stop:
            self.bus.publish("tw.v1.de.fra.g.gw1.hb", b'{"v":1,"boot":"0123456789abcdef"}')
            time.sleep(0.5)

    def heartbeat(self):
        with self.bus.heard:
            beats = [json.loads(d) for s, d in self.bus.messages if s.endswith(".hb")]
        with_facts = [b for b in beats if b["models"] and "facts" in b["models"][0]]
        return with_facts[-1] if with_facts else None

    def send(self, kind, payload=b"", seq=0):
        self.bus.publish(WORKER + ".req", Engine.frame(kind, payload, self.id, 0, seq), INBOX)

    def start(self, body, model="large", path="/v1/chat/completions", credit=1000, jurisdictions=("us",)):
        self.id += 1
        data = json.dumps(body).encode()
        head = {"method": "POST", "path": path, "tenant": "t", "created": 1700000000, "response_id": "r-1",
                "model": model, "body_bytes": len(data), "body_crc32": zlib.crc32(data),
                "jurisdictions": list(jurisdictions)}
        self.send(REQUEST, json.dumps(head).encode() + b"\n" + data)
        if credit:
            self.send(CREDIT, struct.pack("<I", credit), 1)
        return self.id

    def answer(self, frame_id, wait=10, until=lambda a: a.end is not None or a.error is not None):
        a, deadline = None, time.time() + wait
        while time.time() < deadline:
            a = Answer()
            with self.bus.heard:
                messages = [d for s, d in self.bus.messages if s == INBOX]
            for data in messages:
                while len(data) >= 28:
                    n, _, kind, flags, got, _, _ = struct.unpack("<IBBHQIQ", data[:28])
                    if got == frame_id and not a.end and not a.error:
                        a.take(kind, flags, data[28:28 + n])
                    data = data[28 + n:]
            if until(a):
                return a
            time.sleep(0.02)
        raise AssertionError(f"no end: {a.__dict__ if a else None}")


def chat(text, **more):
    return {"model": "large", "messages": [{"role": "user", "content": text}], **more}


def main():
    if not shutil.which("nats-server"):
        print("1..0 # SKIP nats-server is not installed")
        return
    state, port, vendor = tempfile.mkdtemp(), free_port(), Vendor()
    nats = subprocess.Popen(["nats-server", "-a", "127.0.0.1", "-p", str(port)], stderr=subprocess.DEVNULL)
    config = os.path.join(state, "provider.yaml")

    def write(text):
        with open(config, "w") as f:
            f.write(text)

    def say(*args):
        return subprocess.run([BINARY, "provider", config, *args], capture_output=True, text=True, timeout=20)

    models = "models:\n  - { id: large, upstream: vendor-large-1, ctx: 8192, price: { prompt: 0.5, cached: 0.1, completion: 2 } }\n"

    def mistakes():
        for text, want in [(models, "'url' is missing"), ("url: http://x/v1\n", "'models' must be a list"),
                           ("url: http://x/v1\nmodel: []\n" + models, "provider.yaml:2"),
                           ("url: ftp://x/v1\n" + models, "must begin with https://"),
                           ("url: http://x/v1\nmodels:\n  - { id: a, price: { prompt: -1 } }\n", "provider.yaml:3")]:
            write(text)
            r = say("--jurisdiction", "us")
            assert r.returncode == 1 and want in r.stderr, (want, r.stderr)
        write("url: http://x/v1\n" + models)
        r = say()
        assert r.returncode == 1 and "--jurisdiction is needed" in r.stderr, r.stderr
    check("mistakes in the file are told with their line", mistakes)

    write(f"url: {vendor.url}\nkey-file: {state}/key\n{models}"
          "promised: { availability: 99.9, ttft-ms: 500, tokens-per-s: 20 }\nlimits: { at-once: 4, timeout-s: 20 }\n")
    with open(os.path.join(state, "key"), "w") as f:
        f.write(KEY + "\n")
    provider = subprocess.Popen([BINARY, "provider", config, "--nats", f"nats://127.0.0.1:{port}", "--site", "outside",
                                 "--jurisdiction", "us", "--name", "vendor", "--drain-s", "5"], stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True)
    time.sleep(0.3)
    g = Gateway(f"127.0.0.1:{port}")

    def beats():
        assert g.bus.wait(lambda: any(b'"facts"' in d for s, d in g.bus.messages)), "no heartbeat"
        m = g.heartbeat()["models"][0]
        assert m["id"] == "large" and m["ctx"] == 8192 and not m["numerics"] and not m["hash"], m
        assert m["facts"]["outside"] and m["facts"]["price_per_mtok"] == {"prompt": 0.5, "cached": 0.1, "completion": 2}, m
    check("it offers its models, and says that they are outside", beats)

    def streams():
        a = g.answer(g.start(chat("hello", stream=True)))
        path, headers, body = vendor.seen[-1]
        assert path == "/v1/chat/completions" and headers["Authorization"] == "Bearer " + KEY, headers
        assert body["model"] == "vendor-large-1" and body["stream_options"] == {"include_usage": True}, body
        text = a.body.decode()
        assert text.endswith("data: [DONE]\n\n") and "w0 " in text and "w2 " in text, text
        assert '"usage"' not in text, "the client did not ask for it"
        assert a.end["usage"] == {"prompt_tokens": 100, "cached_tokens": 40, "completion_tokens": 3}, a.end
        a = g.answer(g.start(chat("hello", stream=True, stream_options={"include_usage": True})))
        assert '"usage"' in a.body.decode()
    check("a stream comes through, with the provider's name of the model and its key", streams)

    def whole():
        a = g.answer(g.start(chat("hello")))
        assert json.loads(a.body)["choices"][0]["message"]["content"] == "a b c", a.body
        assert a.end["finish"] == "length" and a.end["usage"]["completion_tokens"] == 3, a.end
    check("so does an answer that is no stream", whole)

    def refusals():
        for status, want, code in [(400, 400, "provider_refused"), (401, 502, "engine_unavailable"),
                                   (429, 503, "engine_unavailable"), (500, 503, "engine_unavailable")]:
            a = g.answer(g.start(chat(f"status {status}")))
            assert a.error["status"] == want and a.error["error"]["code"] == code, (status, a.error)
            assert "vendor's own words" in a.error["error"]["message"], a.error
        a = g.answer(g.start(chat("status 429")))
        assert a.error["retry_after"] == 7, a.error
        a = g.answer(g.start(chat("hello"), path="/v1/messages"))
        assert a.error["status"] == 400 and a.error["error"]["code"] == "not_outside", a.error
    check("what the provider refuses is told in its words, and whose fault it is", refusals)

    def residency():
        before = len(vendor.seen)
        a = g.answer(g.start(chat("hello"), jurisdictions=["de", "fr"]))
        assert a.error["status"] == 403, a.error
        assert len(vendor.seen) == before
    check("a request that must stay elsewhere does not leave", residency)

    def cut():
        a = g.answer(g.start(chat("cut", stream=True)))
        assert a.error and a.error["status"] == 502, a.__dict__
    check("an answer broken off is an error, never an end", cut)

    def cancel():
        vendor.hung_up.clear()
        frame_id = g.start(chat("stall", stream=True))
        g.answer(frame_id, until=lambda a: len(a.body) > 50)
        g.send(CANCEL, b"", 2)
        assert vendor.hung_up.wait(5), "the connection to the provider was kept"
    check("a cancelled request ends at the provider too", cancel)

    def slow():
        frame_id = g.start(chat("words 3000", stream=True), credit=2)
        time.sleep(1.0)
        a = g.answer(frame_id, until=lambda a: a.frames >= 1)
        assert a.frames <= 2 and a.end is None, (a.frames, a.end)
        g.send(CREDIT, struct.pack("<I", 50000), 2)
        a = g.answer(frame_id)
        assert a.end and a.body.count(b"data: ") == 3002, a.body.count(b"data: ")
    check("no more than the credit given is sent, and nothing is lost", slow)

    def figures():
        time.sleep(2.5)
        p = g.heartbeat()["models"][0]["facts"]["provider"]
        got = p["got"]
        assert p["promised"] == {"availability": 99.9, "ttft_ms": 500, "tokens_per_s": 20}, p
        assert got["requests"] == 10 and got["failed"] == 4, got  # 429 twice, 500, cut
        assert abs(got["availability"] - 60) < 1e-6 and got["ttft_ms_p50"] > 0 and got["tokens_per_s_p50"] > 0, got
        each = (60 * 0.5 + 40 * 0.1 + 3 * 2) / 1e6
        assert abs(got["cost"] - round(4 * each, 6)) <= 1.1e-6 and abs(got["billed"] - 0.008) < 1e-9, got
    check("what was promised stands beside what was got", figures)

    def through_a_gateway():
        def ask(outside):
            gateway_yaml = os.path.join(state, "gateway.yaml")
            with open(gateway_yaml, "w") as f:
                f.write(f'nats: {{ url: "nats://127.0.0.1:{port}", jurisdictions: [us]{", outside: true" if outside else ""} }}\n')
            p = subprocess.Popen([BINARY, "gateway", "--config", gateway_yaml, "--site", "fra", "--jurisdiction", "de",
                                  "--name", "gw2", "--listen", "127.0.0.1:0", "--state", state],
                                 stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            try:
                web = int(p.stdout.readline().rsplit(":", 1)[1])
                deadline, r = time.time() + 10, (0, b"")
                while time.time() < deadline:  # until the gateway has heard who is there
                    c = http.client.HTTPConnection("127.0.0.1", web, timeout=10)
                    c.request("POST", "/v1/chat/completions", json.dumps(chat("hello")), {"Content-Type": "application/json"})
                    answer = c.getresponse()
                    r = answer.status, answer.read()
                    if r[0] in (200, 403):
                        break
                    time.sleep(0.2)
                return r
            finally:
                p.terminate()
                p.wait(10)
        before = len(vendor.seen)
        status, text = ask(False)
        assert status == 403 and len(vendor.seen) == before, (status, text)
        status, text = ask(True)
        assert status == 200 and json.loads(text)["choices"][0]["message"]["content"] == "a b c", (status, text)
    check("a gateway uses it where its configuration lets data out, and not elsewhere", through_a_gateway)

    def drains():
        frame_id = g.start(chat("words 60", stream=True))
        g.answer(frame_id, until=lambda a: a.frames >= 1)
        provider.send_signal(signal.SIGTERM)
        a = g.answer(frame_id)
        assert a.end, a.__dict__
        assert provider.wait(10) == 0
        out = provider.stderr.read()
        assert KEY not in out and "hello" not in out, out
    check("SIGTERM lets what runs finish; neither key nor prompts are logged", drains)

    g.stop = True
    provider.kill()
    nats.kill()
    shutil.rmtree(state)
    print(f"1..{count}")
    sys.exit(failed > 0)


main()
