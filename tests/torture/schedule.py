"""Which fault strikes when: all of it follows from the seed, before the run begins."""

import random
from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """A fault to come. `who` and `luck` are numbers from 0 to 1 that its kind turns into a process, a duration, a place."""

    number: int
    at: float  # seconds after the start
    kind: str
    who: float
    luck: float

    def pick(self, candidates):
        """One of the candidates, the same in every replay with the same candidates."""
        return candidates[int(self.who * len(candidates))]

    def between(self, low, high):
        return low + self.luck * (high - low)


def plan(seed, topology, kinds, seconds, every, quiet=2.0):
    """Faults about `every` seconds apart, from `quiet` seconds after the start to `quiet` seconds before the end.

    `kinds` are names with weights. They come from a shuffled deck that holds each as often as its weight says. In the first
    deck each comes once before any comes again, so that a short run meets every kind too.
    """
    rng = random.Random(f"{seed}/{topology}/schedule")
    deck, faults, at = [], [], quiet
    while at < seconds - quiet:
        if not deck:
            first = [name for name, _ in kinds]
            deck = [name for name, weight in kinds for _ in range(weight - 1)]
            for cards in (first, deck):
                rng.shuffle(cards)
            deck += first  # dealt from its end
            if faults:
                rng.shuffle(deck)
        faults.append(Fault(len(faults), at, deck.pop(), rng.random(), rng.random()))
        at += rng.uniform(0.6, 1.4) * every
    return faults
