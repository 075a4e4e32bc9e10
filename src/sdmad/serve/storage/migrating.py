"""Bringing the tables of a database up to date."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from sdmad.errors import InputError
from sdmad.serve.storage.tables import Base

FOLDER = Path(__file__).parent / "migrations"


def migrate(connection: Connection) -> None:
    """Run the migrations that a database lacks.

    Raises:
        InputError: if a later version of this package has made its tables.
    """
    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    scripts = ScriptDirectory.from_config(config)

    def steps(revision: Any, _: Any) -> Any:
        known = {script.revision for script in scripts.walk_revisions()}
        if not set(revision) <= known:
            raise InputError(
                "a later version of sdmad has written this database; install that version, or "
                "give another database with --database"
            )
        return scripts._upgrade_revs("head", revision)

    with EnvironmentContext(config, scripts, fn=steps) as environment:
        environment.configure(connection=connection, target_metadata=Base.metadata)
        with environment.begin_transaction():
            environment.run_migrations()
