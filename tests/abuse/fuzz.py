"""Hostile implementations, drawn at random, each in a run of `verify`: python tests/abuse/fuzz.py --seconds 60 --seed 1

None may cause a traceback from bpttcheck, a run without an end, an incomplete report, text that is executed, or a green
end without proof. A try that does is shown with the number that repeats only it: --only N.
"""

import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from xml.etree import ElementTree

import click

HEAD = """
import atexit, gc, os, signal, subprocess, sys, threading, time, warnings
import numpy as np
from dataclasses import replace
from bpttcheck.adapters.reference import Reference
from bpttref import RNN

calls = 0

def now():
    global calls
    calls += 1
    return {when}

def act(a):
    if now():
        {act}
    return a

{first}

class Hostile(Reference):
    name = {name!r}

    def capabilities(self):
        few = {{"layers": 1, "bidirectional": False, "selects": False}}
        return replace(super().capabilities(), cells=(RNN("tanh"),), dtypes=("float64",), **few)

    def vjp(self, case):
        outputs, pullback = super().vjp(case)

        def pull(cotangents):
            gradients = pullback(cotangents)
            if {where!r} == "x":
                return gradients._replace(x=act(gradients.x))
            if {where!r} == "W":
                found = gradients.parameters[0][0]
                return gradients._replace(parameters=(({{**found, "W_hh": act(found["W_hh"])}},),))
            return gradients

        return outputs._replace(y=act(outputs.y) if {where!r} == "y" else outputs.y), pull
"""
WRONG = {
    "raise SystemExit(0)", "os._exit(0)", "os._exit(3)", "os.abort()", "os.kill(os.getpid(), signal.SIGSEGV)",
    "os.kill(os.getpid(), signal.SIGKILL)", "os.kill(0, signal.SIGTERM)", "signal.raise_signal(signal.SIGINT)",
    "raise BaseException('panic')", "raise MemoryError", "raise GeneratorExit", "raise KeyboardInterrupt",
    "return act(a)", "raise type('E', (Exception,), {'__str__': lambda s: 1 / 0})()",
    "time.sleep(1000)",
    "threading.Event().wait()",
    "raise ValueError('\\x1b[31m\\x00\\ud800 [red] \"\"\"; open(\\'executed\\', \\'w\\') #')",
    "return a.astype(complex)", "return a.astype(object)", "return a.astype(str)",
    "return np.ma.masked_array(a, a > 0)",
    "return a.astype('M8[s]')",
    "return np.zeros(a.shape, [('a', float)])", "return np.array(1.0)", "return a[..., None]",
    "return (row for row in a)", "return a.tolist()", "return 3", "return a > 0", "return a[:0]", "return a * np.nan",
    "return np.broadcast_to(0.0, (10**11, *a.shape))", "return a.astype('float16')", "return 1.001 * a", "return a + 1",
    "return type('T', (), {'shape': a.shape, 'dtype': a.dtype})()", "raise StopIteration", "os.closerange(3, 99)",
    "breakpoint()", "os.execv('/bin/true', ['true'])", "raise ImportError('\\n\\n' + 'x' * 10**5)",
}  # fmt: skip
HARMLESS = {
    "pass", "a = a.copy(); a.flags.writeable = False", "return a.view(type('S', (np.ndarray,), {}))", "os.chdir('/')",
    "print('<b>[red] \\x1b[2J', flush=True)", "print('noise', file=sys.stderr)", "warnings.warn('[bold] <i> \\x07')",
    "sys.stdout = None", "gc.disable()", "np.random.seed(0)", "sys.setrecursionlimit(10**5)",
    "os.environ.clear()", "os.makedirs('sub'); os.chdir('sub'); os.rmdir('../sub')",
    "signal.signal(signal.SIGINT, signal.SIG_IGN)", "signal.signal(signal.SIGTERM, signal.SIG_IGN)",
    "sys.argv.clear()",
    "np.seterr(all='raise')",
    "warnings.simplefilter('error')", "threading.Thread(target=time.sleep, args=(99,)).start()",
    "subprocess.Popen(['sleep', '99'])", "atexit.register(os._exit, 0)", "os.umask(0o777)", "os.nice(1)",
}  # fmt: skip
WHEN = ("True", "len(a) == 1", "len(a) > 20", "calls == 2", "calls > 50", "calls % 7 == 0", "np.random.rand() < 0.2")
FIRST = ("", "", "", "print('imported')", "os.chdir('/tmp')", "sys.path.clear()", "os._exit(0)",
         "raise SystemExit(0)", "sys.stdout.close()", "import nowhere", "warnings.simplefilter('error')",
         "time.sleep(0.3)")  # fmt: skip
NAMES = ("plain", "a-b", "日本", "[red]x[/]", '"""\nopen("executed", "w")\n"""', "back\\slash\\",
         "nul\x00", "up\x1b[2J", "n" * 300, "../../up", "", "<script>", "\ud800", "'; open('executed', 'w') #",
         "{name}", "\n\n# TARGET = 'x'")  # fmt: skip
OPTIONS = ("-q", "-j 2", "--html v.html", "--budget 1", "--law causality", "--examples 3")
SIGNALS = (None, None, None, signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PATIENCE = 120.0  # seconds for a run with --timeout 2


class Misbehaved(Exception):
    """The misbehaviour, in a sentence."""


def tried(seed: int, folder: Path) -> str:
    """Draw an implementation and test it; returns its description. Raises Misbehaved."""
    rng = random.Random(seed)
    act, when = rng.choice([*sorted(WRONG), *sorted(HARMLESS)]), rng.choice(WHEN)
    first, name, where = rng.choice(FIRST), rng.choice(NAMES), rng.choice("yxW")
    text = HEAD.format(act=act, when=when, first=first, name=name, where=where)
    (folder / "hostile.py").write_text(text, encoding="utf-8", errors="surrogatepass")
    (folder / "v.json").write_text('{"schema": 1, "interrupted": false, "results": "green"}')
    chosen = rng.sample(OPTIONS, rng.randrange(4))
    words = ["hostile.py:Hostile", *" ".join(chosen).split(), "--timeout", "2", "--json", "v.json", "--junit", "v.xml"]
    sent, delay = rng.choice(SIGNALS), rng.uniform(0, 3)
    what = f"{where}: {act} when {when}; first {first!r}; name {name[:20]!r}; {' '.join(chosen)}; {sent} {delay:.2f}"
    status, out, err = _run(["verify", *words, "--seed", str(seed)], folder, sent, delay)
    at_once = sent is not None and status == -sent and delay < 0.2  # before Python runs bpttcheck
    for said in (out, err if not re.search("Thread|print|stdout", act + first) else ""):
        if "internal error" in said or ("Traceback" in said and "bpttcheck" in said and not at_once):
            raise Misbehaved(f"{what}: {said[-600:]}")
    if not at_once and (status not in (0, 1, 2, 3, 130) or (status == 130 and sent is None)):
        raise Misbehaved(f"{what}: status {status}: {err[-300:]}")
    if re.search(r"[\x00-\x08\x0b-\x1f]", out):
        raise Misbehaved(f"{what}: control characters on standard output")
    for file in folder.glob("bpttcheck-failures/*/replay.py"):
        _run(["replay", str(file), "--timeout", "2"], folder, None, 0.0)
    if list(folder.rglob("executed")):
        raise Misbehaved(f"{what}: text was executed")
    if not (status == 2 and err.startswith("Usage")) and not at_once:
        _check_reports(what, status, folder, act in WRONG and when == "True")
    return what


def _run(words: list[str], folder: Path, sent: signal.Signals | None, delay: float) -> tuple[int, str, str]:
    """A command's status and output. Raises Misbehaved if it does not end."""
    line = [sys.executable, "-m", "bpttcheck", "--no-settings" if words[0] == "verify" else "replay", *words]
    line = line if words[0] == "verify" else [*line[:3], *words]
    heed = {number: signal.SIG_DFL for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    running = subprocess.Popen(
        line, cwd=folder, text=True, encoding="utf-8", errors="replace", stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL, preexec_fn=lambda: [signal.signal(*pair) for pair in heed.items()],
    )  # fmt: skip
    try:
        if sent is not None:
            try:
                out, err = running.communicate(timeout=delay)
                return running.returncode, out, err
            except subprocess.TimeoutExpired:
                running.send_signal(sent)
        out, err = running.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired as late:
        running.kill()
        raise Misbehaved(f"{' '.join(words)} had no end") from late
    return running.returncode, out, err


def _check_reports(what: str, status: int, folder: Path, wrong: bool) -> None:
    try:
        written = json.loads((folder / "v.json").read_text(encoding="utf-8"))
        if (folder / "v.xml").exists():
            ElementTree.parse(folder / "v.xml")
    except (ValueError, ElementTree.ParseError) as error:
        raise Misbehaved(f"{what}: a report is not whole: {error}") from error
    if status != 0:
        return
    statuses = {result["status"] for result in written["results"]}
    if written["interrupted"] or written["errors"] or "passed" not in statuses or statuses & {"failed", "error"}:
        raise Misbehaved(f"{what}: status 0, and {sorted(statuses)}")
    if wrong and not any(result["law"] == "causality" for result in written["results"] if len(statuses) == 1):
        raise Misbehaved(f"{what}: green, though it is wrong")


@click.command()
@click.option("--seconds", default=60.0, show_default=True)
@click.option("--seed", default=1, show_default=True)
@click.option("--only", type=int, help="This try alone.")
def main(seconds: float, seed: int, only: int | None) -> None:
    """Try hostile implementations for so many seconds."""
    end, count, misbehaved = time.monotonic() + seconds, 0, 0
    while time.monotonic() < end and (only is None or count == 0):
        number = seed * 10**6 + count if only is None else only
        count += 1
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            try:
                what = tried(number, Path(folder))
                if only is not None:
                    click.echo(what)
            except Misbehaved as sentence:
                misbehaved += 1
                click.echo(f"--only {number}: {sentence}")
            finally:
                subprocess.run(["chmod", "-R", "u+rwx", folder], check=False)
    click.echo(f"{count} tried in {seconds:g} s with seed {seed}: {misbehaved} misbehaved")
    sys.exit(bool(misbehaved))


if __name__ == "__main__":
    os.environ.pop("PYTHONWARNINGS", None)
    main()
