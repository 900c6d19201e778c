"""What goes wrong with a bucket, in a test: told to happen always, or to a part of the requests."""

import dataclasses
import random
import threading


@dataclasses.dataclass
class Faults:
    """What happens to requests instead of, or beside, an answer.

    Attributes:
      rates: kind of a fault to the part of the requests, 0 to 1, that it happens to. Kinds: an HTTP status that is
        answered, as 503 or 429; 'drop', the connection is closed before anything is done; 'lost', it is done and the
        connection is closed before the answer; 'short', half of the body arrives.
      slow: seconds that each request takes longer.
      in_row: at most so many faults follow each other on requests for the same thing; a client gives up otherwise.
      seed: of the chance.
    """

    rates: dict = dataclasses.field(default_factory=dict)
    slow: float = 0.0
    in_row: int = 2
    seed: int = 0

    def __post_init__(self):
        self._random, self._lock = random.Random(self.seed), threading.Lock()
        self._row: dict[str, int] = {}
        self.happened: dict = {}  # kind -> how often

    def draw(self, what: str) -> int | str | None:
        """The fault that happens to a request for `what`; None: none."""
        with self._lock:
            number, chosen = self._random.random(), None
            for kind, rate in self.rates.items():
                if number < rate:
                    chosen = kind
                    break
                number -= rate
            if chosen is not None and self._row.get(what, 0) >= self.in_row:
                chosen = None
            self._row[what] = self._row.get(what, 0) + 1 if chosen is not None else 0
            if chosen is not None:
                self.happened[chosen] = self.happened.get(chosen, 0) + 1
            return chosen
