"""The page that caller and lane share: no item twice, none lost."""

from __future__ import annotations

import fcntl
import os
import random
import subprocess
import sys
import textwrap
import time

import pytest

from daskkit.run.board import SENDS, Board, make_file


@pytest.fixture
def board():
    """Yield a board."""
    made = Board(make_file())
    yield made
    made.close()


def test_claims_follow_one_another(board):
    """Each claim has the next items, the last one what is left, then none."""
    board.offer(1, 5, 12)
    assert [board.claim(1, 3) for _ in range(4)] == [
        (5, 8),
        (8, 11),
        (11, 12),
        (12, 12),
    ]


def test_withdrawn_items_are_not_claimed(board):
    """The caller gets what the lane has not begun, the last items first."""
    board.offer(0, 0, 100)
    assert board.claim(0, 10) == (0, 10)
    assert board.withdraw(0, keep=0.5) == (55, 100)
    assert board.withdraw(0) == (10, 55)
    assert board.withdraw(0) == (10, 10)
    assert board.claim(0, 10) == (10, 10)


def test_slots_are_independent(board):
    """Withdrawing the batch that waits leaves the one that runs."""
    board.offer(0, 0, 10)
    board.offer(1, 10, 20)
    assert board.withdraw(1) == (10, 20)
    assert board.claim(0, 10) == (0, 10)


def test_says_what_runs(board):
    """The claimed items and when they began; nothing once they are done."""
    board.enter()
    board.offer(0, 3, 9)
    assert board.running == (0, 0, 0.0)
    board.claim(0, 2)
    start, stop, began = board.running
    assert (start, stop) == (3, 5)
    assert began > 0
    board.finished(2)
    assert board.running[:2] == (0, 0)
    assert (board.pid, board.n_done) == (os.getpid(), 2)


def test_a_frozen_lane_does_not_hold_up_the_caller(board):
    """While another process holds the lock nothing can be withdrawn, at once."""
    board.offer(0, 0, 10)
    code = f"""
        import fcntl, sys
        fcntl.lockf({board.fd}, fcntl.LOCK_EX, 16, 80)
        print("held", flush=True)
        sys.stdin.read()
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        pass_fds=[board.fd],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout.readline() == b"held\n"
        assert board.withdraw(0) == (0, 0)
        holder.stdin.close()
        holder.wait()
    # With the process its lock is gone.
    assert board.withdraw(0) == (0, 10)


def test_two_processes_share_the_items_out(board):
    """However claims and withdrawals interleave, each item has one owner."""
    n_items = 20_000
    board.offer(0, 0, n_items)
    code = f"""
        import random
        from daskkit.run.board import Board
        board = Board({board.fd})
        mine = []
        while True:
            start, stop = board.claim(0, random.randrange(1, 5))
            if start == stop:
                break
            mine.append((start, stop))
        print(mine)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        pass_fds=[board.fd],
        stdout=subprocess.PIPE,
    ) as lane:
        ours = []
        while lane.poll() is None and len(ours) < 200:
            start, stop = board.withdraw(0, keep=1 - random.random() / 50)
            if start < stop:
                ours.append((start, stop))
        theirs = eval(lane.stdout.read())
    owned = [i for start, stop in [*ours, *theirs] for i in range(start, stop)]
    assert sorted(owned) == list(range(n_items))


def test_close_twice(board):
    """The second time nothing happens, and the descriptor is gone after the first."""
    fd = board.fd
    board.close()
    board.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        fcntl.fcntl(fd, fcntl.F_GETFD)


def test_nobody_sees_half_of_what_a_lane_says(board):
    """Items and their beginning belong together, however the reads fall."""
    began_s = time.perf_counter()
    board.offer(0, 0, 2**60)
    code = f"""
        from daskkit.run.board import Board, SENDS
        board = Board({board.fd})
        board.enter()
        print("ready", flush=True)
        while True:
            board.handle(0, SENDS)
            board.claim(0, 7)
            board.finished(7)
            board.handle(None)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        pass_fds=[board.fd],
        stdout=subprocess.PIPE,
    ) as lane:
        assert lane.stdout.readline() == b"ready\n"
        try:
            n_running = n_handled = n_done = 0
            for _ in range(300_000):
                start, stop, since_s = board.running
                if stop > 0:
                    n_running += 1
                    assert stop - start == 7
                    assert began_s < since_s <= time.perf_counter()
                else:
                    assert (start, stop, since_s) == (0, 0, 0.0)
                slot, stage, since_s = board.handling
                if slot is not None:
                    n_handled += 1
                    assert (slot, stage) == (0, SENDS)
                    assert began_s < since_s <= time.perf_counter()
                n_before, n_done = n_done, board.n_done
                assert n_done >= n_before
        finally:
            lane.kill()
    assert n_running > 100
    assert n_handled > 100
    assert n_done > 0
