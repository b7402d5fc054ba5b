"""What goes wrong during a history. Each fault hurts, and has healed what it can heal when it returns."""

import signal
import time
from collections.abc import Callable
from typing import Final

from tests.controlplane.histories.course import PODS, Course

Fault = Callable[[Course], object]


def freeze_apiserver(course: Course) -> None:
    """The API server takes connections, and answers nothing, for 4 s."""
    course.plane.pause_apiserver()
    time.sleep(4)
    course.plane.resume_apiserver()


def crash_apiserver(course: Course) -> None:
    """The API server is killed, and started again."""
    course.plane.stop_apiserver(crash=True)
    course.plane.start_apiserver()


def kill_leader(course: Course) -> None:
    """The watcher that publishes is killed; another one stands by, and a third one starts."""
    course.leader().send_signal(signal.SIGKILL)
    course.start_watcher()


def end_leader(course: Course) -> None:
    """The watcher that publishes is told to end, and lets its Lease go."""
    course.leader().send_signal(signal.SIGTERM)
    course.start_watcher()


def pause_leader(course: Course) -> None:
    """The watcher that publishes is paused past its Lease, and wakes up where another one publishes."""
    leader = course.leader()
    leader.send_signal(signal.SIGSTOP)
    time.sleep(18)
    leader.send_signal(signal.SIGCONT)


def flush_redis(course: Course) -> None:
    """Redis forgets everything."""
    course.redis.call("FLUSHALL")


def restart_redis(course: Course) -> None:
    """Redis is killed, and started again, empty."""
    course.redis.kill()
    course.redis.start()


def kill_pod(course: Course) -> None:
    """An api pod is killed, and another one starts in its place."""
    course.pod(PODS[0])().send_signal(signal.SIGKILL)
    course.start_pod(PODS[0])


def roll_pod(course: Course) -> None:
    """A pod is told to end once another one has started in its place."""
    before = course.pod(PODS[1])()
    course.start_pod(PODS[1])
    before.send_signal(signal.SIGTERM)


FAULTS: Final[tuple[Fault, ...]] = (
    freeze_apiserver,
    kill_pod,
    flush_redis,
    kill_leader,
    crash_apiserver,
    roll_pod,
    restart_redis,
    pause_leader,
    end_leader,
)
"""In the order in which a short history has them; a long one chooses by chance."""
