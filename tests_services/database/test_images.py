"""What holds of images beside a file holds with PostgreSQL."""

from tests.serve.test_images import *  # noqa: F403
