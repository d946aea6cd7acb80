#include "ddpm/sampling/restore.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <stdexcept>
#include <vector>

#include "ddpm/sampling/timesteps.h"
#include "sampling/analytic_networks.h"
#include "sampling/sampler_cases.h"
#include "support/tensor_matchers.h"

namespace ddpm {
namespace {

using testing::gaussian_x_start;
using testing::GaussianData;
using ::testing::HasSubstr;
using testing::independent_pixels;
using testing::kEveryPrediction;
using testing::long_schedule;
using testing::smooth_pixels;
using testing::tensors_near;
using ::testing::ThrowsMessage;

// A row of pixels whose right half is painted.
constexpr int64_t kPixels = 8;
constexpr int64_t kKept = 4;
constexpr double kRowMean = 0.1;

SampleRequest row_request(int64_t images) {
  return {.seed = 11, .num_images = images, .image_shape = {1, 1, kPixels}};
}

SampleRequest colour_request(int64_t images) {
  return {.seed = 8, .num_images = images, .image_shape = {3, 4, 4}};
}

SamplerOptions ddpm_steps(int64_t steps) {
  return {.kind = SamplerKind::kDdpm, .steps = steps, .clip = X0Clip::kNone};
}

Tensor right_half() {
  Tensor mask = at::ones({1, 1, 1, kPixels});
  mask.narrow(/*dim=*/3, 0, kKept).zero_();
  return mask;
}

Tensor row_source() {
  return at::tensor({0.5F, 0.1F, 0.4F, 0.7F, 9.0F, 9.0F, 9.0F, 9.0F}).view({1, 1, 1, kPixels});
}

LinearMeasurement row_measurement() { return kept_part(row_source(), right_half()); }

Denoiser model_of(const GaussianData& data) {
  const NoiseSchedule schedule = long_schedule();
  return {schedule, PredictionType::kSample, gaussian_x_start(schedule, data)};
}

Denoiser linear_model(double factor, PredictionType prediction = PredictionType::kEpsilon) {
  return {long_schedule(), prediction,
          [factor](const Tensor& x, const Tensor&) { return x * factor; }};
}

Tensor painted(const Tensor& images) {
  return images.flatten(1).narrow(/*dim=*/1, kKept, kPixels - kKept).to(at::kDouble);
}

/// Mean and covariance of the painted pixels, given the kept ones.
GaussianData posterior(const GaussianData& data) {
  const auto block = [&](int64_t row, int64_t column) {
    return data.covariance.narrow(0, row, kKept).narrow(1, column, kKept);
  };
  const Tensor kept = row_source().flatten().narrow(0, 0, kKept).to(at::kDouble);
  const Tensor gain = at::linalg_solve(block(0, 0), block(0, kKept)).t();
  return {kRowMean + gain.mv(kept - kRowMean), block(kKept, kKept) - gain.mm(block(0, kKept))};
}

/// The exact distribution of RePaint's result for Gaussian data: every step is affine, so mean and
/// covariance can be followed. Ancestral steps, small variance; written from the papers' formulas.
class RepaintMoments {
 public:
  RepaintMoments(const GaussianData& data, int64_t steps) : data_(data) {
    const Tensor table = long_schedule().alphas_cumprod;
    for (const int64_t t : make_timesteps(TimestepSpacing::kTrailing, 1000, steps)) {
      levels_.push_back(table[t].item<double>());
    }
    levels_.push_back(1);
    keep_ = (1 - right_half().flatten()).to(at::kDouble);
    source_ = row_source().flatten().to(at::kDouble) * keep_;
    mean = at::zeros({kPixels}, at::kDouble);
    covariance = at::eye(kPixels, at::kDouble);
    replace(levels_[0]);
  }

  void run(int64_t jump_length, int64_t resamples) {
    const auto steps = static_cast<int64_t>(levels_.size()) - 1;
    for (int64_t begin = 0; begin < steps; begin += jump_length) {
      for (int64_t turn = 0; turn < (begin == 0 ? 1 : resamples); ++turn) {
        if (turn > 0) jump_back(level(begin + jump_length), level(begin));
        for (int64_t i = begin; i < begin + jump_length; ++i) step(level(i), level(i + 1));
      }
    }
  }

  Tensor mean, covariance;

 private:
  double level(int64_t i) const { return levels_[static_cast<size_t>(i)]; }

  void jump_back(double from, double to) {
    const double kept = to / from;
    mean = mean * std::sqrt(kept);
    covariance = covariance * kept + at::eye(kPixels, at::kDouble) * (1 - kept);
    replace(to);
  }

  void step(double a, double p) {
    const Tensor eye = at::eye(kPixels, at::kDouble);
    const Tensor gain =
        data_.covariance.mm(at::linalg_inv(data_.covariance * a + eye * (1 - a))) * std::sqrt(a);
    const double x_start_weight = std::sqrt(p) * (1 - a / p) / (1 - a);
    const Tensor factor = gain * x_start_weight + eye * (std::sqrt(a / p) * (1 - p) / (1 - a));
    const Tensor offset = (data_.mean - gain.mv(data_.mean) * std::sqrt(a)) * x_start_weight;
    mean = factor.mv(mean) + offset;
    covariance = factor.mm(covariance).mm(factor.t()) + eye * ((1 - a / p) * (1 - p) / (1 - a));
    replace(p);
  }

  void replace(double p) {
    mean = mean * (1 - keep_) + source_ * std::sqrt(p);
    covariance = covariance * (1 - keep_).outer(1 - keep_) + at::diag(keep_) * (1 - p);
  }

  GaussianData data_;
  std::vector<double> levels_;
  Tensor keep_, source_;
};

TEST(RestoreTest, KeptPartIsTheSourceAndNothingOfThePaintedPartIsRead) {
  const Denoiser model = model_of(smooth_pixels(kPixels, kRowMean, 0.3, 0.8));
  const RestoreOptions options{.jump_length = 3, .resamples = 2};
  const auto run = [&](const Tensor& source) {
    return restore(model, ddpm_steps(10), kept_part(source, right_half()), options, row_request(3));
  };
  const Tensor images = run(row_source());
  EXPECT_TRUE(at::equal(images.narrow(3, 0, kKept),
                        row_source().narrow(3, 0, kKept).expand({3, -1, -1, -1})));
  Tensor other = row_source();
  other.narrow(3, kKept, kPixels - kKept).fill_(-3);
  EXPECT_TRUE(at::equal(images, run(other)));
}

TEST(RestoreTest, PaintedPixelsHaveTheMomentsThatRepaintGivesGaussianData) {
  const GaussianData data = smooth_pixels(kPixels, kRowMean, 0.3, 0.8);
  constexpr int64_t kRows = 2000;
  for (const int64_t resamples : {1, 4}) {
    RepaintMoments expected(data, /*steps=*/40);
    expected.run(/*jump_length=*/8, resamples);
    const Tensor x =
        painted(restore(model_of(data), ddpm_steps(40), row_measurement(),
                        {.jump_length = 8, .resamples = resamples}, row_request(kRows)));
    const Tensor deviation = expected.covariance.diagonal().narrow(0, kKept, 4).sqrt();
    // Sampling errors: s / sqrt(n) of the mean, s / sqrt(2 n) of the deviation; four times that.
    EXPECT_TRUE(
        tensors_near(x.mean(0), expected.mean.narrow(0, kKept, 4), 4 * 0.28 / std::sqrt(kRows)));
    EXPECT_TRUE(tensors_near(x.std(0), deviation, 4 * 0.28 / std::sqrt(2 * kRows)));
  }
}

TEST(RestoreTest, ResamplingLeadsFromTheLeftPixelsTowardsTheirPosterior) {
  // What RePaint gives, exactly, against what is right: it leans towards the prior's mean.
  const GaussianData data = smooth_pixels(kPixels, kRowMean, 0.3, 0.8);
  const GaussianData exact = posterior(data);
  const auto missing = [&](int64_t jump_length, int64_t resamples) {
    RepaintMoments moments(data, /*steps=*/100);
    moments.run(jump_length, resamples);
    const Tensor gap = exact.mean - moments.mean.narrow(0, kKept, 4);
    return gap.sum().item<double>() / (exact.mean - kRowMean).sum().item<double>();
  };
  EXPECT_NEAR(missing(10, 1), 0.60, 0.01);
  EXPECT_NEAR(missing(10, 10), 0.34, 0.01);
  EXPECT_NEAR(missing(2, 20), 0.14, 0.01);
  EXPECT_LT(missing(2, 200), 0.08);
}

TEST(RestoreTest, ResultsHaveTheMeasurementWhateverTheNetwork) {
  at::manual_seed(5);
  Tensor mask = at::zeros({1, 1, 4, 4});
  mask.narrow(3, 1, 2).fill_(1);
  for (const PredictionType prediction : kEveryPrediction) {
    for (const LinearOperator& op : {box_reduction(2), channel_mean(3), pixel_mask(1 - mask)}) {
      const Tensor y = op.apply(at::rand({1, 3, 4, 4}) * 2 - 1);
      const Tensor images = restore(linear_model(0.4, prediction), ddpm_steps(12), {op, y},
                                    {.jump_length = 4, .resamples = 2}, colour_request(3));
      EXPECT_TRUE(tensors_near(op.apply(images), y.expand({3, -1, -1, -1}), 1e-5));
      EXPECT_GT((images[0] - images[1]).abs().max().item<double>(), 0.05) << "the rest is drawn";
    }
  }
}

TEST(RestoreTest, IndependentPixelsAreDrawnFromTheirPosterior) {
  // Pixels N(m, s^2) of which the mean y of four is known up to noise sigma_y. In the basis of that
  // mean, scaled to A^+ y: prior N(m, s^2 / 4), noise sigma_y; the rest keeps its variance 3/4 s^2.
  constexpr double m = 0.1, s = 0.4;
  const LinearOperator op = box_reduction(2);
  const Tensor y = at::full({1, 3, 2, 2}, 0.5);
  for (const double sigma_y : {0.0, 0.05, 0.2}) {
    SCOPED_TRACE(sigma_y);
    const Tensor images =
        restore(model_of(independent_pixels(48, m, s)), ddpm_steps(500), {op, y},
                {.jump_length = 20, .resamples = sigma_y > 0.1 ? 2 : 1, .sigma_y = sigma_y},
                colour_request(200));
    const Tensor means = op.apply(images);
    const Tensor rest = images - op.pseudo_inverse(means);
    const double gain = s * s / 4 / (s * s / 4 + sigma_y * sigma_y);
    // 2400 means and 9600 pixels: sampling errors up to 0.0038 and 0.0035; four times that.
    EXPECT_NEAR(means.mean().item<double>(), m + (0.5 - m) * gain, 0.016);
    EXPECT_NEAR(means.std().item<double>(), sigma_y * std::sqrt(gain), 0.012);
    EXPECT_NEAR(rest.std().item<double>(), s * std::sqrt(0.75), 0.014);
  }
}

TEST(RestoreTest, ImagesHaveTheSameBitsInEveryBatch) {
  const RestoreOptions options{.jump_length = 2, .resamples = 3, .sigma_y = 0.1};
  const LinearMeasurement measured{channel_mean(3), at::zeros({1, 1, 4, 4})};
  const auto run = [&](const SampleRequest& request) {
    return restore(linear_model(0.5), ddpm_steps(6), measured, options, request);
  };
  SampleRequest second = colour_request(1);
  second.first_image = 1;
  EXPECT_TRUE(at::equal(run(colour_request(2)).narrow(0, 1, 1), run(second)));
}

TEST(RestoreTest, BlocksAreTakenAsOftenAsAskedButTheFirstAndThoseBelowTheNoise) {
  int64_t calls = 0;
  const Denoiser model{long_schedule(), PredictionType::kEpsilon,
                       [&](const Tensor& x, const Tensor&) {
                         ++calls;
                         return x * 0;
                       }};
  struct Case {
    SamplerKind kind;
    RestoreOptions options;
    int64_t calls;
  };
  for (const Case& c :
       {Case{SamplerKind::kDdpm, {.jump_length = 4, .resamples = 3}, 2 + 3 * 8},
        Case{SamplerKind::kDdpm, {.jump_length = 5, .resamples = 3}, 5 + 3 * 5},
        Case{SamplerKind::kDdpm, {.jump_length = 5, .resamples = 1}, 10},
        // Step 8 of 10 begins at t = 199 with sigma = 0.73.
        Case{SamplerKind::kDdpm, {.jump_length = 2, .resamples = 3, .sigma_y = 0.8}, 2 + 3 * 6 + 2},
        Case{SamplerKind::kHeun, {.jump_length = 5, .resamples = 2}, 10 + 2 * 9}}) {
    const SamplerOptions options{.kind = c.kind, .steps = 10};
    calls = 0;
    int64_t steps = 0;
    restore(model, options, row_measurement(), c.options, row_request(1),
            [&](const SampleTrace& trace) { EXPECT_EQ(trace.step, steps++); });
    EXPECT_EQ(calls, c.calls);
    EXPECT_EQ(count_restore_calls(model, options, c.options, /*singular_value=*/1), c.calls);
  }
}

TEST(RestoreTest, EverySamplerWhoseStepsStandAloneIsTaken) {
  const Denoiser model = model_of(smooth_pixels(kPixels, kRowMean, 0.3, 0.8));
  for (const SamplerKind kind :
       {SamplerKind::kDdpm, SamplerKind::kDdim, SamplerKind::kEuler, SamplerKind::kEulerAncestral,
        SamplerKind::kHeun, SamplerKind::kDpmpp2s, SamplerKind::kDpmpp3s, SamplerKind::kDpm2s,
        SamplerKind::kDpm3s}) {
    SCOPED_TRACE(enum_word(kind));
    const SamplerOptions options{.kind = kind, .steps = 24, .clip = X0Clip::kNone};
    const Tensor x = painted(restore(model, options, row_measurement(),
                                     {.jump_length = 2, .resamples = 4}, row_request(64)));
    EXPECT_NEAR(x.mean().item<double>(), 0.33, 0.13) << "the posterior's is 0.45, the prior's 0.1";
  }
}

TEST(RestoreTest, WhatDoesNotFitIsRefused) {
  const auto run = [](const LinearMeasurement& measured, const RestoreOptions& options,
                      SamplerOptions sampler = ddpm_steps(20)) {
    return [=] { restore(linear_model(1), sampler, measured, options, row_request(2)); };
  };
  using Error = std::invalid_argument;
  const LinearMeasurement row = row_measurement();
  EXPECT_THAT(
      [] {
        kept_part(row_source(), at::ones({1, 1, 2, 2}));
      },
      ThrowsMessage<Error>(HasSubstr("mask")));
  EXPECT_THAT([] { kept_part(row_source(), right_half() / 2); },
              ThrowsMessage<Error>(HasSubstr("0 and 1 only")));
  EXPECT_THAT(run(kept_part(at::ones({1, 3, 1, 8}), right_half()), {}),
              ThrowsMessage<Error>(HasSubstr("source")));
  EXPECT_THAT(run(row, {.jump_length = 20}),
              ThrowsMessage<Error>(HasSubstr("fewer than the sampler's 20 steps")));
  EXPECT_THAT(run(row, {.jump_length = 0}), ThrowsMessage<Error>(HasSubstr("jump_length")));
  EXPECT_THAT(run(row, {.resamples = 0}), ThrowsMessage<Error>(HasSubstr("resamples")));
  EXPECT_THAT(run(row, {.sigma_y = -1}), ThrowsMessage<Error>(HasSubstr("sigma_y")));
  EXPECT_THAT(run(row, {.sigma_y = 500}), ThrowsMessage<Error>(HasSubstr("first level")));
  for (const SamplerKind kind : {SamplerKind::kDpmpp2m, SamplerKind::kUnipc, SamplerKind::kLms,
                                 SamplerKind::kPndm, SamplerKind::kDeis}) {
    EXPECT_THAT(run(row, {}, {.kind = kind, .steps = 20}),
                ThrowsMessage<Error>(HasSubstr("steps stand alone")));
  }
}

}  // namespace
}  // namespace ddpm
