"""Several workers behind one port: uvicorn's supervisor, with an end that can be hurried."""

from __future__ import annotations

import os
import signal
from typing import Final

from uvicorn.supervisors import Multiprocess

STOP_NOW_SIGNAL: Final = getattr(signal, "SIGUSR1", None)
"""What a worker is sent to end without further delay. Not SIGTERM: systemd, for one, sends that to all processes at
once, after which each worker has one more from here. Nor SIGINT: a second one has uvicorn give up what is under way."""
POLL_INTERVAL: Final = 0.1
"""Seconds between looks whether whoever ends the workers has become impatient."""


class Supervisor(Multiprocess):
    """Has workers end as a single process does: SIGTERM first drains them, SIGINT or a second signal does not."""

    _interrupted = False

    def handle_int(self) -> None:
        """End at once (uvicorn's name)."""
        self._interrupted = True
        super().handle_int()

    def join_all(self) -> None:
        """Wait until all workers have ended (uvicorn's name)."""
        if self._interrupted:
            self._hurry()
        for worker in self.processes:
            while worker.process.is_alive():
                worker.process.join(POLL_INTERVAL)
                if {signal.SIGINT, signal.SIGTERM} & set(self.signal_queue):
                    self._hurry()
                self.signal_queue.clear()

    def _hurry(self) -> None:
        for worker in self.processes:
            if worker.process.is_alive() and worker.pid is not None and STOP_NOW_SIGNAL is not None:
                os.kill(worker.pid, STOP_NOW_SIGNAL)
