"""gates -- what the fleet must survive, as functions on a Lab: a fault strikes while answers stream, and every answer is
the one that would have come without it, token for token, within a time. gates_test.py runs each once, soak.py at random.

"Silence" is the longest time between two pieces of any of the streams that ended after the fault struck (or was healed,
where nothing can be answered before that)."""
import random, signal, threading, time
from lab import Stream, percentile, until

WORKER_S, LINK_S, ORPHAN_S = 1.5, 4.0, 5.0
TOKENS, LONG = 160, 1500
# prompt, seed, temperature: greedy and drawn
ASKS = [("Write a long story about a lighthouse.", 1, 0.0), ("List the rivers of Europe, with a remark on each.", 2, 0.0),
        ("Invent a recipe with unusual ingredients.", 3, 0.9), ("Explain how a clock works, at length.", 4, 0.7)]


class Gates:
    """slow: how much wider the time limits are (a busy machine); everything else is exact."""
    def __init__(self, lab, slow=1.0, tokens=TOKENS):
        self.lab, self.slow, self.tokens, self.truth, self.silences, self.idle = lab, slow, tokens, {}, {}, 0
        self.answers = self.given = 0  # whole and right: answers, and tokens in them
        self.load, self.whole_too = None, True
        self.engines_killed = 0

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
        return Stream(self.lab, site, prompt, seed, **{"tokens": self.tokens, "temperature": temperature, **more})

    def check(self, s, ask):
        want, prompt_tokens = self.truth[ask]
        assert s.status == 200 and not s.error, f"{s.status} {s.error} after {len(s.pieces)} pieces"
        assert s.text == want, f"other tokens after a fault:\n{s.text}\n-- instead of --\n{want}"
        assert s.whole, "the stream has no end"
        used = (s.usage["prompt_tokens"], s.usage["completion_tokens"])
        assert used == (prompt_tokens, self.tokens), f"billed {used}, not {(prompt_tokens, self.tokens)}"
        self.answers, self.given = self.answers + 1, self.given + self.tokens

    def pages(self, name):
        """Of KV memory, in use."""
        return sum(m["kv_pages"] - m["kv_pages_free"] for m in self.lab.beat(name)["models"])

    def busy(self, name):
        return sum(m["running"] + m["waiting"] for m in self.lab.beat(name)["models"])

    def steps(self):
        """Of every engine that is heard: while they grow, what is left over is being worked off."""
        return [m["steps"] for n in self.lab.beating() for m in self.lab.beat(n)["models"]]

    def rest(self, still_s=15, most_s=90):
        """Every worker idle. Whatever is left over was given up and must end; on a machine that is busy otherwise it may
        take its time, as long as engines get anywhere. That orphans stop in time is what gone_client and kill_gateway try."""
        end = time.monotonic() + most_s * self.slow
        moved, steps = time.monotonic(), None
        while any(self.busy(n) for n in self.lab.beating()):
            now, seen = time.monotonic(), self.steps()
            moved, steps = (now, seen) if seen != steps else (moved, steps)
            left = {n: self.busy(n) for n in self.lab.beating() if self.busy(n)}
            assert now < end and now - moved < still_s * self.slow, f"waited in vain for every worker to be idle: {left}"
            time.sleep(0.05)

    def busiest(self, site):
        """The worker that most streams run on: a fault elsewhere would prove nothing."""
        may = self.lab.fleet.allowed[self.lab.places[site]]
        mine = lambda: [n for n in self.lab.beating() if self.lab.places[n[:3]] in may]
        until(lambda: any(self.busy(n) for n in mine()), f"a worker for {site} to be busy", 10)
        return max(mine(), key=self.busy)

    # ---- a fault under way
    def strike(self, what, sites, limit_s, do, undo=None, hold_s=0.0, from_heal=False):
        """Streams at each of sites, and an answer that is none; do() once all of them speak; undo() after hold_s. Returns the
        longest silence."""
        jobs = [(self.ask(site, ask), ask) for site in sites for ask in ASKS]
        whole = [(self.ask(site, ASKS[2], stream=False), ASKS[2]) for site in sites if self.whole_too]
        until(lambda: all(len(s.pieces) >= 4 or s.error for s, _ in jobs), "every stream to speak", 60)
        do()
        struck = time.monotonic()
        if undo:
            time.sleep(hold_s)
            undo()
            struck = time.monotonic() if from_heal else struck
        for s, ask in jobs + whole:
            self.check(s.wait(), ask)
        silence = max(s.gap(struck) for s, _ in jobs)
        self.silences.setdefault(what, []).append(silence)
        assert silence < limit_s * self.slow, f"{what}: {silence:.2f} s of silence, {limit_s} allowed"
        return silence

    def home(self):
        """Everything healed, every worker as empty as it was before anything happened."""
        if self.load:
            self.load.hold()
        self.lab.heal()
        self.rest()
        until(lambda: all(self.pages(n) <= self.idle for n in self.lab.beating()),
              f"KV pages in use to be {self.idle} at most again; they are { {n: self.pages(n) for n in self.lab.beating()} }", 10)
        said = [line for n in self.lab.nodes.values() for line in open(n.log) if "front: the engine of " in line and " is gone: " in line]
        crashes, self.lab.crashes = self.lab.crashes, []
        assert len(said) <= self.engines_killed and not crashes, f"{self.engines_killed} engines killed, but {said}, {crashes}"
        if self.load:
            self.load.go()

    # ---- workers
    def kill_worker(self, site="fra"):
        return self.strike("worker killed", [site], WORKER_S, lambda: self.lab.nodes[self.busiest(site)].kill())

    def kill_engine(self, site="fra"):
        def do():
            node = self.lab.nodes[self.busiest(site)]
            self.engines_killed += 1
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
        s = self.ask(site, ASKS[0], tokens=LONG)  # it would go on for much longer than is allowed
        until(lambda: len(s.pieces) >= 4, "the stream to speak")
        s.hang_up()
        self.all_idle("what nobody reads to stop", ORPHAN_S * self.slow)

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
        s, orphan = self.ask(site, ASKS[2], headers=key), self.ask(site, ASKS[3], tokens=LONG)
        until(lambda: len(s.pieces) >= 4 and len(orphan.pieces) >= 4, "the streams to speak")
        self.lab.nodes[f"{site}-gate"].kill()
        killed = time.monotonic()
        s.wait(), orphan.wait()
        assert not s.whole and self.truth[ASKS[2]][0].startswith(s.text), (s.text, s.whole)
        again = self.ask(other, ASKS[2], headers=key)
        self.check(again.wait(), ASKS[2])
        self.all_idle("the orphan to stop", max(0.1, ORPHAN_S * self.slow - (time.monotonic() - killed)))

    def all_idle(self, what, seconds):
        if self.load:
            self.load.hold()  # its answers are short; home() lets it go on
        until(lambda: all(self.busy(n) == 0 for n in self.lab.beating()), what, seconds)

    # ---- residency
    def residency(self):
        """A word said in Zurich is on no other site's server and on no link; one said in Frankfurt is never in Zurich."""
        if self.load:
            self.load.listen()
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
        lines = [f"{'longest silence of a stream':34} {'n':>4} {'p50 s':>7} {'p99 s':>7} {'max s':>7}"]
        for what, values in self.silences.items():
            lines.append(f"{what:34} {len(values):4} {percentile(values, .5):7.2f} {percentile(values, .99):7.2f} {max(values):7.2f}")
        return lines


class Load:
    """What goes on whatever happens: at each site somebody asks, waits for the answer, and asks again. An answer that began
    is whole and right; only with its gateway may it be cut off, and then it is right so far. Who is refused (503 before
    anything was said) comes again."""
    WORD = "zaunkoenig-"

    def __init__(self, gates, dice):
        self.gates, self.lab, self.dice = gates, gates.lab, dice
        self.whole = self.tokens = self.refused = self.cut = self.under_way = 0
        self.lost, self.misrouted, self.read_to, self.truth = [], [], 0, {}
        self.lock, self.running, self.ended = threading.Lock(), threading.Event(), False
        for site in self.lab.places:
            for i in range(2):
                ask = (f"Tell me about the {self.WORD}{site} and its song, part {i}.", 5 + i, 0.8 * i)
                s = self.ask(site, ask, stream=True).wait()
                assert s.whole and not s.error, s.error
                self.truth[site, i] = ask, s.text, s.usage
        self.threads = [threading.Thread(target=self.run, args=(site,), daemon=True) for site in self.lab.places]
        self.go()
        [t.start() for t in self.threads]

    def ask(self, site, ask, stream):
        prompt, seed, temperature = ask
        return Stream(self.lab, site, prompt, seed, tokens=48, temperature=temperature, stream=stream)

    def go(self):
        self.running.set()

    def hold(self):
        self.running.clear()
        until(lambda: not self.under_way, "the load's requests to end", 90)

    def end(self):
        self.hold()
        self.ended = True
        self.running.set()
        [t.join() for t in self.threads]

    def run(self, site):
        while True:
            self.running.wait()
            if self.ended:
                return
            with self.lock:
                if not self.running.is_set():
                    continue
                self.under_way += 1
                i, stream, pause = self.dice.randrange(2), self.dice.random() < .5, self.dice.uniform(.3, 2)
            s = self.ask(site, self.truth[site, i][0], stream)
            try:
                s.wait()
            except AssertionError as e:
                s.error = str(e)
            with self.lock:
                self.judge(s, site, i)
                self.under_way -= 1
            time.sleep(pause)

    def judge(self, s, site, i):
        _, text, usage = self.truth[site, i]
        killed = self.lab.nodes[f"{site}-gate"].killed or 0
        began = s.status == 200 or s.pieces
        billed = s.usage and [s.usage[k] for k in ("prompt_tokens", "completion_tokens")]
        if s.whole and not s.error and s.text == text and billed == [usage["prompt_tokens"], usage["completion_tokens"]]:
            self.whole, self.tokens = self.whole + 1, self.tokens + usage["completion_tokens"]
        elif killed > s.started and not s.whole and text.startswith(s.text):
            self.cut += 1
        elif not began and (s.status in (429, 503) or (not s.status and not self.lab.nodes[f"{site}-gate"].alive())):
            self.refused += 1
        else:
            self.lost.append(f"at {site}: {s.status} {s.error or ''} whole {s.whole} billed {billed}: {s.text!r}, not {text!r}")

    def listen(self):
        """What is said in Zurich stays there, and the other way round: on every server, and on Zurich's link."""
        for at, spy in self.lab.spies.items():
            seen, spy.content = spy.content, []
            for _, subject, data in seen:
                foreign = [s for s in self.lab.places if (s == "zrh") != (at == "zrh") and (self.WORD + s).encode() in data]
                if foreign:
                    self.misrouted.append(f"{subject} at {at} has what was said in {foreign}")
        with open(self.lab.tap_file("zrh-link"), "rb") as f:
            f.seek(max(0, self.read_to - 64))
            wire = f.read()
            self.read_to = f.tell()
        if self.WORD.encode() in wire:
            self.misrouted.append("content on Zurich's link")
