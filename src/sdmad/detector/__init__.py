"""The SD-MAD detector and its parts; ``base`` is what every compared system offers."""
