"""Thread pools of the cluster room's own, so that blocking calls to Kubernetes starve nobody else's."""

from threading import Thread
from typing import Any

from twisted.internet.interfaces import IReactorFromThreads, IReactorTime
from twisted.python.threadpool import ThreadPool


class IThreadingReactor(IReactorTime, IReactorFromThreads):
    """What this room needs of a reactor: time, and a way in from threads."""


class DaemonThread(Thread):
    """A thread that, should it hang in the network, does not keep the process from exiting."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs, daemon=True)


class DaemonThreadPool(ThreadPool):
    """A pool of up to `size` daemon threads, started as they are needed."""

    threadFactory = DaemonThread

    def __init__(self, size: int, name: str) -> None:
        super().__init__(minthreads=0, maxthreads=size, name=name)
