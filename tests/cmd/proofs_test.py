#!/usr/bin/env python3
"""proofs_test -- receipts of refusals (429, 403), of batch lines and of earlier boots, each found and proved; the node note names the
arithmetic (TAP)."""
import base64, csv, hashlib, json, os, re, signal, sys, time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from server import Tap
from site_keeper import Site, fields, hello, until

tap = Tap()
site = Site(witness=True)
config = site.write("config.yaml", f"batches:\n  dir: {site.path('batches')}\n")
s = site.start("--config", config)
AUTH = {"Authorization": "Bearer " + site.keys["clinic"]}


def proof(id):
    def published():
        status, text, _ = s.get(f"/v1/receipts/{id}.tlog-proof", headers=AUTH)
        return (status, text) if status != 503 else None
    return until(published) or (503, b"")


def proved(id, note):
    """The proof names a leaf of the log that is this note, under a checkpoint the witness has signed."""
    status, text = proof(id)
    assert status == 200 and text.startswith(b"c2sp.org/tlog-proof@v1\n") and b"witness.example/w1" in text, (id, status, text)
    index = int(re.search(rb"^index (\d+)$", text, re.M).group(1))
    size = int(s.get("/log/checkpoint")[1].split(b"\n")[1])
    entries = s.get("/log/tile/entries/000.p/%d" % size)[1]
    leaves = []
    while entries:
        n = int.from_bytes(entries[:2], "big")
        leaves.append(entries[2:2 + n])
        entries = entries[2 + n:]
    assert leaves[index] == b"tokenworks/leaf/receipt/v1 sha256:" + hashlib.sha256(note).hexdigest().encode()
    return index


def note_of(answer):
    return base64.b64decode(answer[1]["tw-receipt"])


with tap.case("the arithmetic of a receipt is that of the node note"):
    allowed = site.ask("clinic")
    assert site.receipt(allowed)["numerics"] == site.node()["numerics"] != "-"

with tap.case("429: too many requests in a minute leave receipts that say so"):
    key = re.search(r"tw-[A-Za-z0-9_-]{43}", site.tool("key", "add", "-t", "clinic", "--requests-per-minute", "2")).group(0)
    site.keys["limited"] = key
    time.sleep(1.2)  # noticed within a second
    answers = [site.ask("limited") for _ in range(4)]
    late = [a for a in answers if a[0] == 429]
    assert late and answers[0][0] == 200, [a[0] for a in answers]
    r = site.receipt(late[0])
    assert r["decision"] == "deny rule=limit/rate" and r["finish"] == "denied" and r["tokens-out"] == "0", r
    assert "retry-after" in late[0][1]

with tap.case("403: what the key may not use, and what the policy denies"):
    key = re.search(r"tw-[A-Za-z0-9_-]{43}", site.tool("key", "add", "-t", "clinic", "--models", "other")).group(0)
    site.keys["elsewhere"] = key
    time.sleep(1.2)
    forbidden = site.ask("elsewhere")
    assert forbidden[0] == 403 and site.receipt(forbidden)["decision"] == "deny rule=limit/model", forbidden[2]
    denied = site.ask("notary")
    assert denied[0] == 403 and site.receipt(denied)["decision"] == "deny rule=builtin/signature", denied[2]
    for a in (late[0], forbidden, denied):
        proved(a[1]["tw-receipt-id"], note_of(a))

with tap.case("batch lines have receipts, and their rows in the ledger name them by hash"):
    lines = "".join(json.dumps({"custom_id": f"l{i}", "method": "POST", "url": "/v1/chat/completions", "body": hello(2, text=f"line {i}")})
                    + "\n" for i in range(3))
    form = (f"--x\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--x\r\nContent-Disposition: form-data; "
            f"name=\"file\"; filename=\"in.jsonl\"\r\nContent-Type: application/octet-stream\r\n\r\n{lines}\r\n--x--\r\n")
    status, text, _ = s.request("POST", "/v1/files", form, headers={**AUTH, "Content-Type": "multipart/form-data; boundary=x"})
    assert status == 200, text
    status, batch, _ = s.post("/v1/batches", {"input_file_id": json.loads(text)["id"], "completion_window": "24h",
                                              "endpoint": "/v1/chat/completions"}, headers=AUTH)
    assert status == 200, batch
    ended = until(lambda: json.loads(s.get("/v1/batches/" + batch["id"], headers=AUTH)[1])["status"] == "completed", 30)
    assert ended
    hashes = set()
    for i in range(3):
        status, note, _ = s.get(f"/v1/receipts/{batch['id']}-{i}", headers=AUTH)
        assert status == 200, note
        r = fields(note)
        assert r["decision"] == "allow rule=all" and r["tokens-out"] == "2", r
        hashes.add(hashlib.sha256(note).hexdigest())
    site.tool("usage", "export", "--out", site.path("export.csv"))
    rows = [row["x_ReceiptHash"].lower() for row in csv.DictReader(open(site.path("export.csv")))]
    assert hashes <= set(rows), (hashes, rows)

with tap.case("receipts of earlier boots, one that ended and one that was killed, are found and proved"):
    old = {a[1]["tw-receipt-id"]: note_of(a) for a in (allowed, late[0], denied)}
    where = {id: proved(id, note) for id, note in old.items()}
    assert s.stop() == 0
    s = site.start("--config", config)
    killed = site.ask("clinic")
    s.process.send_signal(signal.SIGKILL)
    s.process.wait()
    s = site.start("--config", config)
    assert site.ask("clinic")[0] == 200
    old[killed[1]["tw-receipt-id"]] = note_of(killed)
    for _ in range(2):  # the second time from the index
        for id, note in old.items():
            assert s.get("/v1/receipts/" + id, headers=AUTH)[1] == note
            assert proved(id, note) == where.get(id, proved(id, note))
    assert proof("chatcmpl-nobody")[0] == 404 and proof("../index/x")[0] == 404

with tap.case("an index that was damaged finds nothing wrong, and is no evidence"):
    folder = site.path("trust/index")
    for n in os.listdir(folder):
        data = bytearray(open(os.path.join(folder, n), "rb").read())
        for i in range(8, len(data), 32):
            data[i] ^= 0xff
        open(os.path.join(folder, n), "wb").write(data)
    for id in old:
        assert s.get("/v1/receipts/" + id, headers=AUTH)[0] == 404
    for n in os.listdir(folder):
        os.unlink(os.path.join(folder, n))
    for id, note in old.items():
        assert s.get("/v1/receipts/" + id, headers=AUTH)[1] == note

with tap.case("the whole of it is audited"):
    assert s.stop() == 0
    code, text = site.audit()
    assert code == 0 and "nothing is wrong" in text, text
site.end()
tap.done()
