"""``python -m bpttcheck``."""

from bpttcheck.command_line import main

main(prog_name="bpttcheck")
