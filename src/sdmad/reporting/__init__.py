"""Tables, plots, the report, explanations: numbers as people see them, and files on disk."""
