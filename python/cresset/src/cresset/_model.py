"""The base class of models. Imports nothing but the standard library, so that a model runs where it is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from os import PathLike
    from pathlib import Path

    from cresset._specs import TensorSpec


def joined(chunks: list[Any]) -> Any:
    """Join pieces of a result as `Model.join` does by default."""
    if chunks and all(isinstance(chunk, str) for chunk in chunks):
        return "".join(chunks)
    return chunks


class Model:
    """A model that Cresset serves: derive from it in `model.py` and write `predict`.

    ```python
    import cresset
    import torch


    class Digits(cresset.Model):
        def load(self):
            self.net = Net().to(self.device)
            self.net.load_state_dict(self.load_weights("weights.pt"))

        def predict(self, batch):
            return self.net(batch)
    ```

    One process holds one instance. It is made once, `load` and then `warmup` are called once, and then `predict` once
    per batch, always from the main thread and never two at a time, so the instance needs no locks. After `load`,
    `eval()` is called on every `torch.nn.Module` found in its attributes (in lists, tuples and dicts too); everything
    after `load` runs under `torch.inference_mode()`.

    **Tensor models** declare `[[inputs]]` in model.toml. `predict` gets the batch stacked: with one input a tensor of
    shape `(batch, *shape)` and the declared dtype, with several a dict from input name to such tensors, on
    `self.device`. The tensors are *borrowed*: on the CPU they lie in memory shared with the server and are overwritten
    after `predict` returns, so keep a `clone()` of what must outlive the call (or set `copy_inputs = true`). `predict`
    returns a tensor, a tuple or list (matched with the declared outputs in order), or a dict by output name;
    each with the batch first.

    **Object models** declare no inputs. Each item is a decoded JSON payload; `predict` gets a list with one entry per
    item and returns a list of the same length, in the same order. Results are JSON values; tensors, numpy arrays and
    numpy scalars inside them are converted.

    **Streaming models** are object models with `enabled = true` under `[stream]` in model.toml: `predict` gives its
    results piece by piece, and each piece reaches its reader at once. It is a generator that yields `(item, piece)`, or
    a dict from item to piece, for the inputs of the batch counted from 0, as a forward pass gives one token for each of
    them; or it returns a list with a generator for each item, and these are run in turn. A piece is a JSON value.
    `join` makes the result of them: texts are put together, others become a list.

    What a method prints or logs goes to the server's log. What it raises becomes the failure of the tasks in hand, and
    the instance goes on. Work that takes long may ask `cresset.current().cancelled` now and then whether anybody still
    wants its result. When a batch runs longer than `limits.soft_timeout` (model.toml), `cresset.SoftTimeout` is raised
    in it.
    """

    name: str
    """The model's name in the API."""
    version: str
    """The model's version, as model.toml says."""
    dir: Path
    """The model's folder, absolute. It is also the working directory of the process."""
    device: str
    """Where to compute: `cpu`, `cuda:0`, ... Moving the module there is `load`'s part."""
    threads: int
    """Compute threads of this process; torch has been told. 1 or more."""
    instance: int
    """Which of the model's processes this is, from 0."""
    inputs: tuple[TensorSpec, ...]
    """The declared inputs; empty for an object model."""
    outputs: tuple[TensorSpec, ...]
    """The declared outputs; may be empty."""
    max_batch_size: int
    """The largest batch that `predict` will get. 1 or more."""
    allow_pickle: bool
    """Whether model.toml allows weights that are pickled code."""

    def load(self) -> Any:
        """Load weights and build what `predict` needs. Called once; may take as long as `limits.start_timeout`.

        The return value is ignored, but a `torch.nn.Module` in it gets `eval()` too. The default does nothing.
        """

    def preprocess(self, payload: Any) -> Any:
        """Turn one decoded JSON payload into one entry of the batch. Object models only.

        What it raises fails that item alone. The default gives the payload back.
        """
        return payload

    def predict(self, batch: Any) -> Any:
        """Compute a batch; see the class for what goes in and out. Must be overridden.

        When it raises, the server runs the batch again in parts until only the items that really fail do.
        """
        raise NotImplementedError(f"{type(self).__name__} must define predict(self, batch)")

    def postprocess(self, output: Any) -> Any:
        """Turn one entry of what `predict` gave into a JSON value.

        Object models: one entry of the list. Tensor models: the item's output without the batch dimension, on the CPU;
        a tensor when there is one output, a dict from name to tensor when there are several. A tensor model that
        defines this answers with JSON instead of tensors. What it raises fails that item alone. The default gives the
        output back.
        """
        return output

    def join(self, chunks: list[Any]) -> Any:
        """Make the result of one item from the pieces that `predict` gave of it, in order. Streaming models only.

        The default puts texts together, and gives any other pieces as a list; without pieces, an empty list. What it
        raises fails that item alone. `postprocess`, where there is one, gets what this gives.
        """
        return joined(chunks)

    def warmup(self) -> Any:
        """Run what the first batch would be slow at. Called once after `load`, before the instance counts as ready.

        For a tensor model, `self.predict(self.example_batch(self.max_batch_size))` will often do. The default does
        nothing.
        """

    def example_batch(self, size: int = 1) -> Any:
        """Make a batch of zeros as `predict` gets it. Tensor models only.

        Args:
            size: items in it, 1 or more.

        Returns:
            A tensor, or a dict of tensors when several inputs are declared; free dimensions (-1) are 1 long.

        Raises:
            TypeError: the model declares no inputs.
        """
        from cresset.runner._torch import zeros  # noqa: PLC0415  # only where a model runs

        return zeros(self.inputs, self.device, size)

    def load_weights(self, path: str | PathLike[str], *, device: str | None = None) -> Any:
        """Load weights as data, without running code from the file.

        `.safetensors` files are read with the safetensors package, all others with `torch.load(weights_only=True)`. A
        pickled module is refused, with a list of what the file wanted to import, unless model.toml says
        `allow_pickle = true`: then whoever wrote the file can run code here.

        Args:
            path: the file; relative to `self.dir`.
            device: where the tensors go. Default `self.device`.

        Returns:
            What the file holds, usually a state dict: a dict from parameter name to tensor.

        Raises:
            FileNotFoundError: there is no such file; the message names the weight files that are there.
            UnpicklingError: the file holds pickled code.
            ModuleNotFoundError: torch or safetensors is not installed.
        """
        from cresset.runner._weights import load_weights  # noqa: PLC0415

        return load_weights(self.dir / path, device or self.device, allow_pickle=self.allow_pickle)
