#!/usr/bin/env python3
"""tls_test -- HTTPS: streaming, hang-up, refusals that survive, old protocols, client certificates, renewal on SIGHUP.
Runs alone: it judges times."""
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time

from server import Reply, Server, equal, request, run, until

if not shutil.which("openssl"):
    print("ok 1 - tls # SKIP no openssl program to make certificates with\n1..1")
    sys.exit(0)

DIR = tempfile.TemporaryDirectory()


def path(name):
    return os.path.join(DIR.name, name)


def certificate(name, subject, issuer=None):
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
               "-keyout", path(name + ".key"), "-out", path(name + ".crt"), "-subj", f"/CN={subject}", "-addext",
               "subjectAltName=DNS:localhost"]
    if issuer:
        command += ["-CA", path(issuer + ".crt"), "-CAkey", path(issuer + ".key"), "-addext", "basicConstraints=CA:FALSE"]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)


certificate("ca", "Test CA")
certificate("server", "localhost", "ca")
certificate("client", "someone", "ca")
certificate("stranger", "stranger")
FILES = ("--tls-cert", path("server.crt"), "--tls-key", path("server.key"))


def client(cert=None):
    c = ssl.create_default_context(cafile=path("ca.crt"))
    if cert:
        c.load_cert_chain(path(cert + ".crt"), path(cert + ".key"))
    return c


def the_same_over_tls():
    with Server(*FILES, tls=client()) as s:
        assert any(f"listening on https://127.0.0.1:{s.port}" in line for line in s.lines)
        equal(s.do(do="stream", n=20).body.count(b"word"), 20)
        body = b'{"do":"echo","p":"' + b"x" * 3000000 + b'"}'
        equal(s.post("/v1/chat/completions", body).json()["body_bytes"], len(body))
        r = Reply(s.open(do="huge", n=300, bytes=100000))
        equal((r.complete, len(r.body)), (True, 30000000))
        with s.connect() as c:
            for _ in range(3):
                c.sendall(request("GET", "/health", None, {}))
                equal(Reply(c).status, 200)


def hang_ups_and_refusals():
    with Server(*FILES, "--max-body", "1M", tls=client()) as s:
        c = s.open(do="stall")
        time.sleep(0.2)
        now = time.monotonic_ns()
        c.close()
        until(lambda: s.do(do="log").json()["cancels"], "the cancel")
        assert s.do(do="log").json()["cancels"][0]["ns"] - now < 5e8
        c = s.open(do="stall")
        c = socket.socket(fileno=c.detach())  # no close notice: the cable is cut
        time.sleep(0.2)
        c.close()
        until(lambda: len(s.do(do="log").json()["cancels"]) == 2, "the cancel")
        equal(s.post("/v1/chat/completions", b'{"p":"' + b"x" * 1500000).status, 413)


def what_is_not_tls_is_dropped():
    with Server(*FILES, tls=client()) as s:
        with socket.create_connection(("127.0.0.1", s.port), timeout=10) as c:
            c.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            try:
                while data := c.recv(1000):
                    assert b"HTTP" not in data
            except ConnectionResetError:
                pass
        old = client()
        old.minimum_version = ssl.TLSVersion.TLSv1
        old.maximum_version = ssl.TLSVersion.TLSv1_1
        try:
            s.tls, kept = old, s.tls
            s.get("/health")
            raise AssertionError("TLS 1.1 was accepted")
        except (ssl.SSLError, OSError):
            pass
        s.tls = kept
        equal(s.get("/health").status, 200)


def client_certificates():
    with Server(*FILES, "--tls-client-ca", path("ca.crt"), tls=client("client")) as s:
        equal(s.get("/v1/models").status, 200)
        for context in (client(), client("stranger")):
            s.tls, kept = context, s.tls
            try:
                status = s.get("/v1/models").status
            except (ssl.SSLError, OSError):
                status = 0
            s.tls = kept
            equal(status, 0)
        equal(s.get("/v1/models").status, 200)


def client_certificates_by_configuration():
    """The same from a file: tls: {cert, key, client-ca}."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as f:
        f.write(f"tls:\n  cert: {path('server.crt')}\n  key: {path('server.key')}\n  client-ca: {path('ca.crt')}\n")
        f.flush()
        with Server("--config", f.name, tls=client("client")) as s:
            equal(s.get("/v1/models").status, 200)
            s.tls, kept = client("stranger"), s.tls
            try:
                status = s.get("/v1/models").status
            except (ssl.SSLError, OSError):
                status = 0
            s.tls = kept
            equal(status, 0)


def serial(s):
    with s.connect() as c:
        return c.getpeercert()["serialNumber"]


def renewal():
    with Server(*FILES, tls=client()) as s, s.open(do="stream", n=60, ms=20) as running:
        before = serial(s)
        certificate("server", "localhost", "ca")
        s.process.send_signal(signal.SIGHUP)
        until(lambda: serial(s) != before, "the new certificate")
        renewed = serial(s)
        with open(path("server.crt"), "w") as f:
            f.write("broken")
        s.process.send_signal(signal.SIGHUP)
        until(lambda: "server.crt" in s.log, "the complaint")
        equal(serial(s), renewed)
        equal(Reply(running).body.count(b"word"), 60)


def broken_files_are_told():
    for options, text in ((("--tls-cert", path("server.crt")), "--tls-cert and --tls-key go together"),
                          (("--tls-cert", path("ca.crt"), "--tls-key", path("client.key")), "client.key"),
                          (("--tls-cert", path("none.crt"), "--tls-key", path("client.key")), "none.crt")):
        s = Server(*options, wait=False)
        equal(s.process.wait(20), 1)
        s.stop()
        assert text in s.log, s.log


run([the_same_over_tls, hang_ups_and_refusals, what_is_not_tls_is_dropped, client_certificates,
     client_certificates_by_configuration, renewal,
     broken_files_are_told])
