#!/usr/bin/env python3
"""storage_test -- content at rest of a site that keeps evidence: its keys come from the keeper, none lies beside the content (TAP)."""
import base64, json, os, re, sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from server import Tap
from site_keeper import Site, hello, until

tap = Tap()
site = Site()
OPTIONS = ["--kv-memory", "1M", "--kv-spill", "8M", "--config", site.write("config.yaml", f"batches:\n  dir: {site.path('batches')}\n")]
s = site.start(*OPTIONS)
AUTH = {"Authorization": "Bearer " + site.keys["clinic"]}
CANARY = "canary-1b77-damson"
LONG = "It was the best of times, it was the worst of times. " * 6


def cached():
    answer = site.ask("clinic", hello(1, text=LONG))
    assert answer[0] == 200, answer
    return json.loads(answer[2])["usage"]["prompt_tokens_details"]["cached_tokens"]


def upload(text):
    form = (f"--x\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--x\r\nContent-Disposition: form-data; "
            f"name=\"file\"; filename=\"in.jsonl\"\r\nContent-Type: application/octet-stream\r\n\r\n{text}\r\n--x--\r\n")
    status, text, _ = s.request("POST", "/v1/files", form, headers={**AUTH, "Content-Type": "multipart/form-data; boundary=x"})
    assert status == 200, text
    return json.loads(text)["id"]


LINE = json.dumps({"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": hello(1, text=CANARY)}) + "\n"

with tap.case("no storage key lies in the state folder, nor in the content's"):
    assert cached() == 0 and cached() > 0
    file = upload(LINE)
    saved = lambda: int(re.search(rb"^tokenworks_kv_spill_pages_saved_total\S* (\d+)", s.get("/metrics", headers=AUTH)[1], re.M).group(1))
    assert until(saved)
    assert not os.path.exists(site.path("spill.key")) and not os.path.exists(site.path("batches.key"))
    master = base64.b64decode(open(site.path("trust/keys/storage.key")).read())
    assert len(master) == 32 and os.stat(site.path("trust/keys/storage.key")).st_mode & 0o77 == 0
    everything = b""
    for folder in ("spill", "batches"):
        for n in os.listdir(site.path(folder)):
            everything += open(site.path(folder, n), "rb").read()
    assert len(everything) > 1000 and master not in everything and CANARY.encode() not in everything

with tap.case("a restart has the same keys again: spilled pages and files are found"):
    assert s.stop() == 0
    s = site.start(*OPTIONS)
    assert cached() > 0
    assert s.get(f"/v1/files/{file}/content", headers=AUTH)[1].decode().strip() == LINE.strip()

with tap.case("another storage key opens neither"):
    assert s.stop() == 0
    os.unlink(site.path("trust/keys/storage.key"))
    s = site.start(*OPTIONS)
    assert cached() == 0
    assert s.get(f"/v1/files/{file}/content", headers=AUTH)[0] == 404
assert s.stop() == 0
site.end()
tap.done()
