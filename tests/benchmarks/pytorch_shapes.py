"""Times the networks of shapes.json in PyTorch on one thread: forward, loss and backward for 64 images, as the
benchmark `Shapes` does here. Prints the minimum of many in milliseconds.

usage: pytorch_shapes.py shapes.json
"""
import json, sys, time
import torch
from torch import nn
from torch.nn import functional as F

torch.set_num_threads(1)
torch.manual_seed(1)


def pair(value):
    return tuple(value) if isinstance(value, list) else (value, value)


class Same(nn.Module):
    """Keras' padding: an odd zero goes to the bottom and right."""

    def __init__(self, size, strides):
        super().__init__()
        self.size, self.strides = size, strides

    def forward(self, x):
        pads = []
        for extent, size, stride in zip(x.shape[:1:-1], self.size[::-1], self.strides[::-1]):
            total = max((-(-extent // stride) - 1) * stride + size - extent, 0)
            pads += [total // 2, total - total // 2]
        return F.pad(x, pads)


def build(shape):
    height, width, channels = shape["input"]
    x = torch.rand(64, channels, height, width).to(memory_format=torch.channels_last)
    layers = []
    for layer in shape["layers"]:
        size = nn.Sequential(*layers)(x).shape
        kind = layer["layer"]
        if kind == "Conv2D":
            kernel, strides = pair(layer["kernel_size"]), pair(layer.get("strides", 1))
            if layer.get("padding") == "same" and strides == (1, 1):
                layers.append(nn.Conv2d(size[1], layer["filters"], kernel, padding="same"))
            else:
                if layer.get("padding") == "same":
                    layers.append(Same(kernel, strides))
                layers.append(nn.Conv2d(size[1], layer["filters"], kernel, strides))
        elif kind == "MaxPooling2D":
            layers.append(nn.MaxPool2d(pair(layer["pool_size"])))
        elif kind == "Flatten":
            layers.append(nn.Flatten())
        elif kind == "Dense":
            layers.append(nn.Linear(size[1], layer["units"]))
        if layer.get("activation") == "relu":
            layers.append(nn.ReLU())
    return nn.Sequential(*layers).to(memory_format=torch.channels_last), x


for shape in json.load(open(sys.argv[1])):
    model, x = build(shape)
    y = torch.arange(64) % shape["classes"]
    best, started = 1e9, time.perf_counter()
    while time.perf_counter() - started < 4:
        model.zero_grad()
        t = time.perf_counter()
        F.cross_entropy(model(x), y).backward()
        best = min(best, time.perf_counter() - t)
    print(f"{shape['name']:28s} {best * 1e3:8.3f}", flush=True)
