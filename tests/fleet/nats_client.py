"""nats_client -- NATS' text protocol over a TLS socket: enough to publish, subscribe, and hear what the server refuses."""
import json, select, socket, ssl, threading, time


class Client:
    """messages: [(subject, bytes)] in order; errors: [text] of -ERR lines."""
    def __init__(self, address, folder=None, name="", timeout=10, user=None):
        host, port = address.rsplit(":", 1)
        self.s = socket.create_connection((host, int(port)), timeout=timeout)
        info = self._line()
        assert info.startswith(b"INFO "), info
        if folder:  # mutual TLS: NATS greets in the clear, then both sides change over
            context = ssl.create_default_context(cafile=f"{folder}/ca.pem")
            if name:
                context.load_cert_chain(f"{folder}/nodes/{name}.pem", f"{folder}/nodes/{name}.key")
            self.s = context.wrap_socket(self.s, server_hostname=host)
        self.s.setblocking(False)  # a TLS socket is read and written under one lock, so never while waiting
        self.lock, self.buffer = threading.Lock(), bytearray()
        self.messages, self.errors, self.pongs, self.subscriptions, self.closed = [], [], 0, 0, False
        self.heard = threading.Condition()
        hello = {"verbose": False, "pedantic": False, "lang": "python", "name": name or "test", "protocol": 1, **(user or {})}
        self._send(b"CONNECT " + json.dumps(hello).encode() + b"\r\n")
        threading.Thread(target=self._read, daemon=True).start()

    def _line(self):
        line = b""
        while not line.endswith(b"\n"):
            byte = self.s.recv(1)  # not a byte further: what follows may be TLS
            if not byte:
                raise ConnectionError("the server hung up")
            line += byte
        return line

    def _send(self, data):
        view = memoryview(data)
        while view:
            try:
                with self.lock:
                    view = view[self.s.send(view):]
            except (BlockingIOError, ssl.SSLWantWriteError):
                select.select([], [self.s], [], 1)
            except ssl.SSLWantReadError:
                select.select([self.s], [], [], 1)

    def _more(self):
        while True:
            try:
                with self.lock:
                    data = self.s.recv(1 << 18)
                if not data:
                    raise ConnectionError("the server hung up")
                self.buffer += data
                return
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                select.select([self.s], [], [], 1)

    def _take(self, n):
        while len(self.buffer) < n:
            self._more()
        data = bytes(self.buffer[:n])
        del self.buffer[:n]
        return data

    def _read(self):
        try:
            while True:
                while b"\n" not in self.buffer:
                    self._more()
                self._hear(self._take(self.buffer.index(b"\n") + 1))
        except (OSError, ValueError):
            pass
        self.s.close()
        with self.heard:
            self.closed = True
            self.heard.notify_all()

    def _hear(self, line):
        words = line.split()
        data = self._take(int(words[-1]) + 2)[:-2] if words[0] == b"MSG" else b""
        with self.heard:
            if words[0] == b"MSG":
                self.messages.append((words[1].decode(), data))
            elif words[0] == b"PONG":
                self.pongs += 1
            elif words[0] == b"-ERR":
                self.errors.append(line[5:].decode().strip().strip("'"))
            self.heard.notify_all()
        if words[0] == b"PING":
            self._send(b"PONG\r\n")

    def subscribe(self, subject, queue=""):
        self.subscriptions += 1
        self._send(f"SUB {subject} {queue} {self.subscriptions}\r\n".encode())
        return self.subscriptions

    def unsubscribe(self, number):
        self._send(f"UNSUB {number}\r\n".encode())

    def publish(self, subject, data=b"x", reply=""):
        self._send(f"PUB {subject} {reply} {len(data)}\r\n".encode() + data + b"\r\n")

    def flush(self, timeout=10):
        """Everything said so far was judged by the server: its refusals are in errors."""
        with self.heard:
            want = self.pongs + 1
        self._send(b"PING\r\n")
        if not self.wait(lambda: self.pongs >= want or self.closed, timeout) or self.closed:
            raise ConnectionError("; ".join(self.errors) or "the server does not answer")
        return self

    def wait(self, condition, timeout=10):
        deadline = time.monotonic() + timeout
        with self.heard:
            while not condition():
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                self.heard.wait(left)
        return True

    def close(self):
        try:
            socket.socket.shutdown(self.s, socket.SHUT_RDWR)  # the reader closes it
        except OSError:
            pass
