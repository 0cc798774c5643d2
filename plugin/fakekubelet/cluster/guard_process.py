"""What the guard runs, see `guard`: a script on its own, which imports next to nothing and starts in milliseconds."""

import os
import signal
import sys


def main() -> None:
    """Take note of groups on standard input (`+12`, `-12`), and when it is closed kill those that are left."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin.buffer:
        if not line.endswith(b"\n"):
            break  # whoever wrote it was killed: the number is not whole, and may be another's
        if line[:1] == b"+":
            groups.add(int(line[1:]))
        else:
            groups.discard(int(line[1:]))
    for group in groups:
        try:  # noqa: SIM105  # contextlib takes as long to import as all the rest
            os.killpg(group, signal.SIGKILL)
        except OSError:
            pass  # ended meanwhile


if __name__ == "__main__":
    main()
