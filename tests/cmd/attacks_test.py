#!/usr/bin/env python3
"""attacks_test -- a thief on the wire between a client's proxy and the site, a site that shows its clients something else than it logged,
and where the prompt could be found afterwards. Nothing of it may work (TAP)."""
import base64, glob, json, os, random, re, subprocess, sys, time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from server import Tap
from site_keeper import CHAT, Relay, Site, fields, hello, status_of, until

tap = Tap()
site = Site(witness=True)
s = site.start()
CANARY = "canary-7c31e-quince"
SEED = 20261121
random.seed(SEED)
print(f"# seed {SEED}")
KEY = ["--key", site.path("notary.key")]
relay = Relay(s.port)
p = site.proxy("notary", *KEY, url=relay.url)


def sealed():
    """A sealed request as it went over the wire, before the server saw it."""
    kept = []

    def keep(head, body):
        if b"/v1/sealed" in head and not kept:
            kept.append((head, body))
            return head, b"\0" + body[1:]  # the server gets another: this one is still unseen
    relay.bend = keep
    p.ask()
    relay.bend = None
    return kept[0]


def is_refused(answer):
    """Nothing ran: refused outside the seal, with a receipt of it, or inside, where only a refusal is that short."""
    return status_of(answer) in (400, 503) or (status_of(answer) == 200 and len(answer) < 4000 and receipts_allowed() == allowed)


def all_receipts():
    out = []
    for name in glob.glob(site.path("trust/public/receipts/*.notes")):
        data = open(name, "rb").read()
        while data:
            n, _, data = data.partition(b"\n")
            out.append(fields(data[:int(n)]))
            data = data[int(n):]
    return out


def receipts_allowed():
    return sum(r["decision"].startswith("allow") for r in all_receipts())


with tap.case("a sealed request that was recorded runs once, whoever sends it again"):
    assert p.ask()[0] == 200
    head, body = [x for x in relay.seen if b"/v1/sealed" in x[0]][-1]
    allowed = receipts_allowed()
    assert allowed == 1
    for _ in range(2):
        assert is_refused(relay.send(head, body))
    assert receipts_allowed() == allowed

with tap.case("a sealed request with any bit flipped, or cut anywhere, never runs"):
    head, body = sealed()
    allowed = receipts_allowed()
    for at in [0, 1, 2, 6, 7, 38, 39, 40, 41, len(body) - 1] + [random.randrange(len(body)) for _ in range(14)]:
        bent = bytearray(body)
        bent[at] ^= 1 << random.randrange(8)
        assert is_refused(relay.send(head, bytes(bent))), at
    for n in [0, 1, 7, 38, 39, 40, len(body) // 2, len(body) - 1]:
        assert is_refused(relay.send(head, body[:n])), n
    assert is_refused(relay.send(head, body + b"\0"))
    assert receipts_allowed() == allowed, "nothing ran"

with tap.case("low-order points as the encapsulated key are refused"):
    head, body = sealed()
    for point in (bytes(32), b"\1" + bytes(31), bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
                  bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f")):
        assert is_refused(relay.send(head, body[:7] + point + body[39:]))


def answer_bent(change, proxy=None, body=None):
    """What the proxy gives its client when the site's answer is changed on the way; and how many receipts it keeps."""
    proxy = proxy or p
    send = relay.send
    before = len(proxy.receipts())

    def bent(head, body):
        answer = send(head, body)
        return change(answer) if b"/v1/sealed" in head or CHAT.encode() in head.split(b"\r\n")[0] else answer
    relay.send = bent
    try:
        try:
            status, text = proxy.ask(body)
        except Exception:
            status, text = 0, b""  # cut
    finally:
        relay.send = send
    return status, text, len(proxy.receipts()) - before


def flip(answer, at):
    start = answer.index(b"\r\n\r\n") + 4
    at = start + at % (len(answer) - start)
    return answer[:at] + bytes([answer[at] ^ 1]) + answer[at + 1:]


with tap.case("a sealed answer with a bit flipped or its end cut is never passed on as whole, nor its receipt kept"):
    for at in (0, 31, 33, 60, 200, 400, -1):
        status, text, kept = answer_bent(lambda a: flip(a, at))
        assert status in (0, 502) and not kept, (at, status, text)
    for cut in (8, 20, 300):  # the last 5 bytes are the end of the transfer
        status, text, kept = answer_bent(lambda a: a[:-cut])
        assert status in (0, 502) and not kept, (cut, status, text)

plain = site.proxy("notary", *KEY, "--no-seal", url=relay.url, state="plain")
with tap.case("an open answer that was changed, whose receipt was taken out or exchanged, is an error to the client"):
    assert plain.ask()[0] == 200
    field = lambda name: re.compile(rb"\r\n" + name + rb": [^\r]*", re.I)
    changed = lambda a: a.replace(b'"role":"assistant"', b'"role":"assistanT"')
    for change in (changed, lambda a: field(b"TW-Receipt").sub(b"", a), lambda a: field(b"TW-Receipt-Salt").sub(b"", a),
                   lambda a: field(b"TW-Receipt").sub(lambda m: m.group(0)[:-8] + b"AAAAAAA=", a)):
        status, text, kept = answer_bent(change, plain)
        assert not kept and (status == 502 or status == 0 or b"proxy_error" in text), (status, text)
    old = []
    answer_bent(lambda a: (old.append(field(b"TW-Receipt").search(a).group(0)), a)[1], plain)
    status, text, kept = answer_bent(lambda a: field(b"TW-Receipt").sub(old[0], a), plain)
    assert not kept, "another request's receipt"
    status, text, kept = answer_bent(lambda a: re.sub(rb": tw-receipt [^\n]*\n\n", b"", a), plain, hello(stream=True))
    assert status == 0 and not kept, "a stream without its receipt is cut"


def offers_bent(change):
    """What becomes of a request when the site shows a changed offer: the status; whether anything was sent."""
    send, sent = relay.send, len([1 for h, _ in relay.seen if b"/v1/sealed" in h])

    def bent(head, body):
        answer = send(head, body)
        if b"/v1/evidence" not in head:
            return answer
        top, _, text = answer.partition(b"\r\n\r\n")
        offer = json.loads(text)
        change(offer)
        text = json.dumps(offer).encode()
        return re.sub(rb"content-length: \d+", b"Content-Length: %d" % len(text), top, flags=re.I) + b"\r\n\r\n" + text
    relay.send = bent
    try:
        status, _ = p.ask()
    finally:
        relay.send = send
    return status, len([1 for h, _ in relay.seen if b"/v1/sealed" in h]) - sent


with tap.case("an offer that was bent anywhere: the client sends nothing"):
    def put(name, key, change):
        return lambda o: o[name].__setitem__(key, change(o[name][key])) if key else o.__setitem__(name, change(o[name]))
    other_key = lambda note: re.sub(r"ohttp-key \S+", "ohttp-key " + base64.b64encode(b"\1\0\x20" + bytes(range(32)) + b"\0\4\0\1\0\3").decode(), note)
    bits = lambda text: text[:len(text) // 2] + chr(ord(text[len(text) // 2]) ^ 1) + text[len(text) // 2 + 1:]
    path = lambda text: re.sub(r"(index \d+\n.{5})(.)", lambda m: m.group(1) + ("B" if m.group(2) == "A" else "A"), text)
    no_witness = lambda text: "".join(l for l in text.splitlines(True) if "witness" not in l)
    for number, change in enumerate((put("node", "note", other_key), put("node", "note", lambda n: n.replace("jurisdiction DE", "jurisdiction FR")),
                   put("checkpoint", None, bits), put("checkpoint", None, no_witness), put("root", None, bits), put("root_proof", None, path),
                   put("node", "proof", path), put("release", "note", bits), put("policy", "note", bits), put("model", "note", bits),
                   lambda o: o.__setitem__("release", o["policy"]), lambda o: o.pop("node"), lambda o: o.__setitem__("since", 0))):
        status, sent = offers_bent(change)
        assert status == 502 and sent == 0, (number, status, sent)
    assert p.ask()[0] == 200

with tap.case("an offer of yesterday: a rolled-back log, an older release, an older policy"):
    old = []
    offers_bent(lambda o: old.append(json.loads(json.dumps(o))))
    site.tool("trust", "release", "--version", "0.1.1", os.path.join(os.environ.get("B", "build"), "tokenworks"))
    site.tool("trust", "policy", site.path("policy.yaml"))
    assert until(lambda: p.ask()[0] == 200)
    status, sent = offers_bent(lambda o: (o.clear(), o.update(old[0])))
    assert status == 502 and sent == 0
    for part in ("release", "policy"):
        status, sent = offers_bent(lambda o: o.__setitem__(part, old[0][part]))
        assert status == 502 and sent == 0, part

with tap.case("paths that lead out of what is public"):
    for path in ("/log/../keys/log.key", "/log/..%2fkeys%2flog.key", "/log/tile/../../../keys/log.key", "/log//etc/passwd", "/log/head",
                 "/v1/receipts/../../keys/log.key", "/v1/receipts/..%2f..%2fkeys", "/v1/receipts/.", "/v1/receipts/%00"):
        status, text, _ = s.get(path, headers={"Authorization": "Bearer " + site.keys["notary"]})
        assert status in (400, 404) and b"PRIVATE" not in text, (path, status, text)

with tap.case("the prompt is in no file, log line, metric, and no process has anything in swap"):
    assert p.ask(hello(text=CANARY))[0] == 200 and plain.ask(hello(text=CANARY))[0] == 200
    auth = {"Authorization": "Bearer " + site.keys["notary"]}
    metrics = s.get("/metrics", headers=auth)[1] + s.get("/tokenworks/stats", headers=auth)[1]
    assert b"tokenworks_requests_total" in metrics, metrics
    hay = "".join(s.log + p.log + plain.log).encode() + metrics
    for folder, _, names in os.walk(site.work):
        for n in names:
            hay += open(os.path.join(folder, n), "rb").read()
    for needle in (CANARY.encode(), base64.b64encode(CANARY.encode())[:-4], CANARY.encode().hex().encode()):
        assert needle not in hay, needle
    engine, keeper = s.engine_pid_of("tw-engine"), s.engine_pid_of("tw-keeper")
    for pid in (s.process.pid, engine, keeper):
        assert re.search(r"VmSwap:\s+0 kB", open(f"/proc/{pid}/status").read()), pid
    maps = open(f"/proc/{keeper}/maps").read()
    locked = re.search(r"VmLck:\s+(\d+) kB", open(f"/proc/{keeper}/status").read()).group(1)
    assert "secretmem" in maps or int(locked) > 0, "keys lie where nobody else reads and nothing swaps"

with tap.case("an engine that crashes leaves no core, and its keys and prompts are gone with it"):
    engine = s.engine_pid_of("tw-engine")
    here = set(os.listdir("."))
    os.kill(engine, 11)
    assert until(lambda: p.ask()[0] == 200)
    assert not [n for n in set(os.listdir(".")) - here if n.startswith("core")]
    assert "core dumped" not in "".join(s.log)

with tap.case("nobody without the right reads or traces engine and keeper"):
    if os.getuid() == 0:
        reader = "import sys\ntry:\n    open(f'/proc/{sys.argv[1]}/mem','rb')\n    print('read')\nexcept OSError as e:\n    print(e.errno)\n" \
                 "import ctypes\nprint(ctypes.CDLL(None, use_errno=True).ptrace(16, int(sys.argv[1]), 0, 0))\n"
        for name in ("tw-engine", "tw-keeper"):
            out = subprocess.run(["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--bounding-set", "-all", sys.executable,
                                  "-c", reader, str(s.engine_pid_of(name))], capture_output=True, text=True).stdout.split()
            assert out and out[0] in ("13", "1") and out[1] == "-1", (name, out)

with tap.case("the audit of all that"):
    assert s.stop() == 0
    code, text = site.audit()
    assert code == 0 and "nothing is wrong" in text, text
relay.close()
site.end()
tap.done()
