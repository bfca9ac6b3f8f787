#!/usr/bin/env python3
"""lora_test -- adapters over the wire: they answer as merged models do, in company as alone, with prefixes of their own."""
import os, random, subprocess, sys, tempfile, threading, time
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
s.stop()

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
