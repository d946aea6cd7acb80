#include "ddpm/evaluation/held_out_loss.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "ddpm/core/check.h"
#include "ddpm/core/philox.h"
#include "ddpm/core/send_to_device.h"
#include "ddpm/diffusion/forward_process.h"
#include "ddpm/diffusion/prediction.h"
#include "ddpm/evaluation/held_out_batch.h"
#include "ddpm/loss/diffusion_loss.h"
#include "ddpm/loss/training_loss.h"

namespace ddpm {
namespace {

constexpr int64_t kQuarters = 4;

/// Losses of every draw and image, [K, N] float32 on the device.
struct DrawLosses {
  Tensor objective;
  Tensor plain;
  Tensor eps_mse;
};

/// float32 of [N]: mean over an image's elements.
Tensor eps_mse_of(const EvaluatedModel& model, const LossInputs& in) {
  const Tensor prediction = in.output.narrow(/*dim=*/1, 0, in.x_start.size(1)).to(at::kFloat);
  const Tensor eps = predict_eps(model.schedule, model.prediction, in.x_t, in.t, prediction);
  return (eps - in.noise).square().mean({1, 2, 3});
}

/// A batch of images at all their draws.
///
/// @param timesteps [K, N] of all images, on the device.
void add_batch(const EvaluatedModel& model, const HeldOutBatch& batch, const Tensor& timesteps,
               uint64_t seed, const Tensor& weights, const DrawLosses& losses) {
  const Tensor& x_start = batch.x_start;
  const int64_t count = x_start.size(0);
  for (int64_t draw = 0; draw < timesteps.size(0); ++draw) {
    LossInputs inputs{.x_start = x_start,
                      .x_t = {},
                      .t = timesteps[draw].narrow(/*dim=*/0, batch.first, count),
                      .noise = held_out_noise(batch, seed, draw),
                      .output = {}};
    inputs.x_t = q_sample(model.schedule, x_start, inputs.t, inputs.noise);
    inputs.output = model.network(inputs.x_t, inputs.t, batch.labels);
    const ImageLosses of_images =
        training_losses(model.loss, model.schedule, model.prediction, weights, inputs);
    const auto put = [&](const Tensor& table, const Tensor& values) {
      table[draw].narrow(/*dim=*/0, batch.first, count).copy_(values);
    };
    put(losses.objective, of_images.objective);
    put(losses.plain, of_images.plain);
    put(losses.eps_mse, eps_mse_of(model, inputs));
  }
}

LossEstimate estimate_loss(const Tensor& losses, const Tensor& quarters) {
  const Tensor all = losses.cpu().to(at::kDouble);
  LossEstimate estimate;
  estimate.of_image = all.mean(/*dim=*/0);
  estimate.mean = estimate.of_image.mean().item<double>();
  estimate.standard_error = estimate.of_image.std().item<double>() /
                            std::sqrt(static_cast<double>(estimate.of_image.size(0)));
  for (int64_t quarter = 0; quarter < kQuarters; ++quarter) {
    const Tensor in_quarter = quarters == quarter;
    const auto count = in_quarter.sum().item<int64_t>();
    estimate.quarter_means[static_cast<size_t>(quarter)] =
        count == 0 ? std::numeric_limits<double>::quiet_NaN()
                   : all.masked_select(in_quarter).mean().item<double>();
  }
  return estimate;
}

}  // namespace

Tensor held_out_timesteps(const HeldOutOptions& options, int64_t num_timesteps, int64_t first_image,
                          int64_t num_images) {
  check_arg(options.num_draws >= 1 && options.num_draws <= num_timesteps,
            "[held_out_loss] num_draws: expected from 1 to the ", num_timesteps, " timesteps, got ",
            options.num_draws);
  const RandomKey key{options.seed, RandomStream::kEvaluationTimestep};
  const Tensor timesteps = at::empty({options.num_draws, num_images}, at::kLong);
  auto* next = timesteps.mutable_data_ptr<int64_t>();
  for (int64_t draw = 0; draw < options.num_draws; ++draw) {
    for (int64_t i = 0; i < num_images; ++i) {
      const uint64_t bits =
          random_bits(key, static_cast<uint64_t>(first_image + i), static_cast<uint32_t>(draw));
      // 32 bits leave draw + u exact in a double.
      const double place = static_cast<double>(draw) + static_cast<double>(bits >> 32) * 0x1p-32;
      *next++ = static_cast<int64_t>(place * static_cast<double>(num_timesteps) /
                                     static_cast<double>(options.num_draws));
    }
  }
  return timesteps;
}

HeldOutLoss held_out_loss(const EvaluatedModel& model, const ImageSet& set,
                          const HeldOutOptions& options) {
  check_held_out("held_out_loss", set, options.batch_size);
  const at::NoGradGuard no_grad;
  const int64_t count = set.images.size(0);
  const int64_t num_timesteps = model.schedule.num_timesteps();
  const at::Device device = model.schedule.betas.device();
  const Tensor timesteps = held_out_timesteps(options, num_timesteps, /*first_image=*/0, count);
  const Tensor device_timesteps = send_to_device(timesteps, device);
  const auto table = [&] {
    return at::empty({options.num_draws, count}, model.schedule.betas.options().dtype(at::kFloat));
  };
  const DrawLosses losses{.objective = table(), .plain = table(), .eps_mse = table()};
  const Tensor weights = loss_weight_table(model.loss, model.prediction, model.schedule);
  for (int64_t first = 0; first < count; first += options.batch_size) {
    const int64_t size = std::min(options.batch_size, count - first);
    add_batch(model, take_held_out_batch(set, first, size, device), device_timesteps, options.seed,
              weights, losses);
    if (options.progress) options.progress(first + size);
  }
  const Tensor quarters = at::floor_divide(timesteps * kQuarters, num_timesteps);
  return {.objective = estimate_loss(losses.objective, quarters),
          .plain = estimate_loss(losses.plain, quarters),
          .eps_mse = estimate_loss(losses.eps_mse, quarters),
          .num_images = count,
          .num_draws = options.num_draws};
}

PairedDifference paired_difference(const LossEstimate& a, const LossEstimate& b) {
  check_arg(a.of_image.sizes() == b.of_image.sizes(),
            "[paired_difference] losses: expected both of the same images, got ",
            a.of_image.size(0), " and ", b.of_image.size(0));
  const Tensor difference = a.of_image - b.of_image;
  return {.mean = difference.mean().item<double>(),
          .standard_error =
              difference.std().item<double>() / std::sqrt(static_cast<double>(difference.size(0)))};
}

}  // namespace ddpm
