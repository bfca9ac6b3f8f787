#!/usr/bin/env python3
"""oidc_test -- tokens of an issuer instead of keys, over HTTP: whose they are, what they may do, keys that roll over.
Keys are made here with openssl; the issuer is a small HTTP server of this process."""
import base64
import http.server
import json
import os
import subprocess
import tempfile
import threading
import time

from server import B, Server, equal, run, until

HERE = tempfile.TemporaryDirectory()


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Key:
    """An Ed25519 key of the issuer."""

    def __init__(self, kid):
        self.kid, self.file = kid, os.path.join(HERE.name, kid + ".pem")
        subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", self.file], check=True)
        der = subprocess.run(["openssl", "pkey", "-in", self.file, "-pubout", "-outform", "DER"], check=True,
                             capture_output=True).stdout
        self.jwk = {"kty": "OKP", "crv": "Ed25519", "x": b64(der[-32:]), "kid": kid, "use": "sig"}

    def token(self, **claims):
        claims = {"iss": "https://id.test", "aud": "factory", "exp": time.time() + 300, "tenant": "ward"} | claims
        text = b64(json.dumps({"alg": "EdDSA", "kid": self.kid}).encode()) + "." + b64(json.dumps(claims).encode())
        file = os.path.join(HERE.name, "text")
        with open(file, "w") as f:
            f.write(text)
        sig = subprocess.run(["openssl", "pkeyutl", "-sign", "-rawin", "-inkey", self.file, "-in", file], check=True,
                             capture_output=True).stdout
        return text + "." + b64(sig)


def config(jwks, **more):
    file = tempfile.NamedTemporaryFile("w", dir=HERE.name, suffix=".yaml", delete=False)
    lines = {"issuer": "https://id.test", "audience": "factory", "jwks": jwks} | more
    file.write("auth:\n  oidc:\n" + "".join(f"    {k.replace('_', '-')}: {v}\n" for k, v in lines.items()))
    file.close()
    return ["--config", file.name]


def tokenworks(s, *words):
    subprocess.run([os.path.join(B, "tokenworks"), *words, "--state", s.dir.name], check=True, capture_output=True)


def key_file(*keys):
    file = os.path.join(HERE.name, "jwks.json")
    with open(file, "w") as f:
        json.dump({"keys": [k.jwk for k in keys]}, f)
    return file


def a_token_is_a_key_of_its_tenant():
    one, stranger = Key("one"), Key("stranger")
    with Server(*config(key_file(one), roles_claim="realm.roles")) as s:
        equal(s.get("/v1/models").status, 401)  # from the first moment on
        t = one.token()
        equal(s.get("/v1/models", Authorization=f"Bearer {t}").status, 401)  # there is no such tenant yet
        tokenworks(s, "tenant", "add", "ward", "--weight", "2")
        until(lambda: s.get("/v1/models", Authorization=f"Bearer {t}").status == 200, "the tenant")
        head = s.post("/v1/chat/completions", {"do": "echo"}, Authorization=f"Bearer {t}").json()["head"]
        equal((head["tenant"], head["weight"]), ("ward", 2))
        for bad in (stranger.token(), one.token(exp=time.time() - 60), one.token(aud="other"), one.token(iss="x"),
                    one.token(nbf=time.time() + 300), one.token(tenant="nobody"), one.token(tenant=7), t[:-4] + "AAAA",
                    t[:30], t + ".x"):
            equal(s.get("/v1/models", Authorization=f"Bearer {bad}").status, 401)
        equal(s.get("/tokenworks/admin/tenant/list", Authorization=f"Bearer {t}").status, 403)
        boss = one.token(realm={"roles": ["x", "tokenworks-admin"]})
        equal(s.get("/tokenworks/admin/tenant/list", Authorization=f"Bearer {boss}").status, 200)
        narrow = one.token(scope="openid model:other")
        equal(s.post("/v1/chat/completions", {"do": "echo"}, Authorization=f"Bearer {narrow}").status, 403)
        rows = s.get("/tokenworks/admin/usage/show", Authorization=f"Bearer {boss}").json()
        equal([(r["tenant"], r["requests"]) for r in rows], [("ward", 1)])


class Issuer(http.server.BaseHTTPRequestHandler):
    keys, asked = [], 0

    def do_GET(self):
        Issuer.asked += 1
        body = json.dumps({"keys": [k.jwk for k in Issuer.keys]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


def keys_come_from_a_url_in_the_background():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Issuer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    one, two = Key("first"), Key("second")
    Issuer.keys = [one]
    with Server(*config(f"http://127.0.0.1:{server.server_port}/keys", tenant="local", scope="use")) as s:
        t = one.token(tenant=None, scope="use")
        until(lambda: s.get("/v1/models", Authorization=f"Bearer {t}").status == 200, "the issuer's keys")
        equal(s.get("/v1/models", Authorization=f"Bearer {one.token(tenant=None, scope='used')}").status, 401)
        for _ in range(20):  # tokens of unknown keys do not make us ask again and again
            s.get("/v1/models", Authorization=f"Bearer {two.token(tenant=None, scope='use')}")
        assert Issuer.asked <= 2, Issuer.asked
        server.shutdown()
        equal(s.get("/v1/models", Authorization=f"Bearer {t}").status, 200)  # what is known stays


def a_bad_setting_is_refused_at_the_start():
    one = Key("only")
    for bad in (config(os.path.join(HERE.name, "missing.json")), config("http://id.example/keys"),
                config(key_file(one), color="blue")):
        r = subprocess.run([os.path.join(B, "tokenworks"), "serve", "--listen", "127.0.0.1:0", "--state", HERE.name,
                            "--model", os.path.abspath(__file__), *bad], capture_output=True, text=True, timeout=60)
        assert r.returncode in (1, 2), r
        assert any(w in r.stderr for w in ("missing.json", "https", "color")), r.stderr


run([a_token_is_a_key_of_its_tenant, keys_come_from_a_url_in_the_background, a_bad_setting_is_refused_at_the_start])
