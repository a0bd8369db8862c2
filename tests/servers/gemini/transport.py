"""The server's end of one connection: whole, slow and broken answers."""

from __future__ import annotations

import array
import contextlib
import fcntl
import select
import socket
import struct
import termios
import threading
import time
from http import HTTPStatus

STEP_SECONDS = 0.01
#: How soon one that waits sees that the script was reset.
RESET_SECONDS = 0.05
#: A reply that hangs gives up after this, should nobody close the connection.
HANG_SECONDS = 120.0
DELIVERY_SECONDS = 2.0


class Line:
    """One request's way back to the client.

    Attributes:
        is_lost: The client has closed the connection, or the server's script was reset.
    """

    def __init__(self, sock: socket.socket, *, is_over: threading.Event) -> None:
        self._socket = sock
        self._is_over = is_over
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)
        self.is_lost = False
        self.is_broken = False  # by ourselves, so that no further request can follow
        self.drip_bytes = 0
        self.drip_interval_seconds = 0.0

    def check(self) -> bool:
        """Is the client still there?"""
        if not self.is_lost and (self._is_over.is_set() or self._has_ended()):
            self.is_lost = True
        return not self.is_lost

    def _has_ended(self) -> bool:
        if not self._poll.poll(0):
            return False
        try:
            return not self._socket.recv(1, socket.MSG_PEEK)
        except OSError:
            return True

    def wait(self, seconds: float) -> bool:
        """Wait, and say whether the client did so too."""
        end = time.monotonic() + seconds
        while self.check() and (left := end - time.monotonic()) > 0:
            # Hundreds of streams wait at once: a client that leaves wakes its own, nothing else.
            if self._poll.poll(max(1, min(left, RESET_SECONDS) * 1000)) and self.check():
                self._is_over.wait(min(left, STEP_SECONDS))  # it has sent its next request
        return not self.is_lost

    def hang(self) -> None:
        """Leave the client waiting until it goes away."""
        self.is_broken = True
        self.wait(HANG_SECONDS)

    def send(self, data: bytes) -> bool:
        """Send, drop by drop if asked to, and say whether all of it went out."""
        size = self.drip_bytes or len(data) or 1
        for start in range(0, len(data), size):
            if start and self.drip_bytes and not self.wait(self.drip_interval_seconds):
                return False
            try:
                self._socket.sendall(data[start : start + size])
            except OSError:
                self.is_lost = True
                return False
        return True

    def _deliver(self) -> None:
        """Wait until the client's kernel has everything, so that a reset discards none of it."""
        left = array.array("i", [1])
        end = time.monotonic() + DELIVERY_SECONDS
        while left[0] and time.monotonic() < end:
            try:
                fcntl.ioctl(self._socket, termios.TIOCOUTQ, left)
            except OSError:
                return
            if left[0]:
                time.sleep(0.001)

    def reset(self) -> None:
        """Break the connection: the client reads what was sent, then gets ECONNRESET."""
        self.is_broken = True
        self._deliver()
        with contextlib.suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def finish(self) -> None:
        """End the connection in good order, wherever the answer stands."""
        self.is_broken = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)


def make_head(status: int, content_type: str, length: int | None) -> bytes:
    """Status line and headers; without a length the body is chunked."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Client Closed Request" if status == 499 else "Unknown"
    size = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    lines = (
        f"HTTP/1.1 {status} {phrase}",
        f"Content-Type: {content_type}",
        "Vary: Origin, X-Origin, Referer",
        "Server: loopback",
        size,
    )
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def make_chunk(data: bytes) -> bytes:
    """One HTTP chunk; of no data, the one that ends the body."""
    return b"%x\r\n%s\r\n" % (len(data), data)
