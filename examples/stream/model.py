"""A text that goes on letter by letter: a tiny network that is trained when it is loaded, so that nothing is fetched.

It looks at the last letters and says which comes next, for all texts of a batch in one forward pass: as a language
model does, and as small as it can be.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cresset
import torch
from torch import nn

#: What it learns. Lower case, so that there is less to learn.
LINES = (
    "the lamp on the hill is lit at dusk. the keeper climbs the hill with oil and a rope, and the boats in the bay "
    "turn to the light. when the wind is high he holds the rope, and when the night is long he sings. the boats come "
    "home one by one, and the lamp on the hill burns until the morning comes. "
)
#: It looks at so many letters.
WINDOW = 12
LETTERS_MAX = 2000
PAUSE_MAX = 1.0


@dataclass
class Order:
    """What one caller asks for."""

    text: str
    letters: int
    pause: float


class Writer(cresset.Model):
    """Yields a letter for each text of the batch at each step."""

    def load(self) -> None:
        """Learns the lines; takes some seconds on a CPU, and comes to the same network every time."""
        self.alphabet = sorted(set(LINES))
        self.code = {letter: number for number, letter in enumerate(self.alphabet)}
        torch.manual_seed(7)
        size = len(self.alphabet)
        self.net = nn.Sequential(nn.Embedding(size, 16), nn.Flatten(), nn.Linear(16 * WINDOW, 64), nn.Tanh())
        self.net.append(nn.Linear(64, size))
        codes = torch.tensor([self.code[letter] for letter in LINES + LINES[:WINDOW]])
        windows = codes.unfold(0, WINDOW + 1, 1)
        optimizer = torch.optim.Adam(self.net.parameters(), lr=0.02)
        for _ in range(80):
            loss = nn.functional.cross_entropy(self.net(windows[:, :WINDOW]), windows[:, WINDOW])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        self.net.to(self.device)

    def preprocess(self, payload: Any) -> Order:
        """Takes `{"text": "the lamp", "letters": 80, "pause": 0.05}`, or the text alone."""
        if isinstance(payload, str):
            payload = {"text": payload}
        if not isinstance(payload, dict) or not isinstance(payload.get("text"), str):
            raise TypeError('send a text, or {"text": "...", "letters": 80, "pause": 0}')
        letters, pause = payload.get("letters", 80), payload.get("pause", 0.0)
        if not isinstance(letters, int) or not 1 <= letters <= LETTERS_MAX:
            raise ValueError(f"letters must be a number from 1 to {LETTERS_MAX}")
        if not isinstance(pause, (int, float)) or not 0 <= pause <= PAUSE_MAX:
            raise ValueError(f"pause must be a number of seconds from 0 to {PAUSE_MAX:g}")
        return Order(payload["text"], letters, float(pause))

    def predict(self, batch: list[Order]) -> Iterator[dict[int, str]]:
        """Writes: at each step a dict from item to letter, without those that have all of theirs."""
        windows = torch.stack([self.window(order.text) for order in batch])
        pause = max(order.pause for order in batch)
        longest = max(order.letters for order in batch)
        for step in range(longest):
            following = self.net(windows).argmax(1)
            windows = torch.cat([windows[:, 1:], following[:, None]], 1)
            for item, order in enumerate(batch):
                cresset.current().progress(min(1.0, (step + 1) / order.letters), item=item)
            yield {
                item: self.alphabet[code]
                for item, (order, code) in enumerate(zip(batch, following.tolist(), strict=True))
                if step < order.letters
            }
            time.sleep(pause)  # so that people can watch

    def window(self, text: str) -> torch.Tensor:
        """Gives the codes of the last letters; what it does not know is a space."""
        space = self.code[" "]
        codes = [self.code.get(letter, space) for letter in text.lower()[-WINDOW:]]
        return torch.tensor([space] * (WINDOW - len(codes)) + codes, device=self.device)
