"""What all downloads have in common: huggingface_hub's client, silent, with a bar that we may step in by."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def quiet_client() -> Iterator[None]:
    """The client without telemetry, and with its warnings off the terminal: whoever asked says what failed for good."""
    from huggingface_hub import constants, utils

    logging: Any = utils.logging
    before = logging.get_verbosity(), constants.HF_HUB_DISABLE_TELEMETRY
    logging.set_verbosity_error()
    constants.HF_HUB_DISABLE_TELEMETRY = True
    try:
        yield
    finally:
        logging.set_verbosity(before[0])
        constants.HF_HUB_DISABLE_TELEMETRY = before[1]


def bar(report: Callable[[int], None] | None = None) -> Any:
    """A class of bars for `tqdm_class`: shows itself, or tells `report` how many bytes are there; what that raises ends
    the download, and so does a place that sends the same again and again, which the client would bear with for ever."""
    from huggingface_hub import utils

    shown: Any = utils.tqdm  # type: ignore[attr-defined]  # documented, and not in its list of exports

    class Bar(shown):  # type: ignore[misc]
        def __init__(self, *args: Any, **options: Any) -> None:
            self.size, self.done, self.received = options.get("total"), options.get("initial", 0), 0
            super().__init__(*args, **options | ({"disable": True} if report else {}))

        def update(self, n: int = 1) -> Any:
            self.done += n
            self.received += max(0, n)
            if self.size and self.received > 2 * self.size:
                raise ConnectionError("it was cut off again and again, or sent more than there is")
            if report:
                report(self.done)
            return super().update(n)

    return Bar
