"""What the server refuses to do, and how it ends."""

import pytest
from served import call, server
from shell import primum


def test_binding_to_others_without_authentication_is_refused(artifact):
    done = primum("serve", artifact, "--host", "0.0.0.0")
    assert done.returncode == 2 and "nobody is authenticated" in done.stderr


@pytest.mark.parametrize("given", [("a={0}", "a={0}"), ("{0}/model",)])
def test_unusable_artifacts_end_in_one_line(artifact, given):
    done = primum("serve", *(text.format(artifact) for text in given))
    assert done.returncode == 2 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


def test_two_models_side_by_side(artifact):
    with server(f"one={artifact}", f"two={artifact}") as port:
        for name in ("one", "two"):
            assert call(port, "GET", f"/v2/models/{name}")[2]["name"] == name
