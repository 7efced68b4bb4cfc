"""One file a job that a user asks for."""
