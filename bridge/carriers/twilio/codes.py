"""Twilio's error codes: what each of them means, and how to mend it.

What lives here: the one table of them. Twilio gives the same codes when it refuses a text at once (``refusals``), in
status callbacks (``webhooks``) and in the message's resource (``client``). What the bridge does about each class:
``bridge.carriers.TREATMENTS``.
"""

from __future__ import annotations

from bridge.carriers import FailureClass, Meaning

PAGE = "https://www.twilio.com/docs/api/errors/{}"

CODES_OF_TEXTS = range(21000, 22000)
"""Those of them that the table does not know speak of one text or one number, whatever the HTTP status."""

WITHOUT_CODE = "Twilio gives no reason. Look for the text in the console's message log."
NEW_CODE = "This bridge does not know the code yet. See Twilio's page."

TABLE: dict[FailureClass, dict[int, str]] = {
    FailureClass.RECIPIENT: {
        21211: "The person's number is not a valid phone number. Nothing can be sent to it.",
        21266: "Sender and recipient are the same number. Keep your own numbers from texting each other.",
        21604: "There is no number to send to. Look where the text came from.",
        21608: "A trial account may only text verified numbers. Verify this one, or upgrade the account.",
        21612: "Twilio has no way from this sender to this number. Use a sender that can reach the person's country.",
        21614: "The number is not a mobile phone's. It can't get texts.",
        21635: "The number is a landline. It can't get texts.",
        30005: "The number is not in use, or its operator does not know it. Check it with the person.",
        30006: "The number is a landline, or its operator takes no texts. It can't be reached from here.",
        63003: "The address is none that this channel can reach. Check that the person has the app.",
        63024: "The person is not on this channel, or can't be texted there. Use plain SMS.",
    },
    FailureClass.CONSENT: {
        21610: "The person has texted STOP. Nothing may be sent before they text START.",
        63014: "The person has blocked this sender in their app. Only they can undo it.",
        63033: "The person has blocked this sender in their app. Only they can undo it.",
    },
    FailureClass.POLICY: {
        21408: "The person's country is not enabled. If you serve it, enable it in the geographic permissions.",
        30004: "The person's operator or phone blocks this sender. Ask them, or send from another number.",
        30007: "The operator took the text for spam. Look at its words and links, and at your registration.",
        63013: "The text breaks the channel's policy. Look at its words.",
    },
    FailureClass.CONTENT: {
        21602: "The text has no words. Look where it came from.",
        21617: "The text is longer than 1,600 characters.",
        21620: "The address of a picture can't be used.",
        21654: "The template does not exist. Check its SID in the console.",
        21655: "The template's SID is not valid. Check it in the console.",
        21656: "The template's variables do not fit it. Compare them in the console.",
        21658: "The text is longer than 1,600 characters.",
        63005: "The channel refused the text. Look at its words and pictures.",
        63016: "The person last wrote more than 24 h ago. WhatsApp then takes approved templates only.",
        63021: "The channel refused the text as not valid. Look at its words and pictures.",
    },
    FailureClass.TOO_LARGE: {
        30019: "The operator takes no text of so many segments. It goes again in pieces. Lower SEGMENTS_PER_TEXT.",
    },
    FailureClass.SETUP: {
        20003: "Twilio does not take the credentials. Check TWILIO_ACCOUNT_SID, TWILIO_AUTH_TOKEN, TWILIO_API_KEY.",
        20404: "There is no such account. Check TWILIO_ACCOUNT_SID and TWILIO_API_BASE_URL.",
        21603: "There is no sender. Set TWILIO_MESSAGING_SERVICE_SID, or let people text a number of the account.",
        21609: "Twilio can't call the status address. Check that PUBLIC_URL is a public address without an underscore.",
        30029: "Message retention asks for redaction, which this sender does not have. Check both in the console.",
        30030: "Message retention asks for redaction, which is not on. Check both in the console.",
        35115: "The time of a scheduled text is out of range. It must be some minutes to 35 days ahead.",
    },
    FailureClass.ACCOUNT: {
        20005: "The account is not active. See to it in the console.",
        30002: "The account is suspended. See to its balance and notices in the console.",
    },
    FailureClass.SENDER: {
        21212: "The sender is not a valid number. Check which number was texted, or TWILIO_MESSAGING_SERVICE_SID.",
        21606: "The sender is no number of this account that can text this phone. Check it in the console.",
        21664: "The RCS sender can't be used here. Check the messaging service's senders.",
        21665: "The RCS sender can't be used here. Check the messaging service's senders.",
        21666: "The sender to fall back to can't be used. Check the messaging service's senders.",
        21667: "The sender to fall back to can't be used. Check the messaging service's senders.",
        21703: "The messaging service has no sender. Add a number to it in the console.",
        21704: "The messaging service is still being set up. Wait, and look at it in the console.",
        21705: "There is no such messaging service. Check TWILIO_MESSAGING_SERVICE_SID.",
        30024: "The sender is not ready to send yet. Wait for its provisioning, or ask Twilio.",
        30032: "The toll-free number is not verified. Have it verified in the console.",
        30034: "The number is in no registered A2P 10DLC campaign, which the US demands. Register it in the console.",
        63001: "The channel does not accept its credentials. Connect it again in the console.",
        63007: "There is no such sender on this channel. Check it in the console.",
        63015: "The person has not joined the WhatsApp sandbox, or their 72 h are over. Let them join again.",
        63051: "The WhatsApp business account is locked. See to it at Meta.",
    },
    FailureClass.PROVIDER_BUSY: {
        14107: "More than 30 texts between two numbers in 30 s. See whether two machines text each other.",
        20429: "Too many calls at once. They are spread by themselves.",
    },
    FailureClass.SENDER_BUSY: {
        21611: "The sender's queue at Twilio is full. Add senders, or send less.",
        30001: "The messaging service's queue at Twilio is full. Add senders, or send less.",
        30022: "The campaign has sent more than its rate allows. Send less at once, or raise its trust score.",
        63017: "The account has sent more than the channel's rate allows. Send less at once.",
        63018: "The sender has sent more than the channel's rate allows. Send less at once.",
    },
    FailureClass.CARRIER_FAULT: {
        30017: "The operator's network is congested. It passes.",
        30410: "The operator did not answer in time. It passes.",
        30500: "Something broke at the operator. It passes.",
        63010: "Something broke at Twilio's channel. It passes.",
        63012: "Something broke at the channel's provider. It passes.",
    },
    FailureClass.UNREACHABLE: {
        30003: "The phone is off or out of reach. If it stays so, check the number with the person.",
    },
    FailureClass.NO_REASON: {
        30008: "The operator gives no reason, and the text may have arrived. If it happens often, ask Twilio.",
    },
    FailureClass.DAY_IS_FULL: {
        30023: "The brand's texts for today are used up at this operator. A higher trust score allows more.",
        63038: "The account's texts for 24 h are used up. Ask Twilio for a higher limit.",
    },
    FailureClass.PAUSED: {
        30450: "Twilio suspects SMS pumping and blocks these numbers for half an hour. See who makes you text them.",
    },
    FailureClass.AMBIGUOUS: {
        20500: "Something broke at Twilio, and the text may have been taken. The bridge looks before it sends again.",
        20503: "Twilio is not available, and the text may have been taken. The bridge looks before it sends again.",
    },
    FailureClass.EXPIRED: {
        30036: "The text waited for longer than its validity period, and was not sent. See why its queue was so long.",
    },
    FailureClass.WEBHOOK: {
        11200: "Twilio could not read the webhook's answer. See the bridge's log at that time.",
        11205: "Twilio could not connect to the webhook. Check that PUBLIC_URL can be reached from outside.",
        11217: "The webhook answered with an error. See the bridge's log at that time.",
        11321: "The webhook's address is not valid. It is PUBLIC_URL with /twilio/inbound behind it.",
        12300: "The webhook's answer had no content type that Twilio reads. See that it points to the bridge.",
        13803: "The answer had TwiML that this region does not serve. See that the webhook points to the bridge.",
        14103: "The answer had TwiML with a bad text. See that the webhook points to the bridge.",
        14109: "The answer had TwiML with too many texts. See that the webhook points to the bridge.",
        23006: "Redaction does not go with a GET webhook. Set the webhook to HTTP POST.",
        30009: "A part of a person's long text is missing. Nothing can be done about it.",
        30122: "The fallback address is not valid. Mend it in the console, or leave it empty.",
        57012: "A signature did not fit. Check which token signs, and TWILIO_AUTH_TOKEN.",
    },
}
"""Every code with its class and its sentence; a test holds that none stands in two classes."""

MEANINGS: dict[int, Meaning] = {
    code: Meaning(code, failure, sentence, PAGE.format(code))
    for failure, sentences in TABLE.items()
    for code, sentence in sentences.items()
}


def meaning(code: int | None) -> Meaning:
    """What a code means; one that is not known is told as such."""
    if code is None:
        return Meaning(None, FailureClass.UNKNOWN, WITHOUT_CODE, None)
    return MEANINGS.get(code) or Meaning(code, FailureClass.UNKNOWN, NEW_CODE, PAGE.format(code))
