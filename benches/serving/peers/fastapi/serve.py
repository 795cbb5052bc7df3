"""FastAPI under uvicorn, with the model inline: what most people write first."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response
from pydantic import BaseModel

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import work

app = FastAPI()
loaded = work.Work()


Numbers = list[float] if work.MODEL == "mlp" else list[Any]


class Body(BaseModel):
    """A request."""

    input: Numbers


@app.post("/predict")
async def predict(body: Body) -> dict[str, list[float]]:
    """JSON in, JSON out. In the event loop: for so small a model a thread costs more than the model."""
    return {"result": loaded.run(loaded.of_numbers([body.input]))[0].tolist()}


@app.post("/binary")
async def binary(request: Request) -> Response:
    """The bytes of a row in, bytes out."""
    row = loaded.of_bytes(await request.body())
    return Response(loaded.run(row[None])[0].tobytes(), media_type="application/octet-stream")


if __name__ == "__main__":
    # By name, so that uvicorn can start several processes of it.
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    uvicorn.run(
        "serve:app",
        host="127.0.0.1",
        port=work.PORT,
        workers=work.WORKERS,
        log_level="warning",
        access_log=False,
        timeout_worker_healthcheck=120,  # torch's import may take longer than the 5 s of uvicorn's own
    )
