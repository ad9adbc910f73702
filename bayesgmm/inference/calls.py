"""A run of chains as compiled calls: how long each is, what is taken from it, an interrupt.

XLA runs a compiled call on one core, or on one device. So the chains are dealt out to lanes, which
are on their way side by side, each on a device or in a host thread of its own; about every half
second all of them stop, the draws are taken, and who watches is told.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from bayesgmm.inference.devices import each, places

ROOM = 256
"""Draws that a compiled call can hold, if they are not too large."""

SECONDS = 0.4
"""How long a compiled call should take: an interrupt waits for it."""


class Progress(NamedTuple):
    """How a run stands: sweeps done, and asked for."""

    done: int
    total: int


class Asked(NamedTuple):
    """What a run is to do."""

    n_draws: int
    thin: int
    n_warmup: int

    @property
    def total(self) -> int:
        """Sweeps in all."""
        return self.n_warmup + self.n_draws * self.thin

    def progress(self, done: int) -> Progress:
        """How it stands after so many sweeps."""
        return Progress(done, self.total)


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


# --- lanes ----------------------------------------------------------------------------------------


class Lane(NamedTuple):
    """Some of the chains, and what they are given; leaves of one device."""

    states: Any
    data: Any
    prior: Any


def own_axis(data: Any) -> int | None:
    """The axis of `Data` over which chains are mapped, where each has points of its own."""
    return 0 if np.ndim(data.weight) == 2 else None


def lanes_of(states: Any, data: Any, prior: Any, axes: tuple = (None, None)) -> list[Lane]:
    """Chains [C, ...] in lanes of as many each, on devices in turn: at most one for each place.

    Parameters
    ----------
    states, data, prior : trees of arrays
    axes : tuple of two trees of 0 or None
        As `jax.vmap` takes them: where data and prior have a leading axis [C], too.
    """
    C = len(jax.tree.leaves(states)[0])
    devices = places()
    L = max(n for n in range(1, len(devices) + 1) if C % n == 0)
    lanes = []
    for n, device in enumerate(devices[:L]):
        rows = slice(n * C // L, (n + 1) * C // L)
        own = (_cut(0, states, rows), _cut(axes[0], data, rows), _cut(axes[1], prior, rows))
        lanes.append(Lane(*(own if device is None else jax.device_put(own, device))))
    return lanes


def _cut(axes: Any, tree: Any, rows: slice) -> Any:
    """Rows of the leaves that have them."""
    if axes is None:
        return tree
    if isinstance(axes, tuple):
        return type(tree)(*(_cut(*own, rows) for own in zip(axes, tree, strict=True)))
    return jax.tree.map(lambda leaf: np.asarray(leaf)[rows], tree)  # a slice by JAX is a program


def rounds(
    lanes: list[Lane], through: Callable, asked: Asked, dtype: Any
) -> Iterator[tuple[list[Lane], list[list], Progress]]:
    """All lanes on their way, stopped twice a second: lanes, the draws of each, progress.

    Parameters
    ----------
    lanes : list of Lane
    through : callable
        From a lane, the sweeps that are `done` and those to be done after it, `until`, to the lane
        and a list of what was `taken`.
    asked : Asked
    dtype : numpy dtype
    """
    done, span = 0, 1
    while done < asked.total:
        until, first = min(done + span, asked.total), done == 0
        go = partial(through, done=done, until=until)
        begin = time.perf_counter()
        # at first one after the other: the program that one compiles serves the rest
        found = [go(lane) for lane in lanes] if first else each(go, lanes, dtype)
        took, advanced, done = time.perf_counter() - begin, until - done, until
        lanes = [lane for lane, _ in found]
        yield lanes, [pieces for _, pieces in found], asked.progress(done)
        span = next_span(span, advanced, took)


def collected(
    calls: Iterable[tuple[list[Lane], list[list], Progress]],
    lanes: list[Lane],
    watch: Callable[[Progress], Any] | None,
) -> tuple[list[Lane], list[list], bool]:
    """Where the lanes end, the draws of each in pieces, and whether an interrupt ended them.

    Parameters
    ----------
    calls : iterable
        `rounds`.
    lanes : list of Lane
        Where they begin.
    watch : callable, optional
        Called with every `Progress`.
    """
    pieces: list[list] = [[] for _ in lanes]
    try:
        for now, new, progress in calls:
            lanes = now
            for before, after in zip(pieces, new, strict=True):
                before.extend(piece for piece in after if piece is not None)
            if watch is not None:
                watch(progress)
    except KeyboardInterrupt:
        return lanes, pieces, True
    return lanes, pieces, False


def end_to_end(pieces: Sequence[Any]) -> Any:
    """Trees of draws [C, s, ...] one after the other, [C, S, ...]."""
    return jax.tree.map(lambda *leaves: np.concatenate(leaves, 1), *pieces)


def side_by_side(lanes: Sequence[Any]) -> Any:
    """Trees of arrays [c, ...] of lanes as one, [C, ...]."""
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *lanes)
