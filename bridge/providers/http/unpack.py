"""The body of an answer, unpacked within a limit.

A compressed answer of a kilobyte may hold a gigabyte, and what unpacks a whole chunk at once has it in memory before
anybody can count. So compression is not asked for, and what comes compressed all the same, by a proxy perhaps, is
unpacked piece by piece.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable

PLAIN = "identity"
"""The value of Accept-Encoding that asks for an answer as it is."""

_GZIP = zlib.MAX_WBITS | 16
"""For zlib: with the head and the tail of a gzip file."""


class Unreadable(ValueError):
    """The body is too large, is not what it says, or is packed in a way that nobody asked for."""


def whole(chunks: Iterable[bytes], encoding: str, limit: int) -> bytes:
    """The body out of its chunks as they came. Never more than ``limit`` bytes, packed or unpacked, are in memory.

    ``encoding``: of the header Content-Encoding. Raises :class:`Unreadable`.
    """
    name = encoding.strip().lower()
    if name in ("", PLAIN):
        return _joined(chunks, limit)
    if name not in _STREAMS:
        raise Unreadable("the answer is packed in a way that was not asked for")
    packed = _joined(chunks, limit)
    try:
        return _STREAMS[name](packed, limit)
    except zlib.error:
        raise Unreadable("the answer is not packed as it says") from None


def _joined(chunks: Iterable[bytes], limit: int) -> bytes:
    body = bytearray()
    for chunk in chunks:
        body += chunk
        if len(body) > limit:
            raise Unreadable("the answer is too large")
    return bytes(body)


def _gzip(packed: bytes, limit: int) -> bytes:
    return _unpacked(packed, _GZIP, limit)


def _deflate(packed: bytes, limit: int) -> bytes:
    """With zlib's head by the standard, and without it by some servers."""
    try:
        return _unpacked(packed, zlib.MAX_WBITS, limit)
    except zlib.error:
        return _unpacked(packed, -zlib.MAX_WBITS, limit)


def _unpacked(packed: bytes, form: int, limit: int) -> bytes:
    """Of a file that is cut short nothing counts, and what stands behind its end is none of it."""
    stream = zlib.decompressobj(form)
    body = stream.decompress(packed, limit + 1)
    if len(body) > limit:
        raise Unreadable("the answer is too large")
    if packed and not stream.eof:
        raise Unreadable("the answer is not packed as it says")
    return body


_STREAMS: dict[str, Callable[[bytes, int], bytes]] = {"gzip": _gzip, "x-gzip": _gzip, "deflate": _deflate}
