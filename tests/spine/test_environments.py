"""Interpreters built from requirements.txt, and what the operator reads when they cannot be."""

from __future__ import annotations

from pathlib import Path

from conftest import Serve
from support.models import ECHO
from support.server import as_json, run_cli


def test_requirements_are_built_once_and_shared(serve: Serve, tmp_path: Path) -> None:
    models = tmp_path / "models"
    for name in ("one", "two"):
        folder = models / name
        folder.mkdir(parents=True)
        (folder / "model.py").write_text(
            "import six\n\ndef predict(batch):\n    return [six.__version__ for _ in batch]\n"
        )
        (folder / "requirements.txt").write_text("six==1.16.0\n")
        (folder / "model.toml").write_text(f'name = "{name}"\n')
    cache = str(tmp_path / "cache")
    server = serve(models, "--cache-dir", cache).wait_ready()
    with server.http() as client:
        for name in ("one", "two"):
            assert client.post(f"/v1/models/{name}/predict", json={"input": 0}).json()["result"] == "1.16.0"
    listing = as_json(run_cli("env", "list", "--json", "--cache-dir", cache).stdout)
    assert [e["requirements"] for e in listing["environments"]] == [["six==1.16.0"]], listing


def test_requirements_that_do_not_resolve_say_so_and_the_others_are_served(serve: Serve, tmp_path: Path) -> None:
    models = tmp_path / "models"
    for name, wants in (("healthy", None), ("impossible", "six==999.0\n")):
        folder = models / name
        folder.mkdir(parents=True)
        (folder / "model.py").write_text(ECHO)
        if wants:
            (folder / "requirements.txt").write_text(wants)
    server = serve(models, "--cache-dir", str(tmp_path / "cache"))
    server.wait_log(lambda text: "six==999.0" in text, "which requirement cannot be met")
    server.wait(
        lambda c: c.post("/v1/models/healthy/predict", json={"input": 1}).status_code == 200, "serving the healthy one"
    )
    server.wait(
        lambda c: c.post("/v1/models/impossible/predict", json={"input": 1}).status_code == 503, "refusing the other"
    )
    with server.http() as client:
        detail = client.post("/v1/models/impossible/predict", json={"input": 1}).json()["detail"]
    assert "999" in detail, detail
