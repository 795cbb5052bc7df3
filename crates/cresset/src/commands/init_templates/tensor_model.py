"""The model that this folder serves: one linear layer, without training. Put your own in its place.

model.toml declares what goes in and out; keep the two in step.
"""

import cresset
import torch


class Model(cresset.Model):
    def load(self):
        # Called once, before the first request. Real weights are loaded here:
        #     self.net.load_state_dict(self.load_weights("weights.pt"))
        torch.manual_seed(0)
        self.net = torch.nn.Linear(4, 4).to(self.device)

    def warmup(self):
        # Called once after `load`: what the first batch would be slow at.
        self.predict(self.example_batch(self.max_batch_size))

    def predict(self, batch):
        # Called for each batch, with a tensor of shape (items, 4) on self.device; returns one of shape (items, 4).
        return self.net(batch)
