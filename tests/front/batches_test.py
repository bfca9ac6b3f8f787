#!/usr/bin/env python3
"""batches_test -- /v1/files and /v1/batches over HTTP, with the fake engine: what is kept is sealed, every line is
answered and billed once through kill -9, errors go to their file, cancelling stops, nobody sees another's."""
import glob
import json
import os
import re
import signal
import subprocess
import tempfile
import time

from server import B, SLOW, Server, equal, run, until

HERE = tempfile.TemporaryDirectory()
BOUND = "----form"


class Batches(Server):
    """A server with a folder for batches; `at` a state folder of an earlier one."""

    def __init__(self, *options, at=None, **more):
        self.folder = tempfile.mkdtemp(dir=HERE.name) if at is None else at.folder
        file = os.path.join(self.folder, "..", os.path.basename(self.folder) + ".yaml")
        with open(file, "w") as f:
            f.write(f"batches:\n  dir: {self.folder}\n")
        env = {"TOKENWORKS_HOME": at.dir.name} if at else None
        super().__init__("--config", file, *options, env=env, **more)

    def upload(self, lines, **headers):
        text = lines if isinstance(lines, bytes) else "".join(json.dumps(v) + "\n" for v in lines).encode()
        body = (f"--{BOUND}\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--{BOUND}\r\n"
                f"Content-Disposition: form-data; name=\"file\"; filename=\"in.jsonl\"\r\n"
                f"Content-Type: application/octet-stream\r\n\r\n").encode() + text + f"\r\n--{BOUND}--\r\n".encode()
        head = f"POST /v1/files HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary={BOUND}\r\n"
        head += f"Content-Length: {len(body)}\r\nConnection: close\r\n"
        head += "".join(f"{k.replace('_', '-')}: {v}\r\n" for k, v in headers.items())
        r = self.raw(head.encode() + b"\r\n" + body)
        equal(r.status, 200)
        return r.json()["id"]

    def create(self, lines, **headers):
        r = self.post("/v1/batches", {"input_file_id": self.upload(lines, **headers), "completion_window": "24h",
                                      "endpoint": "/v1/chat/completions", "metadata": {"night": "1"}}, **headers)
        equal(r.status, 200)
        return r.json()

    def batch(self, id, **headers):
        return self.get(f"/v1/batches/{id}", **headers).json()

    def wait(self, id, *status, seconds=30):
        until(lambda: self.batch(id)["status"] in status, f"the batch to be {status}", seconds)
        return self.batch(id)

    def content(self, file):
        return [json.loads(v) for v in self.get(f"/v1/files/{file}/content").body.decode().splitlines()]

    def request(self, method, path):
        return self.raw(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())


def line(i, **body):
    return {"custom_id": f"n{i}", "method": "POST", "url": "/v1/chat/completions",
            "body": {"model": "tiny", "messages": [{"role": "user", "content": "a secret of ours"}], **body}}


def usage(s):
    out = subprocess.run([os.path.join(B, "tokenworks"), "usage", "--json", "--state", s.dir.name], check=True,
                         capture_output=True, text=True).stdout
    subprocess.run([os.path.join(B, "tokenworks"), "usage", "verify", "--state", s.dir.name], check=True,
                   capture_output=True)
    return sum(r["requests"] for r in json.loads(out))


def a_batch_is_answered_and_sealed():
    with Batches("--ledger") as s:
        b = s.create([line(i, do="echo") for i in range(20)] + [line(20, model="nowhere"), line(21, stream=True)])
        equal((b["object"], b["status"], b["request_counts"]["total"]), ("batch", "in_progress", 22))
        done = s.wait(b["id"], "completed")
        equal(done["request_counts"], {"total": 22, "completed": 20, "failed": 2})
        equal(done["metadata"], {"night": "1"})
        answers, errors = s.content(done["output_file_id"]), s.content(done["error_file_id"])
        equal(sorted(a["custom_id"] for a in answers), sorted(f"n{i}" for i in range(20)))
        head = answers[0]["response"]["body"]["head"]
        equal((answers[0]["response"]["status_code"], head["priority"], head["path"]), (200, -100, "/v1/chat/completions"))
        equal({e["custom_id"]: e["response"]["status_code"] for e in errors}, {"n20": 404, "n21": 400})
        equal(usage(s), 20)
        kept = b"".join(open(f, "rb").read() for f in glob.glob(s.folder + "/*"))
        assert kept and b"secret" not in kept and b"custom_id" not in kept and b"n1" not in kept[:64]
        key = os.stat(os.path.join(s.dir.name, "batches.key"))
        equal((key.st_mode & 0o777, key.st_size), (0o600, 32))
        equal(s.request("DELETE", f"/v1/files/{done['output_file_id']}").json()["deleted"], True)
        equal(s.get(f"/v1/files/{done['output_file_id']}").status, 404)
        equal(len(s.get("/v1/batches").json()["data"]), 1)


def wrong_lines_fail_before_any_is_run():
    with Batches("--ledger") as s:
        for bad, number in (([line(1), line(2), line(1)], 3), ([line(1), {"custom_id": "x"}], 2), (b"{}", 1),
                            ([line(1) | {"url": "/v1/completions"}], 1), (b"\n\n", 2), ([line(1) | {"body": "x"}], 1)):
            b = s.create(bad)
            equal((b["status"], b["errors"]["data"][0]["line"]), ("failed", number))
        equal(usage(s), 0)
        file = s.upload([line(1)])
        for body in ({"input_file_id": file, "endpoint": "/v1/chat/completions"}, {"input_file_id": "file-x"},
                     {"input_file_id": file, "endpoint": "/metrics", "completion_window": "24h"}):
            equal(s.post("/v1/batches", body).status, 400)
        equal(s.post("/v1/files", {"purpose": "batch"}).status, 400)


def off_unless_a_folder_is_given():
    with Server() as s:
        equal((s.get("/v1/files").status, s.post("/v1/batches", {}).status), (404, 404))


def kill_9_loses_and_doubles_nothing():
    s = Batches("--ledger")
    b = s.create([line(i, do="echo") for i in range(1500)])
    kills = 0
    while True:
        now = s.batch(b["id"])
        if now["status"] == "completed":
            break
        before = now["request_counts"]["completed"]
        until(lambda: s.batch(b["id"])["request_counts"]["completed"] >= min(1500, before + 150) or
              s.batch(b["id"])["status"] == "completed", "some answers", 60)
        if kills < 5:
            os.kill(s.process.pid, signal.SIGKILL)
            s.process.wait()
            kills += 1
            again = Batches("--ledger", at=s)
            again.dir, again.first = s.dir, getattr(s, "first", s)
            s = again
    done = s.batch(b["id"])
    equal(done["request_counts"], {"total": 1500, "completed": 1500, "failed": 0})
    equal(sorted(a["custom_id"] for a in s.content(done["output_file_id"])), sorted(f"n{i}" for i in range(1500)))
    equal(usage(s), 1500)
    equal(kills, 5)
    s.stop()


def cancelling_stops_and_keeps_what_is_there():
    with Batches("--ledger", "--drain-s", "0") as s:
        b = s.create([line(i, do="silent") for i in range(8)] + [line(i, do="echo") for i in range(8, 300)])
        time.sleep(0.5 * SLOW)
        equal(s.post(f"/v1/batches/{b['id']}/cancel", {}).json()["status"], "cancelling")
        equal(s.batch(b["id"])["status"], "cancelling")  # eight lines are still with the engine
    with Batches("--ledger") as s:
        b = s.create([line(i, do="echo") for i in range(900)])
        until(lambda: s.batch(b["id"])["request_counts"]["completed"] >= 10, "some answers")
        s.post(f"/v1/batches/{b['id']}/cancel", {})
        done = s.wait(b["id"], "cancelled")
        n = done["request_counts"]["completed"]
        assert 10 <= n < 900, n
        equal((len(s.content(done["output_file_id"])), usage(s)), (n, n))


def each_tenant_sees_its_own():
    with Batches("--ledger") as s:
        keys = {}
        for name in ("red", "blue"):
            subprocess.run([os.path.join(B, "tokenworks"), "tenant", "add", name, "--state", s.dir.name], check=True,
                           capture_output=True)
            out = subprocess.run([os.path.join(B, "tokenworks"), "key", "add", "-t", name, "-n", "k", "--state",
                                  s.dir.name], check=True, capture_output=True, text=True).stdout
            keys[name] = re.search(r"tw-[\w-]{43}", out).group(0)
            until(lambda: s.get("/v1/models").status == 401 and
                  s.get("/v1/models", x_api_key=keys[name]).status == 200, "the key")
        b = s.create([line(1, do="echo")], x_api_key=keys["red"])
        until(lambda: s.batch(b["id"], x_api_key=keys["red"])["status"] == "completed", "the batch")
        done = s.batch(b["id"], x_api_key=keys["red"])
        for path in (f"/v1/batches/{b['id']}", f"/v1/files/{done['output_file_id']}",
                     f"/v1/files/{done['output_file_id']}/content"):
            equal((path, s.get(path, x_api_key=keys["blue"]).status, s.get(path, x_api_key=keys["red"]).status), (path, 404, 200))
        equal(s.get("/v1/batches", x_api_key=keys["blue"]).json()["data"], [])
        equal(json.loads(s.get(f"/v1/files/{done['output_file_id']}/content", x_api_key=keys["red"]).body)
              ["response"]["body"]["head"]["tenant"], "red")


def what_an_erased_tenant_kept_goes():
    with Batches("--ledger") as s:
        tw = lambda *words: subprocess.run([os.path.join(B, "tokenworks"), *words, "--state", s.dir.name], check=True,
                                           capture_output=True, text=True).stdout
        tw("tenant", "add", "red")
        key = tw("key", "add", "-t", "red", "-n", "k").strip()
        until(lambda: s.get("/v1/models").status == 401, "the key")
        b = s.create([line(1, do="echo")], x_api_key=key)
        until(lambda: s.batch(b["id"], x_api_key=key)["status"] == "completed", "the batch")
        equal(len(os.listdir(s.folder)), 5)  # the batch, two files of two parts
        s.process.send_signal(signal.SIGTERM)
        s.process.wait(20 * SLOW)
        tw("tenant", "erase", "red", "--yes")
        again = Batches("--ledger", at=s)
        until(lambda: not os.listdir(s.folder), "nothing to be left")
        equal(again.stop(), 0)


run([a_batch_is_answered_and_sealed, wrong_lines_fail_before_any_is_run, off_unless_a_folder_is_given,
     kill_9_loses_and_doubles_nothing, cancelling_stops_and_keeps_what_is_there, each_tenant_sees_its_own, what_an_erased_tenant_kept_goes])
