"""vLLM's AsyncLLM on an event loop in a thread of its own, for callers in any thread.

The engine starts with the first job and runs in processes of its own. When it dies or hangs, that is said in one line,
it is started again, once, and the jobs it had are run again. `EngineThread.close` (also at exit) ends its processes.

A process may have several engines. They start one after the other: vLLM measures what memory is free when it takes
its share, and an engine's processes take their settings from the environment, which belongs to the whole process.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import multiprocessing
import os
import signal
import tempfile
import threading
import warnings
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, TypeVar

from agent.errors import UserError
from agent.vllm_engine import process as engine_process

LOGGER = logging.getLogger("alignatt")
HANG_S = 300.0
"""A job that takes longer is taken for a sign that the engine hangs."""
WATCH_S = 0.5
"""How often a job is asked whether its engine still lives: vLLM's remote calls wait for a dead one."""
CLOSE_S = 30.0
"""How long the engine may take to end before its processes are killed."""

_STARTING = threading.Lock()
"""Held while an engine starts."""
MAX_SOCKET_FOLDER = 70
"""Characters of a folder in which vLLM's sockets still have short enough names. They are left behind elsewhere."""
WAIT_S = 0.05
"""How often an engine asks whether another one has started."""

T = TypeVar("T")
Job = Callable[[Any], Awaitable[T]]


class EngineError(UserError):
    """The engine did not start, or died and is not started again."""


class EngineThread:
    """One engine. Thread-safe.

    ``arguments``: of ``AsyncEngineArgs``; ``environment``: variables of its processes; ``examine``: run on every engine
    that has started, which does not serve when it raises. ``name``: in messages; ``instead``: the settings to try when
    it keeps dying; ``hang_s``: a job that takes longer is taken for a sign that the engine hangs.
    """

    def __init__(
        self,
        arguments: Mapping[str, Any],
        environment: Mapping[str, str] | None = None,
        examine: Job[None] | None = None,
        name: str = "vLLM engine",
        instead: str = "mt.vllm.compile=false or mt.backend=transformers",
        hang_s: float = HANG_S,
    ) -> None:
        self.arguments = dict(arguments)
        self.name = name
        self._instead = instead
        self._hang_s = hang_s
        self._examine = examine
        self.n_starts = 0
        self._environment = dict(environment or {})
        self._lock = threading.Lock()
        self._changing = asyncio.Lock()
        self._loop = asyncio.new_event_loop()
        self._thread: threading.Thread | None = None
        self._opening = False
        self._closed = False
        self._engine: Any = None
        self.failure: EngineError | None = None
        """Why there is no engine any more."""
        self._others: set[int] = set()
        self._processes: set[int] = set()
        self._log: Path | None = None
        self._sockets = tempfile.TemporaryDirectory(prefix="alignatt-", ignore_cleanup_errors=True)

    def run(self, job: Job[T]) -> Future[T]:
        """Start ``job(engine)`` on the engine's loop; cancelling the future cancels it. EngineError when it is gone."""
        self.start()
        return asyncio.run_coroutine_threadsafe(self._guarded(job), self._loop)

    def start(self) -> None:
        """Start the engine if that has not been done; returns when it is ready. EngineError with the reason if not."""
        with self._lock:
            if self._closed:
                raise EngineError(str(self.failure or f"The {self.name} was closed."))
            if self._thread is not None:
                return
            self._thread = threading.Thread(target=self._serve, name=self.name, daemon=True)
            self._thread.start()
            atexit.register(self.close)
            # Before any job: those of other threads, which go on at once, wait for it on the loop.
            opened = asyncio.run_coroutine_threadsafe(self._open_first(), self._loop)
        try:
            opened.result()
        except BaseException:
            # Also for Ctrl-C: vLLM's start cannot be interrupted, its processes can.
            self.close()
            raise

    def close(self) -> None:
        """End the engine and its processes. Idempotent; jobs that still run are cancelled."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        atexit.unregister(self.close)
        self._end_thread()
        self._sockets.cleanup()

    def _end_thread(self) -> None:
        if self._thread is None:
            self._loop.close()
            return
        if self._opening:
            self._kill()
        self._loop.call_soon_threadsafe(self._stop)
        self._thread.join(CLOSE_S)
        if self._thread.is_alive():
            self._kill()
            self._thread.join(CLOSE_S)
        if self._log is not None:
            self._log.unlink(missing_ok=True)

    async def _guarded(self, job: Job[T]) -> T:
        from vllm.v1.engine.exceptions import EngineDeadError

        while True:
            async with self._changing:
                engine = self._engine
            if engine is None:
                raise EngineError(str(self.failure or f"The {self.name} is gone."))
            try:
                return await asyncio.wait_for(_watched(engine, job), self._hang_s)
            except EngineDeadError:
                what = "died"
            except TimeoutError:
                what = f"did not answer for {self._hang_s:g} s"
            # It goes on when this job is cancelled: others wait for the engine.
            await asyncio.shield(self._replace(engine, what))

    async def _replace(self, engine: Any, what: str) -> None:
        """Start the engine again, unless another job has seen to that."""
        async with self._changing:
            if self._engine is not engine or self._closed:
                return
            said = self._reason()
            because = f" ({said})" if said else ""
            self._engine = None
            end(engine)
            if self.n_starts > 1:
                self.failure = EngineError(
                    f"The {self.name} {what} again{because}. What was said stays said; start anew, with "
                    f"{self._instead} if it happens again.{self._kept_log()}"
                )
                raise self.failure
            LOGGER.warning("The %s %s%s; it is started again.", self.name, what, because)
            await self._open()

    async def _open_first(self) -> None:
        async with self._changing:
            await self._open()

    async def _open(self) -> None:
        """Make the engine and examine it, once no other one is starting."""
        while not _STARTING.acquire(blocking=False):
            await asyncio.sleep(WAIT_S)
        try:
            await self._make()
        finally:
            _STARTING.release()

    async def _make(self) -> None:
        """Making an engine blocks the loop: without one there is nothing else to do."""
        self.n_starts += 1
        self._others = _children()
        self._opening = True
        engine = None
        try:
            with self._variables():
                if self._log is not None:  # it warns at import, before it reads VLLM_LOGGING_LEVEL
                    logging.getLogger("vllm").setLevel(logging.ERROR)
                from vllm.engine.arg_utils import AsyncEngineArgs
                from vllm.v1.engine.async_llm import AsyncLLM

                if self._log is not None:  # what goes wrong is said in one line
                    logging.getLogger("vllm").setLevel(logging.CRITICAL)
                engine = AsyncLLM.from_engine_args(AsyncEngineArgs(**self.arguments))
            if self._examine is not None:
                await self._examine(engine)
            self._engine = engine
        except Exception as error:
            said = "" if engine is not None else self._reason()
            said = said or " ".join(str(error).split())[: engine_process.MAX_REASON] or type(error).__name__
            what = "is not used" if engine is not None else "did not start"
            if engine is not None:
                end(engine)
            self.failure = EngineError(f"The {self.name} {what}: {said.rstrip('.')}.{self._kept_log()}")
            raise self.failure from error
        finally:
            self._processes = _children() - self._others
            self._opening = False

    def _serve(self) -> None:
        # Children inherit the mask: Ctrl-C reaches this process alone, which then ends them in order.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()

    def _stop(self) -> None:
        """On the loop: end the engine, cancel what waits for it, leave."""

        async def stop() -> None:
            engine, self._engine = self._engine, None
            tasks = [task for task in asyncio.all_tasks(self._loop) if task is not asyncio.current_task()]
            if engine is not None:
                end(engine)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._loop.stop()

        self._stopping = self._loop.create_task(stop())

    def _kill(self) -> None:
        """Kill the processes of an engine that is starting or does not end."""
        import psutil

        ours = _children() - self._others if self._opening else self._processes & _children()
        for pid in ours:
            with suppress(psutil.Error):
                parent = psutil.Process(pid)
                for process in (*parent.children(recursive=True), parent):
                    with suppress(psutil.Error):
                        process.kill()

    @contextmanager
    def _variables(self) -> Iterator[None]:
        """The environment that the engine's processes inherit. What the user has set is left as it is."""
        quiet = not LOGGER.isEnabledFor(logging.INFO)
        variables = {"VLLM_NO_USAGE_STATS": "1", "VLLM_WORKER_MULTIPROC_METHOD": "spawn", **self._environment}
        variables[engine_process.VARIABLE] = ""
        if len(self._sockets.name) <= MAX_SOCKET_FOLDER:
            variables["VLLM_RPC_BASE_PATH"] = self._sockets.name
        if quiet:
            if self._log is None:
                handle, path = tempfile.mkstemp(prefix="alignatt-vllm-", suffix=".log")
                os.close(handle)
                self._log = Path(path)
            self._log_start = self._log.stat().st_size
            variables |= {"VLLM_LOGGING_LEVEL": "ERROR", engine_process.VARIABLE: str(self._log)}
            variables |= {"TRANSFORMERS_VERBOSITY": "error", "PYTHONWARNINGS": "ignore"}
        added = {name: value for name, value in variables.items() if name not in os.environ}
        os.environ.update(added)
        try:
            with _hushed() if quiet else nullcontext():
                yield
        finally:
            for name in added:
                os.environ.pop(name, None)

    def _reason(self) -> str:
        return engine_process.reason(self._log, self._log_start) if self._log is not None else ""

    def _kept_log(self) -> str:
        """Keep the log and say where it is."""
        log, self._log = self._log, None
        return f" Everything it said: {log}" if log is not None and log.stat().st_size else ""


def _children() -> set[int]:
    return {process.pid for process in multiprocessing.active_children() if process.pid}


async def _watched(engine: Any, job: Job[T]) -> T:
    """``job(engine)``; vLLM's EngineDeadError when the engine dies meanwhile."""
    task = asyncio.ensure_future(job(engine))
    try:
        while not (await asyncio.wait({task}, timeout=WATCH_S))[0]:
            if engine.errored:
                raise engine.dead_error
        return task.result()
    finally:
        task.cancel()


@contextmanager
def _hushed() -> Iterator[None]:
    """Without the warnings of Transformers about how vLLM uses it."""
    from transformers.utils import logging as transformers_logging

    level = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers_logging.set_verbosity(level)


def end(engine: Any) -> None:
    """Shut an AsyncLLM down for good."""
    with suppress(Exception):
        engine.shutdown()
    # It does so again when it is collected, which may be too late: when the interpreter ends.
    engine.shutdown = lambda *_: None
