"""The artifact: a folder with everything that is needed to predict and nothing that executes on load."""
