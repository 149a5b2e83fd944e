"""What a model costs: parameters, floating-point operations, latency. Measuring changes nothing: no random number, no mode, no gradient."""

import platform
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

WARM_UP = 5
CALLS = 30
INTERVAL = (9, 20)
"""The places, from 0, of the sorted times between which the true median lies in 95.7 % of cases: of 30 calls fewer than 10, or more than 20, lie below
it with the probability of so many heads in 30 throws."""


def cost_report(model: nn.Module, example: Tensor, device: torch.device | str) -> dict[str, Any]:
    """parameters, flops, latency_ms, batch_latency_ms, both with an `…_interval`, batch_size and device of a model that takes `example` (rows ≥ 1, …).

    flops is for one example, a multiplication and an addition counting as two; matrix products, convolutions and attention are counted,
    elementwise work is not. latency_ms is the median of 30 calls with the first row alone after 5 to warm up, batch_latency_ms the same with
    all of `example`; transfers are not timed. An interval holds that median with a probability of 95 %, as far as calls do not depend on each
    other; another process, or another day, is not in it. `device` is the hardware's name, with the number of threads on a CPU.

    The model is measured where it is, in eval mode; `device` says where that is and `example` is moved there. Afterwards each module's mode
    and the state of torch's random generators are what they were.

    Raises ValueError when `example` has no row.
    """
    device = torch.device(device)
    if example.ndim < 1 or len(example) == 0:
        raise ValueError(f"example must hold at least one row; got shape {tuple(example.shape)}.")
    batch = example.to(device)
    with _undisturbed(model, device):
        return {
            "parameters": parameter_count(model),
            "flops": _flops(model, batch[:1]),
            **_timed("latency_ms", model, batch[:1], device),
            **_timed("batch_latency_ms", model, batch, device),
            "batch_size": len(batch),
            "device": device_name(device),
        }


def parameter_count(model: nn.Module) -> int:
    """Numbers in the model's parameters, shared ones once, buffers not at all."""
    return sum(parameter.numel() for parameter in model.parameters())


def device_name(device: torch.device) -> str:
    """The hardware in words: "NVIDIA H100 80GB HBM3", or "AMD EPYC 7B13, 2 threads"."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "cpu":
        threads = torch.get_num_threads()
        return f"{_processor()}, {threads} thread{'s' * (threads != 1)}"
    return str(device)


@contextmanager
def _undisturbed(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Eval mode and no gradient inside; modes, module by module, and random generators as before outside."""
    modes = [(module, module.training) for module in model.modules()]
    # Only the device that the model is on: forking all of them would wake every GPU of the machine.
    cuda = [device] if device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=cuda), torch.no_grad():
            model.eval()
            yield
    finally:
        for module, training in modes:
            module.training = training


def _flops(model: nn.Module, one: Tensor) -> int:
    # Attention as plain matrix products: the counter knows no formula for the CPU's fused kernel.
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        model(one)
    return int(counter.get_total_flops())


def _timed(name: str, model: nn.Module, inputs: Tensor, device: torch.device) -> dict[str, Any]:
    """The median, and its interval."""
    for _ in range(WARM_UP):
        model(inputs)
    times = []
    for _ in range(CALLS):
        _wait(device)
        start = time.perf_counter()
        model(inputs)
        _wait(device)
        times.append(time.perf_counter() - start)
    in_order = sorted(1000 * seconds for seconds in times)
    return {name: statistics.median(in_order), f"{name}_interval": [in_order[place] for place in INTERVAL]}


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _processor() -> str:
    # platform.processor() is empty or only the architecture on Linux.
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine() or "CPU"
