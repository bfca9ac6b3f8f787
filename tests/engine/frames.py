"""frames -- an engine process on a socketpair, spoken to in frames (src/wire/frame.h), for tests of the engine alone."""
import array, json, os, socket, struct, subprocess

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
BINARY = os.path.join(os.environ.get("B", os.path.join(ROOT, "build")), "tokenworks")
HELLO, REQUEST, HEAD, DATA, USAGE, END, ERROR, CANCEL, CREDIT, STATS = range(1, 11)
TOKENS = 2


class Answer:
    """What came back for a request: its bytes, its tokens, the usage frames, the error."""
    def __init__(self):
        self.body, self.tokens, self.usage, self.end, self.error, self.frames = b"", [], [], None, None, 0

    def take(self, kind, flags, payload):
        if kind == DATA:
            self.frames += 1
            if flags & TOKENS:
                n = struct.unpack("<H", payload[:2])[0]
                self.tokens += struct.unpack(f"<{n}I", payload[2:2 + 4 * n])
                payload = payload[2 + 4 * n:]
            self.body += payload
        elif kind == USAGE:
            self.usage.append(json.loads(payload))
        elif kind == END:
            self.end = json.loads(payload)
        elif kind == ERROR:
            self.error = json.loads(payload)


class Engine:
    def __init__(self, model, options=None, hello=None):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.process = subprocess.Popen([BINARY, "engine"], pass_fds=[3, theirs.fileno()], stdin=subprocess.DEVNULL,
                                        preexec_fn=lambda: theirs.fileno() == 3 or os.dup2(theirs.fileno(), 3))
        theirs.close()
        self.socket, self.inbox, self.id = ours, b"", 0
        with open(model, "rb") as f:
            text = json.dumps({"role": "front", "version": "test", "model": {"id": "m", "options": options or {}},
                               **(hello or {})}).encode()
            ours.sendmsg([self.frame(HELLO, text)], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [f.fileno()]))])
        while True:
            kind, flags, frame_id, payload = self.receive()
            if kind == HELLO:
                self.facts = json.loads(payload)
                break
        assert self.facts["ready"], self.facts

    @staticmethod
    def frame(kind, payload=b"", frame_id=0, flags=0, seq=0):
        return struct.pack("<IBBHQIQ", len(payload), 1, kind, flags, frame_id, 0, seq) + payload

    def receive(self):
        while len(self.inbox) < 28 or len(self.inbox) < 28 + struct.unpack("<I", self.inbox[:4])[0]:
            got = self.socket.recv(1 << 20)
            assert got, "the engine is gone"
            self.inbox += got
        n, version, kind, flags, frame_id, attempt, seq = struct.unpack("<IBBHQIQ", self.inbox[:28])
        payload, self.inbox = self.inbox[28:28 + n], self.inbox[28 + n:]
        return kind, flags, frame_id, payload

    def ask(self, path, body, **head):
        return self.ask_all([(path, body, head)])[0]

    def ask_all(self, requests):
        answers = {}
        for path, body, head in requests:
            self.id += 1
            first = json.dumps({"method": "POST", "path": path, "tenant": "t", "created": 1700000000,
                                "response_id": "resp-1", **head}).encode()
            self.socket.sendall(self.frame(REQUEST, first + b"\n" + json.dumps(body).encode(), self.id))
            answers[self.id] = Answer()
        while any(a.end is None and a.error is None for a in answers.values()):
            kind, flags, frame_id, payload = self.receive()
            if frame_id in answers:
                answers[frame_id].take(kind, flags, payload)
        return list(answers.values())

    def stop(self):
        self.socket.close()
        return self.process.wait(30)
