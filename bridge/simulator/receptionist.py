"""The receptionist of the Harbour Table, a small invented restaurant, and its answers to texts.

The functions are pure: the state of the chat and a text go in, items of the chat and the next state come out. The items
have Retell's form, without ids and times; ``agent`` adds those.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

Item = dict[str, Any]

NAME = "Harbour Table"

_OPENING = (
    "We're open Tuesday to Sunday: lunch from 12 to 2.30 pm, dinner from 6 to 10 pm.",
    "On Mondays we're closed.",
)
_PRICES = "The set lunch is $24. In the evening three courses are $49, and five are $68."
_PLACE = "You'll find us at 4 Quay Street, right by the old lighthouse. The tram stops at the door."
_MENU = "Today: mussels in cider, grilled sea bass, or mushroom risotto (vegan). Any allergies? Just tell me."
_PERSON = "Of course. I've asked Noor from our team to get back to you. She usually does within the hour."
HANDOFF = "I hand you over to Noor from our team. She answers you right here."
_HELP = "I can tell you our opening hours, prices and where to find us, or book a table for you."
_FAREWELL = "You're welcome. See you soon at the Harbour Table!"

_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday", "Today", "Tonight", "Tomorrow")
_DAY = re.compile(rf"\b({'|'.join([*_DAYS, *(day[:3] for day in _DAYS[:7])])})\b", re.IGNORECASE)
_TIME = re.compile(
    r"\b(?P<at>at|around|about|by)?\s*\b(?P<hour>\d{1,2})(?:[:.](?P<minute>\d\d))?\s*(?P<half>am|pm)?\b", re.IGNORECASE
)
_PEOPLE = re.compile(
    r"\b(?:for|we are|we're|party of)\s+(\w+)\b|\b(\w+)\s+(?:people|persons|guests|of us)\b", re.IGNORECASE
)
_WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_LARGEST_PARTY = 12


@dataclass(frozen=True)
class State:
    """The progress of the chat."""

    node: str = "welcome"
    greeted: bool = False
    day: str = ""
    time: str = ""
    people: int = 0
    booked: str = ""
    """The booked table, in words; empty: none."""
    calls: int = 0
    """The number of tool calls."""


@dataclass(frozen=True)
class Reply:
    items: tuple[Item, ...]
    state: State
    ends: bool = False
    """The receptionist ended the chat."""


def says(*lines: str) -> tuple[Item, ...]:
    return tuple({"role": "agent", "content": line} for line in lines)


def echo(text: str, n: int = 1) -> tuple[Item, ...]:
    """Return ``n`` messages for every line, so that a judge can pair them. For load."""
    lines = [line for line in text.splitlines() if line.strip()]
    if n == 1:
        return says(*(f"re: {line}" for line in lines))
    return says(*(f"re: {line} ({i}/{n})" for line in lines for i in range(1, n + 1)))


def hand_over(state: State, *, in_words: bool) -> Reply:
    """Hand the chat to a human. The message stands in the tool call, and with ``in_words`` in a message too."""
    call, state = _tool(state, "hand to team", {"handoff_message": HANDOFF}, {"escalated": True}, kind="escalate")
    return Reply((*call, *(says(HANDOFF) if in_words else ())), state)


def say_nothing(state: State) -> Reply:
    moves, state = _move(state, state.node)
    return Reply(moves, state)


def reply(state: State, text: str, about: Mapping[str, str]) -> Reply:
    """Return the receptionist's reaction to ``text``. ``about`` are the chat's dynamic variables."""
    answer = next(rule for words, rule in _RULES if words.search(text))(state, text, about)
    if state.greeted or answer.ends:
        return answer
    return Reply((*says(_greeting(about)), *answer.items), replace(answer.state, greeted=True))


def _greeting(about: Mapping[str, str]) -> str:
    if about.get("previous_conversation", "").strip():
        return "Welcome back to the Harbour Table! Good to hear from you again."
    return "Hello, this is the Harbour Table."


def _tell(*lines: str) -> Callable[[State, str, Mapping[str, str]], Reply]:
    return lambda state, text, about: Reply(says(*lines), state)


def _hello(state: State, text: str, about: Mapping[str, str]) -> Reply:
    return Reply(says("How can I help?" if not state.greeted else "Hello again! What can I do for you?"), state)


def _who_am_i(state: State, text: str, about: Mapping[str, str]) -> Reply:
    number = about.get("sms_user_number") or about.get("user_number")
    return Reply(says(f"You're texting from {number}." if number else "I can't see your number."), state)


def _human(state: State, text: str, about: Mapping[str, str]) -> Reply:
    number = about.get("sms_user_number", "")
    tool, state = _tool(state, "notify team", {"phone": number, "text": text}, {"notified": "Noor"})
    return Reply((*tool, *says(_PERSON)), state)


def _goodbye(state: State, text: str, about: Mapping[str, str]) -> Reply:
    hang_up, state = _tool(state, "end chat", {"execution_message": _FAREWELL}, None, kind="end_call")
    return Reply((*says(_FAREWELL), *hang_up), state, ends=True)


def _book(state: State, text: str, about: Mapping[str, str]) -> Reply:
    """Collect day, time and party. Ask for the first missing one; then book."""
    moves: tuple[Item, ...] = ()
    if state.node != "booking":
        moves, state = _move(replace(state, day="", time="", people=0), "booking")
    state = _understood(state, text)
    question = _missing(state)
    if question:
        return Reply((*moves, *says(question)), state)
    return _booked(state, moves)


def _booked(state: State, moves: tuple[Item, ...]) -> Reply:
    wish = {"day": state.day, "time": state.time, "people": state.people}
    found, state = _tool(state, "find table", wish, {"free": 2})
    table = f"{state.day} at {state.time} for {state.people}"
    book, state = _tool(state, "book table", wish, {"booked": True})
    back, state = _move(replace(state, booked=table, day="", time="", people=0), "welcome")
    done = says(f"Done! Your table is booked: {table}.", "We'll keep it for 15 minutes. Text me if anything changes.")
    return Reply((*moves, *found, *book, *back, *done), state)


def _cancel(state: State, text: str, about: Mapping[str, str]) -> Reply:
    if state.node == "booking":
        back, state = _move(replace(state, day="", time="", people=0), "welcome")
        return Reply((*back, *says("No problem, I've dropped it. Anything else?")), state)
    if not state.booked:
        return Reply(says("I have no booking from you, so there is nothing to cancel."), state)
    tool, state = _tool(state, "cancel table", {"table": state.booked}, {"cancelled": True})
    line = f"Your table ({state.booked}) is cancelled. I hope to see you another time."
    return Reply((*tool, *says(line)), replace(state, booked=""))


def _otherwise(state: State, text: str, about: Mapping[str, str]) -> Reply:
    if state.node == "booking":
        return _book(state, text, about)
    if not state.greeted:
        return Reply(says(_HELP), state)
    return Reply(says("I'm not sure I understood that.", _HELP), state)


def _words(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{pattern})\b", re.IGNORECASE)


_RULES: tuple[tuple[re.Pattern[str], Callable[[State, str, Mapping[str, str]], Reply]], ...] = (
    (_words(r"cancel|forget it|never ?mind"), _cancel),
    (_words(r"who am i|my number"), _who_am_i),
    (_words(r"human|person to talk|real person|someone|talk to|speak to|manager"), _human),
    (_words(r"book|booking|reserve|reservation|table"), _book),
    (_words(r"open|opening|hours|close|closed|when are you"), _tell(*_OPENING)),
    (_words(r"price|prices|cost|costs|how much|expensive"), _tell(_PRICES)),
    (_words(r"where|address|directions|find you"), _tell(_PLACE)),
    (_words(r"menu|eat|food|vegan|vegetarian|allerg\w*"), _tell(_MENU)),
    (_words(r"bye|goodbye|thanks|thank you|cheers|that'?s all"), _goodbye),
    (_words(r"hi|hello|hey|good (?:morning|afternoon|evening)"), _hello),
    (re.compile(""), _otherwise),
)
"""The first matching rule answers. The last one always matches."""


def _understood(state: State, text: str) -> State:
    """Read day, time and party from the text."""
    day, time, people = _day(text), _time(text), _people(text)
    bare = re.fullmatch(r"\s*(\w+)\s*[.!]?\s*", text)
    if bare and state.day and not state.time:
        time = time or _clock(bare[1])
    elif bare and state.day:
        people = people or _number(bare[1])
    return replace(state, day=day or state.day, time=time or state.time, people=people or state.people)


def _missing(state: State) -> str:
    if not state.day:
        return "With pleasure. For which day?"
    if state.day == "Monday":
        return "On Mondays we're closed. Would another day do?"
    if not state.time:
        return f"{state.day}, lovely. What time shall I put down?"
    if not state.people:
        return "And for how many people?"
    if state.people > _LARGEST_PARTY:
        return f"We can seat {_LARGEST_PARTY} at most. How many will you be?"
    return ""


def _day(text: str) -> str:
    match = _DAY.search(text)
    return next(day for day in _DAYS if day.lower().startswith(match[1].lower())) if match else ""


def _time(text: str) -> str:
    for match in _TIME.finditer(text):
        if match["at"] or match["minute"] or match["half"]:
            return _clock(match["hour"], match["minute"], match["half"])
    return ""


def _clock(hour: str, minute: str | None = None, half: str | None = None) -> str:
    """Return ``H.MM pm``, unless the text says am. ``8`` is in the evening, ``12`` and ``1`` are lunch."""
    if not hour.isdecimal() or not 1 <= int(hour) <= 23:
        return ""
    return f"{(int(hour) - 1) % 12 + 1}.{minute or '00'} {(half or 'pm').lower()}"


def _people(text: str) -> int:
    return next((n for m in _PEOPLE.finditer(text) if (n := _number(m[1] or m[2]))), 0)


def _number(word: str) -> int:
    if word.lower() in _WORDS:
        return _WORDS.index(word.lower()) + 1
    return int(word) if word.isdecimal() else 0


def _move(state: State, node: str) -> tuple[tuple[Item, ...], State]:
    item = {
        "role": "node_transition",
        "former_node_id": f"node_{state.node}",
        "former_node_name": state.node,
        "new_node_id": f"node_{node}",
        "new_node_name": node,
        "transition_type": "normal",
    }
    return (item,), replace(state, node=node)


def _tool(
    state: State, name: str, arguments: dict[str, Any], result: dict[str, Any] | None, kind: str = "custom"
) -> tuple[tuple[Item, ...], State]:
    """Return a tool call and its result, if it has one."""
    call = f"call_{state.calls + 1}"
    items: list[Item] = [
        {
            "role": "tool_call_invocation",
            "tool_call_id": call,
            "type": kind,
            "name": name,
            "arguments": json.dumps(arguments),
        }
    ]
    if result is not None:
        content = json.dumps(result)
        items.append({"role": "tool_call_result", "tool_call_id": call, "content": content, "successful": True})
    return tuple(items), replace(state, calls=state.calls + 1)
