"""Who was how fast: the times of one workload's contestants."""

from __future__ import annotations

import random
import statistics

from contest.contestants import LOOP, OURS, is_missing
from contest.hosts import ContestantError

# After that many rounds, who has always been over so many times the fastest rival's
# median is not repeated: it can't become the best.
RETIRE = {1: 3.0, 2: 1.6}


class Race:
    """One workload's contestants: their times so far, or why they have none."""

    def __init__(self, names, expected):
        self.expected = expected
        self.walls = {name: [] for name in names if not is_missing(name)}
        self.remarks = {
            name: "not installed" for name in names if name not in self.walls
        }
        #: In which start each of the times was taken.
        self.starts = {name: [] for name in self.walls}
        self.active = set(self.walls)
        self.n_starts = self.n_rounds = 0

    def leave_out(self, name, remark):
        """Take a contestant out of the race, and say why."""
        self.remarks[name] = remark
        self.walls.pop(name, None)
        self.active.discard(name)

    def median(self, name):
        """Return a contestant's median wall time in seconds."""
        return statistics.median(self.walls[name])

    def medians(self, names):
        """Return the medians of those that have times, by name."""
        return {name: self.median(name) for name in names if self.walls.get(name)}

    def fastest(self, besides):
        """Return the fastest, some left aside, and its median; None and nan if none."""
        medians = self.medians(name for name in self.walls if name not in besides)
        name = min(medians, key=medians.get, default=None)
        return name, medians.get(name, float("nan"))

    def median_picked(self, besides):
        """Return the median of whoever was fastest in the other starts, nan if unknown.

        Of eight who are about as fast the fastest was lucky, too; who picks one goes by
        other runs than those that come.
        """
        picked = []
        for start in range(1, self.n_starts + 1):
            here, elsewhere = {}, {}
            for name in set(self.walls) - set(besides):
                for number, wall in zip(
                    self.starts[name], self.walls[name], strict=True
                ):
                    part = here if number == start else elsewhere
                    part.setdefault(name, []).append(wall)
            both = here.keys() & elsewhere.keys()
            name = min(
                both, key=lambda one: statistics.median(elsewhere[one]), default=None
            )
            picked += here.get(name, [])
        return statistics.median(picked) if picked else float("nan")

    def take_turns(self, run, n_rounds, besides):
        """Let each run once a round; retire those far behind the fastest rival."""
        self.n_starts += 1
        for _ in range(n_rounds):
            self.n_rounds += 1
            for name in random.sample(sorted(self.active), len(self.active)):
                try:
                    answer = run(name)
                except ContestantError as error:
                    self.leave_out(name, f"failed: {error}")
                    continue
                if answer["digest"] != self.expected:
                    self.leave_out(name, f"WRONG RESULT: {answer['digest']}")
                    continue
                self.walls[name].append(answer["wall"])
                self.starts[name].append(self.n_starts)
            if self.n_rounds in RETIRE:
                limit = RETIRE[self.n_rounds] * self.fastest(besides)[1]
                behind = {n for n in self.active if min(self.walls[n]) > limit}
                self.active -= behind - {LOOP, OURS}

    def print_table(self, extra=lambda _: ""):
        """Print who took how long, fastest first, and who did not take part."""
        loop_s = self.median(LOOP)
        print(f"  {'contestant':22s} {'median':>12s} {'/ loop':>9s} {'runs':>5s}")
        medians = self.medians(self.walls)
        for name in sorted(medians, key=medians.get):
            print(
                f"  {name:22s} {medians[name] * 1e3:9,.1f} ms "
                f"{medians[name] / loop_s:9.2f} {len(self.walls[name]):5d}{extra(name)}"
            )
        for name, remark in self.remarks.items():
            print(f"  {name:22s} {remark}")

    def is_right(self):
        """Return whether daskkit gave the loop's result each time."""
        return OURS not in self.remarks


def judge(value, wanted, is_good):
    """Return a figure with what is wanted of it beside."""
    return f"{value:.2f} (wanted {wanted}: {'pass' if is_good else 'FAIL'})"


def at_most(value, limit):
    # As printed: a 1.10 that failed would puzzle.
    return judge(value, f"at most {limit:.2f}", round(value, 2) <= limit)
