"""The steps behind the commands that fit a model or load one."""
