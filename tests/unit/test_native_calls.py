"""Calls of kernels wait within `together()`: in their order, with their memory, and without a trace of a failure."""

import threading
import weakref
from collections.abc import Callable

import pytest

from seedwise.kernels import launch
from seedwise.kernels.dispatch import Case, Tuned


class Memory:
    """What a tensor is to a call."""


@pytest.fixture
def made() -> list[int]:
    return []


def note(made: list[int]) -> Callable[[int], int]:
    def kernel(number: int) -> int:
        made.append(number)
        return number

    return kernel


def test_alone_a_call_is_made_and_checked_at_once(made: list[int]) -> None:
    answers: list[int] = []
    launch.call(note(made), answers.append, None, 3)
    assert made == answers == [3]


def test_within_they_wait_until_the_end_or_until_settled(made: list[int]) -> None:
    kernel, answers = note(made), list[int]()
    with launch.deferred_launches():
        launch.call(kernel, answers.append, None, 1)
        launch.call(kernel, launch.cannot_fail, None, 2)
        assert made == []
        launch.synchronize()
        assert made == [1, 2]
        launch.call(kernel, answers.append, None, 3)
        assert made == [1, 2]
    assert made == [1, 2, 3] and answers == [1, 3]
    launch.call(kernel, launch.cannot_fail, None, 4)
    assert made == [1, 2, 3, 4]


def test_what_is_timed_waits_for_none_and_lets_none_wait(made: list[int]) -> None:
    kernel = note(made)
    with launch.deferred_launches():
        launch.call(kernel, launch.cannot_fail, None, 1)
        with launch.eager_launches():
            assert made == [1]
            launch.call(kernel, launch.cannot_fail, None, 2)
            assert made == [1, 2]
        launch.call(kernel, launch.cannot_fail, None, 3)
        assert made == [1, 2]
        with launch.deferred_launches():
            assert made == [1, 2, 3]
            launch.call(kernel, launch.cannot_fail, None, 4)
        assert made == [1, 2, 3, 4]


def test_memory_is_held_until_the_call(made: list[int]) -> None:
    memory = Memory()
    seen = weakref.ref(memory)
    with launch.deferred_launches():
        launch.call(lambda: made.append(seen() is not None), launch.cannot_fail, (memory,))
        del memory
    assert made == [True] and seen() is None


def test_a_failure_drops_what_waits(made: list[int]) -> None:
    def fail(code: int) -> None:
        raise MemoryError(code)

    kernel = note(made)
    with pytest.raises(KeyboardInterrupt), launch.deferred_launches():
        launch.call(kernel, launch.cannot_fail, None, 1)
        raise KeyboardInterrupt
    with pytest.raises(MemoryError, match="2"), launch.deferred_launches():
        launch.call(kernel, fail, None, 2)
        launch.call(kernel, launch.cannot_fail, None, 3)
    launch.call(kernel, launch.cannot_fail, None, 4)
    assert made == [2, 4]


def test_each_thread_waits_for_itself(made: list[int]) -> None:
    kernel = note(made)
    with launch.deferred_launches():
        launch.call(kernel, launch.cannot_fail, None, 1)
        other = threading.Thread(target=lambda: launch.call(kernel, launch.cannot_fail, None, 2))
        other.start()
        other.join()
        assert made == [2]
    assert made == [2, 1]


def test_a_trial_among_waiting_calls_times_what_is_really_done(made: list[int]) -> None:
    def fast(_images: int) -> None:
        launch.call(note(made), launch.cannot_fail, None, 2)
        assert made[:2] == [1, 2]

    case = Case("pointwise forward", "pointwise forward", 8, 8, 4, 4, 2, 1)
    with launch.deferred_launches():
        launch.call(note(made), launch.cannot_fail, None, 1)
        assert Tuned().pick(case, ("fast",), lambda: ({"fast": fast}, 1)) == "fast"
