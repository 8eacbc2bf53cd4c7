"""The site of the documents is built without a fault, and loads nothing from elsewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import pages

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("bench/*.md")])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site. A page outside ``nav``, a dead link and a dead anchor are faults."""
    folder = tmp_path_factory.mktemp("site")
    mkdocs = Path(sys.executable).parent / "mkdocs"
    built = subprocess.run(
        [mkdocs, "build", "--strict", "--quiet", "--site-dir", folder], cwd=ROOT, capture_output=True, text=True
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


def test_every_document_is_a_page(site: Path) -> None:
    assert len(list(site.rglob("index.html"))) == len(DOCUMENTS)


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    loads = re.compile(r"<(?:script|link|img|iframe)\b[^>]*?(?:src|href)=[\"']?(?:https?:)?//[^>]*>")
    assert {page.parent.name: loads.findall(page.read_text()) for page in site.rglob("*.html")} == {
        page.parent.name: [] for page in site.rglob("*.html")
    }


@pytest.mark.parametrize(("page", "name"), pages.PARTS, ids=[name for _, name in pages.PARTS])
def test_a_part_that_is_made_of_the_code_is_as_the_code(page: str, name: str) -> None:
    assert pages.written(page, name) == pages.PARTS[page, name](), "run: .venv/bin/python -m tests.pages"


def outside_code(text: str) -> Iterator[tuple[int, str]]:
    """Each line that is not in a block of code, with its number."""
    code = False
    for number, line in enumerate(text.splitlines(), start=1):
        fence = line.lstrip().startswith("```")
        if not code:
            yield number, line
        code ^= fence


def misread(text: str) -> list[int]:
    """Return the lines that mkdocs reads otherwise than a code host: blocks in an item need four blanks."""
    inner = re.compile(r" {1,3}(?:```|[-*+] |\d+\. )")
    begins = re.compile(r"(?:[-*+]|\d+\.) \S")
    wrong, before = [], ""
    for number, line in outside_code(text):
        is_first = bool(begins.match(line)) and before != "" and not before.startswith(" ") and not begins.match(before)
        if inner.match(line) or is_first:
            wrong.append(number)
        before = line
    return wrong


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_a_block_in_a_list_is_one_everywhere(document: Path) -> None:
    assert misread(document.read_text()) == []


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("1. One\n\n   ```\n   code\n   ```\n", [3]),
        ("1. One\n\n    ```\n    code\n    ```\n", []),
        ("6. One:\n   - two\n", [2]),
        ("Words:\n- one\n", [2]),
        ("Words:\n\n- one\n- two\n  goes on\n- three\n", []),
    ],
)
def test_a_list_that_is_read_in_two_ways_is_found(text: str, lines: list[int]) -> None:
    assert misread(text) == lines
