"""A scan in Triton, h_t = a_t h_{t-1} + u_t, with a kernel for each direction, as bpttcheck tests it on a CPU:

TRITON_INTERPRET=1 bpttcheck verify triton_scan.py:subject --examples 8
"""

import torch
import triton
import triton.language as tl

from bpttcheck import CustomCell
from bpttcheck.adapters.torch_function import TorchFunction

BLOCK = 16


@triton.jit
def forward_kernel(a, u, h0, h, T, N, BLOCK: tl.constexpr):
    """BLOCK columns of N, all steps of T."""
    column = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there = column < N
    state = tl.load(h0 + column, mask=there, other=0.0)
    for t in range(T):
        place = t * N + column
        state = tl.load(a + place, mask=there, other=0.0) * state + tl.load(u + place, mask=there, other=0.0)
        tl.store(h + place, state, mask=there)


@triton.jit
def backward_kernel(a, h0, h, dh, dlast, da, du, dh0, T, N, BLOCK: tl.constexpr):
    column = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there = column < N
    carried = tl.load(dlast + column, mask=there, other=0.0)
    for back in range(T):
        place = (T - 1 - back) * N + column
        carried += tl.load(dh + place, mask=there, other=0.0)
        before = tl.load(h0 + column, mask=there, other=0.0)
        if back < T - 1:
            before = tl.load(h + place - N, mask=there, other=0.0)
        tl.store(da + place, carried * before, mask=there)
        tl.store(du + place, carried, mask=there)
        carried *= tl.load(a + place, mask=there, other=0.0)
    tl.store(dh0 + column, carried, mask=there)


class Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx, a, u, h0):
        h = torch.empty_like(u)
        N = h0.numel()
        forward_kernel[(triton.cdiv(N, BLOCK),)](a, u, h0, h, len(u), N, BLOCK=BLOCK)
        ctx.save_for_backward(a, h0, h)
        return h, h[-1].clone()

    @staticmethod
    def backward(ctx, dh, dlast):
        a, h0, h = ctx.saved_tensors
        da, du, dh0 = torch.empty_like(h), torch.empty_like(h), torch.empty_like(h0)
        given, N = (a, h0, h, dh.contiguous(), dlast.contiguous()), h0.numel()
        backward_kernel[(triton.cdiv(N, BLOCK),)](*given, da, du, dh0, len(h), N, BLOCK=BLOCK)
        return da, du, dh0


def scan(a, u, states):
    h, last = Scan.apply(a.contiguous(), u.contiguous(), states["h"].contiguous())
    return h, {"h": last}


CELL = CustomCell(
    "scan",
    streams=lambda D, H: {"a": (H,), "u": (H,)},
    states=lambda H: {"h": (H,)},
    domains={"a": "(0, 1)"},
)
subject = TorchFunction(scan, cell=CELL, sizes={"T": (1, 2, 3, 5), "B": (1, 3), "H": (1, 7)})
