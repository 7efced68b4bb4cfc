"""What is seen of a running server: metrics, logs and traces."""
