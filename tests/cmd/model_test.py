#!/usr/bin/env python3
"""model_test -- inspect, quantize and logits as a user meets them (TAP)."""
import array, json, os, subprocess, sys, tempfile

B = os.environ.get("B", "build")
SHARED = "../shared" if os.path.isdir("../shared/golden") else os.environ.get("TW_SHARED", "")
MODELS = os.path.join(SHARED, "golden/models")
count, failed = 0, False


def tw(*args, **kw):
    return subprocess.run([os.path.join(B, "tokenworks"), *args], capture_output=True, text=True, **kw)


def ok(good, name, note=""):
    global count, failed
    count += 1
    failed |= not good
    print(f"{'ok' if good else 'not ok'} {count} - {name}" + (f"\n# {note}" if note and not good else ""), flush=True)


def floats(path):
    a = array.array("f")
    with open(path, "rb") as f:
        a.frombytes(f.read())
    return a


def nmse(a, b):
    return sum((x - y) ** 2 for x, y in zip(a, b)) / sum(y * y for y in b)


def main():
    tmp = tempfile.mkdtemp()
    out, q = os.path.join(tmp, "x.bin"), os.path.join(tmp, "q.gguf")
    tokens = os.path.join(MODELS, "tokens.txt")
    r = tw("logits", "--model", "x")
    ok(r.returncode == 2 and "--tokens" in r.stderr, "logits without its options is wrong usage", r.stderr)
    r = tw("inspect", "/nowhere.gguf")
    ok(r.returncode == 1 and "/nowhere.gguf" in r.stderr, "inspect names a file that is not there", r.stderr)
    r = tw("inspect", tokens if SHARED else __file__)
    ok(r.returncode == 1 and "not a GGUF file" in r.stderr, "inspect says what is not a model", r.stderr)
    if not SHARED:
        print(f"ok {count + 1} - golden models # SKIP no golden data\n1..{count + 1}")
        return failed
    f32 = os.path.join(MODELS, "llama-256.gguf")
    want = floats(os.path.join(MODELS, "llama-256.logits"))
    r = tw("inspect", "--json", "--keys", "--tensors", "--ctx", "128", f32)
    j = json.loads(r.stdout)
    ok(j["architecture"] == "llama" and j["keys"]["llama.block_count"] == 2 and len(j["tensors"]) == 21 and
       j["needs"]["kv_tokens"] == 128 and j["needs"]["kv_token_bytes"] == 2 * 2 * 2 * 64 * 2, "inspect --json", r.stdout)
    r = tw("inspect", os.path.join(MODELS, "qwen35.gguf"))
    ok(r.returncode == 0 and "cannot be served" in r.stdout and "'qwen35' is not supported" in r.stdout,
       "inspect says why a model cannot be served", r.stdout)
    # Error of the whole model grows as the bits shrink; the bounds are twice what the formats' own error gives.
    bounds = {"F16": 2e-6, "Q8_0": 1e-3, "Q6_K": 6e-3, "Q5_0": 0.03, "Q4_1": 0.1, "Q4_K_M": 0.1, "IQ4_XS": 0.1,
              "Q3_K_M": 0.3}
    for kind, bound in bounds.items():
        r = tw("quantize", "-j", "2", f32, q, kind)
        s = tw("logits", "--model", q, "--tokens", tokens, "--out", out)
        e = nmse(floats(out), want) if not r.returncode and not s.returncode else 9
        ok(e <= bound, f"quantize to {kind}", f"{r.stderr}{s.stderr} error {e}")
    r = tw("quantize", q, os.path.join(tmp, "again.gguf"), "F16")
    ok(r.returncode == 0, "quantize back to F16", r.stderr)
    r = tw("quantize", f32, q, "Q9_9")
    ok(r.returncode == 1 and "no type 'Q9_9'" in r.stderr, "quantize names the types it knows", r.stderr)
    bad = os.path.join(tmp, "bad.txt")
    with open(bad, "w") as f:
        f.write("1 2 320")
    r = tw("logits", "--model", f32, "--tokens", bad, "--out", out)
    ok(r.returncode == 1 and "'320' is not a token id within 0..319" in r.stderr, "logits checks ids", r.stderr)
    r = tw("logits", "--model", f32, "--tokens", tokens, "--out", out, "--ctx", "64")
    ok(r.returncode == 1 and "larger --ctx" in r.stderr, "logits checks the context", r.stderr)
    bits = []
    for extra in ([], ["--chunk", "1"], ["--chunk", "9", "--batch-with", "2", "-j", "3"], ["--isa", "ref"]):
        tw("logits", "--model", os.path.join(MODELS, "gpt-oss.gguf"), "--tokens", tokens, "--out", out, *extra)
        bits.append(floats(out).tobytes())
    ok(len(set(bits)) == 1 and len(bits[0]) == 96 * 320 * 4, "logits: the same bytes however they are made")
    print(f"1..{count}")
    return failed


sys.exit(main())
