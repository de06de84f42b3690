"""Deferred launches of kernels are made in their order, with their memory, and without a trace of a failure."""

import threading
import weakref
from collections.abc import Callable

import pytest

from seedwise.kernels import launch
from seedwise.kernels.dispatch import Autotuner, Case
from seedwise.kernels.launch import Code


class Memory:
    """What a tensor is to a call."""


@pytest.fixture
def made() -> list[int]:
    return []


def note(made: list[int]) -> Callable[[int], int]:
    def kernel(number: int) -> int:
        made.append(number)
        return Code.DONE

    return kernel


def full(number: int) -> int:
    return Code.NO_MEMORY


def test_alone_a_call_is_made_and_checked_at_once(made: list[int]) -> None:
    launch.call(note(made), None, [3])
    assert made == [3]
    with pytest.raises(MemoryError, match=r"^full: no memory"):
        launch.call(full, None, [4])


@pytest.mark.parametrize("code", set(Code) - {Code.DONE})
def test_every_code_has_an_error_of_its_own(code: Code) -> None:
    with pytest.raises((MemoryError, ValueError), match=r"^<lambda>: no [a-z ]+$") as raised:
        launch.call(lambda: code, None, [])
    others = [str(why) for other, (_, why) in launch._ERRORS.items() if other != code]
    assert str(raised.value).removeprefix("<lambda>: ") not in others


def test_within_they_wait_until_the_end_or_until_settled(made: list[int]) -> None:
    kernel = note(made)
    with launch.deferred_launches():
        launch.call(kernel, None, [1])
        launch.call(kernel, None, [2])
        assert made == []
        launch.synchronize()
        assert made == [1, 2]
        launch.call(kernel, None, [3])
        assert made == [1, 2]
    assert made == [1, 2, 3]
    launch.call(kernel, None, [4])
    assert made == [1, 2, 3, 4]


def test_what_is_timed_waits_for_none_and_lets_none_wait(made: list[int]) -> None:
    kernel = note(made)
    with launch.deferred_launches():
        launch.call(kernel, None, [1])
        with launch.eager_launches():
            assert made == [1]
            launch.call(kernel, None, [2])
            assert made == [1, 2]
        launch.call(kernel, None, [3])
        assert made == [1, 2]
        with launch.deferred_launches():
            assert made == [1, 2, 3]
            launch.call(kernel, None, [4])
        assert made == [1, 2, 3, 4]


def test_memory_is_held_until_the_call(made: list[int]) -> None:
    memory = Memory()
    seen = weakref.ref(memory)
    with launch.deferred_launches():
        launch.call(lambda: bool(made.append(seen() is not None)), (memory,), [])
        del memory
    assert made == [True] and seen() is None


def test_a_failure_drops_what_waits(made: list[int]) -> None:
    kernel = note(made)
    with pytest.raises(KeyboardInterrupt), launch.deferred_launches():
        launch.call(kernel, None, [1])
        raise KeyboardInterrupt
    with pytest.raises(MemoryError), launch.deferred_launches():
        launch.call(full, None, [2])
        launch.call(kernel, None, [3])
    launch.call(kernel, None, [4])
    assert made == [4]


def test_each_thread_waits_for_itself(made: list[int]) -> None:
    kernel = note(made)
    with launch.deferred_launches():
        launch.call(kernel, None, [1])
        other = threading.Thread(target=lambda: launch.call(kernel, None, [2]))
        other.start()
        other.join()
        assert made == [2]
    assert made == [2, 1]


def test_a_trial_among_waiting_calls_times_what_is_really_done(made: list[int]) -> None:
    def fast(_images: int) -> None:
        launch.call(note(made), None, [2])
        assert made[:2] == [1, 2]

    case = Case("pointwise forward", "pointwise forward", 8, 8, 4, 4, 2, 1)
    with launch.deferred_launches():
        launch.call(note(made), None, [1])
        assert Autotuner().choose(case, ("fast",), lambda: ({"fast": fast}, 1)) == "fast"
