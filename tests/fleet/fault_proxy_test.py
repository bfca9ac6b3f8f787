#!/usr/bin/env python3
"""fault_proxy_test -- each fault of the proxy does what it says, on plain sockets: else the fleet's gates would prove nothing."""
import os, socket, subprocess, sys, tempfile, threading, time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "cmd"))
sys.dont_write_bytecode = True
from server import Tap

tap, work = Tap(), tempfile.TemporaryDirectory()
echo = socket.create_server(("127.0.0.1", 0))


def serve():
    while True:
        s, _ = echo.accept()
        threading.Thread(target=lambda s: [s.sendall(d.upper()) for d in iter(lambda: s.recv(1024), b"")], args=(s,), daemon=True).start()


threading.Thread(target=serve, daemon=True).start()
with socket.create_server(("127.0.0.1", 0)) as s:
    port = s.getsockname()[1]
proxy = subprocess.Popen([sys.executable, f"{HERE}/fault_proxy.py", f"r=127.0.0.1:{port}=127.0.0.1:{echo.getsockname()[1]}={work.name}/tap"],
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
proxy.stdout.readline()


def order(text):
    proxy.stdin.write(f"r {text}\n")
    proxy.stdin.flush()
    assert proxy.stdout.readline() == "ok\n"


def connect():
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def hear(s, timeout=10):
    s.settimeout(timeout)
    try:
        return s.recv(1024)
    except TimeoutError:
        return None


a = connect()
with tap.case("open: bytes pass both ways"):
    a.sendall(b"one")
    assert hear(a) == b"ONE"
with tap.case("silent: nothing passes, the connection stays, and what waited passes afterwards"):
    order("silent")
    a.sendall(b"two")
    assert hear(a, 0.4) is None
    b = connect()
    b.sendall(b"new")
    assert hear(b, 0.4) is None
    order("open")
    assert hear(a) == b"TWO" and hear(b) == b"NEW"
with tap.case("drop-up and drop-down: one way only"):
    for way, arrives in (("drop-up", False), ("drop-down", True)):
        order(way)
        before = os.path.getsize(f"{work.name}/tap")
        a.sendall(b"three")
        assert (got := hear(a, 0.4)) is None, (way, got)
        time.sleep(0.1)
        assert (os.path.getsize(f"{work.name}/tap") - before == 10) == arrives, way  # the tap saw the answer, or no answer
        order("open")
        assert hear(a) == b"THREE"
with tap.case("delay: each way by so much, in order"):
    order("delay 150")
    time.sleep(0.2)  # it is obeyed at the next turn
    t = time.monotonic()
    a.sendall(b"four")
    time.sleep(0.01)
    a.sendall(b"five")
    assert hear(a) == b"FOUR" and time.monotonic() - t > 0.29
    assert hear(a) == b"FIVE"
    order("open")
with tap.case("cut: connections end, new ones do not live"):
    order("cut")
    try:
        assert hear(a) == b""
    except ConnectionResetError:
        pass
    try:
        c = connect()
        c.sendall(b"x")
        assert hear(c, 0.4) in (b"", None)
    except OSError:
        pass
    order("open")
    c = connect()
    c.sendall(b"back")
    assert hear(c) == b"BACK"
proxy.kill()
tap.done()
