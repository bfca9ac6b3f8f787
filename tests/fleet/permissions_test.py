#!/usr/bin/env python3
"""permissions_test -- the servers of examples/fleet, real ones: each node may do what its part needs, what it must not do
is refused by the server, and nothing of Zurich's content reaches another site, whoever listens there."""
import importlib.machinery, importlib.util, os, shutil, socket, ssl, subprocess, sys, tempfile, time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(HERE, "..", "..")
sys.path[:0] = [HERE, os.path.join(ROOT, "tests", "cmd")]
sys.dont_write_bytecode = True
from nats_client import Client
from server import Tap, free_port

tap = Tap()
if not shutil.which("nats-server"):
    tap.skip_all("no nats-server")
if sys.version_info < (3, 11):
    tap.skip_all("the description is read by python 3.11")


def load_sites():
    path = os.path.join(ROOT, "packaging", "nats", "tokenworks-sites")
    loader = importlib.machinery.SourceFileLoader("sites", path)
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("sites", loader))
    loader.exec_module(module)
    return module


sites = load_sites()
work = tempfile.TemporaryDirectory()
# Who listens at a site with every right there is: what he does not hear is not there.
SPY = '      { user: "spy.node.tokenworks", permissions: { publish: ">", subscribe: ">" } }\n'


def description(**changes):
    import tomllib
    with open(os.path.join(ROOT, "examples", "fleet", "fleet.toml"), "rb") as f:
        table = tomllib.load(f)
    for site in table["sites"].values():
        for key in ("address", "links"):
            if key in site:
                site[key] = f"127.0.0.1:{free_port()}"
    table.update(changes)
    return table


def refusal(table):
    try:
        sites.Fleet(table)
    except sites.Refused as e:
        return str(e)
    return ""


def reached(address):
    host, port = address.rsplit(":", 1)
    for _ in range(100):
        with socket.socket() as s:
            if s.connect_ex((host, int(port))) == 0:
                return
        time.sleep(0.05)


class Servers:
    def __init__(self, folder, table):
        self.fleet = sites.Fleet(table)
        os.makedirs(folder, exist_ok=True)
        sites.certificates(self.fleet, folder)
        self.processes, self.folder = {}, folder
        for site in self.fleet.sites:
            self.start(site)
        for site in self.fleet.sites:
            for address in site.address:
                reached(address)

    def start(self, site):
        ca, at = f"{self.folder}/ca", f"{self.folder}/{site.name}"
        sites.certificate(ca, f"{at}/nodes/spy", "spy", "DNS:spy.node.tokenworks", "clientAuth")
        sites.certificate(ca, f"{at}/nodes/stranger", "stranger", "DNS:stranger", "clientAuth")
        for i, name in enumerate(site.configurations()):
            with open(f"{at}/{name}", "w") as f:
                f.write(sites.configuration(self.fleet, site, at, SPY, i))
            check = subprocess.run(["nats-server", "-c", f"{at}/{name}", "-t"], capture_output=True, text=True)
            assert check.returncode == 0, check.stderr
            self.processes[(site.name, i)] = subprocess.Popen(["nats-server", "-c", f"{at}/{name}"],
                                                              stderr=open(f"{at}/log", "a"))

    def site(self, name):
        return next(s for s in self.fleet.sites if s.name == name)

    def client(self, site, node, i=0):
        return Client(self.site(site).address[i], f"{self.folder}/{site}", node).flush()

    def stop(self):
        for p in self.processes.values():
            p.terminate()
        for p in self.processes.values():
            p.wait()


PLACES = {"fra": "de", "par": "fr", "zrh": "ch"}
CONTENT = [f"tw.v1.{j}.{s}.{last}" for s, j in PLACES.items() for last in ("w.one.req", "g.gate.in")]
CONTENT += [f"tw.v1.{j}.m.0123456789abcdef.any" for j in PLACES.values()]
ORDERS = [f"tw.v1.{j}.{s}.w.one.ctl" for s, j in PLACES.items()]
BEATS = [f"tw.v1.{j}.{s}.{x}.hb" for s, j in PLACES.items() for x in ("w.one", "g.gate")]
ROWS = [f"tw.v1.{j}.{s}.rows" for s, j in PLACES.items()]
# JetStream of the hub: who keeps books together leases limits; the collector, and nobody else, makes things and takes rows.
LEASES = ["$JS.fra.API." + x for x in ("STREAM.INFO.KV_tw_quota", "STREAM.MSG.GET.KV_tw_quota", "$KV.tw_quota.0123",
                                       "DIRECT.GET.KV_tw_quota.$KV.tw_quota.0123")]
COLLECT = ["$JS.fra.API." + x for x in ("STREAM.INFO.KV_tw_quota", "STREAM.INFO.TW_ROWS", "STREAM.CREATE.KV_tw_quota",
           "STREAM.CREATE.TW_ROWS", "CONSUMER.INFO.TW_ROWS.home", "CONSUMER.DURABLE.CREATE.TW_ROWS.home",
           "CONSUMER.CREATE.TW_ROWS.home", "CONSUMER.MSG.NEXT.TW_ROWS.home")] + ["$JS.ACK.TW_ROWS.home.1.2.3.4.5"]
# On the hub's own server the domain's subjects are its own under another name.
LEASES_HUB = LEASES + [x.replace("$JS.fra.API.$KV", "$KV").replace("$JS.fra", "$JS") for x in LEASES]
COLLECT_HUB = COLLECT + [x.replace("$JS.fra", "$JS") for x in COLLECT[:-1]]
NOBODYS = [f"$JS.{at}API." + x for at in ("", "fra.", "par.") for x in ("STREAM.DELETE.TW_ROWS", "STREAM.PURGE.TW_ROWS",
           "STREAM.MSG.GET.TW_ROWS", "STREAM.NAMES", "STREAM.CREATE.other", "STREAM.UPDATE.TW_ROWS", "STREAM.PURGE.KV_tw_quota",
           "CONSUMER.CREATE.TW_ROWS", "CONSUMER.DURABLE.CREATE.TW_ROWS.mine", "CONSUMER.DELETE.TW_ROWS.home",
           "CONSUMER.CREATE.KV_tw_quota", "$KV.other.0123")] + ["$KV.other.0123", "$JS.ACK.TW_ROWS.mine.1.2.3.4.5"]
KEPT = ROWS + sorted({*LEASES_HUB, *COLLECT_HUB}) + NOBODYS
BOOKS = {"fra", "par"}
SAID = CONTENT + ["tw.v1.de.fra.w.two.req", "tw.v1.de.fra.g.other.in"]
# What each kind may say and hear, written down by hand from the rules: de and fr compute for each other, ch for itself.
FRIENDS = {"de": {"de", "fr"}, "fr": {"de", "fr"}, "ch": {"ch"}}


def may_say(role, site):
    j = PLACES[site]
    if role == "worker":
        return {f"tw.v1.{j}.{site}.w.one.hb"} | {s for s in SAID if s.endswith(".in") and s.split(".")[2] in FRIENDS[j]}
    return ({f"tw.v1.{j}.{site}.g.gate.hb", f"tw.v1.{j}.{site}.g.gate.in"} | {s for s in ORDERS if s.split(".")[2] == j}
            | {s for s in SAID if s.endswith((".req", ".any")) and s.split(".")[2] in FRIENDS[j]}
            | ({f"tw.v1.{j}.{site}.rows", *(LEASES_HUB if site == "fra" else LEASES)} if site in BOOKS else set()))


def may_hear(role, site):
    j = PLACES[site]
    mine = {f"tw.v1.{j}.{site}.w.one.req", f"tw.v1.{j}.{site}.w.one.ctl"} if role == "worker" else {f"tw.v1.{j}.{site}.g.gate.in"}
    if role == "gateway" and site in BOOKS:
        mine.add(f"tw.v1.{j}.{site}.g.gate.js.x")
    return mine | set(BEATS) | {"tw.v1.*.*.w.*.hb", "tw.v1.*.*.g.*.hb"}


ANSWERS = [f"tw.v1.{j}.{s}.g.gate.js.x" for s, j in PLACES.items()] + ["tw.v1.de.fra.g.other.js.x"]
EVERYTHING = CONTENT + ORDERS + BEATS + KEPT + ANSWERS + ["tw.v1.>", "tw.v1.*.*.rows", "_INBOX.x", "_INBOX.>", "$JS.>", "$KV.>",
 ">", "tw.v1.*.*.w.*.hb", "tw.v1.*.*.g.*.hb", "tw.v1.*.*.w.*.req",
                                         *SAID[-2:], "$SYS.>", "other"]


def allowed(client, verb, subject, queue=""):
    client.errors.clear()
    client.subscribe(subject, queue) if verb == "sub" else client.publish(subject)
    client.flush()
    return not client.errors


def check_rights():
    for site in PLACES:
        for role, node in (("worker", "one"), ("gateway", "gate")):
            with tap.case(f"{site}: a {role} says what its part needs, and nothing else"):
                c = servers.client(site, node)
                got = {s for s in EVERYTHING if "*" not in s and ">" not in s and allowed(c, "pub", s)}
                assert got == may_say(role, site), got ^ may_say(role, site)
            with tap.case(f"{site}: a {role} hears what its part needs, and nothing else"):
                c = servers.client(site, node)
                got = {s for s in EVERYTHING if allowed(c, "sub", s)}
                assert got == may_hear(role, site), got ^ may_hear(role, site)
                fallback = f"tw.v1.{PLACES[site]}.m.0123456789abcdef.any"
                assert allowed(c, "sub", fallback, "tw") == (role == "worker"), c.errors
                c.close()


def check_collector():
    with tap.case("fra: the collector makes what is kept and takes rows, and does nothing else"):
        c = servers.client("fra", "book")
        got = {s for s in EVERYTHING if "*" not in s and ">" not in s and allowed(c, "pub", s)}
        assert got == set(COLLECT_HUB), got ^ set(COLLECT_HUB)
        got = {s for s in EVERYTHING if allowed(c, "sub", s)}
        assert got == {"_INBOX.x", "_INBOX.>"}, got
        c.close()


def check_door():
    with tap.case("without a certificate, or with one nobody listed, there is no connection"):
        for node in ("", "stranger"):
            try:
                c = Client(servers.site("fra").address[0], f"{servers.folder}/fra", node).flush()
                raise AssertionError(f"{node or 'nobody'} was let in, as {c}")
            except (ConnectionError, OSError):
                pass
    with tap.case("a node's certificate opens no other site's server, a link's opens none as a client"):
        for place, cert in (("par", "fra/nodes/two"), ("fra", "par/link")):
            for end in ("pem", "key"):
                shutil.copy(f"{servers.folder}/{cert}.{end}", f"{servers.folder}/{place}/nodes/borrowed.{end}")
            try:
                servers.client(place, "borrowed")
                raise AssertionError(f"{cert} was let in at {place}")
            except (ConnectionError, OSError):
                pass


def check_crossing():
    """Every subject said at every site by one with all rights, heard at every other by one with all rights."""
    spies = {s: servers.client(s, "spy") for s in PLACES}
    mouths = {s: servers.client(s, "spy") for s in PLACES}
    for s, spy in spies.items():
        for subject in set(EVERYTHING):
            spy.subscribe(subject)
        spy.flush()
    time.sleep(1)  # interest travels over the links
    for s, mouth in mouths.items():
        for subject in CONTENT + ORDERS + BEATS + ROWS + ANSWERS + (KEPT[3:] if s == "zrh" else []):
            mouth.publish(subject, f"from {s}".encode())
        mouth.flush()
    time.sleep(1)
    heard = {(at, m[1].decode()[5:], m[0]) for at in spies for m in spies[at].messages}
    with tap.case("everyone hears heartbeats of everywhere, each site's from itself"):
        for at in PLACES:
            for subject in BEATS:
                origin = subject.split(".")[3]
                assert (at, origin, subject) in heard, f"{subject} of {origin} at {at}"
                # Rights at the hub are rights over what it passes on; a site's own server vouches for itself alone.
                others = {s for a, s, sub in heard if a == at and sub == subject} - {origin, at, "fra"}
                assert not others, f"{subject} said by {others} believed at {at}"
    with tap.case("Zurich's server gives no content away and takes none, with every right at both ends"):
        crossed = {x for x in heard if "zrh" in x[:2] and x[0] != x[1] and x[1] in PLACES and x[2] not in BEATS}
        assert not crossed, crossed
    with tap.case("between Frankfurt and Paris requests, answers and Paris' rows cross, orders do not"):
        crossed = {x for x in heard if {x[0], x[1]} == {"fra", "par"} and x[2] not in BEATS}
        want = {(to, "par" if to == "fra" else "fra", f"tw.v1.{PLACES[to]}.{last}") for to in ("fra", "par")
                for last in (f"{to}.w.one.req", f"{to}.g.gate.in", "m.0123456789abcdef.any")}
        want |= {("fra", "par", "tw.v1.fr.par.rows"), ("par", "fra", "tw.v1.fr.par.g.gate.js.x")}
        assert crossed == want, crossed ^ want


def check_descriptions():
    cases = [
        ({"flows": {"ch": ["xx"]}}, "xx is no site's jurisdiction"),
        ({"flows": {"ch": ["fr"]}}, "data of ch would pass fra in de on its way from zrh to par"),
        ({"more": {}}, "unknown table more"),
        ({"books": {"from": ["xx"]}}, "books: xx is no site's jurisdiction"),
        ({"books": {"at": "fra"}}, "books: there is from"),
        ({"books": None}, "site fra: collectors and store are the hub's"),
    ]
    with tap.case("a description that cannot hold is refused, by a sentence"):
        for change, want in cases:
            assert want in refusal(description(**change)), (refusal(description(**change)), want)
        table = description()
        table["sites"]["par"]["hub"] = True
        assert "is the hub" in refusal(table), refusal(table)
        table = description()
        table["sites"]["par"]["workers"] = ["One*"]
        assert "One*: a name is" in refusal(table), refusal(table)
        table = description()
        table["sites"]["par"]["collectors"] = ["book"]
        assert "collectors and store are the hub's" in refusal(table), refusal(table)
        table = description()
        table["sites"]["fra"]["collectors"] = ["gate"]
        assert "gate: who collects is neither" in refusal(table), refusal(table)
        table = description()
        table["sites"]["par"]["port"] = 3
        assert "unknown key port" in refusal(table), refusal(table)


def as_route(address, folder, cert):
    """What a server answers to one that says it is another server of its site."""
    context = ssl.create_default_context(cafile=f"{folder}/ca.pem")
    context.load_cert_chain(f"{folder}/{cert}.pem", f"{folder}/{cert}.key")
    host, port = address.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=5) as raw, context.wrap_socket(raw, server_hostname=host) as s:
        s.sendall(b'CONNECT {"verbose":false,"tls_required":true,"cluster":"fra","name":"x"}\r\nPING\r\n')
        heard = b""
        while b"PONG" not in heard and b"-ERR" not in heard and (more := s.recv(65536)):
            heard += more
        return heard


def check_cluster():
    """A hub of three servers: one of them may go."""
    table = description(flows={"de": ["ch"]}, books={"from": []})
    del table["sites"]["par"]
    for key in ("address", "links", "routes"):
        table["sites"]["fra"][key] = [f"127.0.0.1:{free_port()}" for _ in range(3)]
    three = Servers(work.name + "/three", table)
    try:
        site, folder = three.site("fra"), f"{three.folder}/fra"
        worker, gate = three.client("zrh", "one"), three.client("fra", "gate", 2)
        worker.subscribe("tw.v1.ch.zrh.w.one.req")
        gate.subscribe("tw.v1.de.fra.g.gate.in")

        def passes():
            worker.messages.clear(), gate.messages.clear()
            gate.publish("tw.v1.ch.zrh.w.one.req"), worker.publish("tw.v1.de.fra.g.gate.in")
            return worker.wait(lambda: worker.messages, 0.5) and gate.wait(lambda: gate.messages, 0.5)
        with tap.case("a hub of three servers: what is said at one is heard at all, also when one is killed"):
            assert any(passes() for _ in range(20)), "before"
            three.processes.pop(("fra", 0)).kill()
            assert any(passes() for _ in range(20)), "after"
        with tap.case("a worker's certificate makes no server of a site"):
            assert b"Authorization" in as_route(site.routes[2], folder, "nodes/gate")
            assert b"Authorization" not in as_route(site.routes[2], folder, "route")
    finally:
        three.stop()


check_descriptions()
servers = Servers(work.name, description())
try:
    check_rights()
    check_collector()
    check_door()
    check_crossing()
    check_cluster()
finally:
    servers.stop()
    if tap.failed:
        for name in PLACES:
            with open(f"{work.name}/{name}/log") as f:
                print("".join("# " + line for line in f.readlines()[-8:]), end="")
tap.done()
