"""Files of the live page."""
