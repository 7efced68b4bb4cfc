"""A model that is never built: its study runs until it is ended, with a process of its own beside it."""

import subprocess
import time


def build():
    subprocess.Popen(["sleep", "300"])
    time.sleep(300)
