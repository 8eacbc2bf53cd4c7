"""The help of the simulator alone: it tells what it is, how a bridge uses it, and what each option does."""

from __future__ import annotations

from bridge.simulator import __main__ as program
from bridge.simulator.settings import SimulatorSettings


def test_the_help_tells_what_it_is_and_how_a_bridge_is_pointed_at_it() -> None:
    told = program._parser().format_help()
    for needed in ("pretended Twilio", "--webhook-url", "TWILIO_API_BASE_URL", "RETELL_BASE_URL", "PUBLIC_URL"):
        assert needed in told


def test_every_option_is_explained_with_its_default() -> None:
    options = program._parser()._actions
    assert [option.dest for option in options if not option.help] == []
    told = " ".join(program._parser().format_help().split())
    assert "Seconds that every answer takes. (default: 0.0)" in told
    assert "``" not in told


def test_the_words_of_an_option_are_those_of_its_setting() -> None:
    assert program._meanings()["echo"].startswith("For load: the agent answers every line with re: <line>")
    assert program._meanings().keys() <= set(SimulatorSettings.__dataclass_fields__)
