"""A joiner needs a leader. What it does beside one is in test_workers."""

import pytest
from studies import config

from primum.errors import InputError
from primum.models.reference import parse_model
from primum.workflows import joining
from primum.workflows.request import OptimizeRequest


def test_without_a_leader_nothing_is_joined(workshop, tmp_path, monkeypatch):
    monkeypatch.setattr(joining, "LEADER_S", 0.5)
    request = OptimizeRequest(parse_model("nets:build", workshop.weights), workshop.few, tmp_path, config=config())
    with pytest.raises(InputError, match="nobody leads"):
        joining.join(request)
    assert not list((tmp_path / "study" / "workers").iterdir())
