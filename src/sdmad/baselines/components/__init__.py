"""What several compared systems share."""
