"""The words that ``bridge/`` has given up, and how to find them in a line. ``tests/test_house.py`` holds the rule."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

INSTEAD = {
    "notifier, wake": r"bells?|doorbells?|ring|rings|rang|rung|unrung|ringing|rung_at",
    "conversation queue": r"lines?",
    "lease": r"booking|bookings|booked|(?-i:Claim(?=[(:\]|,]))|(?:turn|delivery)_claims?",
    "leased_by": r"turn_worker|delivery_worker",
    "LeaseLost": r"outlived?",
    "heartbeat": r"pulses?|in_charge|steady|seen_at",
    "release, reclaim stalled": r"release_dead|let_go_of",
    "task, schedule": r"(?-i:STEPS)|run_step|converse|upkeep",
    "circuit breaker, trip, close": (
        r"(?-i:HOLDS?|Holds?(?=[(:\]|,]))|on[ _]holds?|(?:a|the|this|every|each) holds?|lift(?:s|ed)? (?:it|them|the)"
    ),
    "from_receipt, probe_failed": r"refuted|stands_twice",
    "reconcile, recheck": r"looks?|looked|looking",
    "accepted, in turn": r"taken|taken_by|proven",
    "response_received": r"call_over",
    "duplicate": r"twins?|twin_id",
    "status poll": r"confirm_at|confirms?_status",
    "read_until": r"read_to",
    "GiveUp": r"hopeless",
    "RetryAt": r"(?-i:Not_?Yet)",
    "NotReceived": r"not_?heard",
    "OpenChat, duplicate": r"(?-i:Known(?=[(:\]|,]))|_know(?=\()",
    "transcript": r"recalls?|recalled|(?-i:Finding(?=[(:\]|,]))",
    "received, replied, sent": r"hear|hears|heard|hearing|said|spoken",
    "merge": r"folds?|folded|folding",
    "debounce": r"quiet",
    "not_before": r"send_from",
    "expires_at": r"send_by|answer_by",
    "sending_identity, queue_name": r"queue_of",
    "paused_until, throttled_at, limit_notice_at": r"full_until|paced_at|noticed_at|pace_reply|paces?|paced",
    "opted_in_at, is_opt_out_confirmation": r"despite_opt_out",
    "providers/http": r"wires?|wired",
    "provider": r"vendors?",
    "layer, package, entry point": r"rooms?|houses?|doors?|lives? (?:in|here|below|above|there)|lived in",
}
"""The word of today, and those that it replaced. Of a word with an ordinary meaning, the other one is retired."""


class Kept(NamedTuple):
    """A use of such a word that stays."""

    words: str
    """The pattern of the words."""
    why: str
    where: tuple[str, ...] = ("",)
    """The files and folders below ``bridge/``. Without them: everywhere."""


KEPT = (
    # line
    Kept(r"(?:one|single|command|request|first|last|empty|wavy)[- ]lines?", "of text, or of a terminal"),
    Kept(r"_?line[ _](?:ends?|breaks?)", "of text"),
    Kept(r"lines?", "of text", ("outbound/formatting/", "chats/recap.py", "lib/log.py", "providers/")),
    Kept(r"lines?", "of a setting's value or of its faults", ("config/",)),
    Kept(r"lines", "of a file", ("setup/",)),
    Kept(r"line", "a line that ends with the wrong characters", ("processes/http_server.py",)),
    Kept(r"line", "of code, in a traceback", ("processes/task_errors.py",)),
    Kept(r"lines?", "a phone's line, and lines of text", ("simulator/",)),
    # look
    Kept(r"looks?[_ ](?:like|alike|right|empty)", "to seem"),
    Kept(r"look(?:s|ed)? (?:at|where)", "to view"),
    Kept(r"look-ups?", "in an index"),
    # taken, proven
    Kept(r"taken over", "from another worker"),
    Kept(r"taken for", "mistaken for"),
    Kept(
        r"not_proven|close_proven|is_proven",
        "the word of today for a circuit whose cause is gone",
        ("queues/", "outbound/receipts.py"),
    ),
    # the others
    Kept(r"Finding", "what a search of the transcript finds", ("providers/agents/transcript.py",)),
    Kept(r"Finding", "what a check has found", ("doctor/", "setup/")),
    Kept(r"hear from you", "a greeting", ("simulator/receptionist.py",)),
    Kept(r"booked|booking|door", "at a restaurant", ("simulator/receptionist.py", "inbound/reactions.py")),
    Kept(
        r"quiet", "no new text for a while, from the person or at Retell", ("config/__init__.py", "simulator/agent.py")
    ),
    Kept(r"at that pace", "as fast", ("inbound/limits.py",)),
)


def split(source: str) -> str:
    """Return the source with the words of its names apart: ``NotHeard`` is ``Not_Heard``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", source)


def word(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![A-Za-z])(?:{pattern})(?![A-Za-z])", re.IGNORECASE)


RETIRED = {instead: word(pattern) for instead, pattern in INSTEAD.items()}


def kept(line: str, path: str) -> Iterator[Kept]:
    for use in KEPT:
        if path.startswith(use.where) and word(use.words).search(line):
            yield use


def retired(line: str, path: str = "") -> list[str]:
    """Return the retired words of a line, each with the word of today."""
    line = split(line)
    for use in kept(line, path):
        line = word(use.words).sub("", line)
    return [f"{found[0]} -> {instead}" for instead, pattern in RETIRED.items() for found in pattern.finditer(line)]
