"""What every part of control stands on: clock, stores, keys, threads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from clary.artifacts.foreign import ForeignStore
from clary.artifacts.stores import Stores
from clary.control.desk import Desk
from clary.control.keys import KeyRing, ensure_root
from clary.control.metrics import MetricDesk
from clary.edge.forward import Routers
from clary.kit.clock import Clock, SystemClock
from clary.kit.ids import Ids, SystemIds
from clary.kit.threads import Threads
from clary.objects.store import ObjectStore
from clary.settings import Settings, runtime_dir
from clary.store.base import OpenStore
from clary.store.seal import Seal, load_seal
from clary.store.sessions import Sessions
from clary.store.sqlite import SqliteStore
from clary.telemetry.store import MetricStore


@dataclass(frozen=True)
class Base:
    """Opened by `open_base`, closed by `close`."""

    settings: Settings
    sockets: Path
    """The runtime folder."""
    clock: Clock
    ids: Ids
    store: OpenStore
    seal: Seal
    session_key: bytes
    sessions: Sessions
    ring: KeyRing
    desk: Desk
    metrics: MetricStore
    objects: ObjectStore
    stores: Stores
    """All that artifacts come from and outputs go to: `objects`, and mounted foreign stores."""
    routers: Routers
    slow: Threads
    quick: Threads

    @property
    def home(self) -> Path:
        """The folder of everything that lasts."""
        return self.settings.home

    @property
    def auth(self) -> bool:
        """Whether requests must be signed."""
        return self.settings.auth == "sigv4"

    @property
    def metric_desk(self) -> MetricDesk:
        """Where metrics are read."""
        return MetricDesk(self.metrics, self.quick, self.clock)

    async def close(self) -> None:
        """End connections and files; nothing of it may be used afterwards."""
        await self.routers.aclose()
        self.objects.close()
        self.store.close()
        self.metrics.close()


async def open_base(settings: Settings) -> Base:
    """Open every store, with the root key made and the keys known. Raises StoreFormatError, StoreUnavailableError,
    SealError."""
    home, sockets = settings.home, runtime_dir(settings.home)
    clock, ids = SystemClock(), SystemIds()
    store = await _open_store(settings, clock)
    seal = load_seal(home / "secrets" / "kek")
    desk = Desk(store, clock, ids)
    await ensure_root(desk, seal, home / "secrets" / "root.json", settings.account, settings.region)
    session_key = seal.derive("sessions")
    sessions = Sessions(session_key, auth=settings.auth == "sigv4")
    ring = KeyRing(sessions)
    await ring.refresh(desk, seal)
    objects = ObjectStore(home / "buckets", clock, ids)
    return Base(
        settings=settings,
        sockets=sockets,
        clock=clock,
        ids=ids,
        store=store,
        seal=seal,
        session_key=session_key,
        sessions=sessions,
        ring=ring,
        desk=desk,
        metrics=MetricStore(home / "telemetry.db"),
        objects=objects,
        stores=Stores(objects, [ForeignStore(mount) for mount in settings.object_store]),
        routers=Routers([sockets / f"router-{index}.sock" for index in range(settings.routers)]),
        slow=Threads("slow", 8),
        quick=Threads("quick", 4),
    )


async def _open_store(settings: Settings, clock: Clock) -> OpenStore:
    if settings.store is None:
        return SqliteStore(settings.home / "clary.db")
    # The driver is an extra.
    from clary.store.postgres import PostgresStore

    store = PostgresStore(settings.store, clock)
    await store.open()
    return store
