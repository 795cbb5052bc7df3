"""The client: submit inference tasks to a Cresset server and get their results, blocking or with asyncio.

One core without input or output (`_core`, `_messages`) decides what is sent, what is tried again and what an answer
means; `_sync` and `_async` only carry it out, so the two clients cannot differ.

| module | does |
| --- | --- |
| `_bulk` | many tasks in one request |
| `_bulk_calls` | what the clients have of that |
| `_core` | the steps of every call, as generators of effects |
| `_dead` | the same for dead letters, with their faces |
| `_events` | following a task: what comes, and when to come back |
| `_streams` | results that come piece by piece, and predictions read so |
| `_messages` | requests made, answers read |
| `_options` | timeouts, times, retries and idempotency keys, checked |
| `_inputs` | arrays and tensors as bytes |
| `_arrays` | results as numpy arrays or torch tensors |
| `_safetensors` | the form in which both travel |
| `_sync`, `_async` | the clients |
| `_handles` | tasks in the hands of callers |
| `_pools` | the connections behind them |
| `_lines` | those of the blocking client's calls |
"""

from __future__ import annotations

from cresset.client._async import AsyncClient
from cresset.client._bulk import AsyncBatchHandle, BatchHandle
from cresset.client._handles import AsyncTaskHandle, TaskHandle
from cresset.client._options import Retries
from cresset.client._streams import AsyncStream, Stream
from cresset.client._sync import Client

__all__ = [
    "AsyncBatchHandle",
    "AsyncClient",
    "AsyncStream",
    "AsyncTaskHandle",
    "BatchHandle",
    "Client",
    "Retries",
    "Stream",
    "TaskHandle",
]
