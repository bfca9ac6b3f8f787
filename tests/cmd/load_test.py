#!/usr/bin/env python3
"""load_test -- the load generator against a server whose timing is known, and against our own when a model is here.
Runs alone: it judges times."""
import json, os, signal, subprocess, sys, tempfile, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from server import BINARY, MODEL, Server, Tap

FIRST_S, GAP_S = 0.06, 0.02


class Fake:
    """Answers with max_tokens words, the first after FIRST_S, the others GAP_S apart; a token is half a word."""
    def __init__(self):
        fake = self
        self.lock, self.now, self.peak, self.seen, self.count = threading.Lock(), 0, 0, [], 0
        self.refuse = self.cut = lambda n: False

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            def log_message(self, *a): pass

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                text = body["prompt"] if "prompt" in body else body["messages"][0]["content"]
                with fake.lock:
                    fake.count += 1
                    n = fake.count
                    fake.now += 1
                    fake.peak = max(fake.peak, fake.now)
                    fake.seen.append((time.time(), self.path, dict(self.headers), body, text))
                try:
                    self.answer(n, body, text)
                except OSError:  # the client hung up
                    self.close_connection = True
                finally:
                    with fake.lock:
                        fake.now -= 1

            def event(self, data):
                data = data if isinstance(data, str) else json.dumps(data)
                self.wfile.write(f"{len(data) + 8:x}\r\ndata: {data}\n\n\r\n".encode())
                self.wfile.flush()

            def answer(self, n, body, text):
                if fake.refuse(n):
                    data = b'{"error":{"message":"no room"}}'
                    self.send_response(503)
                    self.send_header("Content-Length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data)
                    return
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                self.event({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]})
                count = body["max_tokens"]
                for i in range(count):
                    time.sleep(GAP_S if i else FIRST_S)
                    piece = {"text": " x"} if "prompt" in body else {"delta": {"content": " x"}}
                    self.event({"choices": [{"index": 0, **piece}]})
                    if fake.cut(n) and i == 1:
                        self.close_connection = True
                        return
                prompt = 7 + 2 * len(text.split())
                self.event({"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": count}})
                self.event("[DONE]")
                self.wfile.write(b"0\r\n\r\n")

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def forget(self):
        self.now, self.peak, self.seen, self.count = 0, 0, [], 0
        self.refuse = self.cut = lambda n: False


def load(*args, env=None):
    r = subprocess.run([BINARY, "load", *args], capture_output=True, text=True, timeout=100,
                       env={**os.environ, **(env or {})})
    return r.returncode, r.stdout, r.stderr


def runs(*args, **kw):
    code, out, err = load(*args, "--json", **kw)
    assert out, err
    return code, json.loads(out)["runs"]


tap, fake = Tap(), Fake()

with tap.case("a known timing is measured"):
    code, (r,) = runs("--url", fake.url + "/", "-c", "2", "-r", "6", "-n", "5", "-p", "100")
    assert code == 0 and r["completed"] == 6 and r["errors"] == {"refused": 0, "broken": 0, "cut_short": 0}, r
    assert 60 <= r["ttft_ms"]["p50"] < 250, r["ttft_ms"]
    assert 20 <= r["itl_ms"]["p50"] < 80 and r["itl_ms"]["count"] == 24, r["itl_ms"]
    assert 140 <= r["end_to_end_ms"]["p50"] < 500 and r["end_to_end_ms"]["p99"] >= r["end_to_end_ms"]["p50"]
    assert r["output_tokens"] == 30 and r["output_tokens_per_s"] > 0

with tap.case("prompts have the length asked for, and no two are alike"):
    prompts = [text for _, _, _, body, text in fake.seen if body["max_tokens"] == 5]
    lengths = [7 + 2 * len(p.split()) for p in prompts]
    assert all(abs(n - 100) <= 2 for n in lengths), lengths
    assert len({p[:40] for p in prompts}) == 6
    assert abs(r["prompt_tokens"] - sum(lengths)) == 0

with tap.case("concurrency is what was asked, run after run"):
    fake.forget()
    code, many = runs("--url", fake.url, "--concurrency", "1,4", "-n", "3")
    assert [m["concurrency"] for m in many] == [1, 4] and [m["requests"] for m in many] == [4, 16]
    assert fake.peak == 4, fake.peak
    assert many[1]["requests_per_s"] > 2 * many[0]["requests_per_s"]

with tap.case("refusals and cut streams are errors, not figures"):
    fake.forget()
    fake.refuse, fake.cut = (lambda n: n > 2 and n % 3 == 0), (lambda n: n > 2 and n % 3 == 1)
    code, (r,) = runs("--url", fake.url, "-c", "3", "-r", "9", "-n", "4")
    assert code == 0 and r["completed"] == 3, r
    assert r["errors"]["refused"] == 3 and r["errors"]["broken"] == 3 and r["first_error"], r
    assert r["ttft_ms"]["count"] == 3 and r["output_tokens"] == 12

with tap.case("completions, the key and the model reach the server"):
    fake.forget()
    code, _ = runs("--url", fake.url, "--completions", "-m", "abc", "-r", "1", "-n", "2", "--no-ignore-eos",
                   env={"TOKENWORKS_API_KEY": "tw-secret"})
    _, path, headers, body, _ = fake.seen[-1]
    assert code == 0 and path == "/v1/completions" and headers["Authorization"] == "Bearer tw-secret"
    assert body["model"] == "abc" and "ignore_eos" not in body and body["stream_options"]["include_usage"]

with tempfile.TemporaryDirectory() as folder:
    with tap.case("a CSV trace is sent at its times, scaled"):
        fake.forget()
        path = os.path.join(folder, "t.csv")
        with open(path, "w") as f:
            f.write("TIMESTAMP,ContextTokens,GeneratedTokens\r\n"
                    "2023-11-16 18:15:46.5000000,40,2\r\n2023-11-16 18:15:48.5000000,60,3\r\n2023-11-16 18:15:50.5,90,4\r\n")
        code, (r,) = runs("--url", fake.url, "--trace", path, "--speed", "10", "--max-tokens", "3")
        times = [t for t, _, _, _, _ in fake.seen[2:]]
        assert code == 0 and r["completed"] == 3 and r["speed"] == 10
        assert abs(times[1] - times[0] - 0.2) < 0.1 and abs(times[2] - times[1] - 0.2) < 0.1, times
        assert [b["max_tokens"] for _, _, _, b, _ in fake.seen[2:]] == [2, 3, 3]

    with tap.case("requests that share blocks in a trace share their prompts' beginnings"):
        fake.forget()
        path = os.path.join(folder, "t.jsonl")
        with open(path, "w") as f:
            for at, ids in ((0, [1, 2]), (10, [1, 3]), (20, [4, 2])):
                f.write(json.dumps({"timestamp": at, "input_length": 1000, "output_length": 1, "hash_ids": ids}) + "\n")
        code, (r,) = runs("--url", fake.url, "--trace", path)
        a, b, c = (text.split() for _, _, _, _, text in sorted(fake.seen[2:], key=lambda s: s[0]))
        assert code == 0 and a[:256] == b[:256] and a[256:] != b[256:], (len(a), len(b))
        assert a[:256] != c[:256] and a[256:] == c[256:]

    with tap.case("what is no trace is refused with its line"):
        path = os.path.join(folder, "bad.csv")
        with open(path, "w") as f:
            f.write("a,b,c\n2023-11-16 18:15:46,1,2\nrubbish\n")
        code, _, err = load("--url", fake.url, "--trace", path)
        assert code == 1 and "line 3" in err, err

with tap.case("Ctrl-C reports what was measured so far"):
    fake.forget()
    p = subprocess.Popen([BINARY, "load", "--url", fake.url, "-c", "2", "-r", "500", "-n", "10", "--json"],
                         stdout=subprocess.PIPE, text=True)
    time.sleep(1.5)
    p.send_signal(signal.SIGINT)
    (r,) = json.loads(p.communicate(timeout=20)[0])["runs"]
    assert p.returncode == 0 and 0 < r["completed"] < 100 and r["not_finished"] > 400, r

with tap.case("nobody listening is a sentence"):
    code, _, err = load("--url", "http://127.0.0.1:1")
    assert code == 1 and "does not answer" in err and len(err.strip().splitlines()) == 1, err

with tap.case("the table names its columns"):
    code, out, _ = load("--url", fake.url, "-r", "2", "-n", "2")
    assert code == 0 and "TTFT ms" in out and "1 at once" in out, out

if os.path.exists(MODEL):
    with tap.case("our own server"):
        s = Server().wait_ready()
        code, (r,) = runs("--url", s.url, "-c", "2", "-r", "4", "-n", "8", "-p", "64")
        assert code == 0 and r["completed"] == 4 and r["without_usage"] == 0 and r["output_tokens"] == 32, r
        assert abs(r["prompt_tokens"] / 4 - 64) < 8, r["prompt_tokens"]
        assert s.stop() == 0

tap.done()
