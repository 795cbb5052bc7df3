"""Trains the digits network and writes weights.pt, heldout/images.jsonl and heldout/labels.json, which are committed.

    pip install torch scikit-learn
    python train.py

Takes seconds on one CPU core. The seed fixes the split, the initial weights, the order and the augmentation, so a
second run on the same machine and torch writes the same weights. A third of the images is held out, never trained on
and not used to choose anything; the accuracy printed at the end is measured on it, and so is the demo's.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import torch
from net import Net
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.nn import functional

HERE = Path(__file__).parent
SEED = 20261122
EPOCHS = 60
BATCH = 64
LEARNING_RATE = 4e-3


def split() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Training images and labels, held-out images and labels; every digit in the same share on both sides."""
    pixels, digits = load_digits(return_X_y=True)
    images = torch.tensor(pixels, dtype=torch.float32).reshape(-1, 1, 8, 8)
    labels = torch.tensor(digits)
    train, held = train_test_split(
        list(range(len(labels))), test_size=1 / 3, stratify=labels.tolist(), random_state=SEED
    )
    return images[train], labels[train], images[held], labels[held]


def shifted(images: torch.Tensor) -> torch.Tensor:
    """The images, each moved by up to one pixel in each direction, as another writer's hand would."""
    padded = functional.pad(images, (1, 1, 1, 1))
    offsets = torch.randint(0, 3, (len(images), 2)).tolist()
    return torch.stack([p[:, y : y + 8, x : x + 8] for p, (y, x) in zip(padded, offsets, strict=True)])


def train(images: torch.Tensor, labels: torch.Tensor) -> Net:
    """A network fitted to the images."""
    net = Net()
    steps = EPOCHS * -(-len(labels) // BATCH)
    optimiser = torch.optim.AdamW(net.parameters(), lr=LEARNING_RATE, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=steps)
    for _ in range(EPOCHS):
        for chosen in torch.randperm(len(labels)).split(BATCH):
            loss = functional.cross_entropy(net(shifted(images[chosen])), labels[chosen], label_smoothing=0.05)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return net.eval()


def write_held_out(images: torch.Tensor, labels: torch.Tensor) -> None:
    """One image a line, in the form the API takes it (no numpy needed to read it), and the labels beside it."""
    folder = HERE / "heldout"
    folder.mkdir(exist_ok=True)
    lines = (json.dumps(image, separators=(",", ":")) for image in images.int().tolist())
    (folder / "images.jsonl").write_text("".join(f"{line}\n" for line in lines))
    (folder / "labels.json").write_text(json.dumps(labels.tolist()) + "\n")


def main() -> None:
    """Trains, writes the files, prints the held-out accuracy."""
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    train_images, train_labels, held_images, held_labels = split()
    started = time.perf_counter()
    net = train(train_images, train_labels)
    seconds = time.perf_counter() - started
    with torch.inference_mode():
        right = int((net(held_images).argmax(1) == held_labels).sum())
    torch.save(net.state_dict(), HERE / "weights.pt")
    write_held_out(held_images, held_labels)
    print(f"trained on {len(train_labels)} images in {seconds:.1f} s")
    print(f"held out: {right} of {len(held_labels)} right, accuracy {right / len(held_labels):.4f}")


if __name__ == "__main__":
    main()
