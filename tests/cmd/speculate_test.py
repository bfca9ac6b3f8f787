#!/usr/bin/env python3
"""speculate_test -- guesses over HTTP with a real model: the same answers with them and without; what is counted."""
import glob, os, subprocess, sys, time
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from server import BINARY, MODEL, ROOT, Server, Tap, need_model

tap = Tap()
need_model(tap)
SHARED = os.path.join(ROOT, "..", "shared")
SHARED = SHARED if os.path.isdir(SHARED) else os.environ.get("TW_SHARED", "")
SAY = "Repeat three times: the quick brown fox jumps over the lazy dog, the quick brown fox sleeps."
ASK = [dict(max_tokens=40, min_tokens=40), dict(max_tokens=40, temperature=0.9, seed=7, logprobs=True, top_logprobs=2),
       dict(max_tokens=40, temperature=0.6, seed=3, frequency_penalty=0.4, stop=["sleeps"]),
       dict(max_tokens=30, temperature=1, seed=5, guided_regex="the (quick|slow) brown fox (jumps|sleeps)\\.")]


def answers(*options):
    s = Server(*options).wait_ready()
    got = [s.chat(SAY, **fields)[1] for fields in ASK]
    return s, [(a["choices"], a["usage"]["completion_tokens"]) for a in got], [a["usage"] for a in got]


plain, want, usage = answers("--speculate", "off")
with tap.case("without guesses there is nothing to count"):
    assert not any("completion_tokens_details" in u for u in usage), usage
    assert "spec_decode" not in plain.get("/metrics")[1].decode()
plain.stop()

eager, got, usage = answers("--speculate", "6", "--draft", MODEL)
with tap.case("the same tokens and log-probabilities with the model's own twin guessing"):
    assert got == want, [(a, b) for a, b in zip(got, want) if a != b]
with tap.case("usage and metrics count guesses alike"):
    details = [u["completion_tokens_details"] for u in usage]
    right = sum(d["accepted_prediction_tokens"] for d in details)
    wrong = sum(d["rejected_prediction_tokens"] for d in details)
    assert right >= 20, details
    time.sleep(0.7) # the engine tells its figures every quarter of a second
    assert eager.metric("tokenworks_spec_decode_num_draft_tokens_total") == right + wrong
    assert eager.metric("tokenworks_spec_decode_num_accepted_tokens_total") == right
    assert any(eager.metric(f"tokenworks_step_time_{k}_seconds") > 0 for k in "abcd")  # which one is the machine's to say
eager.stop()

with tap.case("--speculate says what it wants"):
    r = subprocess.run([BINARY, "serve", "--model", MODEL, "--speculate", "99"], capture_output=True, text=True, timeout=60)
    assert r.returncode != 0 and "auto, off or a number from 1 to" in r.stderr, r.stderr

with tap.case("a guesser of another vocabulary is refused with a sentence"):
    others = sorted(glob.glob(os.path.join(SHARED, "vocabs", "*.gguf")) + glob.glob(os.path.join(SHARED, "golden/vocabs", "*.gguf")))
    if others:
        r = subprocess.run([BINARY, "serve", "--model", MODEL, "--listen", "127.0.0.1:0", "--draft", others[0]],
                           capture_output=True, text=True, timeout=120)
        assert r.returncode == 2 or r.returncode == 1, r.returncode
        assert "the draft model cannot guess for this one" in r.stderr and "same family" in r.stderr, r.stderr

tap.done()
