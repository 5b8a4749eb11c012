"""Work beside: in order, no more waiting than may, nothing begun once something has failed."""

import threading

import pytest

from sanity.experiment.beside import Beside


class Worker:
    """Notes what it has done; from thing `held` on it begins after some time only."""

    def __init__(self, held=99, fails=99):
        self.held, self.fails, self.done = held, fails, []
        self.wait = threading.Event()
        threading.Timer(0.2, self.wait.set).start()

    def __call__(self, thing):
        if thing >= self.held:
            self.wait.wait(10)
        if thing == self.fails:
            raise KeyboardInterrupt("no")
        self.done.append(thing)


def test_all_is_done_in_order_and_no_more_waits_than_may():
    work, most = Worker(held=0), []
    with Beside(work, most=3) as beside:
        for thing in range(9):
            beside.take(thing)
            most.append(thing + 1 - len(work.done))
    assert work.done == list(range(9))
    assert max(most) == 3


@pytest.mark.parametrize("things", [2, 9])
def test_what_fails_is_raised_by_a_later_one_or_at_the_end(things):
    work = Worker(fails=1)
    with pytest.raises(KeyboardInterrupt, match="no"), Beside(work, most=1) as beside:
        for thing in range(things):
            beside.take(thing)
    assert work.done[0] == 0 and 8 not in work.done


def test_what_waits_is_dropped_when_something_else_fails():
    work = Worker(held=1)
    with pytest.raises(ZeroDivisionError), Beside(work, most=5) as beside:
        for thing in range(5):
            beside.take(thing)
        raise ZeroDivisionError
    assert work.done in ([0], [0, 1])
