"""``python -m bpttcheck`` and the command `bpttcheck`: an interrupt ends them with a sentence, even during an import.

SIGTERM, and SIGHUP from a terminal that is closed, are interrupts, too.
"""

import os
import sys


def main() -> None:
    try:
        import signal

        from bpttcheck.interrupts import interrupt

        ending = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
        for number in ending:
            if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):  # nohup ignores SIGHUP
                signal.signal(number, interrupt)
        from bpttcheck.command_line import main as command

        try:
            command(prog_name="bpttcheck")
        finally:
            for number in ending:  # nothing is left to print
                signal.signal(number, signal.SIG_IGN)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.stderr.flush()
        os._exit(130)  # INTERRUPTED; Python would end itself by a signal if it came during an import


if __name__ == "__main__":  # a new process of a pool imports this file, too
    main()
