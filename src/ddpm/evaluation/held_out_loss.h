#pragma once

#include <array>
#include <cstdint>
#include <functional>

#include "ddpm/config/diffusion_config.h"
#include "ddpm/config/train_config.h"
#include "ddpm/core/tensor.h"
#include "ddpm/data/image_set.h"
#include "ddpm/diffusion/noise_schedule.h"

namespace ddpm {

/// output = network(x_t, t, labels): x_t [N, C, H, W] float32, t [N] int64, labels [N] int64, all
/// on one device. The output is like x_t ([N, 2C, H, W] with a learned variance), of any floating
/// dtype.
using LabelledNetwork =
    std::function<Tensor(const Tensor& x_t, const Tensor& t, const Tensor& labels)>;

/// A model whose loss is to be known.
struct EvaluatedModel {
  NoiseSchedule schedule;  ///< On the network's device.
  PredictionType prediction = PredictionType::kEpsilon;
  LossConfig loss;
  LabelledNetwork network;
};

struct HeldOutOptions {
  int64_t num_draws = 8;  ///< Timesteps of each image, one from each of as many parts of [0, T).
  int64_t batch_size = 128;
  uint64_t seed = 0;
  std::function<void(int64_t done)> progress{};  ///< Called with the number of images behind it.
};

/// A loss over images and draws.
struct LossEstimate {
  double mean = 0;
  double standard_error = 0;  ///< Of the mean: standard deviation over images / sqrt(N).
  std::array<double, 4> quarter_means{};  ///< Of t in that quarter of [0, T); NaN without draws.
  Tensor of_image{};                      ///< [N] float64 on the CPU: the mean over its draws.
};

struct HeldOutLoss {
  LossEstimate objective;  ///< What training lowers: weighted, as the model's LossConfig says.
  LossEstimate plain;      ///< The same, unweighted (hybrid: its l2).
  LossEstimate eps_mse;    ///< (eps - noise)^2, whatever the model predicts and its loss is.
  int64_t num_images = 0;
  int64_t num_draws = 0;
};

/// The timesteps of each image: draw k is floor((k + u) T / K), u uniform in [0, 1) and keyed by
/// (seed, image, k). Models of another T see the same places in [0, T).
///
/// @param num_images they are numbered from first_image.
/// @return           [K, num_images] int64 on the CPU.
/// @throws std::invalid_argument unless 1 <= num_draws <= num_timesteps.
Tensor held_out_timesteps(const HeldOutOptions& options, int64_t num_timesteps, int64_t first_image,
                          int64_t num_images);

/// The loss of a model on images that it was not trained on: what tells models apart without
/// drawing samples. Image i at draw k has the noise keyed by (seed, i, k), so every model sees the
/// same noise, and differences between models are far better known than each loss
/// (paired_difference).
///
/// eps comes from the output by predict_eps. Nothing waits for the device before the end; no
/// gradients.
///
/// @param set at least 2 images; x_start = pixel / 127.5 - 1.
/// @throws std::invalid_argument for fewer images, a batch_size below 1, as held_out_timesteps, or
///         as training_losses for outputs that don't fit.
HeldOutLoss held_out_loss(const EvaluatedModel& model, const ImageSet& set,
                          const HeldOutOptions& options);

struct PairedDifference {
  double mean = 0;
  double standard_error = 0;
};

/// The mean of a - b over images, and its standard error, from losses of the same images and noise.
///
/// @throws std::invalid_argument if they are of different numbers of images.
PairedDifference paired_difference(const LossEstimate& a, const LossEstimate& b);

}  // namespace ddpm
