#!/usr/bin/env python3
"""evidence_share -- what receipts cost while 32 clients are served: CPU time of the keeper and of the thread that keeps the log,
against all of the server's. Usage: bench/evidence_share.py MODEL.gguf [CLIENTS [SECONDS]]"""
import os, re, subprocess, sys, tempfile, threading, time, http.client, json

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
TOOL = os.path.join(os.environ.get("B", os.path.join(ROOT, "build")), "tokenworks")
model = sys.argv[1]
clients, seconds = (int(n) for n in (sys.argv[2:] + ["32", "30"][len(sys.argv) - 2:]))
TICK = os.sysconf("SC_CLK_TCK")


def cpu_s(path):
    fields = open(path).read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def main():
    with tempfile.TemporaryDirectory() as work:
        env = {**os.environ, "TOKENWORKS_HOME": work}
        subprocess.run([TOOL, "trust", "init", "--site", "bench.example"], env=env, check=True, capture_output=True)
        server = subprocess.Popen([TOOL, "serve", "--model", model, "--listen", "127.0.0.1:0"], env=env, stdout=subprocess.PIPE,
                                  stderr=subprocess.DEVNULL, text=True)
        port = int(re.search(r":(\d+)$", server.stdout.readline().strip()).group(1))

        def ask(n):
            c = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
            c.request("POST", "/v1/chat/completions", json.dumps({"messages": [{"role": "user", "content": f"Tell me about the number {n}."}],
                      "max_tokens": 64, "stream": True}), {"Content-Type": "application/json"})
            r = c.getresponse()
            return r.status, r.read()

        while ask(0)[0] != 200:
            time.sleep(0.2)

        def processes():
            out = subprocess.run(["pgrep", "-P", str(server.pid)], capture_output=True, text=True).stdout.split()
            found = {open(f"/proc/{pid}/comm").read().strip(): f"/proc/{pid}/stat" for pid in out}
            for tid in os.listdir(f"/proc/{server.pid}/task"):
                if open(f"/proc/{server.pid}/task/{tid}/comm").read().strip() == "tw-trustlog":
                    found["tw-trustlog"] = f"/proc/{server.pid}/task/{tid}/stat"
            return {**found, "front": f"/proc/{server.pid}/stat"}

        before = {name: cpu_s(path) for name, path in processes().items()}
        done, until = [0] * clients, time.time() + seconds

        def client(i):
            while time.time() < until:
                done[i] += ask(i * 100000 + done[i])[0] == 200

        threads = [threading.Thread(target=client, args=(i,)) for i in range(clients)]
        [t.start() for t in threads]
        [t.join() for t in threads]
        spent = {name: cpu_s(path) - before[name] for name, path in processes().items()}
        server.terminate()
        server.wait()
    total = spent["front"] + spent["tw-engine"] + spent["tw-keeper"]  # the log's thread is part of the front
    share = (spent["tw-keeper"] + spent["tw-trustlog"]) / total
    print(f"{clients} clients, {sum(done)} requests of 64 tokens: engine {spent['tw-engine']:.2f} s, front {spent['front']:.2f} s, "
          f"keeper {spent['tw-keeper']:.2f} s, log {spent['tw-trustlog']:.2f} s of CPU: keeper and log {100 * share:.2f} %")


main()
