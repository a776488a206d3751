"""``python -m bpttcheck``."""

from bpttcheck.command_line import main

if __name__ == "__main__":  # a new process of a pool imports this file, too
    main(prog_name="bpttcheck")
