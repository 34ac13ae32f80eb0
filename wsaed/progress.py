"""A rate and a remaining time for long work: a bar on a terminal, a line now and then elsewhere."""

import contextlib
import os
import sys
import time

from tqdm.auto import tqdm


@contextlib.contextmanager
def bar(title: str, total: float, unit: str = "epochs", every: float = 30.0):
    """Give a function to call with the units done. HEADLESS=1 keeps it silent (under nbval).

    Of the processes of torchrun the first alone speaks.
    """
    if os.environ.get("HEADLESS") == "1" or os.environ.get("RANK", "0") != "0":
        yield lambda done: None
    elif sys.stderr.isatty() or "JPY_PARENT_PID" in os.environ:
        form = "{l_bar}{bar}| {elapsed}, {remaining} to go, {rate_noinv_fmt}"
        with tqdm(total=total, desc=title, bar_format=form, unit=f" {unit}") as shown:
            yield shown.update
    else:
        yield _lines(title, total, unit, every)


def _lines(title: str, total: float, unit: str, every: float):
    began = last = time.monotonic()
    done = 0.0

    def update(more: float) -> None:
        nonlocal done, last
        done, now = done + more, time.monotonic()
        if now - last >= every or done >= total - 1e-9:
            spent, last = now - began, now
            told = f"{title}: {done / total:.0%} after {spent / 60:.1f} min"
            if done >= total / 100:  # sooner, a guess would be wild
                told += f", about {spent * (total / done - 1) / 60:.1f} min to go"
                told += f", {60 * done / max(spent, 1e-9):.1f} {unit}/min"
            print(told, file=sys.stderr, flush=True)

    return update
