"""An SMS bridge in the style of a tutorial: a webhook, a task that is retried on every error, a table of chats.

Each part follows its provider's documentation: the signature is checked, the webhook answers immediately, the task has
backoff. It is run and judged like the real bridge, and shows what that advice does not cover.
"""

from __future__ import annotations

import os
from typing import Any

from celery import Celery
from flask import Flask, Response, abort, request
from retell import BadRequestError, Retell
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from twilio.request_validator import RequestValidator
from twilio.rest import Client
from twilio.twiml.messaging_response import MessagingResponse

app = Flask(__name__)
celery = Celery("tutorial", broker=os.environ["CELERY_BROKER_URL"])
database_url = os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+psycopg://")
engine = create_engine(database_url, pool_pre_ping=True)
retell = Retell(api_key=os.environ["RETELL_API_KEY"], base_url=os.environ["RETELL_BASE_URL"])
twilio = Client(os.environ["TWILIO_ACCOUNT_SID"], os.environ["TWILIO_AUTH_TOKEN"])
twilio.api.base_url = os.environ["TWILIO_API_BASE_URL"]


class Base(DeclarativeBase):
    pass


class Chat(Base):
    __tablename__ = "chats"

    phone: Mapped[str] = mapped_column(primary_key=True)
    chat_id: Mapped[str]


@app.post("/twilio/inbound")
def inbound() -> Response:
    validator = RequestValidator(os.environ["TWILIO_AUTH_TOKEN"])
    url = os.environ["PUBLIC_URL"] + request.path
    if not validator.validate(url, request.form, request.headers.get("X-Twilio-Signature", "")):
        abort(403)
    answer.delay(request.form["From"], request.form["To"], request.form["Body"])
    return Response(str(MessagingResponse()), content_type="text/xml")


@celery.task(autoretry_for=(Exception,), retry_backoff=True, max_retries=5)
def answer(phone: str, number: str, body: str) -> None:
    """Ask the agent, and text its answers."""
    with Session(engine) as session:
        chat = session.get(Chat, phone)
        if chat is None:
            chat = Chat(phone=phone, chat_id=new_chat(phone))
            session.add(chat)
            session.commit()
        try:
            messages = complete(chat.chat_id, body)
        except BadRequestError:  # the chat has ended
            chat.chat_id = new_chat(phone)
            session.commit()
            messages = complete(chat.chat_id, body)
    for message in messages:
        if message.role == "agent":
            twilio.messages.create(to=phone, from_=number, body=message.content)


def new_chat(phone: str) -> str:
    return retell.chat.create(agent_id=os.environ["RETELL_AGENT_ID"], metadata={"phone": phone}).chat_id


def complete(chat_id: str, body: str) -> list[Any]:
    return retell.chat.create_chat_completion(chat_id=chat_id, content=body).messages
