#include "ddpm/loss/vlb.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <numbers>
#include <stdexcept>
#include <string>

#include "ddpm/checkpoint/safetensors.h"
#include "ddpm/diffusion/betas.h"
#include "ddpm/diffusion/forward_process.h"
#include "support/run_python.h"
#include "support/tensor_matchers.h"

namespace ddpm {
namespace {

using testing::run_python;
using testing::tensors_near;

/// Pixels that training images can have.
Tensor pixel_images(at::IntArrayRef sizes) {
  return at::randint(256, sizes, at::kDouble) / 127.5 - 1;
}

NamedTensors vlb_case() {
  at::manual_seed(11);
  const NoiseSchedule s = make_schedule(make_linear_betas(100, 1e-4, 0.2));
  const Tensor t = at::tensor({0, 0, 1, 40, 99}, at::kLong);
  Tensor x_start = pixel_images({5, 2, 4, 4});
  x_start.select(/*dim=*/2, 0).fill_(-1);  // the open ends of the pixels' range
  x_start.select(/*dim=*/2, 1).fill_(1);
  const Tensor noise = at::randn_like(x_start);
  const Tensor x_t = q_sample(s, x_start, t, noise);
  const Tensor output = at::cat({0.5 * at::randn_like(noise), 0.7 * at::randn_like(noise)}, 1);
  return {{"x_start", x_start}, {"x_t", x_t}, {"t", t}, {"output", output}};
}

TEST(VlbTest, TermsAreThoseOfAnIndependentScript) {
  const std::string folder = ::testing::TempDir();
  const NamedTensors vlb = vlb_case();
  const std::map<std::string, Tensor> in(vlb.begin(), vlb.end());
  write_safetensors(folder + "/vlb_case.safetensors", vlb);
  run_python({DDPM_SOURCE_DIR "/tests/loss/vlb_reference.py", folder + "/vlb_case.safetensors",
              folder + "/vlb_terms.safetensors"});
  const NamedTensors read = read_safetensors(folder + "/vlb_terms.safetensors").tensors;
  const std::map<std::string, Tensor> expected(read.begin(), read.end());
  NoiseSchedule s = make_schedule(make_linear_betas(100, 1e-4, 0.2));
  for (const VarianceType variance :
       {VarianceType::kFixedSmall, VarianceType::kFixedLarge, VarianceType::kLearnedRange}) {
    s.variance = variance;
    for (const PredictionType prediction :
         {PredictionType::kEpsilon, PredictionType::kSample, PredictionType::kVelocity}) {
      const Tensor output = variance == VarianceType::kLearnedRange
                                ? in.at("output")
                                : in.at("output").narrow(/*dim=*/1, 0, 2);
      const auto terms = [&](at::ScalarType dtype) {
        const Tensor x_t = in.at("x_t").to(dtype);
        const ReverseGaussian p =
            reverse_gaussian(s, prediction, x_t, in.at("t"), output.to(dtype));
        return vlb_term(s, in.at("x_start").to(dtype), x_t, in.at("t"), p).to(at::kDouble);
      };
      const std::string name = std::string(enum_word(variance)) + "." + enum_word(prediction);
      const Tensor& want = expected.at(name);
      EXPECT_TRUE(tensors_near(terms(at::kDouble) / want, at::ones_like(want), 1e-9)) << name;
      // float32 loses a guess that is far off in the tails of the tanh, at t = 0.
      EXPECT_TRUE(tensors_near(terms(at::kFloat) / want, at::ones_like(want), 2e-3)) << name;
    }
  }
}

// KL of two Gaussians that differ by 1 in the mean, with variances 1 and e: closed form.
TEST(VlbTest, ATermOfKnownGaussians) {
  const NoiseSchedule s = make_schedule(make_linear_betas(100, 1e-4, 0.2));
  const Tensor x = at::zeros({1, 1, 2, 2}, at::kDouble);
  const Tensor t = at::full({1}, 50, at::kLong);
  const double log_variance = s.posterior_variance[50].log().item<double>();
  const ReverseGaussian same{at::zeros_like(x), at::full_like(x, log_variance)};
  EXPECT_NEAR(vlb_term(s, x, x, t, same).item<double>(), 0, 1e-15);
  const double deviation = std::exp(log_variance / 2);
  const ReverseGaussian moved{at::full_like(x, deviation), at::full_like(x, log_variance)};
  EXPECT_NEAR(vlb_term(s, x, x, t, moved).item<double>(), 0.5 / std::numbers::ln2, 1e-12);
  const ReverseGaussian wider{at::zeros_like(x), at::full_like(x, log_variance + 1)};
  EXPECT_NEAR(vlb_term(s, x, x, t, wider).item<double>(), 0.5 * std::exp(-1.0) / std::numbers::ln2,
              1e-12);
}

// reference value: 7.3e-6 bits per dimension for the schedule of the DDPM paper.
TEST(VlbTest, PriorOfTheLinearScheduleIsKnown) {
  const NoiseSchedule s = make_schedule(make_linear_betas(1000, 1e-4, 0.02));
  const Tensor half = at::full({2, 3, 4, 4}, 0.5);  // E[x_0^2] = 0.25
  const Tensor bits = prior_bits_per_dim(s, half);
  EXPECT_EQ(bits.scalar_type(), at::kFloat);
  EXPECT_TRUE(tensors_near(bits, at::full({2}, 7.3e-6), 5e-8));
}

// A network that knows the truth pays nothing after the first timestep, and there only for pixels.
TEST(VlbTest, TheTruthCostsNothingButTheLastBits) {
  at::manual_seed(3);
  NoiseSchedule s = make_schedule(make_linear_betas(50, 1e-5, 0.3));
  const Tensor x_start = pixel_images({50, 1, 4, 4});
  const Tensor t = at::arange(50);
  const Tensor x_t = q_sample(s, x_start, t, at::randn_like(x_start));
  const ReverseGaussian p = reverse_gaussian(s, PredictionType::kSample, x_t, t, x_start);
  const Tensor terms = vlb_term(s, x_start, x_t, t, p);
  EXPECT_LT(terms.slice(0, 1).abs().max().item<double>(), 1e-12);
  // beta_tilde_1 gives a deviation of about half a pixel: the pixel itself is the most probable.
  EXPECT_GT(terms[0].item<double>(), 0);
  EXPECT_LT(terms[0].item<double>(), 2);
}

}  // namespace
}  // namespace ddpm
