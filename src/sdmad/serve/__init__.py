"""What `sdmad serve` runs: a worklist, readings and a REST interface; an extra ``[serve]``."""
