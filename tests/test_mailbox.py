"""Waiting for sockets and for other threads at once."""

from __future__ import annotations

import socket
import threading

from daskkit.run.mailbox import Mailbox


def test_events_of_both_kinds_arrive():
    """A post from another thread, and a socket that can be read."""
    mailbox = Mailbox()
    one, other = socket.socketpair()
    with one, other:
        mailbox.watch(one, lambda: one.recv(10))
        other.send(b"hello")
        assert [event() for event in mailbox.wait(5.0)] == [b"hello"]
        thread = threading.Thread(target=mailbox.post, args=(lambda: "posted",))
        thread.start()
        assert [event() for event in mailbox.wait(5.0)] in ([], ["posted"])
        thread.join()
        mailbox.ignore(one)
        other.send(b"unseen")
        assert "unseen" not in [event() for event in mailbox.wait(0.0)]
        mailbox.close()


def test_many_posts_are_one_awakening():
    """Posts are not limited by what the pipe holds."""
    mailbox = Mailbox()
    for i in range(100_000):
        mailbox.post(lambda i=i: i)
    assert [event() for event in mailbox.wait(0.0)] == list(range(100_000))
    mailbox.close()


def test_posts_after_close_go_nowhere():
    """They touch no descriptor, whoever has its number by then."""
    mailbox = Mailbox()
    mailbox.close()
    mailbox.post(lambda: None)
    mailbox.close()
