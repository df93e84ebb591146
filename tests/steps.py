"""Asynchronous iterators, one step at a time."""

import asyncio
import contextvars
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor


def in_steps(iterator: AsyncIterator) -> Iterator:
    """The same as an ordinary iterator, in an event loop of its own that runs while a step is waited for.

    The loop has a thread of its own as well, with the caller's context variables: Playwright keeps a loop running in
    the thread of the tests.
    """
    loop = asyncio.new_event_loop()
    with ThreadPoolExecutor(1) as thread:

        def wait_for(awaitable):
            return thread.submit(contextvars.copy_context().run, loop.run_until_complete, awaitable).result()

        try:
            while True:
                try:
                    yield wait_for(anext(iterator))
                except StopAsyncIteration:
                    return
        finally:
            wait_for(iterator.aclose())
            loop.close()
