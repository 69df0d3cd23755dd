"""Processes whose wall clock can be stepped without touching the machine's: a library that libc's clock goes through.

Time namespaces cannot shift CLOCK_REALTIME (time_namespaces(7)), and the machine's own clock is everybody's.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest

SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t *offset_s;
static int (*real)(clockid_t, struct timespec *);

__attribute__((constructor)) static void begin(void) {
    int fd = open(OFFSET_FILE, O_RDONLY | O_CLOEXEC);
    real = dlsym(RTLD_NEXT, "clock_gettime");
    if (fd < 0) return;
    void *at = mmap(0, sizeof(int64_t), PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    if (at != MAP_FAILED) offset_s = at;
}

int clock_gettime(clockid_t id, struct timespec *now) {
    if (!real) begin();
    int failed = real(id, now);
    if (!failed && offset_s && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) now->tv_sec += *offset_s;
    return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec found;
    (void)zone;
    int failed = clock_gettime(CLOCK_REALTIME, &found);
    now->tv_sec = found.tv_sec;
    now->tv_usec = found.tv_nsec / 1000;
    return failed;
}

time_t time(time_t *into) {
    struct timespec found;
    clock_gettime(CLOCK_REALTIME, &found);
    if (into) *into = found.tv_sec;
    return found.tv_sec;
}
"""


class SteppedClock:
    """The wall clock of all processes that are started with `environ`; monotonic clocks are the machine's."""

    def __init__(self, folder: Path) -> None:
        """Skips, with the reason, where the machine has no C compiler."""
        compiler = shutil.which("cc")
        if compiler is None:
            pytest.skip("no C compiler (cc): the clock of a process cannot be stepped")
        self._offset, source, library = folder / "offset", folder / "stepped.c", folder / "stepped.so"
        self._offset.write_bytes(struct.pack("=q", 0))
        source.write_text(SOURCE)
        argv = [compiler, "-shared", "-fPIC", "-O1", f'-DOFFSET_FILE="{self._offset}"', "-o", library, source, "-ldl"]
        subprocess.run(argv, check=True)
        self.environ = {"LD_PRELOAD": str(library)}

    def step(self, offset_s: int) -> None:
        """The clock shows so many seconds more than the machine's from now on."""
        with self._offset.open("r+b") as file:
            file.write(struct.pack("=q", offset_s))
