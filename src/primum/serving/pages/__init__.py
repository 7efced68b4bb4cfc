"""Files of the pages."""
