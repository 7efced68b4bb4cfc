"""Progress as lines of JSON: stages and steps, never what is said."""

import json

from primum.cli.progress_file import ProgressFile
from primum.progress import Silent


class Heard(Silent):
    def __init__(self):
        self.said = []

    def say(self, text):
        self.said.append(text)


def test_stages_and_their_last_step_are_written_and_what_is_said_is_not(tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("primum.cli.progress_file.time.monotonic", lambda: clock[0])
    heard = Heard()
    with ProgressFile(tmp_path / "new" / "p.jsonl", heard) as progress:
        progress.stage("Trials", 1000)
        progress.say("case Quillfeather excluded")
        for done in range(1, 1001):
            clock[0] += 0.001
            progress.advance(done)
        progress.stage("Report")
    lines = [json.loads(line) for line in (tmp_path / "new" / "p.jsonl").read_text().splitlines()]
    assert lines[0] == {"stage": "Trials", "done": 0, "total": 1000}
    assert lines[-2:] == [
        {"stage": "Trials", "done": 1000, "total": 1000},
        {"stage": "Report", "done": 0, "total": None},
    ]
    assert len(lines) <= 2 + 1.0 / 0.2 + 1, "not a line a step"
    assert heard.said == ["case Quillfeather excluded"] and "Quill" not in str(lines)
