#include "ddpm/evaluation/variational_bound.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>

#include "ddpm/core/check.h"
#include "ddpm/core/send_to_device.h"
#include "ddpm/diffusion/forward_process.h"
#include "ddpm/diffusion/posterior.h"
#include "ddpm/diffusion/prediction.h"
#include "ddpm/evaluation/held_out_batch.h"
#include "ddpm/loss/vlb.h"

namespace ddpm {
namespace {

/// Bits of each image, [N] float64 on the device.
struct BoundTerms {
  Tensor prior;
  Tensor kl_terms;
  Tensor first_term;
};

/// vlb_term with the network's x_start clipped to [-1, 1].
Tensor clipped_term(const EvaluatedModel& model, const HeldOutBatch& batch, const Tensor& t,
                    const Tensor& noise) {
  const Tensor x_t = q_sample(model.schedule, batch.x_start, t, noise);
  const Tensor output = model.network(x_t, t, batch.labels).to(at::kFloat);
  const int64_t channels = x_t.size(1), v_channels = output.size(1) - channels;
  const Tensor pred_x_start = predict_x_start(model.schedule, model.prediction, x_t, t,
                                              output.narrow(/*dim=*/1, 0, channels));
  // p of a network that predicts the clipped x_start, with the same v if there is one.
  const Tensor clipped = at::cat(
      {pred_x_start.clamp(-1, 1), output.narrow(/*dim=*/1, channels, v_channels)}, /*dim=*/1);
  const ReverseGaussian p =
      reverse_gaussian(model.schedule, PredictionType::kSample, x_t, t, clipped);
  return vlb_term(model.schedule, batch.x_start, x_t, t, p).to(at::kDouble);
}

void add_bound_batch(const EvaluatedModel& model, const HeldOutBatch& batch,
                     const HeldOutOptions& options, const BoundTerms& terms) {
  const at::Device device = batch.x_start.device();
  const int64_t count = batch.x_start.size(0), between = model.schedule.num_timesteps() - 1;
  const auto part = [&](const Tensor& of_set) {
    return of_set.narrow(/*dim=*/0, batch.first, count);
  };
  part(terms.prior).copy_(prior_bits_per_dim(model.schedule, batch.x_start));
  const Tensor zero = at::zeros({count}, at::TensorOptions(at::kLong).device(device));
  part(terms.first_term)
      .copy_(clipped_term(model, batch, zero, held_out_noise(batch, options.seed, /*draw=*/0)));
  const Tensor t =
      1 + send_to_device(held_out_timesteps(options, between, batch.first, count), device);
  Tensor sum = part(terms.kl_terms);
  for (int64_t draw = 0; draw < options.num_draws; ++draw) {
    sum += clipped_term(model, batch, t[draw], held_out_noise(batch, options.seed, draw + 1));
  }
  sum *= static_cast<double>(between) / static_cast<double>(options.num_draws);
}

}  // namespace

VariationalBound variational_bound(const EvaluatedModel& model, const ImageSet& set,
                                   const HeldOutOptions& options) {
  check_held_out("variational_bound", set, options.batch_size);
  check_arg(model.schedule.num_timesteps() >= 2,
            "[variational_bound] timesteps: expected at least 2, got ",
            model.schedule.num_timesteps());
  const int64_t between = model.schedule.num_timesteps() - 1;
  check_arg(options.num_draws >= 1 && options.num_draws <= between,
            "[variational_bound] num_draws: expected from 1 to the ", between,
            " timesteps after the first, got ", options.num_draws);
  const at::NoGradGuard no_grad;
  const int64_t count = set.images.size(0);
  const at::Device device = model.schedule.betas.device();
  const auto zeros = [&] {
    return at::zeros({count}, at::TensorOptions(at::kDouble).device(device));
  };
  const BoundTerms terms{.prior = zeros(), .kl_terms = zeros(), .first_term = zeros()};
  for (int64_t first = 0; first < count; first += options.batch_size) {
    const int64_t size = std::min(options.batch_size, count - first);
    add_bound_batch(model, take_held_out_batch(set, first, size, device), options, terms);
    if (options.progress) options.progress(first + size);
  }
  const Tensor all = (terms.prior + terms.kl_terms + terms.first_term).cpu();
  return {.bits_per_dim = all.mean().item<double>(),
          .standard_error = all.std().item<double>() / std::sqrt(static_cast<double>(count)),
          .prior = terms.prior.mean().item<double>(),
          .kl_terms = terms.kl_terms.mean().item<double>(),
          .first_term = terms.first_term.mean().item<double>(),
          .num_images = count,
          .num_draws = options.num_draws};
}

}  // namespace ddpm
