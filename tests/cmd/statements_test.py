#!/usr/bin/env python3
"""statements_test -- what is signed while the server runs holds from then on: policies, models, releases, enrolled keys and
revocations; what is not signed rightly is refused in words and never logged (TAP)."""
import json, os, re, shutil, sys, time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from server import BINARY, Tap
from site_keeper import POLICY, Signer, Site, fields, until

tap = Tap()
site = Site()
s = site.start()


def trust(*args, ok=True):
    return site.tool("trust", *args, ok=ok)


def signed(what):
    return re.search(r"sha256:[0-9a-f]{64}", what).group(0)


with tap.case("a policy signed beside the running server holds when the command returns, and is in log and node note"):
    before = site.receipt(site.ask("clinic"))
    new = signed(trust("policy", site.write("new.yaml", POLICY.replace("rules:", "rules:\n  - {id: closed, effect: deny, when: {tenant: [clinic]}}"))))
    status, h, text, sent = answer = site.ask("clinic")
    assert status == 403 and json.loads(text)["rule"] == "closed", (status, text)
    r = site.receipt(answer)
    assert r["policy"] == new != before["policy"] and r["decision"] == "deny rule=closed", r
    assert site.node()["policy"] == new
    trust("policy", site.write("policy.yaml", POLICY))
    assert site.ask("clinic")[0] == 200

with tap.case("sealed requests are decided by the new policy too"):
    p = site.proxy("notary", "--key", site.path("notary.key"))
    assert p.ask()[0] == 200
    new = signed(trust("policy", site.write("new.yaml", POLICY.replace("id: all", "id: other"))))
    assert p.ask()[0] == 200
    first, second = p.receipts()
    assert first["decision"] == "allow rule=all" and second["decision"] == "allow rule=other" and second["policy"] == new, second
    trust("policy", site.path("policy.yaml"))
    assert p.ask()[0] == 200

with tap.case("a policy that does not know this place is refused in words, and nothing of it is logged"):
    notes = site.notes("policy")
    code, text = trust("policy", site.write("bad.yaml", POLICY.replace("berlin", "bonn")), ok=False)
    assert code == 1 and "knows no site 'berlin'" in text, text
    assert site.notes("policy") == notes and site.ask("clinic")[0] == 200
    assert os.listdir(site.path("trust/inbox")) == []

with tap.case("what others put into the inbox is refused: no note, a foreign key, an old number, another type"):
    tries = iter(range(100))

    def put(data):
        name = site.path("trust/inbox", f"x{next(tries)}")
        with open(name + ".tmp", "wb") as f:
            f.write(data)
        os.rename(name + ".tmp", name + ".note")
        assert until(lambda: os.path.exists(name + ".refused")), "not refused"
        return open(name + ".refused").read()
    folder = site.path("trust/public/notes/policy")
    newest = max((os.path.join(folder, n) for n in os.listdir(folder)), key=lambda n: int(fields(open(n).read())["seq"]))
    good = open(newest, "rb").read()
    assert put(b"hello\n") and put(b"") and put(b"x" * 100000)
    assert "number" in put(good)
    assert put(good.replace(b"\nseq ", b"\nseq 9"))
    node = site.path("trust/public/notes/node")
    assert "not taken here" in put(open(os.path.join(node, os.listdir(node)[0]), "rb").read())
    assert site.ask("clinic")[0] == 200 and s.process.poll() is None

with tap.case("a key enrolled beside the running server signs requests a second later; revoked, it never does again"):
    vkey = trust("client", "--tenant", "notary", "--name", "notary/second", "--out", site.path("second.key")).split()[1]
    second = site.proxy("notary", "--key", site.path("second.key"), state="client2")
    assert until(lambda: second.ask()[0] == 200, 5), second.log
    signer = Signer(site.path("second.key"), site.work)
    body = json.dumps({"messages": [{"role": "user", "content": "x"}], "max_tokens": 1}).encode()
    assert site.ask("notary", body, **signer.headers(site, body))[0] == 200
    trust("revoke", vkey, "--reason", "lost")
    status, text = second.ask()
    assert status == 400 and b"not accepted" in text, (status, text)
    assert site.ask("notary", body, **signer.headers(site, body))[0] == 400
    status, text = p.ask()
    assert status == 200, "the other key still does"

with tap.case("a model signed again with the same weights has its new note in the next receipt"):
    old = site.receipt(site.ask("clinic"))["model"]
    new = signed(trust("model", "--name", "small", site.model))
    assert site.receipt(site.ask("clinic"))["model"] == new != old
    assert p.ask()[0] == 200

with tap.case("a note for other weights changes nothing for the ones that run"):
    held = site.receipt(site.ask("clinic"))["model"]
    os.makedirs(site.path("other"), exist_ok=True)
    shutil.copy(site.model, site.path("other/tiny.gguf"))
    with open(site.path("other/tiny.gguf"), "ab") as f:
        f.write(b"more")
    trust("model", "--name", "small", site.path("other/tiny.gguf"))
    assert site.receipt(site.ask("clinic"))["model"] == held
    trust("model", "--name", "small", site.model)
    held = site.receipt(site.ask("clinic"))["model"]

with tap.case("a revoked model is not served from then on, open or sealed, until it is signed anew"):
    trust("revoke", held, "--reason", "wrong weights")
    status, h, text, sent = answer = site.ask("clinic")
    assert status == 403 and b"revoked" in text, (status, text)
    assert site.receipt(answer)["decision"] == "deny rule=gate/revoked"
    assert p.ask()[0] != 200
    trust("model", "--name", "small", site.model)
    assert site.ask("clinic")[0] == 200 and p.ask()[0] == 200, p.log[-3:]

with tap.case("a revoked release is not served from then on, and the offer says so; a new one is"):
    held = site.receipt(site.ask("clinic"))["release"]
    trust("revoke", held, "--reason", "a hole")
    status, h, text, sent = answer = site.ask("clinic")
    assert status == 403 and b"revoked" in text, (status, text)
    assert site.receipt(answer)["decision"] == "deny rule=gate/revoked"
    status, offer = site.evidence()
    assert status == 403 and "revoked" in json.dumps(offer), (status, offer)
    new = signed(trust("release", "--version", "0.1.1", BINARY))
    assert site.receipt(site.ask("clinic"))["release"] == new
    assert p.ask()[0] == 200

with tap.case("a newer release does not count for this program before it is installed; an old program does not start"):
    held = site.receipt(site.ask("clinic"))["release"]
    trust("release", "--version", "0.2.0", site.write("newer-program", "x"))
    assert site.receipt(site.ask("clinic"))["release"] == held
    p.stop(), second.stop()
    assert s.stop() == 0
    code, text = site.tool("serve", "--model", site.model, "--listen", "127.0.0.1:0", "--site", "berlin", ok=False)
    assert code == 1 and "newer release" in text, text

with tap.case("all of it, changes and refusals, is audited"):
    code, text = site.audit(models=False)  # two notes list the same file with different hashes
    assert code == 0 and "nothing is wrong" in text, text
site.end()
tap.done()
