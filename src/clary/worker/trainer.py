"""The training runner: starts the training process of one job, watches it, packs what it made, says how it ended.

It does not talk to control: its orders and its report are files of the job's folder (trainer_options), so that a
training goes on whatever happens to control. The agent starts it again when it dies; a finished one waits until it
is taken off the process table.
"""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Sequence
from pathlib import Path

from clary.kit.lifeline import Lifeline, identity_of
from clary.worker import child, trainer_env
from clary.worker.trainer_options import (
    COMPLETED,
    FAILED,
    MAX_RUNTIME,
    ML,
    MODEL_ARCHIVE,
    OUTPUT_ARCHIVE,
    RESULT,
    STARTS,
    STOP,
    STOPPED,
    TrainerOptions,
    TrainerResult,
    read_options,
    read_starts,
    write_json,
    write_result,
)

FAILURE_CHARS_MAX = 1024
LINE_BYTES_MAX = 64 * 1024
"""A longer line is read in pieces."""
TAIL_LINES = 12
_WAKE_S = 0.2
_REST_S = 1.0
"""What a script's own children may still print after it ended."""
_INTERRUPTED_WAIT_S = 8.0
_OOM_SCORE = 500


def main(folder: Path) -> int:
    """Run the job of a folder to its end, then wait to be taken off the table; the exit status."""
    me = identity_of(os.environ)
    options = read_options(folder)
    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: stopping.append(number))
    with contextlib.suppress(OSError):
        # When the machine runs out of memory the kernel takes a training before control or a router.
        Path("/proc/self/oom_score_adj").write_text(str(_OOM_SCORE))
    child.title(f"clary: training {options.job}")
    if me is not None:
        Lifeline(Path(me.agent_socket), me.uid, me.kind, me.nonce).start()
    if not (folder / RESULT).exists():
        result = Training(folder, options, stopping).run()
        if result is None:
            return 0
        write_result(folder, result)
    while not stopping:
        time.sleep(_WAKE_S)
    return 0


class Training:
    """One run of a job's process."""

    def __init__(self, folder: Path, options: TrainerOptions, stopping: Sequence[int]) -> None:
        self._folder = folder
        self._ml = folder / ML
        self._options = options
        self._stopping = stopping
        """Not empty once this runner itself was asked to end: the server stops, the job is to run again."""
        self._metrics: dict[str, tuple[float, int]] = {}
        self._patterns = [(name, re.compile(regex)) for name, regex in options.metrics.items()]
        self._tail: list[str] = []
        self._rest = b""

    def run(self) -> TrainerResult | None:
        """The result; None where the server stopped meanwhile and the job is to start anew."""
        starts = [*read_starts(self._folder), _now_us()]
        with (self._folder / STARTS).open("a") as out:
            out.write(f"{starts[-1]}\n")
        if len(starts) > self._options.starts_max:
            reason = f"InternalServerError: The training was interrupted {len(starts) - 1} times. Please try again."
            return TrainerResult(FAILED, reason, started_us=starts[0], ended_us=_now_us())
        self._prepare()
        argv = trainer_env.command(self._options, self._ml, _algorithm(self._options))
        try:
            outcome, code = self._watch(self._start(argv))
        except OSError as error:
            return self._result(FAILED, f"AlgorithmError: {argv[0]} could not be started: {error}", starts[0])
        _end_group()
        if outcome == "interrupted":
            return None
        if outcome == COMPLETED and code != 0:
            return self._result(FAILED, self._failure(argv, code), starts[0])
        return self._result(outcome, "", starts[0])

    def _prepare(self) -> None:
        """An empty place for what the process makes; checkpoints of a former start stay."""
        for name in ("model", "output"):
            shutil.rmtree(self._ml / name, ignore_errors=True)
        for name in ("model", "output/data", "output/intermediate", "checkpoints", "input/config", "input/data"):
            (self._ml / name).mkdir(parents=True, exist_ok=True)
        for name, document in trainer_env.config_files(self._options).items():
            write_json(self._ml / "input" / "config" / name, document)

    def _start(self, argv: Sequence[str]) -> subprocess.Popen[bytes]:
        code = self._ml / self._options.code
        return subprocess.Popen(
            list(argv),
            cwd=str(code if self._options.program else self._ml),
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def _environment(self) -> dict[str, str]:
        options = self._options
        pools = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(options.threads))
        code = {"PYTHONPATH": str(self._ml / options.code)} if options.program else {}
        return {
            "PATH": os.pathsep.join([str(Path(options.python).parent), os.environ.get("PATH", "/usr/bin:/bin")]),
            "LANG": "C.UTF-8",
            "HOME": str(self._ml),
            "PYTHONUNBUFFERED": "1",
            **pools,
            **code,
            "AWS_REGION": options.region,
            "AWS_DEFAULT_REGION": options.region,
            "TRAINING_JOB_NAME": options.job,
            "TRAINING_JOB_ARN": options.arn,
            "SAGEMAKER_BASE_DIR": str(self._ml),
            "SAGEMAKER_JOB_NAME": options.job,
            "SAGEMAKER_REGION": options.region,
            "CLARY_IMAGE_TAG": options.image_tag,
            # aws-embedded-metrics prints its lines, which control reads from the log.
            "AWS_EMF_ENVIRONMENT": "Local",
            "AWS_EMF_SERVICE_NAME": options.job,
            "AWS_EMF_SERVICE_TYPE": "AWS::SageMaker::TrainingJob",
            "AWS_EMF_LOG_GROUP_NAME": "/aws/sagemaker/TrainingJobs",
            **trainer_env.variables(options, self._ml),
            **options.environment,
        }

    # Watching

    def _watch(self, process: subprocess.Popen[bytes]) -> tuple[str, int]:
        """Copy its output until it ends; the outcome and its exit code (negative: a signal)."""
        assert process.stdout is not None, "it was started with a pipe"
        pipe = process.stdout.fileno()
        os.set_blocking(pipe, False)
        started_s = time.monotonic()
        outcome, kill_s, rest_until_s = COMPLETED, float("inf"), float("inf")
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            open_ = True
            while True:
                now_s = time.monotonic()
                if outcome == COMPLETED and process.poll() is None:
                    outcome, kill_s = self._orders(now_s - started_s, now_s)
                    if outcome != COMPLETED:
                        process.terminate()
                if now_s >= kill_s and process.poll() is None:
                    process.kill()
                if process.poll() is not None:
                    rest_until_s = min(rest_until_s, now_s + _REST_S)
                    if not open_ or now_s >= rest_until_s:
                        break
                selector.select(_WAKE_S if open_ else 0.0)
                if open_:
                    open_ = self._copy(pipe)
                    if not open_:
                        selector.unregister(pipe)
                else:
                    time.sleep(_WAKE_S / 4)
        self._line(self._rest)
        process.stdout.close()
        return outcome, process.wait()

    def _orders(self, ran_s: float, now_s: float) -> tuple[str, float]:
        """What the job is to come to, and when the process is killed if it does not end."""
        if self._stopping:
            return "interrupted", now_s + _INTERRUPTED_WAIT_S
        if (self._folder / STOP).exists():
            return STOPPED, now_s + self._options.stop_wait_s
        if ran_s >= self._options.max_runtime_s:
            return MAX_RUNTIME, now_s + self._options.stop_wait_s
        return COMPLETED, float("inf")

    def _copy(self, pipe: int) -> bool:
        """Read what there is; False at the end of it."""
        try:
            raw = os.read(pipe, LINE_BYTES_MAX)
        except BlockingIOError:
            return True
        if not raw:
            return False
        sys.stdout.buffer.write(raw)
        sys.stdout.buffer.flush()
        *lines, self._rest = (self._rest + raw).split(b"\n")
        for line in lines:
            self._line(line)
        if len(self._rest) > LINE_BYTES_MAX:
            self._line(self._rest)
            self._rest = b""
        return True

    def _line(self, raw: bytes) -> None:
        text = raw.decode("utf-8", "replace").rstrip("\r")
        if not text.strip():
            return
        self._tail = [*self._tail[-TAIL_LINES + 1 :], text]
        for name, pattern in self._patterns:
            found = pattern.search(text)
            if found is not None:
                value = _number(found[1] if pattern.groups else found[0])
                if value is not None:
                    self._metrics[name] = (value, _now_us())

    # The end

    def _failure(self, argv: Sequence[str], code: int) -> str:
        """FailureReason: what the process left in output/failure, else the last lines of its log."""
        with contextlib.suppress(OSError):
            said = (self._ml / "output" / "failure").read_text(errors="replace").strip()
            if said:
                return _cut(f"AlgorithmError: {said}", f", exit code: {_status(code)}")
        tail = _cut("\n".join(self._tail), "", FAILURE_CHARS_MAX // 2, keep_end=True)
        if code < 0:
            name = signal.Signals(-code).name
            tail = f"killed by {name}" + (" (perhaps out of memory)" if name == "SIGKILL" else "") + f"\n{tail}"
        if not self._options.program:
            return _cut(f"AlgorithmError: {tail}", f", exit code: {_status(code)}")
        shown = " ".join(["python", *argv[2:]]).replace(str(self._ml / self._options.code) + "/", "")
        text = f'AlgorithmError: ExecuteUserScriptError:\nExitCode {_status(code)}\nErrorMessage "{tail}"\n'
        return _cut(f'{text}Command "{shown}"', f", exit code: {_status(code)}")

    def _result(self, outcome: str, reason: str, started_us: int) -> TrainerResult:
        try:
            pack(self._ml / "model", self._folder / MODEL_ARCHIVE)
            output = any(path.is_file() for path in (self._ml / "output").rglob("*"))
            if output:
                pack(self._ml / "output", self._folder / OUTPUT_ARCHIVE)
        except OSError as error:
            outcome, output = FAILED, False
            reason = reason or _cut(f"ClientError: The model could not be packed: {error}", "")
        return TrainerResult(outcome, reason, self._metrics, started_us, _now_us(), output)


def pack(folder: Path, archive: Path) -> None:
    """A gzipped tar of a folder's contents: plain files and folders, links followed within the folder only."""
    temporary = archive.with_name(archive.name + ".new")
    root = folder.resolve()
    with tarfile.open(temporary, "w:gz", compresslevel=6) as out:
        for path in sorted(folder.rglob("*")):
            real = path.resolve()
            if root not in real.parents or not (real.is_file() or real.is_dir()):
                continue
            info = out.gettarinfo(str(real), str(path.relative_to(folder)))
            info.uid = info.gid = 0
            info.uname = info.gname = ""
            if real.is_file():
                with real.open("rb") as content:
                    info.type = tarfile.REGTYPE
                    info.size = real.stat().st_size
                    out.addfile(info, content)
            elif not path.is_symlink():
                out.addfile(info)
    temporary.replace(archive)


def _algorithm(options: TrainerOptions) -> list[str]:
    """The command of the image's own algorithm: this bundle's."""
    return [options.python, "-I", "-B", sys.argv[0], f"train-{options.runtime}"]


def _end_group() -> None:
    """What the process left running in our group ends with it; we lead that group."""
    own, group = os.getpid(), os.getpgrp()
    if own != group:
        return
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != own:
            with contextlib.suppress(OSError, ValueError, IndexError):
                if int((entry / "stat").read_text().rpartition(")")[2].split()[2]) == group:
                    os.kill(int(entry.name), signal.SIGKILL)


def _status(code: int) -> int:
    return code if code >= 0 else 128 - code


def _number(text: str | None) -> float | None:
    try:
        return float(text or "")
    except ValueError:
        return None


def _cut(text: str, end: str, chars_max: int = FAILURE_CHARS_MAX, *, keep_end: bool = False) -> str:
    """At most `chars_max` characters with `end`, which stays whole."""
    room = chars_max - len(end)
    if len(text) > room:
        text = "..." + text[-(room - 3) :] if keep_end else text[: room - 3] + "..."
    return text + end


def _now_us() -> int:
    return time.time_ns() // 1000
