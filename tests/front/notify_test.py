#!/usr/bin/env python3
"""notify_test -- what a service manager is told, at a NOTIFY_SOCKET of ours: a path and an abstract one."""
import os
import socket
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from server import Server, equal, run, until


class Manager:
    def __init__(self, abstract):
        self.dir = tempfile.TemporaryDirectory()
        name = "tw-notify-test-%d" % os.getpid() if abstract else os.path.join(self.dir.name, "notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + name if abstract else name)
        self.socket.settimeout(10)
        self.env = {"NOTIFY_SOCKET": "@" + name if abstract else name}

    def read(self, until_text, seconds=10):
        """Everything up to the first message that has until_text."""
        out, end = [], time.monotonic() + seconds
        while time.monotonic() < end:
            out.append(self.socket.recv(4096).decode())
            if until_text in out[-1]:
                return out
        raise AssertionError(f"no {until_text} in {out}")


def ready_comes_when_the_models_are_there():
    for abstract in (False, True):
        m = Manager(abstract)
        with Server(models=("one", "two"), env={**m.env, "FAKE_LOADING_MS": "300"}, wait=False) as s:
            before = m.read("READY=1")
            assert all(x.startswith("STATUS=loading ") for x in before[:-1]) and len(before) > 2, before
            equal(s.get("/health").status, 200)
            environ = open(f"/proc/{s.do(do='echo').json()['pid']}/environ").read()
            assert "NOTIFY_SOCKET" not in environ  # engines do not speak for us
            s.process.terminate()
            assert not any("READY" in x for x in m.read("STOPPING=1"))


def the_watchdog_is_fed():
    m = Manager(False)
    with Server(env={**m.env, "WATCHDOG_USEC": "1000000"}):
        m.read("READY=1")
        start = time.monotonic()
        for _ in range(3):
            m.read("WATCHDOG=1")
        assert time.monotonic() - start < 4


def no_manager_or_a_dead_one_is_no_matter():
    for path in ("/nonexistent/socket", "relative", "", "/" + "x" * 300):
        with Server(env={"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "nonsense"}) as s:
            equal(s.do(do="echo").status, 200)


def folders_alone_are_ready_at_once():
    m = Manager(False)
    with tempfile.TemporaryDirectory() as d, Server("--models", d, models=(), env=m.env, wait=False) as s:
        m.read("READY=1")
        until(lambda: s.port, "the port")
        equal(s.get("/health").status, 200)
        equal(s.do(do="echo").status, 404)  # it has no model at all


run([ready_comes_when_the_models_are_there, the_watchdog_is_fed, no_manager_or_a_dead_one_is_no_matter,
     folders_alone_are_ready_at_once])
