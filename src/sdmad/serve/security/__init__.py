"""Who may ask the server, and what its answers let a browser do."""
