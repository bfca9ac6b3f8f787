#!/usr/bin/env python3
"""batches_test -- a batch by the official OpenAI client on the default model, killed twice midway; deadlines and classes
of single requests on the same server."""
import json, os, signal, subprocess, sys, tempfile, time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from server import BINARY, ROOT, Server, Tap, need_model

PYTHON = os.environ.get("TW_PYTHON", os.path.join(ROOT, ".venv", "bin", "python"))
SCRIPT = os.path.join(ROOT, "tests", "clients", "openai_batch.py")
tap = Tap()
need_model(tap)
work = tempfile.TemporaryDirectory()
config = os.path.join(work.name, "config.yaml")
with open(config, "w") as f:
    f.write(f"batches:\n  dir: {work.name}/kept\nledger:\n  book: always\n")


def serve():
    return Server("--config", config, "--state", work.name).wait_ready()


def client(*words):
    if not os.path.exists(PYTHON):
        raise AssertionError(f"{PYTHON} is missing: tools/deps test installs it")
    r = subprocess.run([PYTHON, SCRIPT, *words], capture_output=True, text=True, timeout=150,
                       env={**os.environ, "OPENAI_BASE_URL": s.url + "/v1", "OPENAI_API_KEY": "none"})
    assert r.returncode == 0, r.stdout + r.stderr
    return r.stdout.strip()


s = serve()
with tap.case("a batch of the official client survives kill -9 and is billed once"):
    batch = client("start")
    for _ in range(2):
        client("some", batch)
        os.kill(s.process.pid, signal.SIGKILL)
        s.process.wait()
        s = serve()
    client("finish", batch)
    out = subprocess.run([BINARY, "usage", "--json", "--state", work.name], check=True, capture_output=True, text=True)
    rows = json.loads(out.stdout)
    assert [(r["requests"], r["output_tokens"]) for r in rows] == [(24, 24 * 24)], rows
    subprocess.run([BINARY, "usage", "verify", "--state", work.name], check=True, capture_output=True)
with tap.case("a deadline that cannot be met is refused at once, one that can is met"):
    s.chat("Tell me a story. " * 20, max_tokens=100, ignore_eos=True)  # the engine learns how long its steps take
    status, answer, _ = s.chat("Count to ten.", max_tokens=500, ignore_eos=True, deadline_ms=20)
    e = answer["error"]
    assert (status, e["code"], e["param"]) == (400, "deadline_too_short", "deadline_ms"), answer
    status, answer, _ = s.chat("Count to ten.", max_tokens=5, deadline_ms=60000, priority=3)
    assert status == 200 and answer["choices"][0]["message"]["content"], answer
    time.sleep(0.6)  # figures come four times a second
    assert s.metric("tokenworks_deadlines_refused_total") >= 1 and s.metric("tokenworks_deadlines_missed_total") == 0
s.stop()
tap.done()
