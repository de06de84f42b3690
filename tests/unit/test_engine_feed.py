"""Batches that are read one ahead by a thread come in their order, with what goes wrong in its turn."""

import threading

import numpy as np
import pytest
from numpy.typing import NDArray

from seedwise.engine.feed import Ahead

BATCHES = [np.arange(start, start + 4) for start in range(0, 20, 4)]


class Reader:
    def __init__(self) -> None:
        self.begun: list[list[int]] = []
        self.threads: set[int] = set()
        self.at_once = self.most = 0

    def __call__(self, positions: NDArray[np.int64]) -> int:
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        self.begun.append(positions.tolist())
        self.threads.add(threading.get_ident())
        self.at_once -= 1
        if 9 in positions:
            raise ValueError("image 9 is damaged")
        return int(positions.sum())


@pytest.fixture
def reader() -> Reader:
    return Reader()


def test_they_come_in_order_and_one_is_read_ahead(reader: Reader) -> None:
    ahead = Ahead(reader)
    ahead.expect(BATCHES[:2])
    assert reader.begun == []
    assert [ahead.take(batch) for batch in BATCHES[:2]] == [6, 22]
    ahead.close()
    assert reader.begun == [batch.tolist() for batch in BATCHES[:2]] and threading.get_ident() not in reader.threads


def test_what_goes_wrong_is_raised_when_it_is_its_turn(reader: Reader) -> None:
    ahead = Ahead(reader)
    ahead.expect(BATCHES)
    assert [ahead.take(batch) for batch in BATCHES[:2]] == [6, 22]
    with pytest.raises(ValueError, match="image 9 is damaged"):
        ahead.take(BATCHES[2])
    ahead.close()


def test_others_than_expected_are_read_at_once_and_never_beside_the_thread(reader: Reader) -> None:
    ahead = Ahead(reader)
    ahead.expect(BATCHES)
    assert ahead.take(BATCHES[0]) == 6
    assert ahead.take(BATCHES[3]) == 54  # not what was next
    ahead.expect(BATCHES[3:])
    assert [ahead.take(batch) for batch in BATCHES[3:]] == [54, 70]
    ahead.close()
    assert reader.most == 1
    assert [thread for thread in threading.enumerate() if thread.name.startswith("feed")] == []
