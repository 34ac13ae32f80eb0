"""Trains a small net, alone or under torchrun, and saves its weights: used by test_distributed."""

import sys

import torch

from wsaed import training

ROWS, BATCH, EPOCHS = 64, 16, 3


def net_and_data(norm: bool):
    torch.manual_seed(0)
    layers = [torch.nn.Linear(6, 12), torch.nn.ReLU(), torch.nn.Linear(12, 1)]
    if norm:
        layers.insert(1, torch.nn.BatchNorm1d(12))
    x = torch.randn(ROWS, 6)
    return torch.nn.Sequential(*layers), x, x.sum(1, keepdim=True)


def train(path: str, norm: bool, halves: int) -> None:
    """``halves`` 2 takes each batch as two halves in turn, as two processes would have it."""
    plain, x, y = net_and_data(norm)
    net = training.distribute(plain)
    optimizer = torch.optim.Adam(net.parameters(), 0.01)

    def step(rows, epoch):
        optimizer.zero_grad()
        for piece in torch.as_tensor(rows).tensor_split(halves):
            loss = (net(x[piece]) - y[piece]).square().mean() / halves
            loss.backward()
        optimizer.step()
        return {"loss": loss}

    batches = lambda epoch: training.shuffled(ROWS, BATCH, 5, epoch)  # noqa: E731
    training.fit({"net": net}, {"adam": optimizer}, step, batches, epochs=EPOCHS, seed=5)
    if training.rank_and_world()[0] == 0:
        torch.save(dict(plain.named_parameters()), path)


if __name__ == "__main__":
    train(sys.argv[1], sys.argv[2] == "norm", int(sys.argv[3]))
