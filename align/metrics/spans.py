"""From the logits of a question-answering model to spans of the context."""

from dataclasses import dataclass

import numpy as np

N_BEST = 20
MAX_LENGTH = 30  # of an answer, in tokens


@dataclass(frozen=True)
class Span:
    """Tokens `start` to `end`, both inside; `score` is the sum of their logits."""

    start: int
    end: int
    score: float

    def text(self, context: str, offsets: np.ndarray) -> str:
        """The part of the context that it covers; `offsets` (L, 2) say where each token begins and ends there."""
        return context[offsets[self.start, 0] : offsets[self.end, 1]]


def n_best(
    start_logits: np.ndarray,
    end_logits: np.ndarray,
    offsets: np.ndarray,
    count: int = N_BEST,
    longest: int = MAX_LENGTH,
) -> list[Span]:
    """The best spans of one sequence of L tokens, the best first, at most `count`.

    A span starts at one of the `count` largest start logits, ends at one of the `count` largest end logits, lies in the
    context, where `offsets` (L, 2) is not −1, and has at most `longest` tokens. Of equal logits the earlier token is
    the larger; of equal spans the one that starts earlier goes first, then the shorter one.
    """
    starts = np.argsort(-start_logits, kind="stable")[:count, None]
    ends = np.argsort(-end_logits, kind="stable")[None, :count]
    inside = offsets[:, 0] >= 0
    allowed = inside[starts] & inside[ends] & (starts <= ends) & (ends - starts < longest)
    scores = (start_logits[starts] + end_logits[ends])[allowed]
    start, end = (np.broadcast_to(side, allowed.shape)[allowed] for side in (starts, ends))
    order = np.lexsort((end, start, -scores))[:count]
    return [Span(int(start[i]), int(end[i]), float(scores[i])) for i in order]


def null_score(start_logits: np.ndarray, end_logits: np.ndarray) -> float:
    """What speaks for no answer: the sum of the logits of the first token."""
    return float(start_logits[0] + end_logits[0])
