"""As much of a WebSocket client (RFC 6455) as the tests need, in the standard library."""

import base64
import json
import os
import socket
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

TEXT, CLOSE = 0x1, 0x8


class WebSocket:
    """A connection; ``status`` is the handshake's, 101 where it was let in."""

    def __init__(self, url: str, timeout: float = 30) -> None:
        parts = urlsplit(url)
        self.socket = socket.create_connection((parts.hostname, parts.port), timeout)
        self.stream = self.socket.makefile("rb")
        lines = (
            f"GET {parts.path}?{parts.query} HTTP/1.1",
            f"Host: {parts.netloc}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
            "Sec-WebSocket-Version: 13",
        )
        self.socket.sendall("\r\n".join((*lines, "", "")).encode())
        self.status = int(self.stream.readline().split()[1])
        while self.stream.readline().strip():
            pass

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.status == 101:
            self.send(CLOSE, (1000).to_bytes(2))
        self.stream.close()
        self.socket.close()

    def send(self, kind: int, content: bytes) -> None:
        """One frame of at most 125 bytes, masked as a client's have to be (5.3)."""
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[n % 4] for n, byte in enumerate(content))
        self.socket.sendall(bytes([0x80 | kind, 0x80 | len(content)]) + mask + masked)

    def receive(self) -> Any:
        """The next message's JSON; None where the other side closes."""
        head = self.stream.read(2)
        if len(head) < 2 or head[0] & 0xF == CLOSE:
            return None
        length = head[1] & 0x7F
        if length == 126:
            length = int.from_bytes(self.stream.read(2))
        content = self.stream.read(length)
        return json.loads(content) if head[0] & 0xF == TEXT else self.receive()
