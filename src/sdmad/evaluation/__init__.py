"""Metrics, intervals, protocols, tables, plots and the report of an evaluation."""
