"""engines -- each program we stand beside, behind the same few questions.

An engine answers speed(model, test) in tokens/s, or None where it has no such test. A test is a Test(p, n, b, d): prefill
of p tokens, or n tokens decoded for b sequences together after d tokens of context. One call is one run: whoever calls
goes round the engines in turn, so that the machine's moods fall on all alike.
"""
import collections, json, os, subprocess, sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(HERE, "..", "..")
Test = collections.namedtuple("Test", "p n b d", defaults=(0, 0, 1, 0))


def run(command, timeout=600):
    r = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=timeout)
    if r.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}: {r.stderr.strip()[-400:]}")
    return r.stdout


class Ours:
    def __init__(self, threads, isa=None):
        self.name = "tokenworks" + (f" --isa {isa}" if isa else "")
        self.threads, self.isa, self.probes, self.detail = threads, isa, [], {}

    def speed(self, model, t):
        shape = ["-p", t.p, "-n", 1] if t.p else ["-p", 1, "-n", t.n, "-b", t.b, "-d", t.d]
        j = json.loads(run([os.path.join(ROOT, "build", "tokenworks"), "bench", "-m", model, *shape, "-r", 1, "--json",
                            "-t", self.threads, *(["--isa", self.isa] if self.isa else [])]))
        self.probes += [j["probe"]["before"], j["probe"]["after"]]
        result = next(r for r in j["results"] if r["test"].startswith(f"pp{t.p}" if t.p else f"tg{t.n}"))
        self.detail = {"gb_per_s": result["gb_per_s"], "tflops": result["tflops"], "bytes_per_token":
                       result["bytes_per_token"], "read_gb_per_s": [p["read_gb_per_s"] for p in self.probes[-2:]]}
        return result["tokens_per_s"]


class Llama:
    """llama.cpp or a fork of it, built on this machine: a folder with llama-bench and llama-batched-bench."""

    def __init__(self, name, folder, threads, options=()):
        self.name, self.folder, self.threads, self.options = name, folder, threads, list(options)

    def speed(self, model, t):
        if t.b > 1:
            return self.batched(model, t)
        shape = ["-p", t.p, "-n", 0] if t.p else ["-p", 0, "-n", t.n]
        if t.d:
            if "-gp" in self.options:  # a fork without -d: decode after a prompt of d tokens
                shape = ["-p", 0, "-n", 0, "-gp", f"{t.d},{t.n}"]
            else:
                shape += ["-d", t.d]
        options = [o for o in self.options if o != "-gp"]
        rows = json.loads(run([os.path.join(self.folder, "llama-bench"), "-m", model, "-t", self.threads, "-r", 1,
                               "-o", "json", *options, *shape]))
        return rows[-1]["avg_ts"]

    def batched(self, model, t):
        text = run([os.path.join(self.folder, "llama-batched-bench"), "-m", model, "-t", self.threads, "-c",
                    (t.d + t.n) * t.b + 256, "-npp", t.d, "-ntg", t.n, "-npl", t.b,
                    *[o for o in self.options if o not in ("-gp", "1")]])  # its switches take no value
        for line in text.splitlines():  # |    PP |     TG |    B |   N_KV |   T_PP s | S_PP t/s |   T_TG s | S_TG t/s |
            cells = [c.strip() for c in line.strip("| \n").split("|")]
            if len(cells) >= 8 and cells[0] == str(t.d):
                return float(cells[7])
        raise RuntimeError(f"{self.name}: llama-batched-bench printed no table")


class OpenVino:
    """OpenVINO GenAI from PyPI: `python` is one that can import openvino_genai. It is timed from inside."""

    def __init__(self, python, threads):
        self.name, self.python, self.threads = "OpenVINO GenAI", python, threads

    def speed(self, model, t):
        if t.b > 1:
            return None
        text = run([self.python, os.path.join(HERE, "openvino_run.py"), model, t.p or max(t.d, 16), t.n or 1,
                    self.threads], timeout=900)
        j = json.loads(text.strip().splitlines()[-1])
        return j["prefill_per_s"] if t.p else j["decode_per_s"]


class Node:
    """node-llama-cpp as npm packages it (`npm ci` in bench/peers)."""

    name = "node-llama-cpp"

    def __init__(self, threads):
        self.threads = threads

    def speed(self, model, t):
        if t.b > 1 or t.d:
            return None
        j = json.loads(run(["node", os.path.join(HERE, "node_llama.mjs"), model, t.p or 16, t.n or 8, self.threads,
                            1]).strip().splitlines()[-1])
        return j["pp"][0] if t.p else j["tg"][0]
