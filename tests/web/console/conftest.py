"""The fixtures of the console's tests. A module with another story has a house of its own."""

from __future__ import annotations

import pytest

from tests.web.console.desk import Desk, House


@pytest.fixture
def house(sessions) -> House:
    return House(sessions)


@pytest.fixture
def ana(house) -> Desk:
    return house.desk()
