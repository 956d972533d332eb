"""``simulstream serve``: simulstream's own WebSocket or HTTP server around an agent.

The two YAML files the servers read are written to a temporary folder; then the server's own entry point runs until
Ctrl-C or SIGTERM. The WebSocket server can log every client to ``DIR/simulstream.jsonl``. The HTTP server keeps no
log: its client is a simulstream with ``HttpProxySpeechProcessor``, which does.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import yaml

from agent.errors import UserError
from agent.run import folder as run_folder
from agent.run import manifest
from agent.run.inference import metrics_logger
from agent.run.settings import Settings, load_class

TTL_S = 3600.0
"""Seconds after which the HTTP server takes a silent client's agent back. A long chunk must not reach it."""
ACQUIRE_TIMEOUT_S = 60
"""Seconds a WebSocket client waits for a free agent."""
LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Endpoint:
    """Where to listen and for how many clients at once. Port 0 takes a free one."""

    protocol: Literal["websocket", "http"] = "websocket"
    host: str = "127.0.0.1"
    port: int = 8080
    pool_size: int = 1


def serve(
    settings: Settings, endpoint: Endpoint, log_folder: Path | None, force: bool, command: Sequence[str] = ()
) -> int:
    """Serve until interrupted; returns 0. UserError before any model is loaded when something cannot be used."""
    if log_folder and endpoint.protocol == "http":
        raise UserError(
            "The HTTP server keeps no log, its client does: leave --output out, or use --protocol websocket."
        )
    if log_folder:
        run_folder.check(log_folder, force)
    check_address(endpoint)
    load_class(settings.agent)
    print("Loading the agent…", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(prefix="simulstream-serve-") as scratch:
        log = _claim(log_folder, force, settings, command) if log_folder else None
        args = _write_configs(Path(scratch), settings, endpoint, log)
        try:
            _serve_websocket(args, endpoint) if endpoint.protocol == "websocket" else _serve_http(args, endpoint)
        except KeyboardInterrupt:
            print("Stopped.")
        except BaseException:
            if log and not _served(log):
                _give_up(log.parent)
            raise
    return 0


def check_address(endpoint: Endpoint) -> None:
    """UserError unless the endpoint can be listened on."""
    try:
        family = socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((endpoint.host, endpoint.port))
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"Cannot listen on {endpoint.host}:{endpoint.port}: {reason}.") from error


def _write_configs(scratch: Path, settings: Settings, endpoint: Endpoint, log: Path | None) -> argparse.Namespace:
    server = {
        "hostname": endpoint.host,
        "port": endpoint.port,
        "pool_size": endpoint.pool_size,
        "acquire_timeout": ACQUIRE_TIMEOUT_S,
        "ttl": TTL_S,
        "metrics": {"enabled": log is not None, "filename": str(log or "")},
    }
    server_config, agent_config = scratch / "server.yaml", scratch / "agent.yaml"
    server_config.write_text(yaml.safe_dump(server, sort_keys=False), encoding="utf-8")
    agent_config.write_text(settings.dump(), encoding="utf-8")
    return argparse.Namespace(server_config=str(server_config), speech_processor_config=str(agent_config))


def _serve_websocket(args: argparse.Namespace, endpoint: Endpoint) -> None:
    from simulstream.server import websocket_server

    listen = websocket_server.serve

    @asynccontextmanager
    async def announcing(*values: Any, **options: Any) -> AsyncIterator[Any]:
        async with listen(*values, **options) as server:
            _announce("ws", endpoint, next(iter(server.sockets)).getsockname()[1])
            yield server

    _warm_up_resampler()
    with metrics_logger(), _replaced(websocket_server, "serve", announcing):
        asyncio.run(websocket_server.main(args))


def _serve_http(args: argparse.Namespace, endpoint: Endpoint) -> None:
    from simulstream.server.speech_processors.remote import http_speech_processor_server as server

    class AnnouncingServer(server.ThreadingHTTPServer):  # type: ignore[misc]
        def server_activate(self) -> None:
            super().server_activate()
            _announce("http", endpoint, self.server_address[1])

        def handle_error(self, request: Any, client_address: Any) -> None:
            LOGGER.warning("A request of %s failed.", client_address, exc_info=True)

    def log_message(self: Any, form: str, *values: Any) -> None:
        LOGGER.info(form, *values)  # a line a request, only with --verbose

    handler = server.HttpSpeechProcessorHandler
    with _replaced(server, "ThreadingHTTPServer", AnnouncingServer), _replaced(handler, "log_message", log_message):
        server.serve(args)


@contextmanager
def _replaced(module: Any, name: str, value: Any) -> Iterator[None]:
    """simulstream has no hook for "now listening": stand in for the class that its server opens."""
    original = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, original)


def _announce(scheme: str, endpoint: Endpoint, port: int) -> None:
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    clients = "1 client" if endpoint.pool_size == 1 else f"{endpoint.pool_size} clients"
    print(f"Serving {clients} at once on {scheme}://{host}:{port}/ (Ctrl-C stops)", flush=True)


def _warm_up_resampler() -> None:
    """Clients may send any rate; the first call of the resampler takes seconds and must not fall into a chunk."""
    import librosa
    import numpy as np

    librosa.resample(np.zeros(4800, dtype=np.float32), orig_sr=48_000, target_sr=16_000)


def _claim(folder: Path, force: bool, settings: Settings, command: Sequence[str]) -> Path:
    """Make the log folder with configuration and manifest; returns the path of the log."""
    text = settings.dump()
    with run_folder.OutputFolder(folder, force) as made:
        (made.folder / run_folder.CONFIG).write_text(text, encoding="utf-8")
        (made.folder / run_folder.LOG).touch()
        started = {"started_utc": datetime.now(UTC).isoformat(timespec="seconds")}
        described = manifest.describe(settings, text, [], command, started)
        run_folder.write_json(made.folder / run_folder.MANIFEST, described)
        made.commit()
        return made.path / run_folder.LOG


def _served(log: Path) -> bool:
    return '"model_loading_time"' in log.read_text(encoding="utf-8")


def _give_up(folder: Path) -> None:
    for name in (run_folder.LOG, run_folder.CONFIG, run_folder.MANIFEST):
        (folder / name).unlink(missing_ok=True)
    folder.rmdir()
