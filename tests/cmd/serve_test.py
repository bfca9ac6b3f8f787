#!/usr/bin/env python3
"""serve_test -- the whole factory over HTTP with a real model: answers, streams, errors, prefix cache, death, drain."""
import http.client, json, os, re, signal, socket, sys, threading, time
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from server import Server, Tap, need_model

tap = Tap()
need_model(tap)
s = Server("--drain-s", "90").wait_ready()


def stream(body, port=s.port, stop_after=None):
    """The events of a streamed answer; hangs up after stop_after of them."""
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    c.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
    r = c.getresponse()
    events = []
    for line in r:
        if line.startswith(b"data: "):
            events.append(line[6:].strip())
            if stop_after and len(events) >= stop_after:
                break
    c.sock and c.sock.close()
    c.close()
    return r.status, events


def wait_running(n):
    """Until the engine's own figures, sent four times a second, say so."""
    deadline = time.time() + 20
    while time.time() < deadline and s.metric("tokenworks_num_requests_running") != n:
        time.sleep(0.02)


with tap.case("who wrote Romeo and Juliet"):
    status, answer, _ = s.chat("Who wrote the play Romeo and Juliet?", max_tokens=40)
    assert status == 200, answer
    text = answer["choices"][0]["message"]["content"]
    assert "Shakespeare" in text, text
    assert answer["usage"]["completion_tokens"] > 3 and answer["choices"][0]["finish_reason"] in ("stop", "length")

with tap.case("a stream carries the same text as the whole answer"):
    body = {"messages": [{"role": "user", "content": "Count from one to ten."}], "temperature": 0, "max_tokens": 48}
    whole = s.post("/v1/chat/completions", body)[1]["choices"][0]["message"]["content"]
    status, events = stream({**body, "stream": True, "stream_options": {"include_usage": True}})
    assert status == 200 and events[-1] == b"[DONE]"
    chunks = [json.loads(e) for e in events[:-1]]
    text = "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks if c["choices"])
    assert text == whole, (text, whole)
    assert chunks[-1]["usage"]["completion_tokens"] > 0

with tap.case("the second request with the same system prompt finds it in the prefix cache"):
    system = {"role": "system", "content": "You are a patient teacher. " * 30}
    def ask(question):
        return s.post("/v1/chat/completions", {"messages": [system, {"role": "user", "content": question}],
                                               "temperature": 0, "max_tokens": 8})[1]
    first, second = ask("What is two plus two?"), ask("What is three plus three?")
    assert first["usage"]["prompt_tokens_details"]["cached_tokens"] < 64
    assert second["usage"]["prompt_tokens_details"]["cached_tokens"] > 100, second["usage"]
    again = ask("What is two plus two?")
    assert again["choices"] == first["choices"], "cached and computed answers differ"

with tap.case("a seed repeats an answer, and n choices are seeds in a row"):
    body = dict(max_tokens=24, temperature=1.2, seed=7)
    one = s.chat("Tell me a story.", **body)[1]
    two = s.chat("Tell me a story.", **body)[1]
    assert one["choices"] == two["choices"]
    three = s.chat("Tell me a story.", **{**body, "n": 3})[1]
    assert [c["index"] for c in three["choices"]] == [0, 1, 2]
    assert three["choices"][0]["message"] == one["choices"][0]["message"]
    eight = s.chat("Tell me a story.", **{**body, "seed": 8})[1]
    assert three["choices"][1]["message"] == eight["choices"][0]["message"]

with tap.case("stop strings, min_tokens, ignore_eos, logit_bias, logprobs"):
    full = s.chat("Count from one to ten.", max_tokens=40)[1]["choices"][0]["message"]["content"]
    word = full.split()[3]
    cut = s.chat("Count from one to ten.", max_tokens=40, stop=[word])[1]["choices"][0]
    assert cut["message"]["content"] == full[:full.index(word)] and cut["finish_reason"] == "stop"
    long = s.chat("Say hi.", max_tokens=60, ignore_eos=True)[1]
    assert long["usage"]["completion_tokens"] == 60 and long["choices"][0]["finish_reason"] == "length"
    lp = s.chat("Say hi.", max_tokens=3, logprobs=True, top_logprobs=4)[1]["choices"][0]["logprobs"]["content"]
    assert len(lp) == 3 and all(len(t["top_logprobs"]) == 4 and t["logprob"] <= 0 for t in lp)
    assert lp[0]["token"] == lp[0]["top_logprobs"][0]["token"]

with tap.case("completions with several prompts"):
    status, r, _ = s.post("/v1/completions", {"prompt": ["The capital of France is", "One two three"], "max_tokens": 6,
                                              "temperature": 0})
    assert status == 200 and len(r["choices"]) == 2 and "Paris" in r["choices"][0]["text"], r

with tap.case("errors name what is wrong"):
    for fields, status, param in [({"messages": []}, 400, "messages"), ({"temperature": 9}, 400, "temperature"),
                                  ({"no_such_field": 1}, 400, "no_such_field"), ({"n": 0}, 400, "n"),
                                  ({"model": "gpt-nonsense"}, 404, "model"),
                                  ({"modalities": ["audio"]}, 400, "modalities")]:
        got, body, _ = s.post("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}], **fields})
        assert got == status and body["error"]["param"] == param and body["error"]["message"], (fields, got, body)
    long = "word " * 20000
    got, body, _ = s.chat(long)
    assert got == 400 and re.search(r"\d{5}.*\d{4}", body["error"]["message"]), body
    for raw, status in [("{", 400), ("", 400), ("[]", 400), ('{"messages":[{"role":"user","content":"\\ud800"}]}', 400)]:
        assert s.request("POST", "/v1/chat/completions", raw)[0] == status, raw
    assert s.get("/v1/nothing")[0] == 404 and s.request("DELETE", "/v1/chat/completions")[0] == 405

with tap.case("models and health"):
    status, text, _ = s.get("/v1/models")
    models = json.loads(text)["data"]
    assert status == 200 and models[0]["id"].startswith("SmolLM2"), models
    assert s.chat("hi", model=models[0]["id"], max_tokens=1)[0] == 200
    assert s.chat("hi", model="default", max_tokens=1)[0] == 200

with tap.case("a client that hangs up stops its generation at once"):
    stream({"messages": [{"role": "user", "content": "Tell me everything."}], "stream": True, "ignore_eos": True,
            "max_tokens": 4000}, stop_after=5)
    deadline = time.time() + 3
    while time.time() < deadline and s.metric("tokenworks_num_requests_running"):
        time.sleep(0.05)
    assert s.metric("tokenworks_num_requests_running") == 0

with tap.case("after all that the KV memory is back to nothing held"):
    time.sleep(0.6)
    assert s.metric("tokenworks_kv_pages_used") == 0 and s.metric("tokenworks_num_requests_waiting") == 0

with tap.case("the engine dies: 503 with Retry-After, then a new one answers"):
    results = []
    wait_running(0)
    def victim():
        try:
            results.append(s.chat("Tell me everything.", ignore_eos=True, max_tokens=3000))
        except Exception as e:
            results.append(e)
    t = threading.Thread(target=victim)
    t.start()
    wait_running(1)
    os.kill(s.engine_pid(), signal.SIGKILL)
    t.join(30)
    assert results and results[0][0] == 503 and "retry-after" in results[0][2], results
    s.wait_ready()
    assert s.chat("Who wrote the play Romeo and Juliet?", max_tokens=40)[0] == 200

with tap.case("SIGTERM drains: what runs finishes, nothing new starts, exit 0"):
    done = []
    wait_running(0)
    t = threading.Thread(target=lambda: done.append(s.chat("Tell me everything.", ignore_eos=True, max_tokens=80)))
    t.start()
    wait_running(1)
    s.process.send_signal(signal.SIGTERM)
    time.sleep(0.15)
    try:
        assert s.get("/health", timeout=2)[0] == 503
    except OSError:
        pass # no longer listening is as good
    t.join(90)
    assert done and done[0][0] == 200 and done[0][1]["usage"]["completion_tokens"] == 80, done
    assert s.process.wait(15) == 0

with tap.case("no prompt reached the log"):
    assert not re.search("Romeo|everything|teacher", "".join(s.log)), s.log

tap.done()
