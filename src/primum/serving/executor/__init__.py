"""Where networks run: in the server's own process, or in processes of their own."""
