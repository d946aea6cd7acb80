#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <vector>

#include "ddpm/kernels/q_sample_uint8.h"

namespace ddpm {
namespace {

constexpr int64_t kTableSize = 1000;

QSampleUint8Args drawn_images(at::IntArrayRef sizes) {
  const Tensor alpha_bar = at::linspace(0.9999, 1e-4, kTableSize, at::kDouble);
  QSampleUint8Args args;
  args.images = at::randint(256, sizes, at::kByte);
  args.flip = at::rand({sizes[0]}) < 0.5;
  args.t = at::randint(kTableSize, {sizes[0]}, at::kLong);
  args.noise = at::randn(sizes);
  args.sqrt_alphas_cumprod = alpha_bar.sqrt().to(at::kFloat);
  args.sqrt_one_minus_alphas_cumprod = (1 - alpha_bar).sqrt().to(at::kFloat);
  return args;
}

QSampleUint8Args on_gpu(QSampleUint8Args args) {
  for (Tensor* const tensor : {&args.images, &args.flip, &args.t, &args.noise,
                               &args.sqrt_alphas_cumprod, &args.sqrt_one_minus_alphas_cumprod}) {
    if (tensor->defined()) *tensor = tensor->to(at::kCUDA);
  }
  return args;
}

void expect_bits_of_the_cpu(const QSampleUint8Args& gpu, const QSampleUint8Args& cpu) {
  const NoisedBatch got = q_sample_uint8(gpu);
  const NoisedBatch expected = q_sample_uint8(cpu);
  EXPECT_TRUE(at::equal(got.x_start.cpu(), expected.x_start));
  EXPECT_TRUE(at::equal(got.x_t.cpu(), expected.x_t));
  EXPECT_EQ(got.x_start.scalar_type(), at::kFloat);
  EXPECT_EQ(got.x_t.scalar_type(), cpu.x_t_dtype);
  for (const Tensor& batch : {got.x_start, got.x_t}) {
    EXPECT_TRUE(batch.is_contiguous(at::MemoryFormat::ChannelsLast));
  }
}

TEST(QSampleUint8GpuTest, EveryBitIsThatOfTheCpu) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
  at::manual_seed(0);
  const std::vector<std::vector<int64_t>> shapes{{128, 3, 32, 32}, {1, 1, 1, 1}, {5, 1, 28, 28},
                                                 {3, 3, 5, 7},     {2, 4, 1, 9}, {7, 2, 64, 3}};
  for (const auto& shape : shapes) {
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
      SCOPED_TRACE(::testing::Message() << at::IntArrayRef(shape) << " " << dtype);
      QSampleUint8Args cpu = drawn_images(shape);
      cpu.x_t_dtype = dtype;
      QSampleUint8Args gpu = on_gpu(cpu);
      expect_bits_of_the_cpu(gpu, cpu);
      gpu.noise = gpu.noise.contiguous(at::MemoryFormat::ChannelsLast);
      expect_bits_of_the_cpu(gpu, cpu);
      gpu.images = gpu.images.contiguous(at::MemoryFormat::ChannelsLast);
      gpu.noise = cpu.noise.permute({3, 1, 0, 2}).to(at::kCUDA).contiguous().permute({2, 1, 3, 0});
      expect_bits_of_the_cpu(gpu, cpu);
      cpu.flip = gpu.flip = Tensor();
      expect_bits_of_the_cpu(gpu, cpu);
    }
  }
}

TEST(QSampleUint8GpuTest, PartsOfABatchAreThoseOfTheWhole) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
  const QSampleUint8Args whole = on_gpu(drawn_images({8, 3, 16, 16}));
  QSampleUint8Args part = whole;
  for (Tensor* const tensor : {&part.images, &part.flip, &part.t, &part.noise}) {
    *tensor = tensor->narrow(/*dim=*/0, 3, 4);
  }
  EXPECT_TRUE(at::equal(q_sample_uint8(part).x_t, q_sample_uint8(whole).x_t.narrow(0, 3, 4)));
}

TEST(QSampleUint8GpuTest, NoImagesAndNoisesGradientAreServed) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
  EXPECT_EQ(q_sample_uint8(on_gpu(drawn_images({0, 3, 4, 4}))).x_t.size(0), 0);
  QSampleUint8Args args = on_gpu(drawn_images({2, 3, 4, 4}));
  args.noise.set_requires_grad(true);
  q_sample_uint8(args).x_t.sum().backward();
  const Tensor share = args.sqrt_one_minus_alphas_cumprod.index_select(0, args.t);
  EXPECT_TRUE(at::equal(args.noise.grad(), share.view({2, 1, 1, 1}).expand({2, 3, 4, 4})));
}

}  // namespace
}  // namespace ddpm
