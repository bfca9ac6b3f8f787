#!/usr/bin/env python3
"""crowd_test -- 32 clients at once with random lengths, cancels and hang-ups for a minute (CROWD_S seconds): every
answer equals the one the same request gets alone, nothing leaks, KV memory returns to baseline."""
import http.client, json, os, random, sys, threading, time
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from server import Server, Tap, need_model

CLIENTS, SECONDS = 32, float(os.environ.get("CROWD_S", "60"))
tap = Tap()
need_model(tap)
# KV memory for about 2,400 tokens: 32 clients do not fit at once, so waiting and parking happen
s = Server("--kv-memory", "56M").wait_ready()
seed = int(os.environ.get("SEED", time.time()))
print(f"# seed {seed}")
dice = random.Random(seed)
topics = ["the sea", "a clockmaker", "rain in autumn", "how bread is made", "the moon", "a lost dog", "trains"]
system = {"role": "system", "content": "You are a helpful assistant who likes to explain things. " * 12}


def make(i):
    d = random.Random(i)
    text = f"Write about {topics[i % len(topics)]}. " + "Please be thorough. " * d.randrange(0, 40)
    return {"messages": ([system] if i % 2 else []) + [{"role": "user", "content": text}], "temperature": 0,
            "max_tokens": d.choice([4, 16, 40, 90, 160]), "ignore_eos": i % 3 == 0}


requests = [make(i) for i in range(24)]
alone = [s.post("/v1/chat/completions", r)[1]["choices"] for r in requests]


def memory_kib(pid):
    with open(f"/proc/{pid}/status") as f:
        return int(next(l for l in f if l.startswith("VmRSS")).split()[1])


def streamed(body, hang_up_after):
    c = http.client.HTTPConnection("127.0.0.1", s.port, timeout=120)
    c.request("POST", "/v1/chat/completions", json.dumps({**body, "stream": True}), {"Content-Type": "application/json"})
    r, text, finish, n = c.getresponse(), "", None, 0
    if r.status != 200:
        raise AssertionError(r.read())
    for line in r:
        if line.startswith(b"data: {"):
            choice = json.loads(line[6:])["choices"][0]
            text += choice["delta"].get("content") or ""
            finish = choice["finish_reason"] or finish
            n += 1
            if hang_up_after and n >= hang_up_after:
                c.sock and c.sock.close()
                return None
    c.close()
    return text, finish


wrong, done, hung, lock = [], [0], [0], threading.Lock()


def client(k):
    d = random.Random(seed * 1000 + k)
    while time.time() < deadline:
        i = d.randrange(len(requests))
        want = (alone[i][0]["message"]["content"], alone[i][0]["finish_reason"])
        try:
            if d.random() < 0.3:
                got = streamed(requests[i], d.randrange(1, 12))
                with lock:
                    hung[0] += 1
                if got is None:
                    continue
            elif d.random() < 0.5:
                got = streamed(requests[i], 0)
            else:
                status, answer, _ = s.post("/v1/chat/completions", requests[i])
                got = (answer["choices"][0]["message"]["content"], answer["choices"][0]["finish_reason"])
        except Exception as e:
            got = repr(e)
        with lock:
            done[0] += 1
            if got != want:
                wrong.append((i, got, want))


before = memory_kib(s.engine_pid())
deadline = time.time() + SECONDS
threads = [threading.Thread(target=client, args=(k,)) for k in range(CLIENTS)]
for t in threads:
    t.start()
for t in threads:
    t.join()
with tap.case(f"every answer equals the one given alone"):
    print(f"# {done[0]} answers, {hung[0]} hang-ups, {s.metric('tokenworks_preemptions_total'):.0f} parkings")
    assert done[0] > 20 and hung[0] > 5
    assert not wrong, f"{len(wrong)} of {done[0]}, first: {wrong[0]}"
with tap.case("KV memory returns to baseline"):
    time.sleep(1)
    assert s.metric("tokenworks_kv_pages_used") == 0
    assert s.metric("tokenworks_num_requests_running") == 0 and s.metric("tokenworks_num_requests_waiting") == 0
with tap.case("the engine has not grown by more than its KV memory"):
    grown = memory_kib(s.engine_pid()) - before
    assert grown < 90 * 1024, f"{grown} KiB"
with tap.case("and it still answers as before"):
    assert s.post("/v1/chat/completions", requests[5])[1]["choices"] == alone[5]
s.stop()
tap.done()
