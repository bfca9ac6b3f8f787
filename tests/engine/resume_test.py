#!/usr/bin/env python3
"""resume_test -- an answer begun by one engine goes on in another: the same bytes from the first on, in fewer steps,
whatever the dialect; tokens that are given wrongly are only wrong guesses."""
import hashlib, os, re, sys, tempfile
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cmd"))
import tiny_llama
from server import MODEL, Tap
from frames import Engine

tap = Tap()
folder = tempfile.TemporaryDirectory()
TINY = os.path.join(folder.name, "tiny.gguf")
tiny_llama.write(TINY, 7, ctx=512)
SAY = [{"role": "user", "content": "Tell me about the sea, the ships on it and those who sail them."}]
TOOL = {"type": "function", "function": {"name": "weather", "description": "of a city", "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}
CHAT, N = "/v1/chat/completions", 60
CASES = {
    "chat, greedy": (CHAT, dict(messages=SAY, temperature=0, max_tokens=N)),
    "chat, drawn at 0.8 without a seed of its own": (CHAT, dict(messages=SAY, temperature=0.8, max_tokens=N)),
    "chat with log-probabilities": (CHAT, dict(messages=SAY, temperature=0.8, seed=3, logprobs=True, top_logprobs=3,
                                               max_tokens=N)),
    "penalties and the usage asked for": (CHAT, dict(messages=SAY, temperature=0.7, frequency_penalty=0.5, max_tokens=N,
                                                     repetition_penalty=1.1, min_tokens=20, stream_options={"include_usage": True})),
    "a stop string": (CHAT, dict(messages=SAY, temperature=0.9, stop=["zq", "q"], min_tokens=12, max_tokens=400)),
    "an answer in a form": (CHAT, dict(messages=SAY, temperature=0.9, guided_regex="(blue|green|deep) [a-z]{20,30} (sea|sky)\\.",
                                       max_tokens=N)),
    "text": ("/v1/completions", dict(prompt="Once upon a time", temperature=0.8, max_tokens=N)),
    "Responses": ("/v1/responses", dict(input="Tell me about the sea.", temperature=0.8, max_output_tokens=N)),
    "Anthropic": ("/v1/messages", dict(messages=SAY, temperature=0.8, max_tokens=N)),
    "Ollama": ("/api/chat", dict(messages=SAY, options=dict(temperature=0.8, num_predict=N))),
}
SEED = 1234567890123


def still(body):
    """Without what says how it was made: guesses, and Ollama's durations."""
    text = re.sub(rb'"[a-z_]*_duration":\d+', b'"duration":0', body)
    return re.sub(rb',?"completion_tokens_details":\{[^}]*\}', b"", text)


def check(plain, eager, name, path, fields):
    body = {"model": "m", "stream": True, **fields}
    whole = plain.ask(path, body, seed=SEED)
    tokens = whole.tokens
    with tap.case(f"{name}: the whole answer, then the same after some of its tokens, byte for byte"):
        assert whole.error is None and len(tokens) >= 8, (whole.error, len(tokens))
        cached = whole.usage[-1]["cached_tokens"]
        for k in (1, len(tokens) // 2, len(tokens) - 1, len(tokens)):
            again = plain.ask(path, body, seed=SEED, resume={"tokens": tokens[:k], "cached_tokens": cached})
            assert still(again.body) == still(whole.body), (k, again.body, whole.body)
            assert again.tokens == tokens and again.usage[-1]["resumed"] == k
            assert again.usage[-1]["cached_tokens"] == cached, again.usage
            few = min(k // 16, k // 2)  # steps at least that it saves; a call's bytes come in few frames anyway
            assert again.frames <= whole.frames - few or whole.frames < len(tokens) // 2, (k, again.frames, whole.frames)
    with tap.case(f"{name}: several tokens drawn in a step make the same events as one by one"):
        assert still(eager.ask(path, body, seed=SEED, resume={"tokens": [], "cached_tokens": cached}).body) == still(whole.body)
    with tap.case(f"{name}: wrong tokens are wrong guesses"):
        for bad in ([7] * 20, tokens[:5] + [9, 9] + tokens[5:], tokens + [11] * 9):
            got = plain.ask(path, body, seed=SEED, resume={"tokens": bad, "cached_tokens": cached})
            assert still(got.body) == still(whole.body), (bad, got.body, whole.body)


plain = Engine(TINY, {"speculate": 0}, {"identity": {"build": "ab" * 32}})
eager = Engine(TINY, {"speculate": 8})
for name, (path, fields) in CASES.items():
    check(plain, eager, name, path, fields)

with tap.case("an answer that is no stream is resumed too"):
    body = {"model": "m", "messages": SAY, "temperature": 0.8, "max_tokens": N}
    stream = plain.ask(CHAT, {**body, "stream": True}, seed=SEED)
    whole = plain.ask(CHAT, body, seed=SEED)
    again = plain.ask(CHAT, body, seed=SEED, resume={"tokens": stream.tokens[:20],
                                                     "cached_tokens": whole.usage[-1]["cached_tokens"]})
    assert again.body == whole.body

with tap.case("the head's seed is the one reported, and a body's own goes before it"):
    body = {"model": "m", "messages": SAY, "max_tokens": 2}
    assert plain.ask(CHAT, body, seed=77).usage[0]["seed"] == 77
    assert plain.ask(CHAT, {**body, "seed": 5}, seed=77).usage[0]["seed"] == 5

with tap.case("tokens that are none of the model's are refused"):
    for bad in ({"tokens": [10 ** 9]}, {"tokens": ["a"]}, {"tokens": 3}, {"tokens": [1], "cached_tokens": -2}):
        a = plain.ask(CHAT, {"model": "m", "messages": SAY, "max_tokens": 2}, resume=bad)
        assert a.error and a.error["status"] == 400, (bad, a.error)

with tap.case("several resumed at once beside one that was not: all the same bytes"):
    body = {"model": "m", "stream": True, "messages": SAY, "temperature": 0.8, "max_tokens": 30}
    want = plain.ask(CHAT, body, seed=5)
    answers = plain.ask_all([(CHAT, body, dict(seed=5, resume={"tokens": want.tokens[:k], "cached_tokens": want.usage[-1]["cached_tokens"]}))
                             for k in (0, 10, 29, 30)])
    assert all(still(a.body) == still(want.body) for a in answers)

with tap.case("who asks for its identity gets the file's hash and the arithmetic's id among the facts"):
    with open(TINY, "rb") as f:
        assert plain.facts["model"]["hash"] == hashlib.sha256(f.read()).hexdigest()
    assert re.fullmatch("[0-9a-f]{64}", plain.facts["model"]["numerics"])
    assert "hash" not in eager.facts["model"] and "trust" not in plain.facts

plain.stop()
eager.stop()

if os.path.exists(MODEL):
    one, other = Engine(MODEL, {"speculate": 0, "ctx": 1024}), Engine(MODEL, {"ctx": 1024})
    body = {"model": "m", "stream": True, "messages": SAY, "temperature": 0.8, "max_tokens": 80}
    with tap.case("a real model: begun in one engine, resumed in another, in the time of a prompt"):
        whole = one.ask(CHAT, body, seed=SEED)
        again = other.ask(CHAT, body, seed=SEED, resume={"tokens": whole.tokens[:70], "cached_tokens": 0})
        assert still(again.body) == still(whole.body)
        print(f"# {len(whole.tokens)} tokens took {whole.end['decode_ms']:.0f} ms, after 70 of them "
              f"{again.end['decode_ms']:.0f} ms")
        assert again.frames <= 5 + 11, again.frames  # 70 tokens in two or three steps, then one by one
    check(one, other, "a call of a tool", *(CHAT, dict(messages=SAY, temperature=0.5, tools=[TOOL], tool_choice="required", max_tokens=N)))
    one.stop()
    other.stop()
tap.done()
