"""The child side of the runner: the process that holds one model and speaks `docs/reference/runner-protocol.md`.

Standard library only, and torch where the model needs it; never httpx, never the client. The server puts nothing but
this package's `src` directory on the path of the model's own environment, so whatever is imported here must exist in
every environment that a model may bring.

Nothing in here is for the authors of models: they derive from `cresset.Model`.

Map:

| module | does |
| --- | --- |
| `__main__` | the order of the first lines, and the exit status |
| `_process` | parent death, descriptors, signals, streams |
| `_channel`, `_wire`, `_hello` | frames in and out |
| `_loop` | HELLO to exit |
| `_start`, `_discover`, `_weights` | from a folder to something that can be called |
| `_torch` | what is done with torch beside batches |
| `_slab`, `_device`, `_tensors`, `_outputs` | batches of tensor models |
| `_board` | which items are cancelled, while they run |
| `_soft` | code that runs past its soft time limit |
| `_objects`, `_items`, `_jsonable` | batches of object models, and JSON results |
| `_failure` | what goes wrong, in words |
"""
