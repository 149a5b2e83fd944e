"""Where time goes, by name."""

import pytest

from engine.rollout.stopwatch import Stopwatch


def at(*moments: float) -> Stopwatch:
    """One whose clock shows these moments, one after the other."""
    return Stopwatch("sampling", "learning", clock=iter(moments).__next__)


def test_time_is_added_to_the_name_it_is_spent_under_also_when_that_ends_in_an_error():
    clock = at(10.0, 12.5, 20.0, 21.0, 30.0, 34.0)

    with clock.timed("sampling"):
        pass
    with clock.timed("learning"):
        pass
    with pytest.raises(ZeroDivisionError), clock.timed("sampling"):
        raise ZeroDivisionError

    assert clock.seconds == {"sampling": 2.5 + 4.0, "learning": 1.0}


def test_it_goes_on_from_its_state():
    clock, restored = at(0.0, 2.0), at(100.0, 103.0)
    with clock.timed("sampling"):
        pass

    restored.load_state_dict(clock.state_dict())
    with restored.timed("sampling"):
        pass

    assert restored.seconds == {"sampling": 5.0, "learning": 0.0}
    assert clock.seconds["sampling"] == 2.0


def test_a_name_that_was_not_given_is_no_name():
    with pytest.raises(KeyError), Stopwatch("sampling").timed("smapling"):
        pass
