"""What holds of readings in a file holds in PostgreSQL."""

from tests.serve.test_readings import *  # noqa: F403
