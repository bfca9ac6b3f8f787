"""gates -- what the fleet must survive, as functions on a Lab: a fault strikes while answers stream, and every answer is
the one that would have come without it, token for token, within a time. gates_test.py runs each once, soak.py at random.

"Silence" is the longest time between two pieces of a stream that ended after the fault struck (or was healed, where
nothing can be answered before that)."""
import random, signal, time
from lab import Stream, percentile, until

WORKER_S, LINK_S, ORPHAN_S = 1.5, 4.0, 5.0
TOKENS = 160
# prompt, seed, temperature: greedy and drawn
ASKS = [("Write a long story about a lighthouse.", 1, 0.0), ("List the rivers of Europe, with a remark on each.", 2, 0.0),
        ("Invent a recipe with unusual ingredients.", 3, 0.9), ("Explain how a clock works, at length.", 4, 0.7)]


class Gates:
    """slow: how much wider the time limits are (a busy machine); everything else is exact."""
    def __init__(self, lab, slow=1.0, tokens=TOKENS):
        self.lab, self.slow, self.tokens, self.truth, self.silences, self.idle = lab, slow, tokens, {}, {}, 0

    # ---- the answers there should be
    def learn(self):
        """Each answer without a fault, at every site: they must agree before anything is broken."""
        for site in self.lab.places:
            for ask in ASKS:
                s = self.ask(site, ask).wait()
                assert s.status == 200 and s.whole, (site, s.status, s.error)
                assert s.usage["completion_tokens"] == self.tokens, s.usage
                want = self.truth.setdefault(ask, (s.text, s.usage["prompt_tokens"]))
                assert want[0] == s.text, f"{site} answers {ask} otherwise:\n{s.text}\n{want[0]}"
        self.rest()
        self.idle = max(self.pages(name) for name in self.lab.beating())

    def ask(self, site, ask, **more):
        prompt, seed, temperature = ask
        return Stream(self.lab, site, prompt, seed, tokens=self.tokens, temperature=temperature, **more)

    def check(self, s, ask):
        want, prompt_tokens = self.truth[ask]
        assert s.status == 200 and not s.error, f"{s.status} {s.error} after {len(s.pieces)} pieces"
        assert s.text == want, f"other tokens after a fault:\n{s.text}\n-- instead of --\n{want}"
        assert s.whole, "the stream has no end"
        used = (s.usage["prompt_tokens"], s.usage["completion_tokens"])
        assert used == (prompt_tokens, self.tokens), f"billed {used}, not {(prompt_tokens, self.tokens)}"

    def pages(self, name):
        """Of KV memory, in use."""
        return sum(m["kv_pages"] - m["kv_pages_free"] for m in self.lab.beat(name)["models"])

    def busy(self, name):
        return sum(m["running"] + m["waiting"] for m in self.lab.beat(name)["models"])

    def rest(self, seconds=15):
        until(lambda: all(self.busy(n) == 0 for n in self.lab.beating()), "every worker to be idle", seconds)

    def busiest(self, site):
        """The worker that most streams run on: a fault elsewhere would prove nothing."""
        may = self.lab.fleet.allowed[self.lab.places[site]]
        mine = lambda: [n for n in self.lab.beating() if self.lab.places[n[:3]] in may]
        until(lambda: any(self.busy(n) for n in mine()), f"a worker for {site} to be busy", 10)
        return max(mine(), key=self.busy)

    # ---- a fault under way
    def strike(self, what, sites, limit_s, do, undo=None, hold_s=0.0, from_heal=False):
        """Streams at each of sites; do() once all of them speak; undo() after hold_s. Returns the longest silence."""
        jobs = [(self.ask(site, ask), ask) for site in sites for ask in ASKS]
        until(lambda: all(len(s.pieces) >= 4 or s.error for s, _ in jobs), "every stream to speak", 60)
        do()
        struck = time.monotonic()
        if undo:
            time.sleep(hold_s)
            undo()
            struck = time.monotonic() if from_heal else struck
        for s, ask in jobs:
            self.check(s.wait(), ask)
        silence = max(s.gap(struck) for s, _ in jobs)
        self.silences.setdefault(what, []).extend(s.gap(struck) for s, _ in jobs)
        assert silence < limit_s * self.slow, f"{what}: {silence:.2f} s of silence, {limit_s} allowed"
        return silence

    def home(self):
        """Everything healed, every worker as empty as it was before anything happened."""
        self.lab.heal()
        self.rest()
        until(lambda: all(self.pages(n) <= self.idle for n in self.lab.beating()),
              f"KV pages in use to be {self.idle} at most again; they are { {n: self.pages(n) for n in self.lab.beating()} }", 10)

    # ---- workers
    def kill_worker(self, site="fra"):
        return self.strike("worker killed", [site], WORKER_S, lambda: self.lab.nodes[self.busiest(site)].kill())

    def kill_engine(self, site="fra"):
        def do():
            node = self.lab.nodes[self.busiest(site)]
            node.signal(signal.SIGKILL, [node.engine()])
        return self.strike("engine killed", [site], WORKER_S, do)

    def stop_worker(self, site="fra"):
        """Its frames of before, and what it computes when it wakes, are stale: nobody may see them."""
        name = []

        def do():
            name.append(self.busiest(site))
            self.lab.nodes[name[0]].signal(signal.SIGSTOP)
        return self.strike("worker stopped", [site], WORKER_S, do, lambda: self.lab.nodes[name[0]].signal(signal.SIGCONT), 2.0)

    def stop_engine(self, site="fra"):
        def do():
            node = self.lab.nodes[self.busiest(site)]
            node.signal(signal.SIGSTOP, [node.engine()])
        return self.strike("engine stands still", [site], WORKER_S, do)

    def lose_workers(self, site="fra"):
        """Every worker of a site: another site that may compute its data does."""
        def do():
            for w in self.lab.workers:
                self.lab.nodes[f"{site}-{w}"].kill()
        return self.strike("all workers of a site lost", [site], LINK_S, do)

    # ---- links and servers
    def worker_link(self, site="fra"):
        name = []

        def do():
            name.append(self.busiest(site))
            self.lab.nodes[name[0]].link("down")
        return self.strike("worker's link down", [site], LINK_S, do, lambda: self.lab.nodes[name[0]].link("up"), 2.0)

    def one_way(self, site="fra", way="drop-up"):
        name = []

        def do():
            name.append(self.busiest(site))
            self.lab.fault(name[0], way)
        what = "one-way loss from a worker" if way == "drop-up" else "one-way loss to a worker"
        return self.strike(what, [site], LINK_S, do, lambda: self.lab.fault(name[0], "open"), 3.0)

    def site_link(self, mode="silent"):
        """Between the sites: each goes on with what it has."""
        return self.strike(f"link between sites {mode}", ["fra", "par"], LINK_S, lambda: self.lab.fault("par-link", mode),
                           lambda: self.lab.fault("par-link", "open"), 3.0)

    def stop_broker(self, site="fra"):
        node = self.lab.nodes[f"{site}-nats"]
        return self.strike("broker stopped", [site], LINK_S, lambda: node.signal(signal.SIGSTOP),
                           lambda: node.signal(signal.SIGCONT), 3.0, from_heal=True)

    def kill_broker(self, site="fra"):
        node = self.lab.nodes[f"{site}-nats"]
        return self.strike("broker killed", [site], LINK_S, node.kill, node.start, 1.0, from_heal=True)

    def delay(self, site="fra", ms=80):
        names = [f"{site}-{n}" for n in ("gate", *self.lab.workers)]
        return self.strike(f"{ms} ms on every wire", [site], LINK_S, lambda: [self.lab.fault(n, "delay", ms) for n in names],
                           lambda: [self.lab.fault(n, "open") for n in names], 2.0)

    # ---- clients
    def slow_client(self, site="fra"):
        """One that reads a line each 50 ms holds nobody up and gets it all."""
        slow = self.ask(site, ASKS[0], pace=0.05)
        quick = [(self.ask(site, ask), ask) for ask in ASKS[1:]]
        for s, ask in quick:
            self.check(s.wait(), ask)
        self.check(slow.wait(), ASKS[0])
        assert max(s.gap() for s, _ in quick) < LINK_S * self.slow

    def gone_client(self, site="fra"):
        """One that hangs up is not computed for any longer."""
        s = self.ask(site, ASKS[0])
        until(lambda: len(s.pieces) >= 4, "the stream to speak")
        s.hang_up()
        self.rest(ORPHAN_S * self.slow)

    def payloads(self, site="fra", sizes=(900_000, 1_100_000, 8_000_000)):
        for size in sizes:
            s = self.ask(site, ASKS[0], pad=size)
            self.check(s.wait(), ASKS[0])
        began = time.monotonic()
        s = self.ask(site, ASKS[0], pad=40_000_000).wait()
        assert s.status == 413, (s.status, s.error)
        assert time.monotonic() - began < LINK_S * self.slow

    def kill_gateway(self, site="fra", other="par"):
        """A retry elsewhere with the same Idempotency-Key gets the same answer; the orphan stops."""
        key = {"Idempotency-Key": f"retry-{random.getrandbits(64):x}"}
        s = self.ask(site, ASKS[2], headers=key)
        until(lambda: len(s.pieces) >= 4, "the stream to speak")
        self.lab.nodes[f"{site}-gate"].kill()
        killed = time.monotonic()
        s.wait()
        assert not s.whole and self.truth[ASKS[2]][0].startswith(s.text), (s.text, s.whole)
        again = self.ask(other, ASKS[2], headers=key)
        self.check(again.wait(), ASKS[2])
        until(lambda: all(self.busy(n) == 0 for n in self.lab.beating()), "the orphan to stop",
              max(0.1, ORPHAN_S * self.slow - (time.monotonic() - killed)))

    # ---- residency
    def residency(self):
        """A word said in Zurich is on no other site's server and on no link; one said in Frankfurt is never in Zurich."""
        for spy in self.lab.spies.values():
            spy.content.clear()
        for site, word in (("zrh", b"kanarienvogel-zrh"), ("fra", b"kanarienvogel-fra"), ("par", b"kanarienvogel-par")):
            jobs = [Stream(self.lab, site, f"Tell me about the {word.decode()} {i}.", tokens=8) for i in range(4)]
            for s in jobs:
                assert s.wait().whole, s.error
        time.sleep(0.5)
        seen = {site: {w for w in ("zrh", "fra", "par") if spy.saw(b"kanarienvogel-" + w.encode())}
                for site, spy in self.lab.spies.items()}
        assert "zrh" in seen["zrh"] and "fra" in seen["fra"] and "par" in seen["par"], f"the tap hears nothing: {seen}"
        assert seen["zrh"] == {"zrh"}, seen
        assert "zrh" not in seen["fra"] | seen["par"], seen
        with open(self.lab.tap_file("zrh-link"), "rb") as f:
            wire = f.read()
        assert b".hb " in wire, "the tap on Zurich's link hears nothing"
        assert b"kanarienvogel" not in wire and b".req " not in wire.replace(b"LS", b""), "content on Zurich's link"

    def table(self):
        lines = [f"{'fault':34} {'n':>4} {'p50 s':>7} {'p99 s':>7} {'max s':>7}"]
        for what, values in self.silences.items():
            lines.append(f"{what:34} {len(values):4} {percentile(values, .5):7.2f} {percentile(values, .99):7.2f} {max(values):7.2f}")
        return lines
