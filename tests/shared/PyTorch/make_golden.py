"""Makes golden.json: what PyTorch computes for the card's network, for the tests to hold this engine against.

    coordinator train --seed 6 --max-steps 0 --out initial        # the initial weights
    python3 make_golden.py DATA_DIR initial/model.safetensors > golden.json

DATA_DIR holds MNIST's four uncompressed IDX files. Needs numpy and PyTorch (2.6 made the committed file). All is done
in float64, so that what the tests see is this engine's rounding and not the peer's. With most seeds some pooling window
meets, within 20 steps, two values that float32 cannot tell apart, and F(5x5,3x3) within 8; RMSprop makes much of the
gradient that then takes another way, and PyTorch's own float32 and float64 differ by up to 5%. With seed 6 and 8 steps
all stay within 1e-4. Of each tensor the file has its
Euclidean norm, its products with three fixed cosine vectors and 48 values spread over it: together as good as the
whole, and small.
"""
import hashlib, json, os, struct, sys
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

data, weights_file = sys.argv[1:3]
torch.set_default_dtype(torch.float64)


def idx(name, header, shape):
    return np.fromfile(os.path.join(data, name), dtype=np.uint8)[header:].reshape(shape)


def load_safetensors(path):
    raw = open(path, "rb").read()
    size = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8:8 + size])
    header.pop("__metadata__", None)
    return {name: np.frombuffer(raw[8 + size + t["data_offsets"][0]:8 + size + t["data_offsets"][1]], "<f4").reshape(t["shape"])
            for name, t in header.items()}


# Pixels in float32, as every framework divides them, then widened.
images = (idx("train-images-idx3-ubyte", 16, (-1, 28, 28, 1)).astype(np.float32) / np.float32(255)).astype(np.float64)
labels = idx("train-labels-idx1-ubyte", 8, (-1,)).astype(np.int64)
order = ["conv2d_1", "conv2d_2", "conv2d_3", "dense_1", "dense_2"]
initial = load_safetensors(weights_file)


class Net(nn.Module):
    """Keras' shapes and order: kernels HWIO, dense kernels input x output, flattened as H, W, C."""

    def __init__(self):
        super().__init__()
        self.p = nn.ParameterList(
            nn.Parameter(torch.tensor(initial[f"{layer}/{part}"].astype(np.float64)))
            for layer in order for part in ("kernel", "bias"))

    def forward(self, x):
        p = self.p
        conv = lambda x, i: F.relu(F.conv2d(x, p[2 * i].permute(3, 2, 0, 1), p[2 * i + 1]))
        x = F.max_pool2d(conv(x.permute(0, 3, 1, 2), 0), 2)
        x = F.max_pool2d(conv(x, 1), 2)
        x = conv(x, 2).permute(0, 2, 3, 1).flatten(1)
        x = F.relu(x @ p[6] + p[7])
        return x @ p[8] + p[9]


def describe(tensors):
    out = []
    for i, t in enumerate(tensors):
        flat = t.detach().numpy().astype(np.float64).reshape(-1)
        n = np.arange(flat.size)
        places = np.unique(np.linspace(0, flat.size - 1, 48).astype(int))
        out.append(dict(
            name=f"{order[i // 2]}/{('kernel', 'bias')[i % 2]}", norm=float(np.linalg.norm(flat)),
            products=[float(flat @ np.cos(0.37 * k * n + k)) for k in (1, 2, 3)],
            places=places.tolist(), values=flat[places].tolist()))
    return out


def batch(step):
    s = slice(step * 64, step * 64 + 64)
    return torch.tensor(images[s]), torch.tensor(labels[s])


net = Net()
x, y = batch(0)
loss = F.cross_entropy(net(x), y, reduction="sum")
loss.backward()
gradients = describe([p.grad for p in net.p])

net = Net()
optimiser = torch.optim.RMSprop(net.parameters(), lr=1e-3, alpha=0.9, eps=1e-7)
for step in range(8):
    optimiser.zero_grad()
    x, y = batch(step)
    F.cross_entropy(net(x), y).backward()
    optimiser.step()

flat = np.concatenate([initial[f"{layer}/{part}"].reshape(-1) for layer in order for part in ("kernel", "bias")])
json.dump(dict(
    torch=torch.__version__, initial_sha256=hashlib.sha256(flat.astype("<f4").tobytes()).hexdigest(),
    loss_sum=loss.item(), gradients=gradients, weights_after_8_steps=describe(net.p)),
    sys.stdout, indent=1)
print()
