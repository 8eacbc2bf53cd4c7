"""Bring the documents beside ``docs/`` into the site, and keep the links that they have in the repository."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent

LINK = re.compile(r"\]\((?![a-z]+:|[#/])([^)#\s]+)(#[^)\s]*)?\)")
"""A relative link: its path, and its anchor. A page of the repository and a page of the site have the same anchors."""


def beside() -> dict[str, str]:
    """Return each document outside ``docs/``, with the page that it becomes."""
    own_name = {path.name: path.name.lower() for path in ROOT.glob("*.md")}
    return own_name | {"README.md": "index.md", "bench/README.md": "bench.md"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for document, page in beside().items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / document)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    name = page.file.src_uri
    document = {page: document for document, page in beside().items()}.get(name, f"docs/{name}")
    return LINK.sub(lambda link: f"]({in_site(link[1], document)}{link[2] or ''})", markdown)


def in_site(link: str, document: str) -> str:
    """Return the link of this document as one between pages. A link to anything but a page stays wrong, and fails."""
    target = posixpath.normpath(posixpath.join(posixpath.dirname(document), link))
    return beside().get(target, target.removeprefix("docs/"))
