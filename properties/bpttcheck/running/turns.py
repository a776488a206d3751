"""Shares tested one after another in a place of each target, or several at a time in children, with the same results.

A target that raises spoils its own share and no other. Where its process dies the share is tested again without the
case that it died of.
"""

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from multiprocessing.connection import wait
from typing import TypeAlias

from bpttcheck.contract import Implementation
from bpttcheck.laws import LAWS
from bpttcheck.running.child import TICK, Child, Died, Here, Place
from bpttcheck.running.question import Question, Share
from bpttcheck.running.results import Lost, Result
from bpttcheck.running.time_limit import TimeLimit
from bpttcheck.running.verdict import judge

Outcome: TypeAlias = list[Result] | Exception
Show: TypeAlias = Callable[[Sequence[object]], None]

_MOST = 8  # deaths of one share, those after it was given up included


def judge_share(
    subject: Implementation, share: Share, asked: Question, seconds: float = math.inf, lost: Sequence[Lost] = ()
) -> list[Result]:
    """The results of one share of an implementation; in ``seconds`` for drawing cases and making failures small."""
    results = judge(
        subject,
        [law for law in LAWS if law.id in asked.laws],
        cells=[share.cell],
        dtypes=[share.dtype],
        examples=asked.examples,
        seconds=seconds,
        seed=asked.seed,
        as_drawn=[law for law in asked.laws if any(entry.covers(*share, law) for entry in asked.known)],
        own=asked.own(),
        lost=lost,
    )
    return list(results)


class Turn:
    """A share that is being tested in a place."""

    def __init__(self, place: Place, share: Share, asked: Question, seconds: float) -> None:
        self.place = place
        self.share = share
        self._asked = asked
        self._limit = TimeLimit(seconds)
        self._lost: list[Lost] = []
        self._begin()

    def _begin(self) -> None:
        self.place.begin(judge_share, self.share, self._asked, self._limit.left, tuple(self._lost))

    def __str__(self) -> str:
        law = self.place.doing.law.decode() if isinstance(self.place, Child) else ""
        return " ".join((*self.share, law))

    def outcome(self) -> Outcome | None:
        """The results, or the error; None if it had to begin again."""
        try:
            results: list[Result] = self.place.answer()
            return results
        except Died as death:
            self._lost.append(death.lost)
            if death.lost.draw is None or len(self._lost) == _MOST:
                return death
            self._begin()
            return None
        except Exception as error:
            return error


def judge_all(
    todo: Sequence[Share],
    places: Mapping[str, Place],
    asked: Question,
    jobs: int,
    alone: Collection[str] = (),
    show: Show = lambda turns: None,
) -> Iterator[tuple[Share, Outcome]]:
    """Each share with its results or its error, as they come: ``jobs`` at a time, in places of their target.

    A target with several shares at a time gets more children. alone: targets of which one share is tested at a time,
    because all of them would have the same device. show: called with the running shares, several times a second.
    """
    waiting, turns = list(todo), list[Turn]()
    free = {target: [place] for target, place in places.items()}
    limit = TimeLimit(asked.budget)
    while waiting or turns:
        while len(turns) < jobs:
            busy = any(turn.share.target in alone for turn in turns)
            share = next((share for share in waiting if not (busy and share.target in alone)), None)
            if share is None:
                break
            seconds = limit.left * min(jobs, len(waiting)) / len(waiting)
            waiting.remove(share)
            place = free[share.target].pop() if free[share.target] else Child(share.target, asked.timeout)
            turns.append(Turn(place, share, asked, seconds))
        show(turns)
        for turn in _ready(turns):
            outcome = turn.outcome()
            if outcome is None:
                continue
            turns.remove(turn)
            free[turn.share.target].append(turn.place)
            if isinstance(turn.place, Child) and turn.place is not places[turn.share.target]:
                if all(share.target != turn.share.target for share in waiting):
                    turn.place.end()
            yield turn.share, outcome


def judged_in(place: Place, share: Share, asked: Question) -> list[Result]:
    """The results of one share. Raises its error."""
    turn = Turn(place, share, asked, asked.budget)
    while (outcome := turn.outcome()) is None:
        pass
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def _ready(turns: Sequence[Turn]) -> list[Turn]:
    """The turns that have ended, after waiting for a moment."""
    children = [turn.place for turn in turns if isinstance(turn.place, Child)]
    if children:
        wait([child.answers for child in children], TICK)
    return [turn for turn in turns if isinstance(turn.place, Here) or turn.place.ready()]
