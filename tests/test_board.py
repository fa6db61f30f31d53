"""The page that caller and lane share: no item twice, none lost."""

from __future__ import annotations

import fcntl
import os
import random
import subprocess
import sys
import textwrap

import pytest

from daskkit.run.board import Board, make_file


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
        fcntl.lockf({board.fd}, fcntl.LOCK_EX, 16, 64)
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
