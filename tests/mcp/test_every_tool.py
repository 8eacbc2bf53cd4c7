"""The SDK's own client drives every tool against a running bridge, over each transport."""

from __future__ import annotations

from typing import Any

from bridge.mcp.tools import BY_NAME
from testkit.waiting import until
from tests.mcp.desk import ANA, WORD, Desk, Tools


def conversation_of(tools: Tools, phone: str) -> int:
    found = tools("list_conversations", phone=phone)
    [conversation] = found.answer["conversations"]
    assert conversation["phone"] == phone
    number: int = conversation["id"]
    return number


def test_a_session_with_every_tool(ours: Desk, tools: Tools) -> None:
    tools.called.clear()
    phone = ours.somebody()
    id_ = conversation_of(tools, phone)
    _say_to_agent(tools, ours, phone, id_)
    _write_as_the_team(tools, ours, phone, id_)
    _repair(tools, ours, phone, id_)
    _end(tools, id_)
    assert tools.called == BY_NAME.keys()


def _say_to_agent(tools: Tools, ours: Desk, phone: str, id_: int) -> None:
    """A draft sends nothing; a message in the provider's chat sends its answer; each is done once."""
    before = ours.got(phone)
    draft = {"conversation_id": id_, "content": f"{WORD} draft", "send": False, "idempotency_key": f"draft-{id_}"}
    first, again = [tools("send_to_agent", **draft) for _ in range(2)]
    assert first.answer["messages"][0]["body"] == f"re: {WORD} draft"
    assert (first.answer["done"], first.answer["messages"][0]["status"]) == (True, "draft")
    assert again.answer == first.answer
    assert tools("get_answer", turn_id=first.answer["turn_id"]).answer == first.answer
    assert ours.got(phone) == before, "no SMS"
    whole = tools("get_conversation", conversation_id=id_)
    chat = whole.answer["chats"][0]
    for n, chat_id in enumerate((chat["chat_id"], chat["id"])):
        told = tools("send_to_agent", chat_id=chat_id, content=f"{WORD} {n}", idempotency_key=f"{n}-{id_}")
        assert told.answer["done"], told.error
    until(lambda: ours.got(phone)[len(before) :] == [f"re: {WORD} 0", f"re: {WORD} 1"], "both are sent")
    assert ours.simulator.agent.received(phone).count(f"{WORD} draft") == 1


def _write_as_the_team(tools: Tools, ours: Desk, phone: str, id_: int) -> None:
    held = tools("take_over", conversation_id=id_)
    assert (held.answer["holder"]["kind"], held.answer["holder"]["name"]) == ("person", "ana")
    text = {"conversation_id": id_, "body": f"{WORD} by ana", "idempotency_key": f"text-{id_}"}
    first, again = [tools("send_text", **text) for _ in range(2)]
    assert first.answer == again.answer
    until(lambda: ours.got(phone)[-1] == f"{WORD} by ana", "it is sent")
    other = {**text, "body": f"{WORD} another"}
    assert "used for another request" in tools("send_text", **other).error
    ours.simulator.phones.text(phone, f"{WORD} meanwhile")

    def stored() -> bool:
        newest = tools("get_conversation", conversation_id=id_, limit=1).answer["messages"]
        return bool(newest[0]["body"] == f"{WORD} meanwhile")

    until(stored, "it is stored")
    back = tools("hand_back", conversation_id=id_, note="All is agreed.", answer=True)
    assert back.answer["holder"]["kind"] == "agent"
    until(lambda: f"re: {WORD} meanwhile" in ours.got(phone), "the agent answers what came meanwhile")
    assert ours.got(phone).count(f"{WORD} by ana") == 1


def _repair(tools: Tools, ours: Desk, phone: str, id_: int) -> None:
    ours.simulator.faults.next("carrier_code", code=30007)
    told = tools("send_text", conversation_id=id_, body=f"{WORD} refused", idempotency_key=f"refused-{id_}")
    message = told.answer["id"]

    def listed() -> dict[str, Any]:
        found = tools("list_failures", limit=100).answer["failures"]
        return next((each for each in found if (each["kind"], each["id"]) == ("message", message)), {})

    failure = until(listed, "it is listed")
    assert (failure["conversation_id"], failure["error_code"]) == (id_, 30007)
    assert failure["meaning"]
    again = tools("retry_failure", kind="message", id=message)
    assert again.answer == {"turns": [], "messages": [message]}
    until(lambda: f"{WORD} refused" in ours.got(phone), "it is sent")
    assert listed() == {}
    assert "has not failed" in tools("retry_failure", kind="message", id=message).error


def _end(tools: Tools, id_: int) -> None:
    chat = tools("get_conversation", conversation_id=id_).answer["chats"][0]
    dry = tools("end_stale_chats", idle_seconds=0)
    assert chat["id"] in dry.answer["chats"]
    assert dry.answer["queued"] == 0
    ended = tools("end_chat", chat_id=chat["chat_id"])
    assert ended.answer["status"] in ("ending", "ended")
    assert "has ended already" in tools("end_chat", chat_id=chat["id"]).error
    refused = tools("send_to_agent", chat_id=chat["id"], content=WORD, idempotency_key="too-late")
    assert f"with conversation_id {id_} instead of chat_id and the same idempotency_key" in refused.error


def test_a_message_that_is_repeated_after_its_chat_has_ended_is_passed_on_once(ours: Desk, tools: Tools) -> None:
    phone = ours.somebody()
    id_ = conversation_of(tools, phone)
    chat = tools("get_conversation", conversation_id=id_).answer["chats"][0]
    wish = {"content": f"{WORD} once", "send": False, "idempotency_key": f"once-{id_}"}
    first = tools("send_to_agent", chat_id=chat["id"], **wish)
    tools("end_chat", chat_id=chat["id"])
    assert "the same idempotency_key" in tools("send_to_agent", chat_id=chat["id"], **wish).error
    again = tools("send_to_agent", conversation_id=id_, **wish)
    assert again.answer["turn_id"] == first.answer["turn_id"]
    assert ours.simulator.agent.received(phone).count(f"{WORD} once") == 1


def test_a_long_turn_reports_progress_and_returns_a_handle(ours: Desk, tools: Tools) -> None:
    phone = ours.somebody()
    id_ = conversation_of(tools, phone)
    ours.simulator.faults.next("agent_slow", seconds=4)
    wish = {"conversation_id": id_, "content": f"{WORD} slowly", "idempotency_key": f"slow-{id_}"}
    begun = tools("send_to_agent", **wish, wait_seconds=2)
    assert not begun.answer["done"]
    assert f"Call get_answer with turn_id {begun.answer['turn_id']}" in begun.answer["next_step"]
    times = [seconds for seconds, _ in begun.progress]
    assert len(times) >= 2
    assert times == sorted(set(times)), "it grows"
    assert f"turn {begun.answer['turn_id']} is" in begun.progress[0][1]
    done = tools("get_answer", turn_id=begun.answer["turn_id"], wait_seconds=30)
    assert [each["body"] for each in done.answer["messages"]] == [f"re: {WORD} slowly"]
    assert done.answer["done"]
    assert done.progress


def test_a_new_person_is_texted_by_number(ours: Desk, tools: Tools) -> None:
    known = ours.somebody()
    phone = f"{known[:5]}9{known[6:]}"
    wish = {"to": phone, "from": ours.simulator.settings.number, "body": f"{WORD} new"}
    told = tools("send_text", **wish, idempotency_key=f"new-{phone}")
    assert told.answer["conversation_id"] == conversation_of(tools, phone)
    until(lambda: ours.got(phone) == [f"{WORD} new"], "it is sent")


def test_a_conversation_is_found_by_its_holder_its_words_and_page_by_page(ours: Desk, tools: Tools) -> None:
    phones = [ours.somebody() for _ in range(2)]
    ours.says(phones[0], f"{WORD} zucchini")
    ids = [conversation_of(tools, phone) for phone in phones]
    tools("take_over", conversation_id=ids[1])
    held = tools("list_conversations", holder="person", phone=phones[1]).answer
    assert [each["id"] for each in held["conversations"]] == [ids[1]]
    hits = tools("list_conversations", q="zucchini", phone=phones[0]).answer["conversations"]
    assert [each["id"] for each in hits] == [ids[0]]
    first = tools("list_conversations", limit=1).answer
    second = tools("list_conversations", limit=1, cursor=first["next"]).answer
    assert first["conversations"] != second["conversations"]
    tools("hand_back", conversation_id=ids[1])


# -- what goes wrong -----------------------------------------------------------------------------------------------


def test_of_two_operators_the_second_one_learns_who_has_the_conversation(ours: Desk, tools: Tools) -> None:
    phone = ours.somebody()
    id_ = conversation_of(tools, phone)
    ours.as_ben(f"/conversations/{id_}/take-over")
    told = {
        "take_over": tools("take_over", conversation_id=id_),
        "hand_back": tools("hand_back", conversation_id=id_),
        "send_text": tools("send_text", conversation_id=id_, body=WORD, idempotency_key=f"lost-{id_}"),
        "send_to_agent": tools("send_to_agent", conversation_id=id_, content=WORD, idempotency_key=f"lost-too-{id_}"),
    }
    for name, refused in told.items():
        assert "The holder is ben, since 2" in refused.error, name
        assert "take_over and `force: true`" in refused.error, name
    forced = tools("take_over", conversation_id=id_, force=True)
    assert forced.answer["holder"]["name"] == "ana"
    tools("hand_back", conversation_id=id_)


def test_who_has_opted_out_gets_nothing(ours: Desk, tools: Tools) -> None:
    phone = ours.somebody()
    ours.says(phone, "STOP")
    id_ = conversation_of(tools, phone)
    # The carrier confirms by itself, perhaps before its webhook has come.
    until(lambda: tools("get_conversation", conversation_id=id_).answer["opted_out"], "the bridge knows it")
    text = tools("send_text", conversation_id=id_, body=WORD, idempotency_key=f"out-{id_}")
    agent = tools("send_to_agent", conversation_id=id_, content=WORD, idempotency_key=f"out-too-{id_}")
    assert "has opted out" in text.error
    assert "has opted out" in agent.error


UNKNOWN: dict[str, dict[str, Any]] = {
    "get_conversation": {"conversation_id": 999_999},
    "send_to_agent": {"conversation_id": 999_999, "content": WORD, "idempotency_key": "unknown"},
    "get_answer": {"turn_id": 999_999},
    "send_text": {"conversation_id": 999_999, "body": WORD, "idempotency_key": "unknown-too"},
    "take_over": {"conversation_id": 999_999},
    "hand_back": {"conversation_id": 999_999},
    "end_chat": {"chat_id": 999_999},
    "retry_failure": {"kind": "turn", "id": 999_999},
}


def test_an_unknown_id_is_told_with_the_tool_that_knows_them(ours: Desk, tools: Tools) -> None:
    for name, arguments in UNKNOWN.items():
        told = tools(name, **arguments)
        assert "There is no such" in told.error, name
        assert "list_conversations has the ids" in told.error, name
    for name in ("end_chat", "send_to_agent"):
        more = {"content": WORD, "idempotency_key": "nowhere"} if name == "send_to_agent" else {}
        told = tools(name, chat_id="chat_of_somebody_else", **more)
        assert "no chat whose id at its provider" in told.error, name


FAULTY: list[tuple[str, dict[str, Any], str]] = [
    ("list_conversations", {"holder": "nobody"}, "holder: "),
    ("list_conversations", {"page": 2}, "page: "),
    ("send_to_agent", {"content": WORD, "idempotency_key": "k"}, "exactly one of conversation_id and chat_id"),
    ("send_text", {"to": "+15551230001", "body": WORD, "idempotency_key": "k"}, "to and from belong together"),
    ("send_text", {"conversation_id": 1, "body": WORD}, "idempotency_key: "),
    ("send_text", {"conversation_id": 1, "body": WORD, "idempotency_key": "ü"}, "must be visible ASCII"),
    ("get_answer", {"turn_id": 1, "wait_seconds": 600}, "wait_seconds: "),
    ("get_answer", {"turn_id": 2**63}, "turn_id: "),
    ("end_stale_chats", {"idle_seconds": 10**9}, "idle_seconds: "),
]


def test_a_wrong_argument_is_named_and_its_value_is_not(ours: Desk, tools: Tools) -> None:
    for name, arguments, words in FAULTY:
        told = tools(name, **arguments)
        assert words in told.error, (name, told.error)
        assert told.error.startswith("Nothing was done.")
        assert WORD not in told.error
        assert "pattern" not in told.error
    number = ours.simulator.settings.number
    told = tools("send_text", to="12", body=WORD, idempotency_key="k", **{"from": number})
    assert "to: " in told.error
    assert "Change that field" in told.error


def test_no_log_has_a_number_a_word_or_a_token(ours: Desk, tools: Tools) -> None:
    phone = ours.somebody()
    id_ = conversation_of(tools, phone)
    tools("send_text", conversation_id=id_, body=WORD, idempotency_key=f"log-{id_}")
    tools("get_conversation", conversation_id=id_)
    tools("send_text", conversation_id=0, body=WORD, idempotency_key=f"log-{id_}")
    kept = ours.folder / "mcp.log"
    written = ours.processes.output + (kept.read_text() if kept.exists() else "")
    assert [secret for secret in (WORD, phone, phone[2:], ANA) if secret in written] == []
