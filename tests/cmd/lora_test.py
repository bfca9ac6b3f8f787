#!/usr/bin/env python3
"""lora_test -- adapters over the wire: they answer as merged models do, in company as alone, with prefixes of their own."""
import http.client, json, os, random, subprocess, sys, tempfile, threading, time
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import tiny_gguf as tiny
from server import BINARY, Server, Tap

tap = Tap()
folder = tempfile.TemporaryDirectory()
place = lambda name: os.path.join(folder.name, name)
MATRICES = {"attn_q": (32, 32), "attn_k": (16, 32), "attn_v": (16, 32), "attn_output": (32, 32), "ffn_gate": (48, 32),
            "ffn_up": (48, 32), "ffn_down": (32, 48)}


def adapter(path, seed, rank, base=None, alpha=8.0, arch="llama", extra=None):
    """Writes an adapter; with base, returns the weights it makes of them."""
    r = random.Random(seed)
    tensors, merged = dict(extra or {}), {k: v for k, v in (base or {}).items()}
    for layer in range(2):
        for name, (out, inputs) in MATRICES.items():
            full = f"blk.{layer}.{name}.weight"
            a, b = tiny.matrix(r, rank, inputs, 0.2), tiny.matrix(r, out, rank, 0.2)
            tensors[full + ".lora_a"], tensors[full + ".lora_b"] = a, b
            if base:
                merged[full] = [[w + alpha / rank * sum(b[i][k] * a[k][j] for k in range(rank))
                                 for j, w in enumerate(row)] for i, row in enumerate(base[full])]
    tiny.write(path, {"general.architecture": arch, "general.type": "adapter", "adapter.type": "lora",
                      "adapter.lora.alpha": alpha}, tensors)
    return merged


base = tiny.llama(place("base.gguf"), seed=11)
ranks = {"law": 4, "poems": 8, "code": 3}
options = []
for i, (name, rank) in enumerate(ranks.items()):
    merged = adapter(place(name + ".gguf"), 20 + i, rank, base)
    tiny.llama(place(name + "-merged.gguf"), tensors=merged)
    options += ["--lora", f"{name}={place(name + '.gguf')}", "--model", place(name + "-merged.gguf")]
s = Server(*options, "--threads", "2", "--no-ledger", model=place("base.gguf"),
           env={"TOKENWORKS_HOME": folder.name}).wait_ready()
PROMPT = [tiny.CLS] + tiny.ids_of("the capital of france is")


def complete(model, status=200, **fields):
    body = {"model": model, "prompt": PROMPT, "max_tokens": 24, "temperature": 0, "ignore_eos": True, "logprobs": 5,
            **fields}
    got, answer, _ = s.post("/v1/completions", body)
    assert got == status, (got, answer)
    return answer


for name in ranks: # engines load side by side; the first answer waits for its own
    complete(name + "-merged", max_tokens=1)

with tap.case("base:adapter answers as the merged model"):
    for name in ranks:
        a, b = complete("base:" + name), complete(name + "-merged")
        assert a["model"] == "base:" + name
        x, y = a["choices"][0]["logprobs"], b["choices"][0]["logprobs"]
        same = next((i for i, (p, q) in enumerate(zip(x["tokens"], y["tokens"])) if p != q), len(x["tokens"]))
        assert same >= 8, (name, x["tokens"], y["tokens"]) # a tie in half-precision keys may part them later
        for p, q in zip(x["token_logprobs"][:same], y["token_logprobs"][:same]):
            assert abs(p - q) < 5e-3, (name, p, q)
    plain = complete("base")["choices"][0]
    assert plain["text"] != complete("base:law")["choices"][0]["text"]

with tap.case("the field `lora` is the same; the base stays what it was"):
    assert complete("base", lora="law")["choices"] == complete("base:law")["choices"]
    assert complete("base")["choices"][0] == plain

with tap.case("many adapters in one batch: each answer as alone, to the bit"):
    kinds = ["base", "base:law", "base:poems", "base:code"]
    ask = [(kinds[i % 4], {"seed": i, "temperature": 1, "max_tokens": 40, "prompt": PROMPT[:1 + i % 6]})
           for i in range(24)]
    alone = [complete(m, **f)["choices"] for m, f in ask]
    mixed = [None] * len(ask)

    def one(i):
        mixed[i] = complete(ask[i][0], **ask[i][1])["choices"]

    threads = [threading.Thread(target=one, args=(i,)) for i in range(len(ask))]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert mixed == alone
    time.sleep(0.6) # figures come four times a second
    rows, steps = (s.metric("tokenworks_iteration_tokens_total_" + x) for x in ("sum", "count"))
    assert rows > 1.3 * steps, (rows, steps) # there was company

with tap.case("an adapter's cached prefixes are its own"):
    long = [tiny.CLS] + [7 + i % 20 for i in range(70)]
    cached = lambda m: complete(m, prompt=long, max_tokens=1)["usage"]["prompt_tokens_details"]["cached_tokens"]
    assert [cached(m) for m in ("base", "base:law", "base", "base:law", "base:poems")] == [0, 0, 64, 64, 0]

with tap.case("an adapter that is not there is 404, by field and by name"):
    e = complete("base", 404, lora="medicine")["error"]
    assert e["param"] == "lora" and "law, poems, code" in e["message"], e
    e = complete("base:medicine", 404)["error"]
    assert e["code"] == "model_not_found", e
    e = complete("law-merged", 404, lora="law")["error"]
    assert "none" in e["message"], e

with tap.case("embeddings take adapters too"):
    v = lambda **f: s.post("/v1/embeddings", {"model": "base", "input": PROMPT, **f})[1]["data"][0]["embedding"]
    assert v() != v(lora="law") and v(lora="law") == v(model="base:law")
law, poems = complete("base:law")["choices"], complete("base:poems")["choices"]
s.stop()

# ---- adapters that come and go while the server runs
os.mkdir(place("shelf"))
os.mkdir(place("shelf/deep"))
for at, name in [("law.gguf", "law"), ("deep/poems.gguf", "poems"), ("code.gguf", "code")]:
    os.rename(place(name + ".gguf"), place("shelf/" + at))
adapter(place("outside.gguf"), 30, 4)
os.symlink(place("outside.gguf"), place("shelf/link.gguf"))
os.symlink(folder.name, place("shelf/away"))
os.mkfifo(place("shelf/pipe"))
s = Server("--threads", "2", "--no-ledger", "--lora-dir", place("shelf"), "--lora-slots", "2", "--lora-rank", "8",
           model=place("base.gguf"), env={"TOKENWORKS_HOME": folder.name}).wait_ready()
ROUTE = "/tokenworks/models/base/adapters"


def add(name, file, status=200):
    got, answer, _ = s.post(ROUTE, {"name": name, "file": file})
    assert got == status, (got, answer)
    return answer["adapters"] if status == 200 else answer["error"]["message"]


def remove(name, status=200):
    for _ in range(20): # the last answer's request may be ending still
        got, text, _ = s.request("DELETE", f"{ROUTE}/{name}")
        if got != 409 or status == 409:
            break
        time.sleep(0.05)
    assert got == status, (got, text)


with tap.case("an adapter added to a running server answers as one of its start"):
    complete("base:law", 404)
    assert add("law", "law.gguf") == ["law"]
    assert complete("base:law")["choices"] == law
    assert add("verse", place("shelf/deep/poems.gguf")) == ["law", "verse"]
    assert complete("base", lora="verse")["choices"] == poems and complete("base:law")["choices"] == law
    assert complete("base")["choices"][0] == plain

with tap.case("slots and names are refused by what is taken"):
    assert "--lora-slots" in add("code", "code.gguf", 400)
    remove("verse")
    assert "already" in add("law", "code.gguf", 409)
    assert "letters" in add("a:b", "code.gguf", 400)

with tap.case("an adapter that was removed is gone; its name with other weights finds none of its pages"):
    assert cached("base:law") == 0 and cached("base:law") == 64
    was = complete("base:law", prompt=long)["choices"]
    remove("law")
    assert complete("base:law", 404)["error"]["code"] == "model_not_found"
    remove("law", 404)
    assert add("law", "deep/poems.gguf") == ["law"]
    assert cached("base:law") == 0
    assert complete("base:law")["choices"] == poems and complete("base:law", prompt=long)["choices"] != was
    remove("law")

with tap.case("only files below the folder are opened"):
    for file in [place("outside.gguf"), "../outside.gguf", place("shelf/../outside.gguf"), "link.gguf",
                 "away/outside.gguf", "deep//poems.gguf", "./law.gguf", "", "/", place("shelf") + "x/law.gguf"]:
        assert "--lora-dir" in add("x", file, 403), file
    assert "no such file" in add("x", "absent.gguf", 404)
    add("x", "pipe", 400)
    add("x", "deep", 400)
    assert s.post("/tokenworks/models/none/adapters", {"name": "x", "file": "law.gguf"})[0] == 404
    assert s.post(ROUTE, {"name": "x"})[0] == 400

with tap.case("files that do not fit are refused in a sentence, and nothing else changes"):
    adapter(place("shelf/other.gguf"), 1, 4, arch="qwen2")
    adapter(place("shelf/large.gguf"), 1, 9)
    adapter(place("shelf/head.gguf"), 1, 4, extra={"output.weight.lora_a": tiny.matrix(random.Random(1), 4, 32)})
    whole = open(place("shelf/law.gguf"), "rb").read()
    r = random.Random(5)
    for i in range(12):
        bad = bytearray(whole[:r.randrange(len(whole))])
        for _ in range(8 if bad else 0):
            bad[r.randrange(min(len(bad), 2000))] ^= 1 << r.randrange(8)
        open(place(f"shelf/bad{i}.gguf"), "wb").write(bad)
        assert len(add("x", f"bad{i}.gguf", 400)) > 10
    for name, word in [("other", "architecture llama"), ("large", "--lora-rank 9"), ("head", "output.weight.lora_a")]:
        assert word in add("x", name + ".gguf", 400)
    assert complete("base")["choices"][0] == plain

with tap.case("adapters come and go while eight requests run; one in use stays"):
    add("law", "law.gguf")
    ask = [("base:law" if i % 2 else "base", {"seed": i, "temperature": 1, "max_tokens": 80}) for i in range(8)]
    alone, mixed = [complete(m, **f)["choices"] for m, f in ask], [[] for _ in ask]
    more = True

    def often(i):
        while more:
            mixed[i].append(complete(ask[i][0], **ask[i][1])["choices"])

    threads = [threading.Thread(target=often, args=(i,)) for i in range(len(ask))]
    for t in threads:
        t.start()
    for i in range(20):
        add("verse", "deep/poems.gguf" if i % 2 else "code.gguf")
        if i % 2:
            assert complete("base:verse")["choices"] == poems
        add("x", f"bad{i % 12}.gguf", 400)
        remove("verse")
    more = False
    for t in threads:
        t.join()
    for got, want in zip(mixed, alone):
        assert len(got) > 1 and all(g == want for g in got)

with tap.case("an adapter in use is not removed; once its client has left it is"):
    c = http.client.HTTPConnection("127.0.0.1", s.port, timeout=60)
    c.request("POST", "/v1/completions", json.dumps({"model": "base:law", "prompt": PROMPT, "n": 64, "stream": True,
                                                     "max_tokens": 200, "ignore_eos": True}),
              {"Content-Type": "application/json"})
    r = c.getresponse()
    assert r.status == 200 and r.readline().startswith(b"data: ")
    got, text, _ = s.request("DELETE", ROUTE + "/law")
    assert got == 409 and b"under way" in text, (got, text)
    assert complete("base:law")["choices"] == law # it is offered still
    r.close()
    c.close()
    remove("law")
    assert add("law", "law.gguf") == ["law"] and complete("base:law")["choices"] == law

with tap.case("what was added is there again whenever the engine died, and its name is never unknown meanwhile"):
    for deaths in range(2):
        os.kill(s.engine_pid(), 9)
        deadline, seen = time.time() + 30, set()
        while time.time() < deadline and 200 not in seen:
            seen.add(s.request("POST", "/v1/completions", {"model": "base:law", "prompt": PROMPT, "max_tokens": 1})[0])
            time.sleep(0.05)
        assert 200 in seen and seen <= {200, 503}, seen
        assert complete("base:law")["choices"] == law and complete("base", lora="law")["choices"] == law
    remove("law")
    assert s.process.poll() is None
s.stop()

with tap.case("without --lora-dir nothing is added; with keys it needs the admin's"):
    t = Server("--no-ledger", model=place("base.gguf"), env={"TOKENWORKS_HOME": folder.name}).wait_ready()
    got, answer, _ = t.post(ROUTE, {"name": "x", "file": "law.gguf"})
    assert got == 403 and "--lora-dir" in answer["error"]["message"], answer
    t.stop()
    home = {"TOKENWORKS_HOME": place("home")}
    t = Server("--lora-dir", place("shelf"), model=place("base.gguf"), env=home).wait_ready()
    subprocess.run([BINARY, "tenant", "add", "t"], capture_output=True, check=True, env={**os.environ, **home})
    keys = [subprocess.run([BINARY, "key", "add", "-t", "t", "--role", role], capture_output=True, text=True,
                           check=True, env={**os.environ, **home}).stdout.strip() for role in ("user", "auditor", "admin")]
    time.sleep(1.5) # noticed within a second
    for key, status in [("", 401), (keys[0], 403), (keys[1], 403), (keys[2], 200)]:
        head = {"Authorization": "Bearer " + key} if key else {}
        got, answer, _ = t.post(ROUTE, {"name": "x", "file": "law.gguf"}, headers=head)
        assert got == status, (got, answer)
    assert t.request("DELETE", ROUTE + "/x", headers={"Authorization": "Bearer " + keys[0]})[0] == 403
    assert t.request("DELETE", ROUTE + "/x", headers={"Authorization": "Bearer " + keys[2]})[0] == 200
    t.stop()

with tap.case("a file that does not fit stops the start, and says why"):
    adapter(place("other.gguf"), 1, 4, arch="qwen2")
    adapter(place("head.gguf"), 1, 4, extra={"output.weight.lora_a": tiny.matrix(random.Random(1), 4, 32)})
    for name, word in [("other.gguf", "architecture llama"), ("head.gguf", "output.weight.lora_a"),
                       ("base.gguf", "no LoRA adapter"), ("absent.gguf", "absent.gguf")]:
        r = subprocess.run([BINARY, "serve", "--model", place("base.gguf"), "--lora", "x=" + place(name), "--listen",
                            "127.0.0.1:0", "--no-ledger"], capture_output=True, text=True, timeout=60,
                           env={**os.environ, "TOKENWORKS_HOME": folder.name})
        assert r.returncode == 1 and word in r.stderr, (name, r)
tap.done()
