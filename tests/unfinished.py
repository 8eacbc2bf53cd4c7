"""A conversation in the middle of its work: with the agent, or with the carrier, which was cut off."""

from __future__ import annotations

from bridge.providers.errors import OutcomeUnknown
from tests.scene import Scene


def being_asked(scene: Scene) -> None:
    scene.agent.fail("complete", OutcomeUnknown("cut off", provider="retell"), times=1000)
    scene.text("hello")
    scene.wake()


def being_sent(scene: Scene) -> None:
    scene.carrier.fail("send", OutcomeUnknown("cut off", provider="twilio"), times=1000)
    scene.text("hello")
    scene.wake()
