"""The table of Twilio's error codes: their meaning, and how to fix the cause.

Twilio uses the same codes when it refuses a text (``errors``), in status callbacks (``webhooks``) and in the message's
resource (``client``). ``bridge.providers.carriers.contract.TREATMENTS`` says what the bridge does about each class. The
list is Twilio's error dictionary, https://www.twilio.com/docs/api/errors/twilio-error-codes.json, as it was on
2025-02-22, and single pages of it up to 2026-11-16. It has the codes about messages (211xx to 217xx, 30xxx, 63xxx) that
can concern a text. It leaves out calls, registrations, link shortening, the setup of senders and templates, and codes
that appear only in Twilio's own log. Twilio adds new codes unannounced; the bridge shows them as unknown.
"""

from __future__ import annotations

from bridge.providers.carriers.contract import FailureClass, Meaning

PAGE = "https://www.twilio.com/docs/api/errors/{}"

CODES_OF_TEXTS = range(21000, 22000)
"""Unlisted codes in this range concern one text or one number, whatever the HTTP status."""

WITHOUT_CODE = "Twilio gives no reason. Find the text in the console's message log."
NEW_CODE = "This bridge does not know the code yet. See Twilio's page."

TABLE: dict[FailureClass, dict[int, str]] = {
    FailureClass.RECIPIENT: {
        21211: "The person's number is not a valid phone number. Nothing can be sent to it.",
        21265: "The recipient is a short code. Nothing can be sent to it.",
        21266: "Sender and recipient are the same number. Keep your own numbers from texting each other.",
        21268: "The recipient is a premium or information number. Nothing may be sent to it.",
        21604: "There is no number to send to. Look where the text came from.",
        21608: "A trial account may only text verified numbers. Verify this one, or upgrade the account.",
        21612: "Twilio has no route from this sender to this number. Use a sender that can reach the person's country.",
        21614: "The number is not a mobile phone's. It can't get texts.",
        21635: "The number is a landline. It can't get texts.",
        21653: "The text has more than one recipient. Check where it came from.",
        21910: "Sender and recipient are on two channels. Both must be plain numbers, or of one channel.",
        30005: "The number is not in use, or its operator does not know it. Check it with the person.",
        30006: "The number is a landline, or its operator takes no texts. It can't be reached from here.",
        30014: "The recipient's address is not valid. Nothing can be sent to it.",
        30015: "There is no such channel as the recipient's address names. Check where it came from.",
        30016: "Sender and recipient are on two channels. Both must be plain numbers, or of one channel.",
        63003: "This channel can't reach the address. Check that the person has the app.",
        63024: "The person is not on this channel, or can't be texted there. Use plain SMS.",
        63031: "Sender and recipient are the same address. Keep your own addresses from texting each other.",
        63032: "WhatsApp keeps this person out of reach for now, as part of an experiment. Use plain SMS.",
        63035: "The RCS sender is not launched, and this person is not one of its testers. Launch it, or invite them.",
    },
    FailureClass.CONSENT: {
        21610: "The person has texted STOP. Nothing may be sent before they text START.",
        30630: "The person has texted STOP. Nothing may be sent before they text START.",
        63014: "The person has blocked this sender in their app. Only they can undo it.",
        63033: "The person has blocked this sender in their app. Only they can undo it.",
    },
    FailureClass.POLICY: {
        21408: "The person's country is not enabled. If you serve it, enable it in the geographic permissions.",
        30004: "The person's operator or phone blocks this sender. Ask them, or send from another number.",
        30007: "The operator classed the text as spam. Check its words and links, and your registration.",
        30043: "The operator classed the text as a foreign one on a domestic route. Ask Twilio.",
        30110: "A link in the text leads to a blocked domain. Check the text's links.",
        30111: "A link in the text is blocked. Check the text's links.",
        30610: "The law forbids texts to this person at this hour of theirs. Answer within their day.",
        30615: "The law forbids texts to this person at this hour of theirs. Answer within their day.",
        30620: "The text does not fit what its sender is registered for. Compare the two, or register the use.",
        63013: "The text breaks the channel's policy. Check its words.",
        63026: "The channel classed the sender's texts as spam. Check their words and links.",
        63039: "Facebook finds the page bothersome. Send less outside of the 24 h after a person's words.",
        63049: "Meta does not deliver this marketing template to this person. Others may arrive.",
        63062: "The terms of WhatsApp's marketing messages are not accepted. Accept them at Meta.",
    },
    FailureClass.CONTENT: {
        21602: "The text has no words. Check where it came from.",
        21605: "The text is longer than 160 characters, which is all that this old address of the API takes.",
        21617: "The text is longer than 1,600 characters.",
        21618: "The text has words that can't be sent. Check them.",
        21619: "The text has no words. Check where it came from.",
        21620: "The address of a picture can't be used.",
        21621: "The sender can't send pictures. Use one that can, or send words.",
        21622: "The account can't send pictures. Ask Twilio, or send words.",
        21623: "The text has more pictures than are allowed.",
        21624: "Twilio does not accept the validity period. It must be 1 s to 10 h.",
        21627: "The highest price is not a number. Leave it out.",
        21652: "The subject is longer than 40 characters.",
        21654: "The template does not exist. Check its SID in the console.",
        21655: "The template's SID is not valid. Check it in the console.",
        21656: "The template's variables do not fit it. Compare them in the console.",
        21658: "The text is longer than 1,600 characters.",
        30010: "The text costs more than the highest price that was named. Name none.",
        30011: "Pictures can't be sent to this number. Send words.",
        30012: "The validity period is shorter than Twilio takes.",
        30013: "The validity period is longer than Twilio takes.",
        30044: "The text has more segments than a trial account may send. Upgrade the account.",
        30400: "Something of the text is not valid. Check its words.",
        63005: "The channel refused the text. Check its words and pictures.",
        63006: "The text can't be put into the channel's form. Check its words and pictures.",
        63016: "The person last wrote more than 24 h ago. WhatsApp then takes approved templates only.",
        63019: "A picture could not be fetched. Check its address.",
        63021: "The channel refused the text as not valid. Check its words and pictures.",
        63025: "The picture is at the channel already. Send it under another name.",
        63027: "The template does not exist in this language. Check it in the console.",
        63028: "The number of the template's variables is not right. Compare them in the console.",
        63029: "The phone could not fetch the template. Check with the person that their app is new.",
        63030: "Something of the text is not supported on this channel. Check its form.",
        63034: "A picture is larger than the channel takes.",
        63037: "A picture could not be brought to the channel. Check its form and its size.",
        63040: "The template was rejected. Check it in the console.",
        63041: "The template is paused, as people did not like it. Check it in the console.",
        63042: "The template is disabled. Check it in the console.",
        63052: "The template is one of the old kind. Make a new one in the console.",
    },
    FailureClass.TOO_LARGE: {
        30019: "The operator refuses so many segments. The bridge sends it again in parts. Lower SEGMENTS_PER_TEXT.",
    },
    FailureClass.SETUP: {
        20003: "Twilio does not take the credentials. Check TWILIO_ACCOUNT_SID, TWILIO_AUTH_TOKEN, TWILIO_API_KEY.",
        20404: "There is no such account. Check TWILIO_ACCOUNT_SID and TWILIO_API_BASE_URL.",
        21603: "There is no sender. Set TWILIO_MESSAGING_SERVICE_SID, or let people text a number of the account.",
        21609: "Twilio can't call the status address. Check that PUBLIC_URL is a public address without an underscore.",
        21626: "The events of the status address are not valid. Leave them out.",
        30029: "Message retention asks for redaction, which this sender does not have. Check both in the console.",
        30030: "Message retention asks for redaction, which is not on. Check both in the console.",
        35115: "The time of a scheduled text is out of range. It must be some minutes to 35 days ahead.",
    },
    FailureClass.ACCOUNT: {
        20005: "The account is not active. Check it in the console.",
        30002: "The account is suspended. Check its balance and notices in the console.",
        30037: "The account may send no texts. If that is wrong, ask Twilio.",
    },
    FailureClass.SENDER: {
        21212: "The sender is not a valid number. Check which number was texted, or TWILIO_MESSAGING_SERVICE_SID.",
        21264: "The sender is not verified for this account. Use a number of the account.",
        21267: "A trial account can't send from a name. Use a number, or upgrade the account.",
        21601: "The sender is no number of this account that can text. Check it in the console.",
        21606: "The sender is no number of this account that can text this phone. Check it in the console.",
        21607: "A trial account can send from its own number only. Use that one, or upgrade the account.",
        21616: "The sender fits more than one number of the account. Write it in full, with + and country.",
        21657: "The sender's name is not valid. Check it in the console.",
        21659: "The sender is no number at Twilio, or a short code of another country. Check it in the console.",
        21660: "The sender is not a number of this account. Check TWILIO_ACCOUNT_SID, and the number in the console.",
        21661: "The sender can't text. Use a number that can, or ask Twilio.",
        21664: "The RCS sender can't be used here. Check the messaging service's senders.",
        21665: "The RCS sender can't be used here. Check the messaging service's senders.",
        21666: "The sender to fall back to can't be used. Check the messaging service's senders.",
        21667: "The sender to fall back to can't be used. Check the messaging service's senders.",
        21701: "There is no such messaging service. Check TWILIO_MESSAGING_SERVICE_SID.",
        21702: "The messaging service can't send at present. Check it in the console.",
        21703: "The messaging service has no sender. Add a number to it in the console.",
        21704: "The messaging service is still being set up. Wait, and look at it in the console.",
        21705: "There is no such messaging service. Check TWILIO_MESSAGING_SERVICE_SID.",
        21708: "The messaging service needs a sender's name, and has none. Add one in the console.",
        21709: "The sender's name is not allowed in the messaging service. Check it in the console.",
        21711: "The sender is not in the messaging service. Add it in the console.",
        30018: "The operator demands that the sender is registered in this country. Register it in the console.",
        30024: "The sender is not ready to send yet. Wait for its provisioning, or ask Twilio.",
        30032: "The toll-free number is not verified. Have it verified in the console.",
        30033: "The A2P 10DLC campaign is suspended. Ask Twilio why.",
        30034: "The number is in no registered A2P 10DLC campaign, which the US demands. Register it in the console.",
        30035: "The number's registration for A2P 10DLC is still under way. Wait, and look at it in the console.",
        30040: "The operator demands that the sender is registered in this country. Register it in the console.",
        30041: "The sender is not registered in the United Kingdom, which demands it. Register it in the console.",
        30042: "The sender's name is blocked: too general, or with special characters. Use another one.",
        30990: "The A2P 10DLC campaign is suspended. Check the cause in the console, and ask Twilio.",
        63001: "The channel does not accept its credentials. Connect it again in the console.",
        63002: "There is no such sender on this channel. Check it in the console.",
        63007: "There is no such sender on this channel. Check it in the console.",
        63008: "The channel is not set up as it should be. Check it in the console.",
        63015: "The person has not joined the WhatsApp sandbox, or their 72 h are over. Let them join again.",
        63020: "Something of the business account at Meta is not in order, perhaps its payment. Check it there.",
        63022: "The WhatsApp sender's name has no valid certificate. Register the sender again.",
        63051: "The WhatsApp business account is locked. Check it at Meta.",
        63109: "The sender has moved to another account. Check which account has it.",
        63111: "The sender's number or its WhatsApp business account is not found at Meta. Check it there.",
        63112: "Meta has disabled the business accounts behind this sender. Check it at Meta.",
    },
    FailureClass.PROVIDER_BUSY: {
        14107: "More than 30 texts between two numbers in 30 s. Check whether two machines text each other.",
        20429: "Too many calls at once. The bridge spreads them.",
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
        30020: "Something broke in Twilio's scheduling. It passes.",
        30021: "Something broke in Twilio's messaging service. It passes.",
        30410: "The operator did not answer in time. It passes.",
        30500: "Something broke at the operator. It passes.",
        63009: "Something broke at the channel's provider. It passes.",
        63010: "Something broke at Twilio's channel. It passes.",
        63011: "The channel's provider could not tell Twilio what the phone can do. It passes.",
        63012: "Something broke at the channel's provider. It passes.",
    },
    FailureClass.UNREACHABLE: {
        30003: "The phone is off or out of reach. If it stays so, check the number with the person.",
        63036: "The phone can't be reached by RCS now: it is off, or has no RCS. If it stays so, use plain SMS.",
    },
    FailureClass.NO_REASON: {
        30008: "The operator gives no reason, and the text may have arrived. If it happens often, ask Twilio.",
        63023: "The channel gives no reason, and the text may have arrived. If it happens often, ask Twilio.",
    },
    FailureClass.DAY_IS_FULL: {
        30023: "The brand's texts for today are used up at this operator. A higher trust score allows more.",
        30027: "The brand's texts for today are used up at T-Mobile. A higher trust score allows more.",
        30454: "The account's texts are used up; a trial account has few. Upgrade it, or ask Twilio.",
        63038: "The account's texts for 24 h are used up. Ask Twilio for a higher limit.",
    },
    FailureClass.PAUSED: {
        30450: "Twilio suspects SMS pumping and blocks these numbers for 30 min. Find out who triggers these texts.",
        30453: "Twilio suspects fraud and blocks this number for some hours. Find out who triggers these texts.",
        30485: "Twilio suspects fraud and blocks this number for some hours. Find out who triggers these texts.",
    },
    FailureClass.AMBIGUOUS: {
        20500: "Something broke at Twilio, and it may have accepted the text. The bridge checks before it sends again.",
        20503: "Twilio is not available, and it may have accepted the text. The bridge checks before it sends again.",
        20504: "Twilio timed out, and it may have accepted the text. The bridge checks before it sends again.",
    },
    FailureClass.EXPIRED: {
        30036: "The text waited longer than its validity period, and was not sent. Check why the queue was so long.",
    },
    FailureClass.WEBHOOK: {
        11200: "Twilio could not read the webhook's answer. Check the bridge's log at that time.",
        11205: "Twilio could not connect to the webhook. Check that PUBLIC_URL can be reached from outside.",
        11217: "The webhook answered with an error. Check the bridge's log at that time.",
        11321: "The webhook's address is not valid. It is PUBLIC_URL with /twilio/inbound behind it.",
        12300: "The webhook's answer had no content type that Twilio reads. Check that it points to the bridge.",
        13803: "The answer had TwiML that this region does not serve. Check that the webhook points to the bridge.",
        14103: "The answer had TwiML with a bad text. Check that the webhook points to the bridge.",
        14109: "The answer had TwiML with too many texts. Check that the webhook points to the bridge.",
        23006: "Redaction does not go with a GET webhook. Set the webhook to HTTP POST.",
        30009: "A part of a person's long text is missing. Nothing can be done about it.",
        30038: "A person's text held a one-time code, which Twilio does not pass on. Nothing can be done about it.",
        30039: "A machine's text was held back, so that two machines do not text each other. No action is needed.",
        30122: "The fallback address is not valid. Fix it in the console, or leave it empty.",
        57012: "A signature did not fit. Check which token signs, and TWILIO_AUTH_TOKEN.",
    },
}
"""Every code with its class and its sentence; a test holds that no code has two classes."""

MEANINGS: dict[int, Meaning] = {
    code: Meaning(code, failure, sentence, PAGE.format(code))
    for failure, sentences in TABLE.items()
    for code, sentence in sentences.items()
}


def meaning(code: int | None) -> Meaning:
    """Return the meaning of a code. An unknown code gets a meaning that says so."""
    if code is None:
        return Meaning(None, FailureClass.UNKNOWN, WITHOUT_CODE, None)
    return MEANINGS.get(code) or Meaning(code, FailureClass.UNKNOWN, NEW_CODE, PAGE.format(code))
