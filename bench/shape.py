"""The time to shape an answer, for usual answers and for the worst known ones.

.venv/bin/python -m bench.shape
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from bridge.outbound.formatting.shape import LONGEST, Recipient, answer

PHONE = Recipient("+15551230001")
ON_WHATSAPP = Recipient("whatsapp:+15551230001")

USUAL = {
    "plain": "Your table for two is booked for 7 pm tonight. Reply here if your plans change, or just call us again.",
    "typography": "Your table for two is booked – see you at 7 pm. It’s under “Ann”. Reply if your plans change…",
    "emoji": "Your table for two is booked for 7 pm tonight 🎉 Reply here if your plans change, or just call us.",
    "Markdown": "Your table for **two** is booked:\n\n- tonight, 7 pm\n- [menu](https://x.example)\n\nReply to change.",
    "HTML": "<p>Your table for <b>two</b> is booked.</p><p>Tonight, 7 pm &amp; not later. Reply here to change it.</p>",
}
WORST = ["\U0001f1e9", "- a\n* b\n", "![", "<b>", "**a** ", "https://x.yz/*a* ", "`a` ", "word "]


def milliseconds(texts: Sequence[str], to: Recipient, times: int) -> float:
    """Return the best of five rounds. A busy machine makes the others slower."""
    rounds = []
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(times):
            answer(texts, to, join=False)
        rounds.append((time.perf_counter() - began) / times * 1e3)
    return min(rounds)


def main() -> None:
    print(f"{'a usual answer':24}{'characters':>12}{'SMS, ms':>12}{'WhatsApp, ms':>14}")
    for name, text in USUAL.items():
        sms, whatsapp = (milliseconds([text], to, 200) for to in (PHONE, ON_WHATSAPP))
        print(f"{name:24}{len(text):>12}{sms:>12.3f}{whatsapp:>14.3f}")
    print(f"\n{'the longest ones':24}{'characters':>12}{'SMS, ms':>12}")
    for unit in WORST:
        text = unit * (LONGEST // len(unit))
        print(f"{unit!a:24}{len(text):>12}{milliseconds([text], PHONE, 1):>12.0f}")


if __name__ == "__main__":
    main()
