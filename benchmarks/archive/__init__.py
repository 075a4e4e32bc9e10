"""What archives take: ``make archive``, the figures of ``docs/archives.md``."""
