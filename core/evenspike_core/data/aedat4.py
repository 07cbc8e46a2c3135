"""Recordings in AEDAT 4, decoded in a process of their own.

The decoder, `aedat`, is a library that ends its process on some damaged files, whatever Python does
about it. So one child decodes file after file, and is started again when a file has killed it.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from evenspike_core.data.optional import needs
from evenspike_core.errors import EvenspikeError

EVENT = np.dtype([("t", "<i8"), ("x", "<u2"), ("y", "<u2"), ("p", "u1")])
"""Microseconds, pixels, polarity (0 or 1)."""

SECONDS_MAX = 60.0
"""For one file; the largest of CIFAR10-DVS takes a tenth of a second."""

BYTES_MAX = 1 << 32
"""The child's memory: a damaged size must not take the whole machine's."""


class Decoder:
    """Events of one file after the other; as a context, the end of which ends the child."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None
        self._pipe: Connection[Any, Any] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def events(self, file: Path) -> npt.NDArray[Any]:
        """All events of a file's first stream of events, of type `EVENT`, in its order.

        Raises EvenspikeError, naming the file, for one that cannot be decoded, that ends the
        decoder's process, or that it works on for longer than `SECONDS_MAX`; and where `aedat` is
        missing.
        """
        with needs("events", f"{file}: reading events"):
            import aedat  # noqa: F401, PLC0415 (an extra)
        pipe = self._started()
        try:
            pipe.send_bytes(os.fsencode(file.absolute()))
            if not pipe.poll(SECONDS_MAX):
                reason = f"it is not decoded within {SECONDS_MAX:g} s"
            else:
                answer = pipe.recv_bytes()
                if answer[:1] == b"+":
                    return np.frombuffer(answer, EVENT, offset=1)
                raise EvenspikeError(f"{file}: not a readable recording: {answer[1:].decode()}")
        except (EOFError, OSError):
            reason = f"its decoder ends with {self._status()}"
        self._end()
        raise EvenspikeError(f"{file}: not a readable recording: {reason}")

    def _started(self) -> Connection[Any, Any]:
        if self._pipe is None:
            ours, theirs = socket.socketpair()
            program = f"from {__name__} import serve; serve({theirs.fileno()})"
            self._child = subprocess.Popen(  # noqa: S603 (this Python, and this file)
                [sys.executable, "-c", program],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # a panic writes pages
                pass_fds=(theirs.fileno(),),
                start_new_session=True,  # Ctrl-C is ours
                env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            )
            theirs.close()
            self._pipe = Connection(ours.detach())
        return self._pipe

    def _status(self) -> str:
        """How the child has ended."""
        code = self._child.wait() if self._child is not None else 0
        return signal.Signals(-code).name if code < 0 else f"status {code}"

    def _end(self) -> None:
        if self._pipe is not None:
            self._pipe.close()
        if self._child is not None:
            self._child.kill()
            self._child.wait()
        self._pipe = self._child = None


def serve(handle: int) -> None:
    """The child: answers each file's name with its events, or with what is wrong."""
    import resource  # noqa: PLC0415 (systems that have no aedat may lack it)

    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    limit = pages * resource.getpagesize() + BYTES_MAX
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    with Connection(handle) as pipe, suppress(EOFError):
        while True:
            file = os.fsdecode(pipe.recv_bytes())
            try:
                answer = b"+" + _decoded(file).tobytes()
            except BaseException as error:  # noqa: BLE001 (a panic of aedat's is no Exception)
                reason = next(iter(str(error).splitlines()), "") or type(error).__name__
                answer = b"-" + reason.encode()
            pipe.send_bytes(answer)


def _decoded(file: str) -> npt.NDArray[Any]:
    import aedat  # noqa: PLC0415 (an extra)

    decoder = aedat.Decoder(file)
    streams = [n for n, stream in decoder.id_to_stream().items() if stream["type"] == "events"]
    if not streams:
        raise ValueError("it has no stream of events")
    parts = [packet["events"] for packet in decoder if packet["stream_id"] == min(streams)]
    events = np.empty(sum(map(len, parts)), EVENT)
    for name in EVENT.names or ():
        events[name] = np.concatenate([part[name] for part in parts] or [[]])
    return events
