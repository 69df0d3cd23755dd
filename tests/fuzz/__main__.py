"""`python -m tests.fuzz [--seconds N] [TARGET ...]`: fuzz each target for its share of N seconds, two at a time.

Needs atheris (`pip install atheris`). Coverage guides it from the seeds kept in `tests/fuzz/seeds/TARGET`; an input
that breaks a target is written there as `found-...`, where `test_seeds.py` holds it ever after. Exit 1 on a finding.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SEEDS = Path(__file__).parent / "seeds"
AT_ONCE = 2


def fuzz(target: str, seconds: int) -> tuple[str, int, int, str]:
    """One target in a process of its own: (target, inputs tried, exit status, last lines)."""
    seeds = SEEDS / target
    seeds.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as corpus:
        flags = [
            f"-max_total_time={seconds}",
            "-max_len=4096",
            "-timeout=20",
            "-rss_limit_mb=3000",
            "-print_final_stats=1",
        ]
        argv = [
            sys.executable,
            "-m",
            "tests.fuzz.one",
            target,
            *flags,
            f"-artifact_prefix={seeds}/found-",
            corpus,
            str(seeds),
        ]
        done = subprocess.run(argv, capture_output=True, text=True, errors="replace", check=False)
    tried = re.findall(r"number_of_executed_units: (\d+)", done.stderr) or re.findall(r"^#(\d+)", done.stderr, re.M)
    return target, int(tried[-1]) if tried else 0, done.returncode, (done.stdout + done.stderr)[-3000:]


def main() -> int:
    """Fuzz what is asked for, print a table."""
    from tests.fuzz.targets import TARGETS

    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", choices=[*TARGETS, []], metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=int, default=600, help="of the whole run (default 600)")
    given = parser.parse_args()
    if importlib.util.find_spec("atheris") is None:
        parser.error("this needs atheris: `uv pip install atheris`")
    targets = given.targets or list(TARGETS)
    share_s = max(given.seconds * AT_ONCE // max(len(targets), AT_ONCE), 1)
    failed = False
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for target, tried, status, said in pool.map(lambda name: fuzz(name, share_s), targets):
            print(
                f"{target:16} {tried:>10,} inputs in {share_s} s: {'no finding' if status == 0 else 'FINDING'}",
                flush=True,
            )
            if status:
                failed = True
                print(said)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
