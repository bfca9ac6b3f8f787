"""servers -- ours and others as HTTP servers under the same load generator, one at a time.

A server is started on a free port, asked with `tokenworks load`, weighed, and stopped.
"""
import contextlib, json, os, signal, socket, subprocess, tempfile, time, urllib.request

from engines import ROOT, run

TOKENWORKS = os.path.join(ROOT, "build", "tokenworks")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def family(pid):
    """A process and all below it."""
    out, todo = [], [pid]
    while todo:
        p = todo.pop()
        out.append(p)
        with contextlib.suppress(OSError):
            for t in os.listdir(f"/proc/{p}/task"):
                todo += map(int, open(f"/proc/{p}/task/{t}/children").read().split())
    return out


def memory(pid):
    """Proportional resident bytes of a process and its children: mapped files count once they are read."""
    total = 0
    for p in family(pid):
        with contextlib.suppress(OSError):
            for line in open(f"/proc/{p}/smaps_rollup"):
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
    return total


class Server:
    """command(model, port, slots, ctx, state) -> argv; ctx is what one request may hold."""

    def __init__(self, name, command, flags=()):
        self.name, self.command, self.flags = name, command, list(flags)

    @contextlib.contextmanager
    def running(self, model, slots, ctx):
        port = free_port()
        with tempfile.TemporaryDirectory() as state, open(os.path.join(state, "log"), "w") as log:
            argv = [str(a) for a in self.command(model, port, slots, ctx, state)]
            started = time.monotonic()
            p = subprocess.Popen(argv, stdout=log, stderr=log, start_new_session=True)
            try:
                self.wait(p, port, log.name)
                yield p.pid, f"http://127.0.0.1:{port}", time.monotonic() - started
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(p.pid, signal.SIGTERM)
                try:
                    p.wait(20)
                except subprocess.TimeoutExpired:
                    os.killpg(p.pid, signal.SIGKILL)
                    p.wait()

    def wait(self, p, port, log):
        for _ in range(1200):
            if p.poll() is not None:
                raise RuntimeError(f"{self.name} ended: {open(log).read()[-600:]}")
            with contextlib.suppress(OSError):
                body = urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models", timeout=2)
                if body.status == 200 and self.answers(port):
                    return
            time.sleep(0.05)
        raise RuntimeError(f"{self.name} did not answer within a minute")

    def answers(self, port):
        request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/chat/completions", headers={
            "Content-Type": "application/json"}, data=json.dumps({"model": "default", "max_tokens": 1, "messages": [
                {"role": "user", "content": "hello"}]}).encode())
        with contextlib.suppress(OSError):
            return urllib.request.urlopen(request, timeout=60).status == 200
        return False

    def load(self, url, *options):
        return json.loads(run([TOKENWORKS, "load", "-u", url, "--json", *self.flags, *options], timeout=3600))["runs"]


def ours(threads, *more):
    return Server(" ".join(("tokenworks", *more)), lambda model, port, slots, ctx, state: [
        TOKENWORKS, "serve", "-m", model, "--listen", f"127.0.0.1:{port}", "--state", state, "-t", threads,
        "--ctx", ctx, *more])


def llama(name, folder, threads, *more):
    return Server(name, lambda model, port, slots, ctx, state: [
        os.path.join(folder, "llama-server"), "-m", model, "--port", port, "--host", "127.0.0.1", "-t", threads,
        "-tb", threads, "-np", slots, "-c", slots * ctx, *more])
