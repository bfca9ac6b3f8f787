#!/usr/bin/env python3
"""clients_test -- the official OpenAI clients, Python and npm, chat, stream, list models and get typed errors."""
import os, shutil, subprocess, sys
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from server import ROOT, Server, Tap, need_model

PYTHON = os.path.join(ROOT, ".venv", "bin", "python")
CLIENTS = os.path.join(ROOT, "tests", "clients")
tap = Tap()
need_model(tap)
s = Server().wait_ready()


def run(name, command):
    with tap.case(name):
        if not os.path.exists(command[0]) and not shutil.which(command[0]):
            raise AssertionError(f"{command[0]} is missing: tools/deps test installs it")
        r = subprocess.run(command, capture_output=True, text=True, timeout=120,
                           env={**os.environ, "OPENAI_BASE_URL": s.url + "/v1", "OPENAI_API_KEY": "none"})
        assert r.returncode == 0, r.stdout + r.stderr


run("the official Python client", [PYTHON, os.path.join(CLIENTS, "openai_client.py")])
run("the official npm client", ["node", os.path.join(CLIENTS, "openai_client.cjs")])
s.stop()
tap.done()
