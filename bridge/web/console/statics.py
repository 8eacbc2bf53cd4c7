"""The console's own files. The address of each has a digest of its content, so a browser may keep it for ever."""

from __future__ import annotations

import hashlib
import mimetypes
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from flask import Blueprint, Response, abort, url_for

from bridge.web.auth import PUBLIC, declares

FOLDER = Path(__file__).parent / "static"
FOR_EVER = "public, max-age=31536000, immutable"


@dataclass(frozen=True)
class File:
    content: bytes
    kind: str
    digest: str


@cache
def files() -> dict[str, File]:
    """Return all files by name. They are read once."""
    return {path.name: _file(path) for path in FOLDER.iterdir() if path.suffix in (".css", ".js", ".svg")}


def address(name: str) -> str:
    """Return the address of a file."""
    return url_for("console.static_file", digest=files()[name].digest, name=name)


def add_views(pages: Blueprint) -> None:
    @pages.get("/static/<digest>/<name>")
    @declares(PUBLIC)
    def static_file(digest: str, name: str) -> Response:
        found = files().get(name)
        if found is None or found.digest != digest:
            abort(404)
        return Response(found.content, headers={"Cache-Control": FOR_EVER}, content_type=found.kind)


def _file(path: Path) -> File:
    content = path.read_bytes()
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    charset = "; charset=utf-8" if kind.startswith("text/") else ""
    return File(content, kind + charset, hashlib.sha256(content).hexdigest()[:16])
