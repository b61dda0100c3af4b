"""The bundled server, for those who want to see or stop it."""

from pathlib import Path

from ._io import launcher
from .settings import Settings

__all__ = ["BundledServer", "launch"]


class BundledServer:
    """A running server of ours. It outlives this process, and ends when nobody uses it for 15 minutes."""

    def __init__(self, record: launcher.ServerRecord, data_dir: Path) -> None:
        self._record = record
        self.data_dir = data_dir

    @property
    def url(self) -> str:
        """Its address."""
        return self._record.url

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._record.pid

    def stop(self) -> None:
        """End it. Runs that were cut off go on when it is started again."""
        launcher.stop(self.data_dir)

    def __repr__(self) -> str:
        return f"<BundledServer {self.url} pid {self.pid}>"


def launch(*, data_dir: str | Path | None = None, model: str | None = None) -> BundledServer:
    """Return the bundled server of a data directory; start it if it does not run.

    One that runs with another model than `model` is started anew; None takes what runs.

    Raises:
        ServerStartError: it did not start; `log` has its last lines.
        SettingsError: `data_dir` is no directory.
    """
    settings = Settings.load(data_dir=data_dir, model=model)
    record = launcher.ensure(settings.data_dir, settings.model, renew=model is not None)
    return BundledServer(record, settings.data_dir)
