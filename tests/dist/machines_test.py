#!/usr/bin/env python3
"""machines_test -- ranks on two machines (network namespaces, a link between them): bytes moved, a link that dies (TAP)."""
import ctypes, json, os, re, shutil, subprocess, sys, tempfile, time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cmd"))
import tiny_llama
from server import BINARY, Server, Tap

tap = Tap()
if not shutil.which("mpirun"):
    tap.skip_all("no mpirun (openmpi-bin)")
if "thread" in os.environ.get("SANITIZE", ""):
    tap.skip_all("MPI's own threads are not instrumented")
NAMES = [f"tws{os.getpid()}{c}" for c in "ab"]
DIM, PAGE = 64, 32


def ip(*words, check=True):
    return subprocess.run(["ip", *words], check=check, capture_output=True, text=True).stdout


def remove():
    for n in NAMES:
        ip("netns", "del", n, check=False)


def lay():
    for n in NAMES:
        ip("netns", "add", n)
    ip("link", "add", NAMES[0], "netns", NAMES[0], "type", "veth", "peer", "name", NAMES[1], "netns", NAMES[1])
    for i, n in enumerate(NAMES):
        ip("-n", n, "addr", "add", f"10.78.90.{i + 1}/24", "dev", n)
        ip("-n", n, "link", "set", "lo", "up")
        ip("-n", n, "link", "set", n, "up")
    with open(f"/run/netns/{NAMES[0]}") as f:  # this test, and the server it starts, are on the first machine
        if ctypes.CDLL(None, use_errno=True).setns(f.fileno(), 0x40000000):
            raise OSError(ctypes.get_errno(), "setns")


try:
    lay()
except (OSError, subprocess.CalledProcessError) as e:
    remove()
    tap.skip_all("network namespaces need root and ip(8)")

tmp = tempfile.TemporaryDirectory()
MODEL, HOSTS, AGENT = (os.path.join(tmp.name, n) for n in ("tiny.gguf", "hosts", "agent"))
tiny_llama.write(MODEL, seed=11, ctx=1024, layers=4)
with open(HOSTS, "w") as f:
    f.write("10.78.90.1 slots=1\n10.78.90.2 slots=1\n")
with open(AGENT, "w") as f:  # instead of ssh
    f.write(f'#!/bin/sh\nshift\nexec nsenter --net=/run/netns/{NAMES[1]} sh -c "$*"\n')
os.chmod(AGENT, 0o755)
NET = "10.78.90.0/24"
ENV = {"OMPI_MCA_plm_rsh_agent": AGENT, "OMPI_MCA_btl_tcp_if_include": NET, "OMPI_MCA_oob_tcp_if_include": NET,
       "OMPI_MCA_orte_keep_fqdn_hostnames": "1", "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "detect_leaks=0")}
OPTIONS = ["--state", os.path.join(tmp.name, "state"), "--threads", "1", "--kv-memory", "4M", "--speculate", "off",
           "--sandbox", "best-effort"]


def ask(s, tokens, prompt="It was the best of times, it was the worst of times. "):
    return s.post("/v1/completions", {"prompt": prompt, "max_tokens": tokens, "temperature": 0.7, "seed": 2,
                                      "ignore_eos": True})


def sent():
    table = ip("-n", NAMES[0], "-s", "-j", "link", "show", "dev", NAMES[0])
    return json.loads(table)[0]["stats64"]["tx"]["bytes"]


def machine_of(pid):
    return os.readlink(f"/proc/{pid}/ns/net")


def of_kind(kind):
    out = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True).stdout.splitlines()
    return [int(l.split()[0]) for l in out if MODEL in l and re.search(r"tokenworks " + kind + r"\b", l)]


try:
    whole = Server(*OPTIONS, model=MODEL).wait_ready()
    want = ask(whole, 200)[1]["choices"]
    assert whole.stop() == 0
    s = Server(*OPTIONS, "--ranks", "2", "--hostfile", HOSTS, model=MODEL, env=ENV).wait_ready()
    with tap.case("two machines answer with the bytes of one, each with a carrier"):
        answer = ask(s, 200)
        assert answer[0] == 200 and answer[1]["choices"] == want, answer
        assert len({machine_of(p) for p in of_kind("carrier")}) == 2
    with tap.case("a step moves the bytes that docs/split.md says"):
        before = sent()
        usage = ask(s, 400, prompt="Something else altogether, and nobody has read it before: ")[1]["usage"]
        moved = sent() - before
        prompt, tokens = usage["prompt_tokens"], usage["completion_tokens"]
        pages = sum((prompt + i) // PAGE + 1 for i in range(tokens))
        told = (prompt + tokens) * 4 * DIM + tokens * (24 + 12 + 4) + 4 * pages
        frames = tokens * (64 + 66 * 2 + 80)  # padding, TCP's own headers and acknowledgements, MPI's
        assert told <= moved <= told + frames, (told, moved, frames)
    with tap.case("a link that dies ends the answer with an error within 20 s, and 503 with Retry-After follows"):
        ip("-n", NAMES[0], "link", "set", NAMES[0], "down")
        since = time.monotonic()
        status, _, headers = ask(s, 100)
        assert status == 503 and int(headers["retry-after"]) >= 1, status
        assert time.monotonic() - since < 20
    with tap.case("when it is back the model is back, with the same bytes"):
        ip("-n", NAMES[0], "link", "set", NAMES[0], "up")
        end = time.monotonic() + 60
        while s.get("/health")[0] != 200:
            assert time.monotonic() < end, "".join(s.log)[-2000:]
            time.sleep(.1)
        assert ask(s, 200)[1]["choices"] == want
    with tap.case("nothing stays on either machine"):
        assert s.stop() == 0
        end = time.monotonic() + 10
        while of_kind("carrier") or of_kind("stage"):
            assert time.monotonic() < end, (of_kind("carrier"), of_kind("stage"))
            time.sleep(.1)
finally:
    remove()
tap.done()
