"""What the items that the calling thread executes tell of those that are left."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from daskkit.run.plan import Facts, Forecast, Means
    from daskkit.run.quick import Comprehension
    from daskkit.run.source import Part

__all__ = ["Pilot"]

# Items and results that are kept to be looked at.
_SAMPLED = 64


class Pilot:
    """What the calling thread's own items tell; written by it, read by the feeder."""

    def __init__(self) -> None:
        self.began = 0.0
        #: The calling thread.
        self.thread_id = self.native_id = 0
        self.cpu_began = 0.0
        #: What is being executed, and since when.
        self.part: Part | None = None
        self.part_began = 0.0
        #: CPU seconds of the calling thread by then.
        self.part_cpu_s = 0.0
        #: What executes it, if that can be cut short.
        self.quick: Comprehension | None = None
        self.n_items = 0
        self.wall_s = 0.0
        self.cpu_s = 0.0
        #: Of the latest items, the newer the weightier.
        self.item_s = 0.0
        #: What the latest of a part that is cut took; 0 if nobody has looked.
        self.seen_s = 0.0
        # What they took and how many they are, each part with half the weight of the
        # next: of equal weight, one cold first item would count as much as many others.
        self._latest_s = self._n_latest = 0.0
        #: Some items and their results.
        self.sample: tuple[Sequence[Any], Sequence[Any]] = ((), ())
        #: Once it is over.
        self.facts: Facts | None = None
        self.means: Means | None = None
        self.forecast: Forecast | None = None

    def ended(
        self,
        part: Part,
        results: list[Any],
        n_before: int,
        wall_s: float,
        cpu_s: float,
    ) -> None:
        """Learn from items that are done; `n_before` results are of earlier ones."""
        self.part = None
        n_items = max(1, len(results) - n_before)
        if self.n_items == 1 and wall_s < n_items * self.item_s:
            # It has prepared what the others need, and tells nothing of them.
            self._latest_s = self._n_latest = 0.0
        self._latest_s = self._latest_s / 2 + wall_s
        self._n_latest = self._n_latest / 2 + n_items
        self.item_s = self._latest_s / self._n_latest
        self.n_items += n_items
        self.wall_s += wall_s
        self.cpu_s += cpu_s
        stop = min(len(results), n_before + _SAMPLED)
        self.sample = (part.items[:_SAMPLED], results[n_before:stop])

    def begin_anew(self) -> None:
        """Go by the latest of a part that was cut, and by those that follow.

        Its many others would count for more than these for long.
        """
        self._latest_s = self._n_latest = 0.0
        if self.seen_s:
            self.item_s = self.seen_s
        elif self.facts is not None:
            self.item_s = self.facts.item_s
