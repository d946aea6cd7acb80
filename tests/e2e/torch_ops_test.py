"""The torch.library extension beside PyTorch: python tests/e2e/torch_ops_test.py LIBRARY [unittest options]."""
import copy
import pathlib
import sys
import unittest

import torch
from diffusers import UNet2DModel

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "integrations/torch"))
import ddpm_ops  # noqa: E402


def unet_of(**options):
    torch.manual_seed(0)
    return UNet2DModel(sample_size=8, block_out_channels=(16, 32), norm_num_groups=8, attention_head_dim=8,
                       down_block_types=("DownBlock2D", "AttnDownBlock2D"), layers_per_block=1,
                       up_block_types=("AttnUpBlock2D", "UpBlock2D"), **options)


class TorchOpsTest(unittest.TestCase):
    def assert_close(self, got, expected, tolerance=1e-5, scale=0.0):
        """Relative to the expected tensor's norm, or to `scale` where that is larger."""
        error = (got - expected).norm() / max(expected.norm().item(), scale)
        self.assertLess(error.item(), tolerance)

    def test_a_fused_unet_has_the_outputs_and_gradients_of_its_own(self):
        for options in ({}, {"resnet_time_scale_shift": "scale_shift"}, {"dropout": 0.0, "act_fn": "silu"}):
            with self.subTest(options=options):
                unet = unet_of(**options)
                fused = ddpm_ops.fuse(copy.deepcopy(unet))
                x, t = torch.randn(3, 3, 8, 8), torch.tensor([1, 500, 999])
                expected, got = unet(x, t).sample, fused(x, t).sample
                self.assert_close(got, expected)
                direction = torch.randn_like(expected)
                (expected * direction).sum().backward()
                (got * direction).sum().backward()
                # A key's bias shifts all of a query's scores alike: its gradient is nothing but rounding.
                scale = max(theirs.grad.norm().item() for theirs in unet.parameters()) / 100
                for (name, ours), theirs in zip(fused.named_parameters(), unet.parameters()):
                    with self.subTest(name=name):
                        self.assert_close(ours.grad, theirs.grad, 1e-5, scale)

    def test_group_norm_silu_has_pytorchs_gradient(self):
        x = torch.randn(2, 12, 3, 5, dtype=torch.float64, requires_grad=True)
        weight, bias = (torch.randn(12, dtype=torch.float64, requires_grad=True) for _ in range(2))
        self.assertTrue(torch.autograd.gradcheck(
            lambda *tensors: torch.ops.ddpm.group_norm_silu(tensors[0], 4, *tensors[1:]), (x, weight, bias)))

    def test_q_sample_is_the_papers_equation(self):
        images = torch.randint(0, 256, (4, 3, 6, 6), dtype=torch.uint8)
        noise, t = torch.randn(4, 3, 6, 6), torch.tensor([0, 10, 500, 999])
        alphas_cumprod = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)
        x_start, x_t = torch.ops.ddpm.q_sample_uint8(images, None, t, noise, alphas_cumprod)
        alpha_bar = alphas_cumprod[t].view(-1, 1, 1, 1)
        self.assert_close(x_start, images / 127.5 - 1, 1e-6)
        self.assert_close(x_t, alpha_bar.sqrt() * (images / 127.5 - 1) + (1 - alpha_bar).sqrt() * noise, 1e-6)

    def test_wrong_arguments_name_the_rule(self):
        with self.assertRaisesRegex(Exception, "num_groups must divide the channels"):
            torch.ops.ddpm.group_norm_silu(torch.randn(1, 6, 2, 2), 4, torch.ones(6), torch.zeros(6))
        with self.assertRaisesRegex(ValueError, "expected a network with ResnetBlock2D"):
            ddpm_ops.fuse(torch.nn.Conv2d(3, 3, 1))


if __name__ == "__main__":
    ddpm_ops.load(sys.argv.pop(1))
    unittest.main()
