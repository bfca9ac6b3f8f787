#!/usr/bin/env python3
"""signed_test -- requests that are signed and not sealed, over the wire: signed by another implementation (openssl) and by the proxy;
and all that a thief, a replayer or a wrong clock could send instead (TAP)."""
import base64, hashlib, json, os, re, sys, threading, time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from server import Tap
from site_keeper import CHAT, Relay, Signer, Site, hello, split_stream, commitment, fields

tap = Tap()
site = Site()
s = site.start()
signer = Signer(site.path("notary.key"), site.work)
BODY = json.dumps(hello(1)).encode()


def send(body=BODY, by=signer, tenant="notary", sent=None, **how):
    return site.ask(tenant, body if sent is None else sent, **by.headers(site, body, **how))


def refused(answer):
    """One sentence whatever it was, and a receipt of the refusal."""
    status, _, text, _ = answer
    assert status == 400 and b"the request was not accepted" in text, (status, text)
    assert site.receipt(answer)["decision"] == "deny rule=gate/request"


with tap.case("a request signed by another implementation runs; its receipt names the signature"):
    headers = signer.headers(site, BODY)
    answer = site.ask("notary", BODY, **headers)
    assert answer[0] == 200, answer
    r = site.receipt(answer)
    covered = {"@method": "POST", "@authority": f"127.0.0.1:{s.port}", "@path": CHAT, "@query": "?"}
    base = "".join(f'"{p}": {covered.get(p, headers.get(p))}\n' for p in signer.PARTS)
    base += '"@signature-params": ' + headers["signature-input"][3:]
    assert r["reqsig"] == "sha256:" + hashlib.sha256(base.encode()).hexdigest(), r
    assert r["transport"] == "open" and r["decision"] == "allow rule=all", r

with tap.case("a tenant of whom the policy asks signatures is refused without"):
    status, _, text, _ = answer = site.ask("notary", BODY)
    assert status == 403 and site.receipt(answer)["decision"] == "deny rule=builtin/signature", text

with tap.case("through the proxy without a seal: whole answers, streams and errors, each with its receipt"):
    relay = Relay(s.port)
    p = site.proxy("notary", "--key", site.path("notary.key"), "--no-seal", url=relay.url)
    status, text = p.ask(hello(3))
    assert status == 200 and json.loads(text)["usage"]["completion_tokens"] == 3, (status, text)
    status, text = p.ask(hello(3, stream=True))
    assert status == 200 and text.endswith(b"data: [DONE]\n\n") and b"tw-receipt" not in text and text.count(b"data: ") > 3, text
    status, text = p.ask({"messages": "?"})
    assert status == 400 and b"messages" in text, (status, text)
    kept = p.receipts()
    assert [r["transport"] for r in kept] == ["open"] * 3 and all(r["reqsig"] != "-" for r in kept), kept
    assert [r["finish"] for r in kept[:2]] == ["length", "length"] and kept[2]["tokens-out"] == "0", kept
    assert not any(b"/v1/sealed" in head for head, _ in relay.seen)

with tap.case("what was recorded on the wire and is sent again does not run again"):
    head, body = [(h, b) for h, b in relay.seen if h.startswith(b"POST " + CHAT.encode())][0]
    again = relay.send(head, body)
    assert again.startswith(b"HTTP/1.1 400 ") and b"the request was not accepted" in again, again
    assert b"TW-Receipt: " in again

with tap.case("sent twice at the same time it runs once"):
    headers, got = signer.headers(site, BODY), []
    both = [threading.Thread(target=lambda: got.append(site.ask("notary", BODY, **headers)[0])) for _ in range(4)]
    [t.start() for t in both], [t.join() for t in both]
    assert sorted(got) == [200, 400, 400, 400], got

with tap.case("a nonce that was used before, in another request"):
    assert send(nonce="0123456789abcdef")[0] == 200
    refused(send(body=json.dumps(hello(1, text="other")).encode(), nonce="0123456789abcdef"))

with tap.case("the body swapped, cut, or with a byte more"):
    for other in (BODY.replace(b"hello", b"jello"), BODY[:-1] + b" }", BODY + b" ", json.dumps(hello(1, stream=True)).encode()):
        refused(send(sent=other))

with tap.case("a component that is not covered, each of the eleven; in another order; one more"):
    for part in signer.PARTS:
        refused(send(parts=[p for p in signer.PARTS if p != part]))
    refused(send(parts=tuple(reversed(signer.PARTS))))
    refused(send(parts=signer.PARTS + ("x-more",), x_more="1"))

with tap.case("a covered field that was changed, doubled or taken out on the way"):
    def bent(change, **more):
        headers = signer.headers(site, BODY)
        change(headers)
        return site.ask("notary", BODY, **headers)
    refused(bent(lambda h: h.update({"tw-data-class": "public"})))
    refused(bent(lambda h: h.pop("tw-data-class")))
    refused(bent(lambda h: h.update({"date": "Sat, 21 Nov 2020 16:52:31 GMT"})))
    refused(bent(lambda h: h.update({"TW-POLICY": h["tw-policy"]})))
    refused(bent(lambda h: h.update({"content-type": "application/json; charset=utf-8"})))
    status, _, text, _ = site.ask("notary", BODY, path="/v1/completions", **signer.headers(site, BODY))
    assert status == 400, text
    refused(site.ask("notary", BODY, path=CHAT + "?x=1", **signer.headers(site, BODY)))

with tap.case("a signature that is cut, flipped, doubled, of another label or tag, or half there"):
    raw = base64.b64decode(signer.headers(site, BODY)["signature"][4:-1])
    for i in (0, 7, 31, 32, 40, 63):
        refused(bent(lambda h: h.update({"signature": "tw=:" + base64.b64encode(raw[:i] + bytes([raw[i] ^ 4]) + raw[i + 1:]).decode() + ":"})))
    refused(bent(lambda h: h.update({"signature": h["signature"][:-9] + ":"})))
    refused(bent(lambda h: h.update({"signature-input": h["signature-input"] + ", " + h["signature-input"].replace("tw=", "two=", 1),
                                     "signature": h["signature"] + ", " + h["signature"].replace("tw=", "two=", 1)})))
    refused(bent(lambda h: h.update({"signature-input": h["signature-input"].replace("tw=", "sig1=", 1),
                                     "signature": h["signature"].replace("tw=", "sig1=", 1)})))
    refused(send(tag="tokenworks-v2"))
    refused(bent(lambda h: h.pop("signature")))
    refused(bent(lambda h: h.pop("signature-input")))
    refused(send(nonce="short"))

with tap.case("clocks: a minute of skew is forgiven at both ends, more is not, nor a signature that lives for long"):
    now = int(time.time())
    assert send(created=now + 55)[0] == 200
    refused(send(created=now + 70))
    assert send(created=now - 100, expires=now - 50)[0] == 200
    refused(send(created=now - 100, expires=now - 65))
    refused(send(created=now, expires=now + 301))
    refused(send(created=now, expires=now - 1))
    assert send(now=now - 350, created=now)[0] == 200
    refused(send(now=now - 365, created=now))
    refused(send(now=now + 70, created=now))

with tap.case("keys: one nobody enrolled, another tenant's, the right name over another key"):
    site.tool("trust", "init", "--site", "else.example", home=site.path("w9"))
    site.tool("trust", "client", "--tenant", "notary", "--name", "notary/client", "--out", site.path("same-name.key"), home=site.path("w9"))
    impostor = Signer(site.path("same-name.key"), site.path("w9"))
    refused(send(by=impostor))
    impostor.keyid = signer.keyid
    refused(send(by=impostor))
    refused(send(tenant="clinic"))  # the API key is the clinic's, the signature the notary's

with tap.case("another node, another model or another policy than was agreed on"):
    refused(send(tw_node="0" * 32 + ".1"))
    boot = site.node()["boot"]
    refused(send(tw_node=boot + ".7"))
    refused(send(tw_model="sha256:" + "0" * 64))
    refused(send(tw_policy="sha256:" + "0" * 64))
    refused(send(tw_policy="-"))

with tap.case("what was signed for an earlier boot is refused by the next"):
    old = signer.headers(site, BODY)
    port = s.port
    p.stop()
    assert s.stop() == 0
    s = site.start("--listen", f"127.0.0.1:{port}")
    refused(site.ask("notary", BODY, **old))
    assert send()[0] == 200

with tap.case("audited: every refusal and every signature"):
    assert s.stop() == 0
    code, text = site.audit()
    assert code == 0 and "nothing is wrong" in text, text
site.end()
tap.done()
