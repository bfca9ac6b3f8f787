#!/usr/bin/env python3
"""clients_test -- the official clients of each dialect, Python and npm, chat, stream, list models, get typed errors."""
import json, os, shutil, subprocess, sys, tempfile
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from server import ROOT, Server, Tap, need_model

PYTHON = os.path.join(ROOT, ".venv", "bin", "python")
CLIENTS = os.path.join(ROOT, "tests", "clients")
tap = Tap()
need_model(tap)
state = tempfile.TemporaryDirectory() # not the user's: what is kept there would be seen, and what is asked here would stay
s = Server("--state", state.name).wait_ready()

model = json.loads(s.get("/v1/models")[1])["data"][0]["id"]
env = {**os.environ, "OPENAI_BASE_URL": s.url + "/v1", "OPENAI_API_KEY": "none", "OLLAMA_HOST": s.url, "TW_URL": s.url,
       "TW_MODEL": model}


def run(name, *command):
    with tap.case(name):
        if not os.path.exists(command[0]) and not shutil.which(command[0]):
            raise AssertionError(f"{command[0]} is missing: tools/deps test installs it")
        r = subprocess.run(command, capture_output=True, text=True, timeout=120, env=env)
        assert r.returncode == 0, r.stdout + r.stderr


for client, what in (("openai", "client"), ("openai", "responses"), ("openai", "responses_tools"), ("anthropic", "client"),
                     ("anthropic", "tools"), ("ollama", "client"), ("ollama", "tools")):
    at = os.path.join(CLIENTS, f"{client}_{what}")
    run(f"the official Python client of {client}: {what}", PYTHON, at + ".py")
    run(f"the official npm client of {client}: {what}", "node", at + ".cjs")
s.stop()
tap.done()
