"""What readers see: HTML shells, scripts and styles, with no build step."""
