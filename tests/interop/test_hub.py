"""Weights by their names on the Hugging Face hub, from a server on this machine."""

import http.server
import json
import subprocess
import sys
import threading

import pytest
import safetensors.numpy

from ns_jax.interop.foreign import to_foreign
from ns_jax.interop.hub import hub_id
from tests import command as command_line
from tests.conftest import REPO
from tests.interop.weights import random_artifact


@pytest.fixture
def hub():
    """A server that answers as the Hugging Face hub does, with one repository."""
    config = {
        "architecture": "tf_efficientnet_b0",
        "pretrained_cfg": {"mean": [0.485, 0.456, 0.406], "input_size": [3, 224, 224]},
    }
    files = {
        "config.json": json.dumps(config).encode(),
        "model.safetensors": safetensors.numpy.save(to_foreign(random_artifact("efficientnet-b0", 3), "timm")),
    }
    commit = "0123456789012345678901234567890123456789"

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            name = self.path.split("/")[-1].split("?")[0]
            if "/tree/" in self.path:
                body = json.dumps(
                    [
                        {"type": "file", "path": file, "size": len(content), "oid": f"{len(content):040x}"}
                        for file, content in files.items()
                    ]
                ).encode()
            elif self.path.startswith("/api/models/timm/tf_efficientnet_b0.ns_jft_in1k"):
                body = json.dumps(
                    {
                        "id": "timm/tf_efficientnet_b0.ns_jft_in1k",
                        "sha": commit,
                        "siblings": [{"rfilename": file} for file in files],
                    }
                ).encode()
            elif name in files:
                body = files[name]
            else:
                self.send_error(404)
                return
            self.send_response(200)
            for key, value in {
                "Content-Length": len(body),
                "ETag": f'"{len(body):040x}"',
                "X-Repo-Commit": commit,
            }.items():
                self.send_header(key, str(value))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("localhost", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_names_of_the_hub(tmp_path, hub):
    code = """
import ns_jax, ns_jax.errors
for name in ("tf_efficientnet_b0.ns_jft_in1k", "tf_efficientnet_b0_ns", "timm/tf_efficientnet_b0", "efficientnet-b0"):
    model = ns_jax.load(name)
    print(model.architecture.name, model.num_classes, model.resolution)
try:
    ns_jax.load("tf_efficientnet_b1.ns_jft_in1k")
except ns_jax.errors.UserError as error:
    print(error)
"""
    env = command_line.environment() | {
        "HF_ENDPOINT": f"http://localhost:{hub.server_port}",
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_DISABLE_XET": "1",
    }
    process = subprocess.run(
        [sys.executable, "-c", code], cwd=REPO, env=env, capture_output=True, text=True, timeout=200
    )
    assert process.returncode == 0, process.stderr
    lines = process.stdout.splitlines()
    assert lines[:4] == ["efficientnet-b0 3 224"] * 4
    assert "timm/tf_efficientnet_b1.ns_jft_in1k" in lines[4] and "is there a network" in lines[4]


def test_names_are_completed():
    assert hub_id("timm/tf_efficientnet_l2_ns_475") == "timm/tf_efficientnet_l2.ns_jft_in1k_475"
    assert hub_id("tf_efficientnet_lite0") == hub_id("tf_efficientnet_lite0.in1k") == "timm/tf_efficientnet_lite0.in1k"
    assert [hub_id(name) for name in ("efficientnet_lite0", "tf_efficientnet_lite0_ns", "tf_efficientnet_l2")] == [
        None
    ] * 3
