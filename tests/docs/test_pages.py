"""What README and how-tos tell people to type works, on a server of its own for each page."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from clary.cli.connect import find
from clary.cli.exec import environment
from tests.docs.pages import NEEDS, PAGE_S, ROOT, SLOW, Step, pages, prepare, run, steps
from tests.support.server import Server


@pytest.mark.timeout(PAGE_S + 60)
@pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=pytest.mark.slow if page.stem in SLOW else ()) for page in pages()],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_the_commands_of_the_page_work(page: Path, tmp_path: Path) -> None:
    for module in NEEDS.get(page.stem, ()):
        pytest.importorskip(module)
    (tmp_path / "home").mkdir()
    prepare(page, tmp_path / "work")
    with Server(tmp_path / "home") as server:
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "CLARY_"))}
        clean |= {"HOME": str(tmp_path), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        clean["OMP_NUM_THREADS"] = "1"  # threads that wait by turning would slow the other tests down
        target = find(server.url, server.home, None, None, clean)
        assert not run(page.read_text(), server.url, environment(target, clean), tmp_path / "work")


def test_first_model_is_among_the_pages() -> None:
    assert ROOT / "docs" / "how-to" / "first-model.md" in pages()


PAGE = """
```console
$ clary serve
$ echo 'one
two'
one
t...o
$ false
```
```
$ not this
```
"""


def test_the_runner_itself_sees_failures(tmp_path: Path) -> None:
    assert steps(PAGE) == [Step("echo 'one\ntwo'", ["one", "t...o"]), Step("false")]
    assert run(PAGE, "http://x", os.environ, tmp_path) == ["status 1 of: false\n"]
    assert len(run("```console\n$ echo a\nb\n```", "http://x", os.environ, tmp_path)) == 1
    assert "ended before: exit 3" in run("```console\n$ exit 3\n$ echo\n```", "http://x", os.environ, tmp_path)[0]
