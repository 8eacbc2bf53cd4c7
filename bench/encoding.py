"""The savings of shaping: the segments of agents' replies as written, without Markdown, and in plain characters.

    python -m bench.encoding

The replies were written for this measurement, in the style in which language models answer texts: some with curly
quotes and dashes, some with Markdown, some with emoji, some in other languages. So the figures show possible savings. A
real agent's savings depend on its own style. The comparison leaves out Twilio's own flag (``smart_encoded``): its
effect shows only by sending.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from bridge.outbound.formatting.shape import Recipient, Shaped, answer, shape

PHONE = "+15551230001"
WITH_TYPOGRAPHY = Recipient(PHONE, smart_encoding=False)

REPLIES: Mapping[str, tuple[str, ...]] = {
    "ASCII alone": (
        "Hi! We're open today until 8 pm. Is there anything else I can help you with?",
        "Your table for 4 is booked for Friday at 7:30 pm. Reply CANCEL BOOKING if your plans change. See you then!",
        "I'm sorry to hear that. Could you send me your order number so that I can look into it right away?",
        "Yes, parking is free for guests. Turn left after the bank; the entrance is behind the blue gate.",
        "Thanks! I have updated your address to 12 Main Street, Springfield. Your next delivery is on Tuesday, between"
        " 9 am and noon. If nobody is home, the driver will leave the parcel with the neighbor you named last time.",
        "A cleaning takes about 45 minutes and costs $120. With your plan you pay $20. Shall I book one for you?",
    ),
    "curly quotes and dashes": (
        "Hi there! We’re open today until 8\u202fpm. Is there anything else I can help you with?",
        "I’ve booked your table for Friday at 7:30\u202fPM — see you then! If your plans change, just let me"
        " know here and I’ll take care of it.",
        "No problem at all — I’ve moved your appointment to Thursday at 10:15. You’ll get a reminder the"
        " day before… and if anything comes up, you can simply reply to this message.",
        "It looks like your package is “out for delivery” and should arrive between 2–4\u202fp.m. today.",
        "Good question! The “Premium” plan includes everything in “Basic”, plus priority support. It’s"
        " $29/month, and you can cancel anytime — there’s no contract. Would you like me to switch you over?",
        "I don’t see a reservation under that name. Could it be under someone else’s?",
        "Our check\u2011in starts at 3\u202fPM and check\u2011out is at 11\u202fAM. Early check\u2011in isn’t"
        " guaranteed, but I’ll add a note to your booking — we’ll text you as soon as your room’s ready.",
        "Yes, we do! Gluten\u2011free bases are $2 extra… any toppings you’d like?",
        "That’s $48.60 in total – you can pay at the counter. Ready in 20–25 minutes!",
        "I completely understand how frustrating that is, and I’m sorry. I’ve asked our team to call you back"
        " within the hour. In the meantime, please don’t use the heater — if you smell gas, leave the house and"
        " call 911 first. Is the number you’re texting from the best one to reach you?",
    ),
    "with Markdown": (
        "Here are our **opening hours**:\n\n* **Mon–Fri:** 9 am – 6 pm\n* **Sat:** 10 am – 4 pm\n* **Sun:**"
        " closed\n\nWould you like to book a visit?",
        "Your order **#48213** contains:\n\n1. Blue mug (x2)\n2. Tea towel\n\n**Total:** $31.50\n\nYou can track it"
        " [here](https://shop.example/t/48213).",
        "### Before your visit\n- Don’t eat for **6 hours**\n- Bring your insurance card\n- Wear something"
        " comfortable\n\nAny questions? I’m happy to help!",
        "| Plan | Price | Data |\n|------|-------|------|\n| Small | $10 | 2 GB |\n| Large | $25 | 20 GB |\n\nMost"
        " people in your area choose *Large*.",
        "To reset the router:\n1. Hold the **Reset** button for *10 seconds*\n2. Wait until the light is green\n3. Join"
        " `HomeNet-5G` with the code on the back\n\nDid that work?",
        "Sure! You can read our [cancellation policy](https://hotel.example/policy) — in short, it’s **free up to"
        " 24 hours** before arrival.",
    ),
    "with emoji": (
        "You’re all set! 🎉 See you on Friday at 7:30 — we can’t wait.",
        "Thanks for reaching out! 😊 Our next free slot is Tuesday at 2 pm. Shall I book it?",
        "**Great news!** 🚚 Your order has shipped and it’ll be there by Thursday. Track it any time at"
        " https://shop.example/t/48213",
        "Happy birthday! 🎂 Show this text for a free dessert – valid until Sunday.",
    ),
    "other languages": (
        "¡Hola! Su cita está confirmada para el martes a las 10:00. ¿Necesita algo más?",
        "Bonjour\u00a0! Votre réservation est confirmée pour vendredi à 20\u00a0h. À bientôt…",
        "Bonjour, c’est noté\u00a0: la table est réservée à 20\u00a0h pour six personnes. Merci"
        " d’arriver à l’heure – la cuisine ferme à 22\u00a0h.",
        "Guten Tag! Ihr Termin ist am 4.\u00a0Mai um 9:30\u00a0Uhr – bitte bringen Sie Ihre „Gesundheitskarte“"
        " mit. Wir freuen uns auf Sie!",
        "您好！您的预约已确认：周五晚上7:30。",
    ),
}


def as_written(reply: str) -> int:
    return _segments(shape([reply], WITH_TYPOGRAPHY))


def without_markdown(reply: str) -> int:
    return _segments(answer([reply], WITH_TYPOGRAPHY, join=False))


def as_sent(reply: str) -> int:
    return _segments(answer([reply], Recipient(PHONE), join=False))


def _segments(shaped: Shaped) -> int:
    return sum(sms.segments for sms in shaped.messages)


def main() -> None:
    ways: tuple[Callable[[str], int], ...] = (as_written, without_markdown, as_sent)
    print("| replies | number | segments as written | without Markdown | and in plain characters | ratio |")
    print("|---|--:|--:|--:|--:|--:|")
    for kind, replies in [*REPLIES.items(), ("all", [reply for some in REPLIES.values() for reply in some])]:
        written, bare, sent = (sum(map(way, replies)) for way in ways)
        print(f"| {kind} | {len(replies)} | {written} | {bare} | {sent} | {sent / bare:.2f} |")


if __name__ == "__main__":
    main()
