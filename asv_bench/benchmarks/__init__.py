"""asv's benchmarks of the reference, one question a file: how fast, how large, how good, and compared with
which libraries."""

import os

MISSING = [name for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS") if os.environ.get(name) != "1"]
if MISSING:
    raise RuntimeError(f"set {' and '.join(f'{name}=1' for name in MISSING)}: these benchmarks measure one thread")
