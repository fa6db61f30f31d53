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

# After so many items, one that takes so many times as long is one of a kind, unless
# another follows. Children that are started for what is left would bring nothing then.
_MANY, _FREAK, _FREAK_S = 8, 20, 1.0
# Items compute that use their core for so much of their time.
_COMPUTES = 0.5
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
        # All but the first part, which may have prepared what the others need, and the
        # freak.
        self._n_others = 0
        self._others_cpu_s = 0.0
        #: Of the latest items, the newer the weightier.
        self.item_s = 0.0
        #: What the latest of a part that is cut took; 0 if nobody has looked.
        self.seen_s = 0.0
        # What they took and how many they are, each part with half the weight of the
        # next: of equal weight, one cold first item would count as much as many others.
        self._latest_s = self._n_latest = 0.0
        #: What an item took that told nothing, as it took so much longer than all
        #: before it; 0 if there was none.
        self.freak_s = 0.0
        #: Until when another thread wants the GIL all the time, in seconds of
        #: `time.perf_counter`; infinite while it does.
        self.disturbed_until_s = 0.0
        #: Share of their time in which items hold the GIL; None if that isn't known.
        self.gil_share: float | None = None
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
        if self.part_began < self.disturbed_until_s:
            wall_s = self._undisturbed_s(wall_s, cpu_s)
        if self.n_items == 1 and wall_s < n_items * self.item_s:
            # It has prepared what the others need, and tells nothing of them.
            self._latest_s = self._n_latest = 0.0
        is_freak = self.is_freak(wall_s / n_items)
        if is_freak:
            self.freak_s = wall_s
        else:
            self._latest_s = self._latest_s / 2 + wall_s
            self._n_latest = self._n_latest / 2 + n_items
            self.item_s = self._latest_s / self._n_latest
        if self.n_items and not is_freak:
            self._n_others += n_items
            self._others_cpu_s += cpu_s
        self.n_items += n_items
        self.wall_s += wall_s
        self.cpu_s += cpu_s
        stop = min(len(results), n_before + _SAMPLED)
        self.sample = (part.items[:_SAMPLED], results[n_before:stop])

    def _undisturbed_s(self, wall_s: float, cpu_s: float) -> float:
        """Return what items would have taken that had to wait for the GIL."""
        share = min(1.0, self.cpu_s / self.wall_s) if self.wall_s > 0 else 0.0
        # Those that wait for something else do so meanwhile.
        return min(wall_s, cpu_s / share) if share > _COMPUTES else wall_s

    def mean_cpu_s(self, n_begun: int, cpu_s: float) -> float:
        """Return the CPU time of an item, of all but the first.

        Heavy ones that are rare are not among the latest, mostly. Time in which others
        had the core is left out, or a few items would make all seem dear.

        Parameters
        ----------
        n_begun : int
            Items of the part that runs.
        cpu_s : float
            What they have taken, in seconds.

        Returns
        -------
        float
            Seconds; 0 if there are none.

        Examples
        --------
        >>> from daskkit.run.source import Part
        >>> pilot = Pilot()
        >>> pilot.ended(Part(0, range(1)), [None], 0, 9.0, 9.0)
        >>> pilot.ended(Part(1, range(1)), [None] * 2, 1, 0.5, 0.4)
        >>> pilot.mean_cpu_s(3, 0.4)
        0.2
        """
        return (self._others_cpu_s + cpu_s) / max(1, self._n_others + n_begun)

    def is_freak(self, item_s: float) -> bool:
        """Return whether one item of such a cost says nothing of those that follow.

        That is so of the first one that takes many times what all before it took, if it
        ends within a second. The second one is believed.

        Examples
        --------
        >>> from daskkit.run.source import Part
        >>> pilot = Pilot()
        >>> pilot.ended(Part(0, range(50)), [None] * 50, 0, 0.05, 0.05)
        >>> pilot.is_freak(0.002), pilot.is_freak(0.5), pilot.is_freak(2.0)
        (False, True, False)
        """
        return self.may_be_freak(item_s) and item_s > _FREAK * self.item_s

    def may_be_freak(self, running_s: float) -> bool:
        """Return whether one item that runs for so long may yet be such a one.

        Examples
        --------
        >>> from daskkit.run.source import Part
        >>> pilot = Pilot()
        >>> pilot.ended(Part(0, range(50)), [None] * 50, 0, 0.05, 0.05)
        >>> pilot.may_be_freak(0.002), pilot.may_be_freak(2.0)
        (True, False)
        """
        is_first = not self.freak_s and self.n_items >= _MANY
        return is_first and running_s < _FREAK_S

    def begin_anew(self) -> None:
        """Go by the latest of a part that was cut, and by those that follow.

        Its many others would count for more than these for long.
        """
        self._latest_s = self._n_latest = 0.0
        if self.seen_s:
            self.item_s = self.seen_s
        elif self.facts is not None:
            self.item_s = self.facts.item_s
