#!/usr/bin/env python3
"""fault_proxy -- TCP connections with faults on demand, in user space: the kernel here has no netem.

    fault_proxy.py NAME=LISTEN_HOST:PORT=TARGET_HOST:PORT[=TAP_FILE] ...

Up is from who connects to the target. Orders on stdin, a line each, answered by "ok":
    NAME open            forward both ways (what waited goes on, as after retransmission)
    NAME cut             end every connection, refuse new ones
    NAME silent          half-open: connections stay, nothing passes either way; new ones connect and hear nothing
    NAME drop-up | drop-down                   one-way loss
    NAME delay MS        both ways, each piece by so much
TAP_FILE gets every byte that arrives, of both directions."""
import asyncio, socket, sys, time

PIECE = 1 << 16


class Route:
    def __init__(self, name, listen, target, tap=None):
        self.name, self.listen, self.target = name, listen.rsplit(":", 1), target.rsplit(":", 1)
        self.tap = open(tap, "ab", buffering=0) if tap else None
        self.refusing, self.delay, self.writers = False, 0.0, set()
        self.flows = {"up": asyncio.Event(), "down": asyncio.Event()}
        self.order("open")

    def order(self, mode, ms=0):
        held = {"open": (), "delay": (), "cut": (), "silent": ("up", "down"), "drop-up": ("up",), "drop-down": ("down",)}[mode]
        self.refusing, self.delay = mode == "cut", ms / 1000
        for way, flow in self.flows.items():
            flow.clear() if way in held else flow.set()
        if mode == "cut":
            for w in list(self.writers):
                w.transport.abort()

    async def accept(self, reader, writer):
        if self.refusing:
            writer.transport.abort()
            return
        self.writers.add(writer)
        try:
            await self.flows["up"].wait()
            back_reader, back = await asyncio.open_connection(self.target[0], int(self.target[1]))
        except OSError:
            writer.transport.abort()
            self.writers.discard(writer)
            return
        for w in (writer, back):
            w.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.writers.add(back)
        try:
            await asyncio.gather(self.pump(reader, back, "up"), self.pump(back_reader, writer, "down"))
        finally:
            for w in (writer, back):
                self.writers.discard(w)
                w.transport.abort()

    async def pump(self, reader, writer, way):
        """Keeps order under delay: a piece leaves when its time has come, and never before the one ahead of it."""
        pieces = asyncio.Queue(64)

        async def leave():
            while True:
                data, when = await pieces.get()
                if (left := when - time.monotonic()) > 0:
                    await asyncio.sleep(left)
                await self.flows[way].wait()
                if not data:
                    writer.write_eof()
                    return
                writer.write(data)
                await writer.drain()
        leaving = asyncio.ensure_future(leave())
        try:
            while True:
                data = await reader.read(PIECE)
                if data and self.tap:
                    self.tap.write(data)
                await pieces.put((data, time.monotonic() + self.delay))
                if not data:
                    break
            await leaving
        except (OSError, asyncio.CancelledError):
            leaving.cancel()
            writer.transport.abort()


async def main():
    routes = {}
    for word in sys.argv[1:]:
        route = Route(*word.split("="))
        routes[route.name] = route
        await asyncio.start_server(route.accept, route.listen[0], int(route.listen[1]))
    print("ok", flush=True)
    orders = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    while line := await orders.readline():
        name, mode, *ms = line.decode().split()
        routes[name].order(mode, *map(float, ms))
        print("ok", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
