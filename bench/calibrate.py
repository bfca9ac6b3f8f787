#!/usr/bin/env python3
"""calibrate -- plan and reality on one page: one trace, replayed on the live server and by the simulator.

Starts `tokenworks serve` (speculation off, its own state folder), warms it until its engine knows its step times, has
`tokenworks plan --machine` write the scenario of this machine, then replays the same rows of the trace with
`tokenworks load` and `tokenworks simulate` and prints both with their ratio. --out keeps all of it.

    bench/calibrate.py --model FILE --trace FILE [--rows 80] [--load 0.6]

Asked of the two: 10 % on throughput and the p50s, 20 % on the p99s; exit status 1 when the medians of the runs miss it.
"""
import argparse
import json
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

FIGURES = [("output tok/s", ("output_tokens_per_s",), 0.10), ("TTFT p50 ms", ("ttft_ms", "p50"), 0.10),
           ("TTFT p99 ms", ("ttft_ms", "p99"), 0.20), ("ITL p50 ms", ("itl_ms", "p50"), 0.10),
           ("ITL p99 ms", ("itl_ms", "p99"), 0.20), ("whole p50 ms", ("end_to_end_ms", "p50"), 0.10),
           ("whole p99 ms", ("end_to_end_ms", "p99"), 0.20)]


def run(args, **kw):
    return subprocess.run(args, check=True, capture_output=True, text=True, **kw).stdout


class Server:
    def __init__(self, o, folder):
        self.port = random.randrange(20000, 60000)
        self.url = "http://127.0.0.1:%d" % self.port
        self.log = open(folder + "/serve.log", "w")
        self.process = subprocess.Popen(
            [o.program, "serve", "--model", o.model, "--listen", "127.0.0.1:%d" % self.port, "--state",
             folder + "/state", "--speculate", "off"] + o.serve.split(), stderr=self.log, stdout=self.log)
        for _ in range(600):
            try:
                urllib.request.urlopen(self.url + "/health", timeout=2)
                return
            except OSError:
                time.sleep(0.2)
        raise SystemExit("calibrate: the server does not start; see " + folder + "/serve.log")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()


def median(runs, path):
    def at(v):
        for k in path:
            v = v[k]
        return v
    return statistics.median(at(r) for r in runs)


class Watch(threading.Thread):
    """Asks the engine every two seconds for the step times it has learned: their mean over a run is the machine as it
    was during that run, whoever else used it."""

    def __init__(self, url):
        super().__init__(daemon=True)
        self.url, self.seen, self.over = url, [], threading.Event()

    def run(self):
        while not self.over.wait(2):
            text = urllib.request.urlopen(self.url + "/metrics", timeout=10).read().decode()
            self.seen.append([float(re.search(r"^tokenworks_step_time_%s_seconds\{.*\} (\S+)" % k, text, re.M).group(1))
                              for k in "abcde"])

    def mean(self):
        self.over.set()
        self.join()
        return [1e3 * statistics.mean(v) for v in zip(*self.seen)]


def with_step(scenario, ms, out):
    line = "step: {a: %.6g ms, b: %.6g ms/tok, c: %.6g ms/tok, d: %.6g ns/tok, e: %.6g ns/tok2}" % (
        ms[0], ms[1], ms[2], 1e6 * ms[3], 1e6 * ms[4])
    with open(scenario) as f, open(out, "w") as g:
        g.write(re.sub(r"step: \{.*\}", line, f.read()))


def simulate(o, scenario, speed):
    return json.loads(run([o.program, "simulate", scenario, "--units", "machine@here=1", "--no-failures", "--trace",
                           o.trace, "--speed", repr(speed), "-r", str(o.rows), "-p", str(o.prompt), "-n", str(o.answer),
                           "--json"]))


def choose_speed(o, scenario):
    """The trace's clock for which the simulated machine is busy for `load` of the time."""
    low, high = 0.001, 1000.0
    for _ in range(24):
        mid = (low * high) ** 0.5
        if simulate(o, scenario, mid)["groups"][0]["busy"] < o.load:
            low = mid
        else:
            high = mid
    return float("%.4g" % low)


def probe(o):
    try:
        return json.loads(run([o.program, "bench", "--model", o.model, "-p", "128", "-n", "0", "-r", "1", "--json"]))["probe"]
    except (subprocess.CalledProcessError, KeyError):
        return None


def table(loads, sims):
    print("%-14s %12s %12s %8s %7s" % ("", "load", "simulate", "ratio", "asked"))
    good = True
    for name, path, limit in FIGURES:
        a, b = median(loads, path), median(sims, path)
        ratio = b / a if a else float("nan")
        hit = abs(ratio - 1) <= limit
        good = good and hit
        print("%-14s %12.1f %12.1f %8.3f %6.0f%%%s" % (name, a, b, ratio, 100 * limit, "" if hit else "  missed"))
    return good


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--program", default="build/tokenworks")
    a.add_argument("--model", required=True)
    a.add_argument("--trace", required=True)
    a.add_argument("--rows", type=int, default=80)
    a.add_argument("--prompt", type=int, default=300, help="longest prompt")
    a.add_argument("--answer", type=int, default=60, help="longest answer")
    a.add_argument("--load", type=float, default=0.6, help="share of the time the machine is to be busy")
    a.add_argument("--speed", type=float, help="the trace's clock instead")
    a.add_argument("--runs", type=int, default=1)
    a.add_argument("--warm-up", default="1,4,10", help="requests in flight of the warm-up")
    a.add_argument("--serve", default="", help="more options for tokenworks serve")
    a.add_argument("--out", help="keep the scenario and both results there")
    o = a.parse_args()
    folder = o.out or tempfile.mkdtemp(prefix="calibrate-")
    os.makedirs(folder, exist_ok=True)
    before = probe(o)
    server = Server(o, folder)
    loads, sims, forecasts = [], [], []
    try:
        run([o.program, "load", "--url", server.url, "-c", o.warm_up, "-p", str(o.prompt), "-n", str(o.answer)])
        run([o.program, "load", "--url", server.url, "-c", "2", "-r", "6", "-p", str(o.prompt // 3), "-n", "20"])
        time.sleep(1.5)  # the engine reports its figures once a second
        speed = o.speed
        for i in range(o.runs):
            scenario = "%s/machine-%d.yaml" % (folder, i)
            with open(scenario, "w") as f:
                f.write(run([o.program, "plan", "--machine", server.url]))
            speed = speed or choose_speed(o, scenario)
            began, watch = time.time(), Watch(server.url)
            watch.start()
            loads.append(json.loads(run([o.program, "load", "--url", server.url, "--trace", o.trace, "--speed",
                                         repr(speed), "-r", str(o.rows), "-p", str(o.prompt), "-n", str(o.answer),
                                         "--json"]))["runs"][0])
            print("# run %d: speed %g, %.0f s, %d of %d answered" % (i + 1, speed, time.time() - began,
                  loads[-1]["completed"], o.rows), file=sys.stderr)
            forecasts.append(simulate(o, scenario, speed)["runs"][0])
            with_step(scenario, watch.mean(), scenario.replace("machine", "during"))
            sims.append(simulate(o, scenario.replace("machine", "during"), speed)["runs"][0])
    finally:
        server.stop()
    after = probe(o)
    with open(folder + "/result.json", "w") as f:
        json.dump({"load": loads, "simulate": sims, "forecast": forecasts, "speed": speed, "before": before, "after": after,
                   "options": vars(o)}, f, indent=1)
    print("with the step times learned before the run:")
    table(loads, forecasts)
    print("with the step times of the run:")
    good = table(loads, sims)
    print("# all of it: " + folder)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
