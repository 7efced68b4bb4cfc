"""`primum serve --new-key`: a key, and its entry with the scopes that were asked for."""

import pytest
import yaml
from shell import primum


@pytest.mark.parametrize(
    ("asked", "scopes"),
    [((), ["infer"]), (("metrics",), ["metrics"]), (("admin", "infer", "admin"), ["infer", "admin"])],
)
def test_a_new_key_has_the_scopes_that_are_asked_for(asked, scopes):
    done = primum("serve", "--new-key", "ops", *(word for scope in asked for word in ("--scope", scope)))
    (entry,) = yaml.safe_load(done.stdout.split("--keys:\n\n")[1])["keys"]
    assert entry["name"] == "ops" and entry["scopes"] == scopes


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--new-key", "ops", "--scope", "root"), "infer, metrics, optimize, admin"),
        (("x", "--scope", "admin"), "--new-key"),
    ],
)
def test_scopes_that_are_none_or_of_no_key_are_refused(given, said):
    done = primum("serve", *given)
    assert done.returncode == 2 and said in done.stderr and done.stderr.count("\n") == 1
