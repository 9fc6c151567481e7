"""Searches with a regular expression, within a limit of the calling thread's own processor time.

The time-out of `regex` counts the processor time of all threads of the process: texts that are searched side
by side would use up each other's time.
"""

import time
from collections.abc import Callable

import regex


def timed_search(
    pattern: "regex.Pattern[str]",
    text: str,
    *,
    timeout_s: float,
    clock: Callable[[], float] = time.thread_time,
) -> "regex.Match[str] | None":
    """Return the first match, or None.

    Raises:
        TimeoutError: it is not known after `timeout_s` seconds of this thread's processor time.
    """
    deadline = clock() + timeout_s
    while (left_s := deadline - clock()) > 0:
        try:
            return pattern.search(text, timeout=left_s)
        except TimeoutError:
            continue
    raise TimeoutError
