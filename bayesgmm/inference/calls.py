"""A run of chains as compiled calls: how long each is, what is taken from it, an interrupt.

A call does as many sweeps of every chain as take about half a second, and has buffers for the draws
among them.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import numpy as np

ROOM = 256
"""Draws that a compiled call can hold, if they are not too large."""

SECONDS = 0.4
"""How long a compiled call should take: an interrupt waits for it."""


class Progress(NamedTuple):
    """How a run stands: sweeps done and asked for, and slots."""

    done: int
    total: int
    n_slots: int


class Asked(NamedTuple):
    """What a run is to do."""

    n_draws: int
    thin: int
    n_warmup: int

    @property
    def total(self) -> int:
        """Sweeps in all."""
        return self.n_warmup + self.n_draws * self.thin

    def progress(self, done: int, n_slots: int) -> Progress:
        """How it stands after so many sweeps."""
        return Progress(done, self.total, n_slots)


class Plan(NamedTuple):
    """Sweeps of one compiled call; traced.

    Attributes
    ----------
    span : []
        How many.
    phase : []
        How many sweeps of the next draw have been done before.
    thin : []
        Sweeps a draw.
    growing : []
        Whether to stop before a sweep that needs more slots.
    """

    span: Any
    phase: Any
    thin: Any
    growing: Any


def room_for(numbers: int) -> int:
    """Draws that the buffers of a call hold, of so many numbers each."""
    return int(np.clip(1 << max((1 << 26) // numbers, 1).bit_length() - 1, 2, ROOM))


def planned(done: int, span: int, room: int, asked: Asked) -> Plan:
    """At most `span` sweeps, as many as the buffers have room for."""
    if done < asked.n_warmup:
        span = min(span, asked.n_warmup - done)
        return Plan(np.int32(span), np.int32(0), np.int32(span), np.bool_(False))
    phase = (done - asked.n_warmup) % asked.thin
    span = min(span, asked.total - done, (room - 1) * asked.thin)
    return Plan(np.int32(span), np.int32(phase), np.int32(asked.thin), np.bool_(False))


def next_span(span: int, advanced: int, took: float) -> int:
    """Sweeps of the next call, after one of `advanced` that took so many seconds."""
    return max(1, int(np.clip(advanced * SECONDS / max(took, 1e-6), span / 2, 8 * span)))


def taken(buffers: Any, plan: Plan, advanced: int, asked: Asked, done: int) -> Any:
    """The draws that are complete, copied from the buffers, with chains first; None in a warm-up.

    Parameters
    ----------
    buffers : tree of arrays [room, C, ...]
    plan : Plan
    advanced, done : int
        Sweeps of the call, and of the run with it.
    asked : Asked
    """
    complete = 0 if done <= asked.n_warmup else int((plan.phase + advanced) // asked.thin)
    if not complete:
        return None
    return jax.tree.map(lambda leaf: np.asarray(leaf)[:complete].swapaxes(0, 1).copy(), buffers)


def collected(
    calls: Iterable[tuple[Any, Any, Progress]],
    states: Any,
    watch: Callable[[Progress], Any] | None,
) -> tuple[Any, list, bool]:
    """Where the chains end, their draws in pieces, and whether a KeyboardInterrupt ended them.

    Parameters
    ----------
    calls : iterable of (states, draws or None, Progress)
    states
        Where they begin.
    watch : callable, optional
        Called with every `Progress`.
    """
    pieces: list[Any] = []
    try:
        for now, new, progress in calls:
            states = now
            if new is not None:
                pieces.append(new)
            if watch is not None:
                watch(progress)
    except KeyboardInterrupt:
        return states, pieces, True
    return states, pieces, False
