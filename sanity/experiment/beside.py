"""Work that is done on a thread while what it is done with is still being made."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, Self, TypeVar

T = TypeVar("T")


class Beside(Generic[T]):
    """Does something with each thing that it takes, one after the other, on a thread.

    Leaving the `with` waits for all of it; an exception there drops what has not begun.

    Args:
        work: What is done. What it raises is raised by a later `take`, or on leaving.
        most: So many things wait for it at the most, as all of them are held in memory.
    """

    def __init__(self, work: Callable[[T], None], most: int):
        self._work, self._most = work, most
        self._waiting: deque[Future[None]] = deque()
        self._thread = ThreadPoolExecutor(1)

    def __enter__(self) -> Self:
        return self

    def take(self, thing: T) -> None:
        """Has it done, at once if as many wait as may."""
        self._waiting.append(self._thread.submit(self._work, thing))
        while self._waiting and (len(self._waiting) > self._most or self._waiting[0].done()):
            self._waiting.popleft().result()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            while self._waiting and error is None:
                self._waiting.popleft().result()
        finally:
            self._thread.shutdown(cancel_futures=True)
