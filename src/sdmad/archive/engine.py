"""Ray: a cluster that is there, or one of this machine alone, and the pipeline that runs on it.

Ray sends nothing home and shows no dashboard. A cluster of this machine ends with this process.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sdmad.archive.stages import CHUNK_BYTES, Tower
from sdmad.archive.watching import Need, Waiting, answers, cores_of, head_watched, living, room
from sdmad.errors import SDMADError
from sdmad.export.runtime import require

if TYPE_CHECKING:
    import pyarrow as pa

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_TQDM_PATCH_PRINT": "0",
}
"""No usage statistics, no hints meant for programmers, and Python's own print left as it is."""

STDERR = 2

RETRIED = r"\nFailed to "
"""With this Ray adds to what a stage raised, as people read it, how it could be tried again."""

STARTS = 3
"""How often a cluster of this machine is tried to start: Ray gives a busy machine 15 seconds."""

_HOST_AND_PORT = re.compile(r"([^/]+):(\d{1,5})")

SHARE = 0.5
"""Of a core that each decoder claims; towers claim the rest at most, as both share cores."""


@dataclass(frozen=True)
class Resources:
    """What to run on.

    Attributes:
        address: of a cluster, or ``auto`` for the one that this machine belongs to; None for this
            machine alone.
        gpus: of each tower; 0 for none.
        workers: towers; None for one a GPU share, or one a node.
        object_store: bytes of a cluster of this machine that hold what is under way; Ray's own
            choice when None.
    """

    address: str | None = None
    gpus: float = 0.0
    workers: int | None = None
    object_store: int | None = None


@contextlib.contextmanager
def connected(resources: Resources) -> Iterator[None]:
    """A connection to the cluster, unless this process has one already.

    Raises:
        InputError: if Ray is not installed.
        SDMADError: if there is no such cluster, or none can be started.
    """
    os.environ.update(QUIET)
    require("ray", "ray", "ray.data")
    warnings.filterwarnings("ignore", module=r"ray\.")
    import ray

    if ray.is_initialized():
        yield
        return
    with _logged():
        _start(resources)
        try:
            with head_watched(ray.get_runtime_context().gcs_address):
                yield
        finally:
            ray.shutdown()


@contextlib.contextmanager
def _logged() -> Iterator[None]:
    """What Ray says of work that it does again goes to the log: it prints it among the output."""
    from ray._private import worker

    printing = getattr(worker, "print_to_stdstream", None)
    log = logging.getLogger("sdmad")
    worker.print_to_stdstream = lambda said, **_: log.debug("Ray: %s", said.get("lines"))
    try:
        yield
    finally:
        worker.print_to_stdstream = printing


@contextlib.contextmanager
def _without_stderr() -> Iterator[None]:
    """Ray tells of its own start there, from C++; what fails it raises as well."""
    with tempfile.TemporaryFile() as aside:
        before = os.dup(STDERR)
        os.dup2(aside.fileno(), STDERR)
        try:
            yield
        finally:
            os.dup2(before, STDERR)
            os.close(before)
            aside.seek(0)
            logging.getLogger("sdmad").debug("Ray: %s", aside.read().decode(errors="replace"))


def _start(resources: Resources) -> None:
    import ray

    address = resources.address or os.environ.get("RAY_ADDRESS")
    # "local": a cluster of its own, beside another that may run here.
    alone: dict[str, Any] = {"address": "local", "include_dashboard": False}
    if resources.object_store is not None:
        alone["object_store_memory"] = resources.object_store
    given = {"address": address} if address else alone
    found = _HOST_AND_PORT.fullmatch(address or "")
    if found and not answers(found[1], int(found[2])):  # Ray itself asks for a quarter of an hour
        raise SDMADError(
            f"no Ray cluster at {address} (nothing answers there); ray start --head starts one"
        )
    for number in range(STARTS):
        try:
            with _without_stderr():
                ray.init(log_to_driver=False, logging_level=logging.ERROR, **given)
            return
        except Exception as error:  # Ray has no class of its own for it
            ray.shutdown()
            if address or number == STARTS - 1:
                where = f"no Ray cluster at {address}" if address else "Ray does not start here"
                reason = " ".join(str(error).split())[:300]
                raise SDMADError(f"{where} ({reason})") from error


@dataclass(frozen=True)
class Plan:
    """How a cluster is used.

    Attributes:
        decoders: at once.
        towers: at once.
        threads: of each tower.
        claim: of each tower, in cores; all of them leave room for the decoders, and still do where
            one of two nodes is lost.
    """

    decoders: int
    towers: int
    threads: int
    claim: float


def plan(resources: Resources) -> Plan:
    """One tower a GPU share, or a node that has cores, and a decoder a core.

    Raises:
        SDMADError: if no node has the GPUs that a tower needs.
    """
    nodes = living()
    cores = max(1, int(cores_of(nodes)))
    towers = resources.workers or max(1, sum(node.get("CPU", 0) > 0 for node in nodes))
    if resources.gpus:
        fits = room(nodes, resources.gpus)
        if not fits:
            most = max(node.get("GPU", 0.0) for node in nodes)
            raise SDMADError(
                f"--num-gpus {resources.gpus:g}: no node has as many GPUs ({most:g} at most)"
            )
        towers = min(fits, resources.workers or fits)
    claim = min(SHARE, SHARE * cores / towers / 2)
    return Plan(cores, towers, max(1, cores // towers), claim)


def stream(
    shards: Sequence[dict[str, Any]],
    read: Callable[[pa.Table], Iterator[pa.Table]],
    tower: tuple[Any, ...] | None,
    resources: Resources,
) -> Iterator[pa.Table]:
    """Run some shards through the stages, with back-pressure; tables come in any order.

    Args:
        shards: what the first stage is told of each, as plain values.
        read: the first stage.
        tower: arguments of `Tower`, without its threads; None for the first stage alone.
        resources: what to run on; connected.

    Raises:
        SDMADError: as a stage raises it, or if the cluster fails.
    """
    import ray

    found = plan(resources)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.target_max_block_size = CHUNK_BYTES
    towers = found.towers if tower is not None else 0
    waiting = Waiting(Need(towers * found.claim + SHARE, towers, resources.gpus))
    context.custom_execution_callback_classes = [waiting.callback()]
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # what fails it raises as well
    rows = ray.data.from_items(list(shards), override_num_blocks=len(shards)).map_batches(
        read,
        batch_size=1,
        batch_format="pyarrow",
        num_cpus=SHARE,
        concurrency=found.decoders,
    )
    if tower is not None:
        rows = rows.map_batches(
            Tower,
            fn_constructor_args=(*tower, found.threads),
            batch_size=1,  # a chunk; Ray wants a number where there are GPUs
            batch_format="pyarrow",
            zero_copy_batch=True,
            num_cpus=found.claim,
            num_gpus=resources.gpus or None,
            compute=ray.data.ActorPoolStrategy(size=found.towers),
        )
    try:
        batches = rows.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)
        yield from waiting.tables(iter(batches))
    except Exception as error:  # not all of Ray's have a class in common; some have a stage's, too
        raise _told(error) from error


def _told(error: BaseException) -> SDMADError:
    """What a stage raised, where it was meant for people; else that the cluster failed."""
    cause: BaseException | None = error
    while cause is not None:
        inner = getattr(cause, "cause", None)
        for found in (inner, cause):
            if isinstance(found, SDMADError):
                return SDMADError(str(found).partition(RETRIED)[0])
        cause = inner if isinstance(inner, BaseException) else cause.__cause__
    lines = str(error).strip().splitlines() or ["no reason given"]
    logging.getLogger("sdmad").debug("Ray", exc_info=error)
    return SDMADError(
        f"the cluster failed ({lines[-1].strip()}); finished shards are kept: run it again"
    )
