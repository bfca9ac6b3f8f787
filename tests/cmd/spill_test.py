#!/usr/bin/env python3
"""spill_test -- the prefix cache on disk: found again after a restart and after kill -9, the same bits, never believed (TAP)."""
import json, os, random, re, signal, stat, subprocess, sys, tempfile, time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import tiny_llama
from server import Server, Tap

tap = Tap()
tmp = tempfile.TemporaryDirectory()
STATE = os.path.join(tmp.name, "state")
MODEL = os.path.join(tmp.name, "tiny.gguf")
tiny_llama.write(MODEL, seed=7, ctx=512)
TEXT = "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of foolishness. "
PROMPT = TEXT * 3  # a byte is a token, nearly
OPTIONS = ["--state", STATE, "--threads", "1", "--kv-memory", "1M"]
SPILL = ["--kv-spill", "8M"]


def start(*options, env=None):
    return Server(*OPTIONS, *options, model=MODEL, env=env).wait_ready()


def ask(s, prompt=PROMPT, key=None):
    status, answer, _ = s.post("/v1/completions", {"prompt": prompt, "max_tokens": 40, "temperature": 0.9, "seed": 5,
                                                   "logprobs": 2, "ignore_eos": True},
                               headers={"Authorization": "Bearer " + key} if key else None)
    assert status == 200, answer
    usage = answer["usage"]
    return answer["choices"][0], usage.get("prompt_tokens_details", {}).get("cached_tokens", 0), usage["prompt_tokens"]


def spilled():
    folder = os.path.join(STATE, "spill")
    names = os.listdir(folder)
    assert len(names) == 1, names
    return os.path.join(folder, names[0])


def saved(s, at_least=1):
    end = time.monotonic() + 10
    while s.metric("tokenworks_kv_spill_pages_saved_total") < at_least:
        assert time.monotonic() < end, "no page was saved"
        time.sleep(.05)


with tap.case("without --kv-spill nothing is on disk and a restart forgets"):
    s = start()
    want, cached, tokens = ask(s)
    assert cached == 0 and ask(s)[1] > 0
    assert s.stop() == 0
    s = start()
    assert ask(s)[1] == 0
    assert s.stop() == 0 and not os.path.exists(os.path.join(STATE, "spill"))
with tap.case("after a restart the prompt is found, and the answer has the same bits"):
    s = start(*SPILL)
    first, cached, _ = ask(s)
    assert cached == 0 and first == want
    assert s.stop() == 0
    s = start(*SPILL)
    again, cached, _ = ask(s)
    assert cached > tokens * 3 // 4, (cached, tokens)
    assert again == want
    assert s.metric("tokenworks_kv_spill_pages_loaded_total") == cached // 32
    assert s.metric("tokenworks_kv_spill_pages_damaged_total") == 0
with tap.case("kill -9 of the engine: what was saved while it was idle is there"):
    other, cached, _ = ask(s, PROMPT[::-1])
    saved(s, 9)
    os.kill(s.engine_pid(), signal.SIGKILL)
    time.sleep(.5)
    s.wait_ready()
    again, cached, _ = ask(s, PROMPT[::-1])
    assert cached > 0 and again == other, cached
    assert s.stop() == 0
with tap.case("the file and the key are its owner's alone, and the text is not in it"):
    for p in (spilled(), os.path.join(STATE, "spill.key")):
        assert stat.S_IMODE(os.stat(p).st_mode) == 0o600, p
    data = open(spilled(), "rb").read()
    assert TEXT[:20].encode() not in data
    ids = b"".join(bytes([ord(c), 0, 0, 0]) for c in TEXT[:8])
    assert ids not in data and len(data) <= 8 << 20
    s = start(*SPILL)
    key = open(os.path.join(STATE, "spill.key"), "rb").read()
    environ = open(f"/proc/{s.engine_pid()}/environ", "rb").read() + open(f"/proc/{s.engine_pid()}/cmdline", "rb").read()
    assert key not in environ and key.hex().encode() not in environ
    assert s.stop() == 0
with tap.case("flipped bits, torn slots, moved slots and garbage: ignored, and the answer is right"):
    whole = open(spilled(), "rb").read()
    rng = random.Random(3)
    slot = len(whole) // max(1, len(whole) // 49664)
    for damage in ("flip", "cut", "garbage", "swap", "heads"):
        data = bytearray(whole)
        if damage == "flip":
            for at in range(64, len(data), 997):
                data[at] ^= 1
        elif damage == "cut":
            del data[len(data) // 3:]
        elif damage == "garbage":
            data = bytearray(rng.randbytes(len(data)))
        elif damage == "swap":
            half = len(data) // 2 // 512 * 512
            data = data[half:] + data[:half]
        else:
            data[32:40] = b"\xff" * 8
        with open(spilled(), "wb") as f:
            f.write(data)
        s = start(*SPILL)
        again, cached, _ = ask(s)
        assert again == want, damage
        assert s.stop() == 0
    with open(spilled(), "wb") as f:
        f.write(whole)
    s = start(*SPILL)
    again, cached, _ = ask(s)
    assert again == want and cached > 0
    assert s.stop() == 0
with tap.case("another kv type, another rung, another model or another key finds nothing"):
    for options, env in ((["--kv-type", "bf16"], None), (["--isa", "ref"], None)):
        s = start(*SPILL, *options)
        assert ask(s)[1] == 0, options
        assert s.stop() == 0
    key = os.path.join(STATE, "spill.key")
    os.rename(key, key + ".old")
    s = start(*SPILL)
    again, cached, _ = ask(s)
    assert cached == 0 and again == want
    assert s.stop() == 0
    os.rename(key + ".old", key)
    os.utime(MODEL, ns=(1, 1))
    s = start(*SPILL)
    assert ask(s)[1] == 0
    assert s.stop() == 0
with tap.case("tenants do not find each other's"):
    keys = os.path.join(tmp.name, "keys")
    import hashlib
    with open(keys, "w") as f:
        for name in ("ann", "bob"):
            f.write(f"{hashlib.sha256(name.encode()).hexdigest()} {name}\n")
    s = start(*SPILL, "--api-key-file", keys)
    assert ask(s, key="ann")[1] == 0
    assert s.stop() == 0
    s = start(*SPILL, "--api-key-file", keys)
    assert ask(s, key="bob")[1] == 0
    assert ask(s, key="ann")[1] > 0
    assert s.stop() == 0
with tap.case("a prompt that memory forgot comes back from disk"):
    s = start("--kv-spill", "16M", "--kv-memory", "200K")  # 8 pages or so: one prompt at a time
    first, cached, _ = ask(s, PROMPT[:200])
    for i in range(4):
        ask(s, "".join(random.Random(i).choices("abcdefgh ", k=200)))
    again, cached, _ = ask(s, PROMPT[:200])
    assert again == first and cached > 0 and s.metric("tokenworks_kv_spill_pages_loaded_total") > 0, cached
    assert s.stop() == 0
with tap.case("a file smaller than a page keeps nothing and says so; a ring that is full goes on"):
    s = start("--kv-spill", "1K")
    assert ask(s)[0] == want and s.stop() == 0
    assert any("holds no page" in line for line in s.log), s.log
    os.remove(spilled())
    s = start("--kv-spill", "256K")
    for i in range(6):
        ask(s, "".join(random.Random(i).choices("abcdefgh ", k=300)))
    last, _, _ = ask(s)
    assert s.stop() == 0 and os.path.getsize(spilled()) <= 256 << 10
    s = start("--kv-spill", "256K")
    again, cached, _ = ask(s)
    assert again == last and cached > 0, cached
    assert s.stop() == 0
tap.done()
