"""Asynchronous iterators, one step at a time, for tests that are not asynchronous."""

import asyncio
from collections.abc import AsyncIterator, Iterator


def in_steps(iterator: AsyncIterator) -> Iterator:
    """The same as an ordinary iterator, in an event loop of its own that runs while a step is waited for."""
    loop = asyncio.new_event_loop()
    try:
        while True:
            try:
                yield loop.run_until_complete(anext(iterator))
            except StopAsyncIteration:
                return
    finally:
        loop.run_until_complete(iterator.aclose())
        loop.close()
