"""``python -m bpttcheck``, and what the command `bpttcheck` starts: Ctrl-C ends it in words from the first moment."""

import sys


def main() -> None:
    try:
        from bpttcheck.command_line import main as command

        command(prog_name="bpttcheck")
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(130)  # INTERRUPTED of bpttcheck.exit_status


if __name__ == "__main__":  # a new process of a pool imports this file, too
    main()
