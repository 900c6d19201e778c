"""Claims of pieces of work in a bucket."""

import socket

from etils import epath

from ns_jax.experiment import lease
from ns_jax.experiment.claims import Claims
from tests.bucket.faults import Faults

FOLDER = epath.Path("gs://pictures/labels/claims")


def test_claims_of_other_machines(server, monkeypatch, quick_retries):
    with monkeypatch.context() as patch:
        patch.setattr(socket, "gethostname", lambda: "elsewhere")
        other = Claims(FOLDER)
        server.faults = Faults({"lost": 1.0}, in_row=1)  # it is made, and the answer lost
        assert other.try_take(0) and other.try_take(1)
        server.faults = Faults()
    claims = Claims(FOLDER)
    assert claims.look() == {0, 1} and not claims.try_take(0) and claims.try_take(2)
    monkeypatch.setattr(lease, "LEASE", 0.0)
    assert claims.look() == set() and claims.try_take(0)
    other.release(0)  # which is no longer its own
    other.release(1)
    assert server.objects.names("pictures") == ["labels/claims/00000.json", "labels/claims/00002.json"]
    with claims:
        pass
    assert server.objects.names("pictures") == []
