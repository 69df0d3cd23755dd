"""Images of the user's own: a name for a command that serves. CreateModel takes `clary/NAME:TAG` for it.

The tag is a digest of the command and all that belongs to it: a changed command is another image, and a model keeps the
one that it was created with, also after the image is removed.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from clary.control.desk import Caller, Deed, Desk
from clary.domain.errors import Invalid, LimitExceeded, NotFound
from clary.domain.model import ServerSpec, check_environment
from clary.runtimes.images import names_of_clary
from clary.store.documents import pack, unpack
from clary.store.records import record
from clary.store.tables import images as table

KIND = "image"
IMAGES_MAX = 1_000
"""Images that may be named at once, all tags counted."""
WORD_CHARS_MAX = 4_096
WORDS_MAX = 256
LATEST = "latest"
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_URI = re.compile(
    r"(?:[0-9]{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com/)?(?P<repository>clary/(?P<name>[a-z0-9-]+)):(?P<tag>[\w.-]+)",
    re.ASCII,
)
_PATH = re.compile(r"/[!-~]*")


@dataclass(frozen=True)
class Image:
    """One image."""

    name: str
    tag: str
    created_us: int
    spec: ServerSpec

    @property
    def repository(self) -> str:
        return f"clary/{self.name}"

    @property
    def uri(self) -> str:
        """What CreateModel takes."""
        return f"{self.repository}:{self.tag}"


async def add(desk: Desk, caller: Caller, name: str, spec: ServerSpec) -> Image:
    """Register a command; the same again is the same image, named anew where it was removed. Raises Invalid,
    LimitExceeded."""
    _check(name, spec)
    now_us = desk.clock.now_us()
    tag = hashlib.sha256(json.dumps(asdict(spec), sort_keys=True).encode()).hexdigest()[:12]
    uid = desk.ids.ulid(now_us)
    image = Image(name, tag, now_us, spec)

    def work(connection: Connection) -> None:
        mine = (table.c.account == caller.scope.account, table.c.name == name, table.c.tag == tag)
        live = connection.execute(select(table.c.uid).where(mine[0], table.c.removed_us.is_(None))).all()
        known = connection.execute(select(table.c.uid).where(*mine)).scalar()
        if known is None and len(live) >= IMAGES_MAX:
            raise LimitExceeded("images", IMAGES_MAX, KIND)
        values = {"created_us": now_us, "removed_us": None}
        if known is not None:
            connection.execute(update(table).where(*mine).values(**values))
        else:
            account = caller.scope.account
            connection.execute(
                insert(table).values(uid=uid, account=account, name=name, tag=tag, spec=pack(spec), **values)
            )
        record(connection, caller, Deed("AddImage", known or uid, image.uri, now_us, KIND))

    await desk.store.write(work)
    return image


async def list_images(desk: Desk, caller: Caller) -> list[Image]:
    """Every image that a model may name, by name, the newest of a name first."""

    def work(connection: Connection) -> list[Image]:
        where = (table.c.account == caller.scope.account, table.c.removed_us.is_(None))
        rows = connection.execute(select(table).where(*where).order_by(table.c.name, table.c.created_us.desc()))
        return [_image(row) for row in rows]

    return await desk.store.read(work)


async def remove(desk: Desk, caller: Caller, name: str) -> int:
    """Let no new model name any tag of an image; how many there were. Models that have one keep it. NotFound."""
    now_us = desk.clock.now_us()

    def work(connection: Connection) -> int:
        where = (table.c.account == caller.scope.account, table.c.name == name, table.c.removed_us.is_(None))
        removed = connection.execute(update(table).where(*where).values(removed_us=now_us)).rowcount
        if not removed:
            raise NotFound(KIND, name, f"clary/{name}")
        record(connection, caller, Deed("RemoveImage", name, f"clary/{name}", now_us, KIND))
        return removed

    return await desk.store.write(work)


async def find(desk: Desk, caller: Caller, uri: str) -> Image | None:
    """The image of a URI, with or without a registry before it; `:latest` is the newest. None for a URI of another
    kind; Invalid for one of this kind that does not exist."""
    parts = _URI.fullmatch(uri)
    if parts is None or parts["name"] in names_of_clary():
        return None
    found = [image for image in await list_images(desk, caller) if image.name == parts["name"]]
    for image in found:
        if parts["tag"] in (image.tag, LATEST):
            return image
    there = f"There are: {', '.join(image.uri for image in found)}." if found else "Add it: clary images add."
    raise Invalid(f"There is no image {uri!r}. {there}")


def _check(name: str, spec: ServerSpec) -> None:
    if not _NAME.fullmatch(name):
        raise Invalid(f"The name {name[:64]!r} of an image is not one to 63 of a-z, 0-9 and hyphens.")
    if name in names_of_clary():
        raise Invalid(f"clary/{name} is an image of Clary's own; choose another name.")
    if not spec.command or len(spec.command) > WORDS_MAX:
        raise Invalid(f"A command has 1 to {WORDS_MAX} words.")
    if not spec.command[0] or any("\0" in word or len(word) > WORD_CHARS_MAX for word in spec.command):
        raise Invalid(f"A word of the command is empty, holds a NUL or has over {WORD_CHARS_MAX} characters.")
    for path, what in ((spec.route, "route"), (spec.ping, "ping")):
        if not _PATH.fullmatch(path) or len(path) > 1024:
            raise Invalid(f"The {what} {path[:64]!r} is not a path: it begins with a slash and holds no blank.")
    if spec.folder and not spec.folder.startswith("/"):
        raise Invalid(f"The folder {spec.folder[:64]!r} is not an absolute path.")
    check_environment(spec.env)


def _image(row: Row[Any]) -> Image:
    return Image(row.name, row.tag, row.created_us, unpack(row.spec, ServerSpec))
