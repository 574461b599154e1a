"""An event loop for `asyncio` without sockets, in virtual time: a sleep is over as soon as nobody else is ready."""

import asyncio
import asyncio.base_events

from rlhf_runner import clock

__builtins__ = dict(__builtins__)


class _Selector:
    """Nothing can become readable; waiting moves the clock."""

    def select(self, timeout):
        if timeout is None:
            raise RuntimeError("the event loop waits for something that can't happen")
        clock.advance(int(timeout * 1_000_000_000))
        return []

    def close(self):
        pass


class Loop(asyncio.base_events.BaseEventLoop):
    """The loop that `asyncio.run` gets."""

    def __init__(self):
        super().__init__()
        self._selector = _Selector()

    def _process_events(self, events):
        pass

    def _write_to_self(self):
        # Wakes a loop that waits in another thread: there is none.
        pass


Loop.__module__ = "asyncio"


def install():
    """Makes it the default."""

    class _Policy(asyncio.events._BaseDefaultEventLoopPolicy):
        _loop_factory = Loop

    asyncio.events._event_loop_policy = _Policy()
    asyncio.SelectorEventLoop = asyncio.EventLoop = Loop
