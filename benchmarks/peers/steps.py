"""The steps of works.py as functions to time, in PyTorch."""
import copy

import torch

from works import DEVICE


def make_step(work, mode):
    if mode.floor:
        return convolutions(work, mode)
    return {"train": train_step, "denoise": denoise_step}[work.kind](work, mode)


def network_of(work, mode):
    return work.spec.make().to(DEVICE, memory_format=mode.memory_format)


def compiled(network, mode):
    return torch.compile(network, mode=mode.compile) if mode.compile else network


def denoise_step(work, mode):
    network = compiled(network_of(work, mode).to(mode.dtype).eval(), mode)
    x = torch.randn(work.image_shape, device=DEVICE, dtype=mode.dtype).to(memory_format=mode.memory_format)
    t = torch.full((work.batch,), 100, device=DEVICE)

    def step():
        with torch.no_grad():
            network(x, t)
    return step


def train_step(work, mode):
    """Timesteps and noise, q_sample, forward, loss, backward, clipping, Adam, moving average of the weights."""
    spec = work.spec
    network = network_of(work, mode).train()
    parameters = list(network.parameters())
    ema = [copy.deepcopy(p.detach()) for p in parameters]
    optimizer = torch.optim.Adam(parameters, lr=spec.lr, **({} if mode.talks_own_way else {"fused": True}))
    forward = compiled(network, mode)
    betas = torch.linspace(1e-4, 0.02, spec.num_timesteps, dtype=torch.float64)
    alphas_cumprod = torch.cumprod(1 - betas, 0).to(DEVICE)
    images = torch.randint(0, 256, work.image_shape, dtype=torch.uint8, device=DEVICE)

    def step():
        x_start = (images.float() / 127.5 - 1).to(memory_format=mode.memory_format)
        noise = torch.randn_like(x_start)
        t = torch.randint(0, spec.num_timesteps, (work.batch,), device=DEVICE)
        alpha_bar = alphas_cumprod[t].float()[:, None, None, None]
        x_t = alpha_bar.sqrt() * x_start + (1 - alpha_bar).sqrt() * noise
        with torch.autocast(DEVICE, torch.bfloat16, enabled=mode.precision == "bf16"):
            eps = forward(x_t, t)
        optimizer.zero_grad(set_to_none=True)
        spec.loss(eps.float(), noise).backward()
        if spec.max_grad_norm is not None:
            torch.nn.utils.clip_grad_norm_(parameters, spec.max_grad_norm, foreach=True)
        optimizer.step()
        if not mode.talks_own_way:
            with torch.no_grad():
                torch._foreach_lerp_(ema, parameters, 1 - spec.ema_decay)
    return step


def convolutions(work, mode):
    """All convolutions of the work one after the other: forward, and to train also both gradients."""
    network = network_of(work, mode).to(mode.dtype).eval()
    found = []  # (module, shape of its input)
    for module in network.modules():
        if isinstance(module, (torch.nn.Conv2d, torch.nn.ConvTranspose2d)):
            module.register_forward_hook(lambda module, inputs, _: found.append((module, inputs[0].shape)))
    t = torch.full((work.batch,), 100, device=DEVICE)
    with torch.no_grad():
        network(torch.randn(work.image_shape, device=DEVICE, dtype=mode.dtype), t)
    buffers = {}  # maps of one shape share memory

    def buffer(shape):
        if shape not in buffers:
            buffers[shape] = torch.randn(shape, device=DEVICE, dtype=mode.dtype).to(memory_format=torch.channels_last)
        return buffers[shape]

    calls = []
    for i, (module, shape) in enumerate(found):
        calls.append(forward_call(module, buffer(shape)))
        if work.kind == "train":
            wanted = (i > 0, True, False)  # nothing asks for the gradient of the images
            calls.append(backward_call(module, buffer(shape), buffer(calls[-1]().shape), wanted))
    return captured(calls) if DEVICE == "cuda" else lambda: [call() for call in calls]


def forward_call(module, x):
    weight, transposed = module.weight.detach(), isinstance(module, torch.nn.ConvTranspose2d)
    geometry = (module.stride, module.padding, module.dilation)
    if DEVICE == "cuda" or transposed:
        return lambda: torch.ops.aten.convolution(x, weight, None, *geometry, transposed, [0, 0], 1)
    packed = torch.ops.mkldnn._reorder_convolution_weight(
        weight, module.padding, module.stride, module.dilation, 1, list(x.shape))
    return lambda: torch.ops.mkldnn._convolution_pointwise(
        x, packed, None, module.padding, module.stride, module.dilation, 1, "none", [], "")


def backward_call(module, x, grad, wanted):
    weight, transposed = module.weight.detach(), isinstance(module, torch.nn.ConvTranspose2d)
    return lambda: torch.ops.aten.convolution_backward(
        grad, x, weight, None, module.stride, module.padding, module.dilation, transposed, [0, 0], 1, wanted)


def captured(calls):
    """The calls as one CUDA graph, so that no launch counts."""
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream), torch.no_grad():
        for _ in range(3):  # plans are searched before the capture
            for call in calls:
                call()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream):
            for call in calls:
                call()

    def replay():
        graph.replay()
    replay.calls = calls  # whose tensors the graph uses
    return replay


def matrix_product(dtype, size):
    a, b = (torch.randn(size, size, device=DEVICE, dtype=dtype) for _ in range(2))
    out = torch.empty_like(a)
    return (lambda: torch.mm(a, b, out=out)), 2 * size**3


def copy_of(size_bytes):
    source, target = (torch.empty(size_bytes, dtype=torch.uint8, device=DEVICE) for _ in range(2))
    return (lambda: target.copy_(source)), 2 * size_bytes
