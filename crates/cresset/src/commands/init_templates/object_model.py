"""The model that this folder serves: how good or bad a text sounds. Put your own in its place."""

import cresset


class Model(cresset.Model):
    def load(self):
        # Called once, before the first request. Real weights are loaded here, for example
        #     self.net.load_state_dict(self.load_weights("weights.safetensors"))
        self.worth = {"good": 1.0, "great": 2.0, "bad": -1.0, "awful": -2.0}

    def preprocess(self, payload):
        # Called for each item, with the JSON that was sent. What it raises fails that item alone.
        return payload["text"].lower().split()

    def predict(self, batch):
        # Called for each batch, with a list of what `preprocess` gave; returns a list of the same length.
        return [sum(self.worth.get(word, 0.0) for word in words) for words in batch]

    def postprocess(self, output):
        # Called for each item, with its entry of that list; returns the JSON that is sent back.
        return {"score": output}
