"""An artifact in production on one machine."""
