"""`python -m cresset.runner`: one model in one process. Started by the server, never by hand."""

from __future__ import annotations

import sys
from typing import NoReturn

from cresset.runner import _process, _wire as wire
from cresset.runner._loop import Instance


def main() -> NoReturn:
    """Run an instance and exit; the statuses are in `cresset.runner._loop`."""
    _process.tie_to_parent()
    channel = _process.take_channel()
    _process.tame_streams()
    stop = _process.StopSignal(channel)
    stop.install()
    _drop_own_path()
    try:
        status = Instance(channel, stop).run()
    except wire.ProtocolError as error:
        sys.stderr.write(f"cresset.runner: protocol error: {error}\n")
        status = _process.EXIT_PROTOCOL
    except (_process.Stopping, BrokenPipeError, ConnectionResetError):
        status = _process.EXIT_OK
    if status == _process.EXIT_OK:
        _process.run_exit_handlers()
    _process.leave(status)


def _drop_own_path() -> None:
    """Take the directory that `python -m` put first off the path: what lies there is no business of the model's."""
    if not sys.flags.isolated and not getattr(sys.flags, "safe_path", False):
        del sys.path[0]


if __name__ == "__main__":
    main()
