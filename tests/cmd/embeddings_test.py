#!/usr/bin/env python3
"""embeddings_test -- /v1/embeddings and /v1/rerank over the wire, against forward passes in plain Python."""
import base64, math, os, struct, sys, tempfile, threading
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import reference as ref
import tiny_gguf as tiny
from server import Server, Tap

tap = Tap()
folder = tempfile.TemporaryDirectory()
place = lambda name: os.path.join(folder.name, name)
NEAR = 2e-5


def near(a, b, tolerance=NEAR):
    assert len(a) == len(b), (len(a), len(b))
    worst = max(abs(x - y) for x, y in zip(a, b))
    assert worst <= tolerance, worst


def embed(s, body, status=200):
    got, answer, headers = s.post("/v1/embeddings", body)
    assert got == status, (got, answer)
    return answer


def framed(words):
    return [tiny.CLS] + tiny.ids_of(words) + [tiny.SEP]


models = {name: tiny.bert(place(name + ".gguf"), **how) for name, how in
          [("mean", {"pooling": 1}), ("cls", {"pooling": 2, "seed": 2}),
           ("cross", {"pooling": 4, "labels": 1, "dense": True, "seed": 3}),
           ("pairs", {"pooling": 4, "labels": 2, "seed": 4})]}
models["decoder"] = tiny.llama(place("decoder.gguf"), seed=5)
options = [x for name in list(models)[1:] for x in ("--model", place(name + ".gguf"))]
s = Server(*options, "--threads", "2", "--no-ledger", model=place("mean.gguf"),
           env={"TOKENWORKS_HOME": folder.name}).wait_ready()
for name in models:
    s.post("/v1/embeddings", {"model": name, "input": "a"})

with tap.case("a text's vector is the reference's, and of length 1"):
    a = embed(s, {"model": "mean", "input": "hello world"})
    want = ref.unit(ref.mean(ref.bert_states(models["mean"], framed("hello world"))))
    near(a["data"][0]["embedding"], want)
    assert a["usage"] == {"prompt_tokens": 4, "total_tokens": 4} and a["object"] == "list" and a["model"] == "mean"

with tap.case("pooling: the file's, or the request's"):
    states = ref.bert_states(models["cls"], framed("the cat sat"))
    for how, want in [(None, states[0]), ("cls", states[0]), ("last", states[-1]), ("mean", ref.mean(states))]:
        a = embed(s, {"model": "cls", "input": "the cat sat", "normalize": False, **({"pooling": how} if how else {})})
        near(a["data"][0]["embedding"], want, 5e-5)
    rows = embed(s, {"model": "cls", "input": "the cat sat", "pooling": "none"})["data"][0]["embedding"]
    assert len(rows) == 5
    for got, want in zip(rows, states):
        near(got, want, 5e-5)

with tap.case("inputs of many lengths and forms: each as if it were alone, to the bit"):
    texts = [" ".join(tiny.WORDS[i % 7:i % 7 + 1 + i % 20]) for i in range(90)]
    together = embed(s, {"model": "mean", "input": texts})
    assert [d["index"] for d in together["data"]] == list(range(90))
    for i in (0, 1, 19, 40, 89):
        alone = embed(s, {"model": "mean", "input": texts[i]})
        assert alone["data"][0]["embedding"] == together["data"][i]["embedding"], i
        ids = embed(s, {"model": "mean", "input": framed(texts[i])})
        assert ids["data"][0]["embedding"] == together["data"][i]["embedding"], i
    lists = embed(s, {"model": "mean", "input": [framed(t) for t in texts[:3]]})
    assert [d["embedding"] for d in lists["data"]] == [d["embedding"] for d in together["data"][:3]]
    assert together["usage"]["prompt_tokens"] == sum(len(t.split()) + 2 for t in texts)

with tap.case("base64 holds the same floats"):
    a = embed(s, {"model": "mean", "input": "green tree"})["data"][0]["embedding"]
    b = embed(s, {"model": "mean", "input": "green tree", "encoding_format": "base64"})["data"][0]["embedding"]
    f = list(struct.unpack(f"<{len(a)}f", base64.b64decode(b, validate=True)))
    assert f == [struct.unpack("<f", struct.pack("<f", x))[0] for x in a]

with tap.case("a text that is too long is refused with both numbers, or cut when asked, and that is said"):
    long = " ".join(["cat"] * 70 + ["dog"] * 5)
    e = embed(s, {"model": "mean", "input": long}, 400)["error"]
    assert "77 tokens" in e["message"] and "64" in e["message"] and e["code"] == "context_length_exceeded", e
    for side, kept in [("left", "cat " * 57 + "dog " * 5), ("right", "cat " * 62)]:
        a = embed(s, {"model": "mean", "input": long, "truncate_prompt_tokens": -1, "truncation_side": side})
        b = embed(s, {"model": "mean", "input": kept})
        assert a["data"][0]["embedding"] == b["data"][0]["embedding"], side
        assert a["usage"]["truncated_tokens"] == 13 and a["usage"]["prompt_tokens"] == 64, a["usage"]
    a = embed(s, {"model": "mean", "input": "the cat sat", "truncate_prompt_tokens": 4})
    assert a["data"][0]["embedding"] == embed(s, {"model": "mean", "input": "cat sat"})["data"][0]["embedding"]

with tap.case("what cannot be done is refused by name"):
    for body, param, word in [({"input": []}, "input", "empty"), ({}, "input", "required"),
                              ({"input": 5}, "input", "string"), ({"input": [1, 9999]}, "input", "whole number"),
                              ({"input": ["a", None]}, "input[1]", "string"), ({"input": "a", "x": 1}, "x", "unknown"),
                              ({"input": "a", "dimensions": 8}, "dimensions", "--matryoshka"),
                              ({"input": "a", "dimensions": 33}, "dimensions", "32"),
                              ({"input": "a", "encoding_format": "hex"}, "encoding_format", "base64"),
                              ({"input": "a", "pooling": "max"}, "pooling", "mean"),
                              ({"input": ["a"] * 2049}, "input", "2048"),
                              ({"input": "a", "model": "cross"}, "model", "/v1/rerank"),
                              ({"input": "a", "model": "decoder", "pooling": "cls"}, "pooling", "last")]:
        e = embed(s, {"model": "mean", **body}, 400)["error"]
        assert e["param"] == param and word in e["message"], (body, e)
    status, answer, _ = s.post("/v1/chat/completions", {"model": "mean", "messages": [{"role": "user", "content": "x"}]})
    assert status == 400 and "encoder" in answer["error"]["message"], answer

with tap.case("a decoder's vectors: its last token's, or the mean, beside what it generates"):
    ids = framed("paris is the capital of france")
    states = ref.llama_states(models["decoder"], ids)
    run = {"model": "decoder", "prompt": [ids[:4]] * 3, "max_tokens": 40, "ignore_eos": True}
    others = [threading.Thread(target=s.post, args=("/v1/completions", run)) for _ in range(2)]
    for t in others:
        t.start()
    last = embed(s, {"model": "decoder", "input": ids})["data"][0]["embedding"]
    mean = embed(s, {"model": "decoder", "input": ids, "pooling": "mean"})["data"][0]["embedding"]
    for t in others:
        t.join()
    near(last, ref.unit(states[-1]), 2e-3) # keys and values are kept in half precision
    near(mean, ref.unit(ref.mean(states)), 2e-3)
    assert embed(s, {"model": "decoder", "input": ids, "pooling": "mean"})["data"][0]["embedding"] == mean
    full = embed(s, {"model": "decoder", "input": [5] * 128})
    assert full["usage"]["prompt_tokens"] == 128
    assert "129 tokens" in embed(s, {"model": "decoder", "input": [5] * 129}, 400)["error"]["message"]

QUERY, DOCS = "capital of france", ["the cat sat on a mat", "paris is the capital of france", "berlin", "money loan"]

with tap.case("rerank with a cross-encoder: the head's score of each pair"):
    status, a, _ = s.post("/v1/rerank", {"model": "cross", "query": QUERY, "documents": DOCS, "return_documents": True})
    assert status == 200 and a["method"] == "cross-encoder", a
    want = {}
    for i, d in enumerate(DOCS):
        q = framed(QUERY)
        want[i] = 1 / (1 + math.exp(-ref.bert_score(models["cross"], q + tiny.ids_of(d) + [tiny.SEP], len(q))[0]))
    assert [r["index"] for r in a["results"]] == sorted(want, key=lambda i: -want[i])
    for r in a["results"]:
        assert abs(r["relevance_score"] - want[r["index"]]) < NEAR and r["document"]["text"] == DOCS[r["index"]]
    assert a["usage"]["prompt_tokens"] == sum(3 + 3 + len(d.split()) for d in DOCS) == a["meta"]["tokens"]["input_tokens"]

with tap.case("rerank without one: the cosine of embeddings, and it says so"):
    for path in ("/v1/rerank", "/v2/rerank", "/rerank"):
        status, a, _ = s.post(path, {"model": "mean", "query": QUERY, "documents": [{"text": d} for d in DOCS],
                                     "top_n": 2})
        assert status == 200 and a["method"] == "cosine" and len(a["results"]) == 2, a
    vector = lambda x: ref.mean(ref.bert_states(models["mean"], framed(x)))
    want = sorted(((ref.cosine(vector(QUERY), vector(d)), i) for i, d in enumerate(DOCS)), reverse=True)[:2]
    assert [r["index"] for r in a["results"]] == [i for _, i in want]
    near([r["relevance_score"] for r in a["results"]], [c for c, _ in want])

with tap.case("rerank refuses by name"):
    for body, param in [({"documents": DOCS}, "query"), ({"query": "a"}, "documents"),
                        ({"query": "a", "documents": [5]}, "documents[0]"),
                        ({"query": "a", "documents": ["b"], "top_n": 0}, "top_n"),
                        ({"query": "a", "documents": ["cat " * 99]}, "documents[0]"),
                        ({"query": "a", "documents": ["b"], "model": "pairs"}, "model"),
                        ({"query": "a", "documents": ["b"], "rank_fields": []}, "rank_fields")]:
        status, a, _ = s.post("/v1/rerank", {"model": "cross", **body})
        assert status == 400 and a["error"]["param"] == param, (body, a)
    a = s.post("/v1/rerank", {"model": "cross", "query": "a", "documents": ["cat " * 99],
                              "truncate_prompt_tokens": -1})[1]
    assert a["usage"]["prompt_tokens"] == 64 and a["usage"]["truncated_tokens"] == 39, a
s.stop()

s = Server("--matryoshka", "--threads", "1", "--no-ledger", model=place("mean.gguf"),
           env={"TOKENWORKS_HOME": folder.name}).wait_ready()
with tap.case("dimensions, where the operator allows them: the first ones, scaled anew; one thread, the same bits"):
    a = embed(s, {"input": texts[19], "dimensions": 8})["data"][0]["embedding"]
    near(a, ref.unit(ref.mean(ref.bert_states(models["mean"], framed(texts[19])))[:8]))
    assert embed(s, {"input": texts[19]})["data"][0]["embedding"] == together["data"][19]["embedding"]
s.stop()
tap.done()
