"""The laws of the house: who may import whom, and that what is written beside the code is what the code does."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from bridge import __version__
from bridge.config import NEEDED_BY, Settings, variable_names
from tests.conftest import not_there
from tests.fakes import SETTINGS
from tests.retired_words import KEPT, kept, retired, split

ROOT = Path(__file__).parent.parent
BRIDGE = ROOT / "bridge"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
APP = json.loads((ROOT / "app.json").read_text())


def processes() -> dict[str, str]:
    return dict(line.split(": ", 1) for line in (ROOT / "Procfile").read_text().splitlines())


def files() -> Iterator[tuple[str, str]]:
    """Every text file of the repository."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    if listed.returncode:
        not_there("The git checkout", listed.stderr)
    for name in listed.stdout.splitlines():
        try:
            yield name, (ROOT / name).read_text()
        except (UnicodeDecodeError, FileNotFoundError, IsADirectoryError):
            continue


def test_everybody_imports_from_below() -> None:
    # In a process of its own: the linter silences every logger that it finds.
    lint = Path(sys.executable).parent / "lint-imports"
    told = subprocess.run([lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert told.returncode == 0, told.stdout + told.stderr


# --- the settings ------------------------------------------------------------------------------------------------


def needed() -> set[str]:
    """What must be set where all other settings have their defaults."""
    provider = Settings.model_fields["agent_provider"].default
    of_the_provider = {name for name, owner in NEEDED_BY.items() if owner == provider}
    return of_the_provider | {name for name, field in Settings.model_fields.items() if field.is_required()}


def test_the_example_of_a_dotenv_file_names_every_setting_and_nothing_else() -> None:
    named = re.findall(r"^#?([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)
    assert sorted(named) == sorted(variable_names(name)[0] for name in Settings.model_fields)


def test_the_example_of_a_dotenv_file_leaves_open_exactly_what_must_be_set() -> None:
    named = re.findall(r"^([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)
    assert sorted(named) == sorted(name.upper() for name in needed())


# --- the documents -----------------------------------------------------------------------------------------------


DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("bench/*.md")])


def anchors(document: Path) -> set[str]:
    """As code hosts make them of headings."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_between_the_documents_leads_somewhere(document: Path) -> None:
    dead = []
    for link in re.findall(r"\]\((?!https?:)([^)]+)\)", document.read_text()):
        name, _, anchor = link.partition("#")
        target = document.parent / name if name else document
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(link)
    assert dead == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_path_that_a_document_names_is_there(document: Path) -> None:
    named = re.findall(r"`(\w[\w/.]*/(?:[\w.]+\.\w+)?)`", document.read_text())
    assert [path for path in named if not any((root / path).exists() for root in (ROOT, ROOT / "bridge"))] == []


def test_the_architecture_names_functions_where_they_are() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    named = re.findall(r"`(\w+)`(?:, called by `\w+`)? in `([\w/]+\.py)`", page)
    here = {(name, path) for name, path in named if (ROOT / "bridge" / path).exists()}
    assert len(here) >= 5
    assert {
        (name, path)
        for name, path in here
        if not re.search(rf"^\s*(?:def|class) {name}\b|^{name}\b", (ROOT / "bridge" / path).read_text(), re.MULTILINE)
    } == set()


def test_the_modules_on_a_texts_way_are_there() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    [way] = re.findall(r"```\n(Twilio .*?)```", page, re.DOTALL)
    modules = re.findall(r"^.{17}([a-z_]+(?:\.[a-z_]+)+) ", way, re.MULTILINE)
    assert len(modules) >= 10
    assert [name for name in modules if not (ROOT / "bridge" / f"{name.replace('.', '/')}.py").exists()] == []


def written() -> Iterator[list[str]]:
    """The strings of the bridge's code, each as the parts between its values."""
    for path in (ROOT / "bridge").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value.split("%s")
            elif isinstance(node, ast.JoinedStr):
                yield [part.value if isinstance(part, ast.Constant) else "" for part in node.values]


def fits(line: str, parts: list[str]) -> bool:
    """Whether these parts are in the line, in order, and are most of it. A line may break off with ``…``."""
    at = letters = 0
    for part in parts:
        found = line.find(part, at)
        if found < 0:
            begun = line.removesuffix("…").rstrip()[at:]
            starts = [n for n in range(5, len(part)) if begun.endswith(part[:n])]
            if begun == line[at:] or not starts:
                return False
            letters += max(starts)
            break
        at, letters = found + len(part), letters + len(part.strip())
    words = re.sub(r"\S*[…\d]\S*", "", line).split()
    return letters >= 0.45 * len(" ".join(words))


def test_the_log_lines_of_the_operations_page_are_those_of_the_code() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    [table] = re.findall(r"^\| line \| meaning \|\n(.*?)\n\n", page, re.MULTILINE | re.DOTALL)
    lines = [line for row in table.splitlines()[1:] for line in re.findall(r"`([^`]+)`", row.split(" | ")[0])]
    strings = [parts for parts in written() if len(" ".join(parts).split()) > 1]  # of names there are too many
    assert len(lines) >= 20
    assert [line for line in lines if not any(fits(line, parts) for parts in strings)] == []


def test_the_sentences_of_the_troubleshooting_page_are_those_of_the_code() -> None:
    page = (ROOT / "docs" / "troubleshooting.md").read_text()
    told = [phrase for quoted in re.findall(r"(?<!\*)\*([^*]+)\*(?!\*)", page) for phrase in quoted.split("…")]
    code = {part for parts in written() for part in parts}
    assert len(told) >= 30
    assert [each for each in told if not any(" ".join(each.split()) in part for part in code)] == []


def test_the_states_of_readyz_on_the_operations_page_are_those_of_the_code() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    [table] = re.findall(r"^\| `part` \| .*\n\|---.*\n((?:\|.*\n)+)", page, re.MULTILINE)
    states = {re.split(r"[:;]", row.split(" | ")[1])[0].strip() for row in table.splitlines()}
    code = (BRIDGE / "web" / "health.py").read_text()
    assert len(states) >= 4
    assert {state for state in states if f'"{state}"' not in code} == set()


def test_the_readme_is_short_enough_to_be_read() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 100


def test_the_glossary_is_short_enough_to_be_learned() -> None:
    _, glossary = (ROOT / "docs" / "architecture.md").read_text().split("\n## Glossary\n")
    section = glossary.split("\n## ")[0].strip().splitlines()
    assert 10 <= len(section) <= 25


# --- the words ------------------------------------------------------------------------------------------------------


def lines_of_code() -> Iterator[tuple[str, int, str]]:
    """Each line of the bridge, with its file and number."""
    for path in sorted(BRIDGE.rglob("*.py")):
        for number, line in enumerate(path.read_text().splitlines(), start=1):
            yield str(path.relative_to(BRIDGE)), number, line


def test_no_pattern_repeats_a_group_possessively() -> None:
    """Python before 3.11.5, as in Debian 12, matches such a pattern wrongly (gh-106052)."""
    gsm = {"outbound/formatting/segments.py", "simulator/encoding.py"}  # an alphabet, no pattern
    found = [
        f"{path}:{number}"
        for path, number, line in lines_of_code()
        if re.search(r"\)[*+?]\+", line) and path not in gsm
    ]
    assert found == []


def test_no_retired_word_has_come_back() -> None:
    assert [f"{path}:{number}: {each}" for path, number, line in lines_of_code() for each in retired(line, path)] == []


def test_the_names_of_files_have_no_retired_word_either() -> None:
    names = {part for path, _, _ in lines_of_code() for part in path.removesuffix(".py").split("/")}
    assert {name: retired(name) for name in names if retired(name)} == {}


def test_every_use_that_is_kept_is_there() -> None:
    """An exception that is not used any more would hide the next one."""
    used = {use for path, _, line in lines_of_code() for use in kept(split(line), path)}
    assert [use for use in KEPT if use not in used] == []


@pytest.mark.parametrize(
    "line",
    [
        "A ring that is lost does no harm: the sweeper rings again.",
        "def ring_again(bell: Bell) -> None:",
        "class Line:",
        "LINES = (TURNS, DELIVERIES)",
        "who holds the newest place in the line",
        "raise Outlived(line)",
        "turn_rung_at: Mapped[datetime]",
        "BOOKING = timedelta(seconds=30)",
        "class Claim:",
        "except (NotYet, NotHeard, Hopeless):",
        'log.warning("%s is put on hold", provider)',
        "class Hold(Base):",
        '__tablename__ = "HOLDS"',
        "for hold in the holds of this provider",
        "def look_first(rt: Runtime) -> Answer:",
        "looked_items: Mapped[int]",
        "receipts.taken(rt, session, message)",
        "status = MessageStatus.TAKEN",
        "call_over: Mapped[bool]",
        "message.twin_id = other.carrier_id",
        "confirm_at: Mapped[datetime]",
        "class _Known(Exception):",
        "what the agent heard, and what it said",
        "spoken(text)",
        "def fold(texts: list[str]) -> str:",
        "REPLY_QUIET and PACE_REPLY",
        "send_from: Mapped[datetime]",
        "from bridge.wire.api import Api",
        "the vendor's words",
        "the rooms below: the front door of the house",
        "What lives here",
        "alreadySaid = heardBefore",
    ],
)
def test_a_retired_word_is_found(line: str) -> None:
    assert retired(line, "turns/process.py")


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("turns/claim.py", "The lease is held; a test holds that. Nothing is known, during the string's outline."),
        ("outbound/formatting/plain.py", "The lines of a text."),
        ("lib/keywords.py", "text.casefold()"),
        ("maintenance/sweep.py", "%s leases of stalled workers are taken over"),
        ("db/models.py", "a worker must look at it next"),
        ("inbound/receive.py", "It is not yet stored, and the carrier says so."),
    ],
)
def test_an_ordinary_word_is_not_found(path: str, line: str) -> None:
    assert retired(line, path) == []


# --- the shape of the code ---------------------------------------------------------------------------------------


MOST_PARAMETERS = 5
"""Without ``self`` and ``cls``. A longer list misses a value: a frozen dataclass with a name of its own."""

CREDENTIALS = "a provider's credentials and addresses; ``from_settings`` is the one caller in the bridge"

MANY_PARAMETERS = {
    "providers/agents/retell/client.py: Retell.__init__": CREDENTIALS,
    "providers/carriers/twilio/client.py: Twilio.__init__": CREDENTIALS,
    "providers/carriers/twilio/client.py: _Transport.request": "the signature of the method of Twilio's library",
    "providers/errors.py: RemoteError.__init__": "an error's details, which it keeps; each is named at the call",
}
"""The functions with more, and why."""


def functions(node: ast.AST, within: str = "") -> Iterator[tuple[str, ast.arguments]]:
    """Every function below the node, with the names of its classes and functions before its own."""
    for each in ast.iter_child_nodes(node):
        if isinstance(each, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if not isinstance(each, ast.ClassDef):
                yield within + each.name, each.args
            yield from functions(each, f"{within}{each.name}.")
        elif isinstance(each, ast.Lambda):
            yield f"{within}lambda", each.args
            yield from functions(each, within)
        else:
            yield from functions(each, within)


def parameters(arguments: ast.arguments) -> list[str]:
    given = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    return [each.arg for each in given if each and each.arg not in ("self", "cls")]


def long_lists(source: str) -> set[str]:
    return {name for name, its in functions(ast.parse(source)) if len(parameters(its)) > MOST_PARAMETERS}


def test_no_function_has_more_than_five_parameters() -> None:
    found = {
        f"{path.relative_to(BRIDGE)}: {name}" for path in BRIDGE.rglob("*.py") for name in long_lists(path.read_text())
    }
    assert found - MANY_PARAMETERS.keys() == set()
    assert MANY_PARAMETERS.keys() - found == set(), "an exception that is not needed any more"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("def f(a, b, c, d, e): ...", set()),
        ("def f(a, b, c, d, e, g): ...", {"f"}),
        ("def f(a, b, c, /, d, *, e, g=1): ...", {"f"}),
        ("def f(a, b, c, d, *e, **g): ...", {"f"}),
        ("async def f(a, b, c, d, e, g): ...", {"f"}),
        ("f = lambda a, b, c, d, e, g: a", {"lambda"}),
        ("class C:\n    def f(self, a, b, c, d, e): ...", set()),
        ("class C:\n    def f(self, a, b, c, d, e, g): ...", {"C.f"}),
        ("def outer():\n    if 1:\n        def f(a, b, c, d, e, g): ...", {"outer.f"}),
    ],
)
def test_a_long_list_of_parameters_is_found(source: str, found: set[str]) -> None:
    assert long_lists(source) == found


MAY_HOLD_CODE = {
    "__init__.py": "the version, which the build reads",
    "config/__init__.py": "the settings",
    "simulator/__init__.py": "the names for its users",
}
"""Each other ``__init__.py`` has a docstring alone."""


def only_a_docstring(source: str) -> bool:
    tree = ast.parse(source)
    return len(tree.body) == 1 and bool(ast.get_docstring(tree))


def test_a_package_has_a_docstring_and_no_code() -> None:
    with_more = {
        str(path.relative_to(BRIDGE)) for path in BRIDGE.rglob("__init__.py") if not only_a_docstring(path.read_text())
    }
    assert with_more == MAY_HOLD_CODE.keys()


def test_every_folder_of_code_is_a_package() -> None:
    folders = {path.parent for path in BRIDGE.rglob("*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").exists()] == []


@pytest.mark.parametrize("source", ["", "import os", '"""Text."""\nimport os', '"""Text."""\n__all__ = []'])
def test_a_package_with_code_is_found(source: str) -> None:
    assert not only_a_docstring(source)


def test_the_simulator_may_import_nothing_of_the_bridge() -> None:
    """The linter needs a list. So each new package must be in it."""
    [contract] = [
        each
        for each in PYPROJECT["tool"]["importlinter"]["contracts"]
        if each.get("source_modules") == ["bridge.simulator"]
    ]
    parts = {path.stem for path in BRIDGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert set(contract["forbidden_modules"]) == {f"bridge.{part}" for part in parts - {"__init__", "simulator"}}


def imports(package: str) -> dict[str, set[str]]:
    """What each module of the package imports of our own, those for the type checker alone too."""
    found: dict[str, set[str]] = {}
    for path in (ROOT / package).rglob("*.py"):
        nodes = [*ast.walk(ast.parse(path.read_text()))]
        names = {each.name for node in nodes if isinstance(node, ast.Import) for each in node.names}
        for node in nodes:
            if isinstance(node, ast.ImportFrom) and node.module:
                names |= {node.module, *(f"{node.module}.{each.name}" for each in node.names)}
        found[".".join(path.relative_to(ROOT).with_suffix("").parts)] = names
    return found


@pytest.mark.parametrize(("package", "above"), [("bench", {"tests"}), ("testkit", {"tests", "bench"})])
def test_a_tool_imports_nothing_from_above(package: str, above: set[str]) -> None:
    named = {(module, name) for module, names in imports(package).items() for name in names}
    assert {(module, name) for module, name in named if name.split(".")[0] in above} == set()


@pytest.mark.parametrize("package", ["bench", "testkit"])
def test_no_two_modules_of_a_tool_import_each_other(package: str) -> None:
    graph = imports(package)
    TopologicalSorter({module: names & graph.keys() for module, names in graph.items()}).prepare()


# --- the platform ------------------------------------------------------------------------------------------------


def test_the_procfile_has_four_processes() -> None:
    assert list(processes()) == ["release", "web", "worker", "clock"]


def test_the_platform_starts_what_the_procfile_has() -> None:
    assert list(APP["formation"]) == [name for name in processes() if name != "release"]


def test_the_platform_asks_for_every_setting_that_must_be_set() -> None:
    asked = {name for name, about in APP["env"].items() if about["required"]}
    assert asked == {name.upper() for name, field in Settings.model_fields.items() if field.is_required()}


def test_the_platform_describes_the_settings_as_they_are() -> None:
    described = {name: about["description"] for name, about in APP["env"].items()}
    fields = Settings.model_fields
    assert described == {name: fields[name.lower()].description for name in APP["env"]}


def test_the_platform_asks_for_all_but_what_it_knows_and_what_hardly_anybody_changes() -> None:
    left_out = {name.upper() for name in Settings.model_fields} - APP["env"].keys()
    assert left_out == {
        *("DATABASE_URL", "BROKER_URL", "REDIS_TLS_VERIFY", "TWILIO_API_BASE_URL", "RETELL_BASE_URL"),
        *("UPONAI_BASE_URL", "RETELL_AGENT_VERSION", "TWILIO_AUTH_TOKEN_SECONDARY"),
        *("AGENT_TIMEOUT", "METRICS_OPEN", "WORKER_CONCURRENCY"),
        *("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_HEADERS", "SENTRY_DSN"),  # an extra must be installed
        "ENCRYPTION_KEYS",  # the same
    }


def test_what_the_platform_proposes_is_the_default() -> None:
    proposed = {name: about["value"] for name, about in APP["env"].items() if "value" in about}
    assert Settings.load(proposed, **SETTINGS) == Settings.load({}, **SETTINGS)


def test_the_platform_has_the_python_that_is_developed_on() -> None:
    version = (ROOT / ".python-version").read_text().strip()
    assert PYPROJECT["project"]["requires-python"] == f">={version}"


# --- what it stands on -------------------------------------------------------------------------------------------


def pins() -> dict[str, str]:
    lines = (ROOT / "requirements.txt").read_text()
    return dict(re.findall(r"^([a-z0-9-]+)==([^ ]+) .*\\\n    --hash=sha256:", lines, re.MULTILINE))


@pytest.mark.parametrize("dependency", PYPROJECT["project"]["dependencies"])
def test_every_dependency_is_pinned_within_its_range(dependency: str) -> None:
    needed = Requirement(dependency)
    assert needed.specifier.contains(pins()[canonicalize_name(needed.name)]), "run: make requirements"


def test_every_pin_has_a_hash() -> None:
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    assert len(pins()) == sum("==" in line for line in lines)


def test_only_providers_http_speaks_http_to_a_provider() -> None:
    """There answers are bound in time and in size, also while they are unpacked. ``mcp`` calls the bridge itself."""
    clients = re.compile(
        r"^\s*(?:import|from) (?:httpx|httpcore|requests|urllib3|urllib\.request|http\.client)\b", re.M
    )
    apart = (ROOT / "bridge/providers/http", ROOT / "bridge/simulator", ROOT / "bridge/mcp")
    speak = [path for path in (ROOT / "bridge").rglob("*.py") if clients.search(path.read_text())]
    assert [path for path in speak if not any(map(path.is_relative_to, apart))] == []


def test_no_file_says_where_packages_come_from() -> None:
    """Whoever installs decides that; an address in a file would follow every machine that reads it."""
    telling = re.compile(r"-{2}(extra-)?index-url|-{2}find-links|^(extra-)?index-url *=", re.MULTILINE)
    assert [name for name, text in files() if telling.search(text)] == []
    assert "://" not in (ROOT / "requirements.txt").read_text()


# --- the release -------------------------------------------------------------------------------------------------


def test_the_changelog_begins_with_what_is_not_released_yet_and_then_has_this_version() -> None:
    headings = re.findall(r"^## \[(.+?)\](?: - (\d{4}-\d\d-\d\d))?$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert headings[0] == ("Unreleased", "")
    version, day = headings[1]
    assert version == __version__
    assert day
