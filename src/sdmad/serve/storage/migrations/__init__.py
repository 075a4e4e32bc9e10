"""Changes of the database's tables, oldest first, run as the server starts (`..migrating`)."""
