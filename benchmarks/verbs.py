"""Is `dk.map` as fast as the best tool for each job? Ratios against loop and peers.

    python benchmarks/verbs.py [PART ...] [--starts N] [--rounds N] [--scale F]
                               [--workloads NAME ...]

Four parts, all without an argument:

* ``warm``: everyone's two workers are started before; regret is daskkit's median over
  the best of all others' (1.00: a hand-tuner could not have chosen better). All start
  anew a few times: of two processes that do the same, one may be slower for all its
  life, and of eight contestants one is lucky;
* ``trivial``: a million items of ``x + 1`` with no cluster open, against the loop;
* ``cold``: each time in a fresh process, from the import of the library to the result
  and the end of its workers, on loops of less than two seconds;
* ``stream``: whether `dk.imap` costs the same for each item, and no memory, however
  long its input is.

Each contestant lives in a process tree of its own, which is frozen while it isn't its
turn, so that idle clusters take nothing from the others. Contestants take turns in
random order within each round, each result is checked against the plain loop's before
its time counts, and one that is far behind after a round or two isn't repeated. All
figures are ratios of medians of that one run; "wanted" stands beside each.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import statistics
import sys

from contest.contestants import COLD, LOOP, N_WORKERS, OURS, WARM
from contest.hosts import ContestantError, Host, Hosts
from contest.race import Race, at_most, judge
from contest.workloads import WORKLOADS, several

# Loops of the cold part take less than 2 s; those of the warm part up to 4.
COLD_SCALE, COLD_LOOP_S = 0.4, 2.0
# Rounds, unless the command line says how many. Those of the warm part are of each
# start; fewer for a loop of more than LONG_S.
N_ROUNDS, N_WARM_ROUNDS, N_LONG_ROUNDS, LONG_S = 5, 4, 2, 1.5
# A contestant that would take so many loops is tried on a part and then left out.
TOO_SLOW = 20
TRY_S, CHUNKS, PART = 0.15, 4 * N_WORKERS, 1000
WANTED_REGRET, WANTED_MEDIAN_REGRET = 1.10, 1.00
WANTED_EFFICIENCY = 0.93
WANTED_TO_LOOP = 1.10
WANTED_GROWTH_MB = 100


def choose_rounds(options, loop_s):
    return options.rounds or (N_LONG_ROUNDS if loop_s > LONG_S else N_WARM_ROUNDS)


# Part warm.


def try_out(time_part, n_items, loop_s):
    """Run ever larger parts, which warms up; return why to leave out, or None."""
    most = max(1, n_items // 4)
    before = last = (1, time_part(1))
    # What is paid for each chunk shows its price only with more items than chunks.
    while last[0] < most and (last[0] <= CHUNKS or last[1] < TRY_S):
        n_tried = min(most, 8 * last[0])
        before, last = last, (n_tried, time_part(n_tried))
    return explain_slowness(before, last, n_items, loop_s)


def explain_slowness(before, last, n_items, loop_s):
    """Return why a contestant is left out, or None if it is fast enough to be timed.

    The two parts tried, pairs of items and seconds, tell what all items would take.
    """
    (n_before, before_s), (n_tried, part_s) = before, last
    each_s = max(0.0, part_s - before_s) / max(1, n_tried - n_before)
    whole_s = part_s + each_s * (n_items - n_tried)
    if whole_s <= TOO_SLOW * loop_s:
        return None
    return (
        f"left out: about {whole_s / loop_s:,.0f} times slower than the loop "
        f"({part_s:.2f} s for {n_tried:,} of {n_items:,} items)"
    )


def run_warm(hosts, workload, options, race=None):
    """Return the race of one workload after the rounds of one start."""
    arguments = {"workload": workload, "scale": options.scale}
    n_items = hosts[LOOP].ask("load", **arguments)["n_items"]
    first = hosts[LOOP].ask("run")
    if race is None:
        race = Race(WARM, first["digest"])
        print(f"{workload}: {n_items:,} items", flush=True)
    for name in sorted(race.active - {LOOP}):
        try:
            hosts[name].ask("load", **arguments)
            remark = try_out(
                lambda n, host=hosts[name]: host.ask("run", n_items=n)["wall"],
                n_items,
                first["wall"],
            )
        except ContestantError as error:
            remark = f"failed: {error}"
            hosts.drop(name)
            race.leave_out(name, remark)
            continue
        if remark is not None and name != OURS:
            race.leave_out(name, remark)

    def run(name):
        try:
            return hosts[name].ask("run")
        except ContestantError:
            hosts.drop(name)
            raise

    race.take_turns(run, choose_rounds(options, first["wall"]), besides={OURS})
    return race


def part_warm(options):
    """Print tables and daskkit's regret; return whether it was always right."""
    regrets, picks, right, races = {}, {}, True, {}
    for number in range(1, options.starts + 1):
        print(f"\nstart {number} of {options.starts}", flush=True)
        with Hosts() as hosts:
            for workload in options.workloads:
                race = run_warm(hosts, workload, options, races.get(workload))
                races[workload] = race
    for workload, race in races.items():
        print(f"\n{workload}")
        race.print_table()
        right = right and race.is_right()
        if not race.walls.get(OURS):
            continue
        best, best_s = race.fastest(besides={OURS})
        regrets[workload] = race.median(OURS) / best_s
        picks[workload] = race.median(OURS) / race.median_picked({OURS})
        verdict = at_most(regrets[workload], WANTED_REGRET)
        print(f"  regret {verdict}; best of the others: {best}")
        print_uncertainty(race, best, picks[workload])
        if workload == "python-seconds":
            print_efficiency(race, regrets[workload])
    print_regrets(regrets, picks)
    return right


def print_uncertainty(race, best, to_picked):
    """Print how sure the regret is, and that over who was best in the other starts."""
    from daskkit.comparison.stats import ratio_interval

    low, high = ratio_interval(race.walls[OURS], race.walls[best])
    if not math.isnan(low):
        print(f"  its 95 % interval {low:.2f} to {high:.2f}", end="; ")
    else:
        print("  too few runs for an interval", end="; ")
    print(f"over whoever was best in the other starts {to_picked:.2f}")


def print_efficiency(race, regret):
    efficiency = race.median(LOOP) / N_WORKERS / race.median(OURS)
    print(
        "  efficiency "
        + judge(
            efficiency,
            f"at least {WANTED_EFFICIENCY}, or no slower than the fastest peer",
            efficiency >= WANTED_EFFICIENCY or regret <= 1,
        )
    )


def print_regrets(regrets, picks):
    if not regrets:
        return
    print(
        "\nregret: daskkit's median / the best of all others'; at the right over that"
    )
    print("of whoever was best in the other starts")
    for workload, regret in sorted(regrets.items(), key=lambda pair: -pair[1]):
        print(f"  {workload:22s} {regret:5.2f} {picks[workload]:8.2f}")
    maximum, median = max(regrets.values()), statistics.median(regrets.values())
    print(f"  maximum {at_most(maximum, WANTED_REGRET)}")
    print(f"  median {at_most(median, WANTED_MEDIAN_REGRET)}")
    known = [ratio for ratio in picks.values() if not math.isnan(ratio)]
    if known:
        print(f"  at the right: maximum {max(known):.2f}", end=", ")
        print(f"median {statistics.median(known):.2f}")


# Part trivial.


@contextlib.contextmanager
def alone():
    """Yield a host of daskkit's with no cluster open, ended afterwards."""
    host = Host(OURS)
    try:
        yield host
    finally:
        host.close()


def part_trivial(options):
    n_items = several(1_000_000, options.scale)
    n_rounds = 3 * (options.rounds or N_ROUNDS)
    with alone() as host:
        try:
            answer = host.ask("trivial", n_items=n_items, n_rounds=n_rounds)
        except ContestantError as error:
            print(f"\ntrivial: daskkit failed: {error}")
            return False
    ours, loop = (statistics.median(answer["walls"][name]) for name in (OURS, LOOP))
    print(f"\ndk.map(increment, range({n_items:,})), no cluster open")
    print(f"  daskkit / loop {at_most(ours / loop, WANTED_TO_LOOP)}", end="")
    print("" if answer["right"] else "; WRONG RESULT")
    return answer["right"]


# Part cold.


def ask_cold(name, arguments, n_items=None):
    """Return a cold run's answer from a fresh process, with the time of its end."""
    host = Host(name)
    try:
        n_loaded = host.ask("load", **arguments)["n_items"]
        answer = host.ask("run_cold", n_items=n_items)
    except ContestantError:
        host.kill()
        raise
    return {**answer, "n_items": n_loaded, "end": host.close()}


def run_cold(workload, options):
    """Return the finished race of one workload, and what each left behind."""
    arguments = {"workload": workload, "scale": COLD_SCALE * options.scale}
    first = ask_cold(LOOP, arguments)
    print(f"\n{workload}: a loop of {first['wall'] * 1e3:,.0f} ms", end="")
    if first["wall"] > COLD_LOOP_S:
        print(f", left out: over {COLD_LOOP_S:.0f} s")
        return None, {}
    print(flush=True)
    race, aftermath = Race(COLD, first["digest"]), {}
    n_items = first["n_items"]
    if n_items > 4 * PART:
        # A task for each of so many items can take minutes.
        parts = [(n, ask_cold("Client.map", arguments, n)["wall"]) for n in (1, PART)]
        remark = explain_slowness(*parts, n_items, first["wall"])
        if remark is not None:
            race.leave_out("Client.map", remark)

    def run(name):
        answer = ask_cold(name, arguments)
        aftermath.setdefault(name, []).append((answer["end"], answer["left"]))
        return answer

    race.take_turns(run, options.rounds or N_ROUNDS, besides={OURS, LOOP})
    return race, aftermath


def format_aftermath(pairs):
    """Return a contestant's columns: the end of its process, and children left."""
    ends, left = zip(*pairs, strict=True)
    return f" {statistics.median(ends) * 1e3:9,.0f} ms {max(left):5d}"


def part_cold(options):
    """Print tables of cold runs; return whether daskkit was always right."""
    rows, right = {}, True
    print("\ncold; at the right the end of the process, not in the ratios, and its")
    print("child processes that were still there before it")
    for workload in options.workloads:
        race, aftermath = run_cold(workload, options)
        if race is None:
            continue
        race.print_table(lambda name, found=aftermath: format_aftermath(found[name]))
        right = right and race.is_right()
        if race.walls.get(OURS):
            peer, peer_s = race.fastest(besides={OURS, LOOP})
            ours_s = race.median(OURS)
            rows[workload] = ours_s / race.median(LOOP), ours_s / peer_s, peer
    print_cold(rows)
    return right


def print_cold(rows):
    if not rows:
        return
    print(f"\n  {'cold':16s} {'daskkit / loop':>14s} {'/ fastest peer':>14s}")
    for workload, (to_loop, to_peer, peer) in rows.items():
        print(f"  {workload:16s} {to_loop:14.2f} {to_peer:14.2f}  {peer}")
    to_loop = max(row[0] for row in rows.values())
    to_peer = max(row[1] for row in rows.values())
    print(f"  largest daskkit / loop {at_most(to_loop, WANTED_TO_LOOP)}")
    verdict = judge(to_peer, "below 1.00", to_peer < 1)
    print(f"  largest daskkit / fastest process-based peer {verdict}")


# Part stream.


def part_stream(options):
    sizes = [several(n, options.scale) for n in (100_000, 1_000_000)]
    n_rounds = min(options.rounds or N_ROUNDS, 3)
    right = True
    for where in ("auto", "cluster"):
        print(f'\ndk.imap over a generator of cheap items, where="{where}"')
        with alone() as host:
            try:
                answer = host.ask("stream", sizes=sizes, n_rounds=n_rounds, where=where)
            except ContestantError as error:
                print(f"  daskkit failed: {error}")
                right = False
                continue
        short, long = (
            statistics.median(walls) / n
            for walls, n in zip(answer["walls"], sizes, strict=True)
        )
        growth = answer["growth"] / 1e6
        print(
            f"  an item of {sizes[1]:,} / one of {sizes[0]:,}: "
            f"{at_most(long / short, WANTED_TO_LOOP)}, {long * 1e6:.2f} us"
        )
        verdict = judge(growth, f"below {WANTED_GROWTH_MB}", growth < WANTED_GROWTH_MB)
        print(f"  growth of the caller's RSS in MB {verdict}")
        if not answer["right"]:
            print("  WRONG RESULT")
            right = False
    return right


PARTS = {
    "warm": part_warm,
    "trivial": part_trivial,
    "cold": part_cold,
    "stream": part_stream,
}


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--starts", type=int, default=3, metavar="N")
    parser.add_argument("--rounds", type=int, metavar="N")
    parser.add_argument("--scale", type=float, default=1.0, metavar="F")
    parser.add_argument(
        "--workloads",
        nargs="+",
        choices=WORKLOADS,
        default=[*WORKLOADS],
        metavar="NAME",
        help=", ".join(WORKLOADS),
    )
    options = parser.parse_args()
    unknown = [part for part in options.parts if part not in PARTS]
    if unknown:
        parser.error(f"unknown part {unknown[0]!r}; available: {', '.join(PARTS)}")
    return options


def main():
    """Run the parts asked for; return 1 if daskkit failed or was wrong, else 0."""
    options = parse_arguments()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    right = True
    for part in options.parts or PARTS:
        right = PARTS[part](options) and right
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
