"""The unpacking of an answer's body within a size limit.

A compressed kilobyte may hold a gigabyte. A reader that unpacks a whole chunk has it in memory before it can count. So
the bridge asks for uncompressed answers. If a proxy compresses one all the same, it is unpacked in pieces.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable

PLAIN = "identity"
"""The value of Accept-Encoding that asks for an uncompressed answer."""

_GZIP = zlib.MAX_WBITS | 16
"""For zlib: with the header and the trailer of a gzip file."""


class Unreadable(ValueError):
    """The body is too large, does not match its header, or uses an encoding that we did not ask for."""


def whole(chunks: Iterable[bytes], encoding: str, limit: int) -> bytes:
    """Join and unpack the raw chunks of a body. At most ``limit`` bytes, packed or unpacked, are in memory.

    ``encoding`` is the header Content-Encoding. Raise :class:`Unreadable`.
    """
    name = encoding.strip().lower()
    if name in ("", PLAIN):
        return _joined(chunks, limit)
    if name not in _STREAMS:
        raise Unreadable("the answer has an encoding that was not requested")
    packed = _joined(chunks, limit)
    try:
        return _STREAMS[name](packed, limit)
    except zlib.error:
        raise Unreadable("the answer does not match its Content-Encoding") from None


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
    """Unpack with zlib's header, as the standard says, or without it, as some servers send it."""
    try:
        return _unpacked(packed, zlib.MAX_WBITS, limit)
    except zlib.error:
        return _unpacked(packed, -zlib.MAX_WBITS, limit)


def _unpacked(packed: bytes, form: int, limit: int) -> bytes:
    """Unpack a complete file. Reject one that is cut short. Ignore any bytes after its end."""
    stream = zlib.decompressobj(form)
    body = stream.decompress(packed, limit + 1)
    if len(body) > limit:
        raise Unreadable("the answer is too large")
    if packed and not stream.eof:
        raise Unreadable("the answer does not match its Content-Encoding")
    return body


_STREAMS: dict[str, Callable[[bytes, int], bytes]] = {"gzip": _gzip, "x-gzip": _gzip, "deflate": _deflate}
