#!/usr/bin/env python3
"""dialect_test -- the front's part in the dialects: its errors in the shape of the route they were asked on, the routes
about models that Ollama's clients ask, and the way of a stored response's id back to its engine."""
import re

from server import Server, Reply, request, equal, run, until

SHAPES = {  # what an error of this route looks like: where its sentence is
    "/v1/chat/completions": lambda e: e["error"]["message"] and "param" in e["error"],
    "/v1/responses": lambda e: e["error"]["message"] and "code" in e["error"],
    "/v1/messages": lambda e: e["type"] == "error" and e["error"]["type"] and e["error"]["message"],
    "/api/chat": lambda e: isinstance(e["error"], str) and set(e) == {"error"},
}


def errors_speak_the_routes_dialect():
    with Server("--max-body", "4096", env={}) as s:
        for path, fits in SHAPES.items():
            for status, body in [(404, {"model": "nobody"}), (400, "{"), (413, {"pad": "x" * 9000}),
                                 (400, {"do": "refuse"}), (503, {"do": "crash"})]:
                r = s.post(path, body)
                equal((path, r.status), (path, status))
                assert fits(r.json()), (path, status, r.body)
                if status == 503:
                    until(lambda: s.get("/health").status == 200, "the engine to come back")
        equal(s.post("/v1/messages", {"model": "nobody"}).json()["error"]["type"], "not_found_error")
        equal(s.post("/v1/messages", {"do": "crash"}).json()["error"]["details"], {"error_code": "engine_restarting"})
        until(lambda: s.get("/health").status == 200, "the engine to come back")
        equal(s.post("/v1/messages/batches", {}).json()["type"], "error")
        equal(s.get("/api/nothing").json().keys(), {"error"})


def ollama_lists_and_facts():
    with Server(models=("tiny", "small")) as s:
        tags = s.get("/api/tags").json()["models"]
        equal([m["name"] for m in tags], ["tiny:latest", "small:latest"])
        equal([m["size"] for m in tags], [1234, 1234])
        assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$", tags[0]["modified_at"]), tags
        for name in ("tiny", "tiny:latest"):
            equal(s.post("/api/show", {"model": name}).json()["name"], "tiny:latest")
        equal(s.post("/api/show", {"name": "tiny"}).status, 200)
        r = s.post("/api/show", {"model": "nobody"})
        equal((r.status, r.json()), (404, {"error": "model 'nobody' not found"}))
        equal(s.post("/api/show", {}).status, 400)
        assert "tokenworks" in s.get("/api/version").json()["version"]
        equal(s.post("/api/pull", {"model": "tiny"}).json(), {"status": "success"})
        for path in ("/api/pull", "/api/push", "/api/create", "/api/copy"):
            equal((path, s.post(path, {"model": "nobody"}).status), (path, 501))
        equal(s.post("/api/chat", {"model": "small:latest"}).status, 200)
        equal(s.post("/v1/chat/completions", {"model": "small:latest"}).status, 404)


def a_response_is_led_to_its_engine():
    with Server(models=("tiny", "small")) as s:
        ids = {m: s.post("/v1/responses", {"model": m, "do": "echo"}).json()["head"]["response_id"] for m in ("tiny", "small")}
        assert ids["tiny"][-3:] != ids["small"][-3:], ids
        for model, i in ids.items():
            for method in ("GET", "DELETE"):
                with s.connect() as c:
                    c.sendall(request(method, f"/v1/responses/{i}", None, {}))
                    r = Reply(c)
                    equal((method, r.status), (method, 200))
        for path in ("/v1/responses/resp_unknown", "/v1/responses/x", "/v1/responses/"):
            r = s.get(path)
            equal((path, r.status, r.json()["error"]["code"]), (path, 404, "not_found"))
        equal(s.post("/v1/responses/compact", {}).status, 404)
        with s.connect() as c:
            c.sendall(request("DELETE", "/v1/responses", None, {}))
            r = Reply(c)
            equal((r.status, r.headers["allow"]), (405, "POST"))


run([errors_speak_the_routes_dialect, ollama_lists_and_facts, a_response_is_led_to_its_engine])
