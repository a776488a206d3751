"""``python -m bpttcheck``."""

from bpttcheck.command_line import main

if __name__ == "__main__":  # a worker process imports this module, too
    main(prog_name="bpttcheck")
