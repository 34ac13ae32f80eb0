"""Trains small nets, alone or under torchrun, and saves their weights: used by test_distributed."""

import sys

import torch

from wsaed import training


def train(norm: bool, halves: int = 1) -> dict[str, torch.Tensor]:
    """``halves`` 2 takes each batch as two halves in turn, as two processes would have it."""
    torch.manual_seed(0)
    layers = [torch.nn.Linear(6, 12), torch.nn.ReLU(), torch.nn.Linear(12, 1)]
    layers[1:1] = [torch.nn.BatchNorm1d(12)] * norm
    plain, x = torch.nn.Sequential(*layers), torch.randn(64, 6)
    y = x.sum(1, keepdim=True)

    def losses(net, rows):
        pieces = torch.as_tensor(rows).tensor_split(halves)
        return {"loss": sum((net(x[i]) - y[i]).square().mean() for i in pieces) / halves}

    budget = {"epochs": 3, "learning_rate": 0.01}
    training.fit(plain, losses, lambda epoch: training.shuffled(64, 16, 5, epoch), budget, seed=5)
    return dict(plain.named_parameters())


if __name__ == "__main__":
    for norm in (False, True):
        weights = train(norm)
        if training.rank_and_world()[0] == 0:
            torch.save(weights, f"{sys.argv[1]}/{norm}.pt")
