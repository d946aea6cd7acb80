#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "ddpm/config/field.h"

namespace ddpm {

/// Distances of prediction and target, and the losses that train a variance: the variational bound
/// of one timestep, T times that, and l2 with a share of it [IDDPM Eq. 16]. Cross-entropy trains a
/// classifier, and nothing else does.
enum class LossKind { kL1, kL2, kHuber, kVlb, kRescaledKl, kHybrid, kCrossEntropy };
inline bool has_variational_bound(LossKind kind) {
  return kind == LossKind::kVlb || kind == LossKind::kRescaledKl || kind == LossKind::kHybrid;
}
/// Weights over timesteps of the error of x_start, as each prediction type needs them.
enum class LossWeighting {
  kNone,
  kMinSnr,
  kSoftMinSnr,
  kP2,
  kSnr,
  kTruncatedSnr,
  kSnrPlusOne,
  kConstant
};
/// How a batch's timesteps are drawn.
enum class TimestepSampling { kUniform, kStratified, kLossAware, kLogNormal };
enum class OptimizerKind { kAdam, kAdamW };
enum class LrDecay { kConstant, kLinear, kCosine };
enum class EmaKind { kFixed, kWarmup };
/// Of a network's weights and maps. kAuto: bf16 where it is faster on the device, else fp32.
enum class Precision { kFp32, kBf16, kAuto };
/// Whether a training step becomes one CUDA graph on a GPU.
enum class Capture { kAuto, kOff };

template <>
struct EnumNames<LossKind> {
  static constexpr std::array names{"l1",          "l2",     "huber",        "vlb",
                                    "rescaled_kl", "hybrid", "cross_entropy"};
};
template <>
struct EnumNames<LossWeighting> {
  static constexpr std::array names{"none", "min_snr",       "soft_min_snr", "p2",
                                    "snr",  "truncated_snr", "snr_plus_one", "constant"};
};
template <>
struct EnumNames<TimestepSampling> {
  static constexpr std::array names{"uniform", "stratified", "loss_aware", "log_normal"};
};
template <>
struct EnumNames<OptimizerKind> {
  static constexpr std::array names{"adam", "adamw"};
};
template <>
struct EnumNames<LrDecay> {
  static constexpr std::array names{"constant", "linear", "cosine"};
};
template <>
struct EnumNames<EmaKind> {
  static constexpr std::array names{"fixed", "warmup"};
};
template <>
struct EnumNames<Precision> {
  static constexpr std::array names{"fp32", "bf16", "auto"};
};
template <>
struct EnumNames<Capture> {
  static constexpr std::array names{"auto", "off"};
};

struct LossConfig {
  LossKind kind = LossKind::kL2;
  double huber_delta = 0.1;
  LossWeighting weighting = LossWeighting::kNone;
  double min_snr_gamma = 5.0;
  double p2_gamma = 1.0;
  double p2_k = 1.0;
  double vlb_weight = 0.001;

  template <typename Visitor>
  void visit_fields(Visitor&& visit) {
    visit("kind", kind,
          "distance between prediction and target, or the variational bound: vlb in bits per "
          "dimension, rescaled_kl T times that, hybrid l2 and a share of it for learned_range; "
          "cross_entropy of logits and labels for a classifier");
    visit("huber_delta", huber_delta, "where huber turns from square to line", at_least(1e-12));
    visit("weighting", weighting, "weight of each timestep's distance");
    visit("min_snr_gamma", min_snr_gamma, "gamma of min_snr and soft_min_snr", at_least(1e-12));
    visit("p2_gamma", p2_gamma, "gamma of p2; 0 is the plain loss of epsilon", at_least(0));
    visit("p2_k", p2_k, "k of p2", at_least(1e-12));
    visit("vlb_weight", vlb_weight, "hybrid: weight of T times the variational bound", at_least(0));
  }
};

struct OptimizerConfig {
  OptimizerKind kind = OptimizerKind::kAdam;
  double lr = 2e-4;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0.0;
  int64_t warmup_steps = 0;
  LrDecay decay = LrDecay::kConstant;
  double final_lr_ratio = 0.0;
  double max_grad_norm = 1.0;

  template <typename Visitor>
  void visit_fields(Visitor&& visit) {
    visit("kind", kind, "optimizer");
    visit("lr", lr, "learning rate after warm-up", at_least(0));
    visit("beta1", beta1, "decay of the first moment", between(0, 1));
    visit("beta2", beta2, "decay of the second moment", between(0, 1));
    visit("eps", eps, "added to the root of the second moment", at_least(0));
    visit("weight_decay", weight_decay, "adamw: decoupled; adam: added to the gradient",
          at_least(0));
    visit("warmup_steps", warmup_steps, "the learning rate rises linearly over these", at_least(0));
    visit("decay", decay, "of the learning rate, from the end of warm-up to the last step");
    visit("final_lr_ratio", final_lr_ratio, "learning rate at the last step over lr",
          between(0, 1));
    visit("max_grad_norm", max_grad_norm, "gradients are scaled down to this norm; 0 never",
          at_least(0));
  }
};

struct EmaConfig {
  EmaKind kind = EmaKind::kWarmup;
  double decay = 0.9999;
  double warmup_power = 0.75;
  std::vector<double> power_stds = {};
  int64_t snapshot_every = 1000;

  template <typename Visitor>
  void visit_fields(Visitor&& visit) {
    visit("kind", kind, "fixed, or warmed up: min(decay, 1 - (1 + step)^-power)");
    visit("decay", decay, "largest decay", between(0, 1));
    visit("warmup_power", warmup_power, "power of the warm-up", between(0, 10));
    visit("power_stds", power_stds,
          "relative widths of power-function averages kept beside it, as in [0.05, 0.1]");
    visit("snapshot_every", snapshot_every, "steps between files of these averages", at_least(1));
  }
};

struct TrainConfig {
  int64_t steps = 100'000;
  int64_t batch_size = 128;
  int64_t accumulation = 1;
  uint64_t seed = 0;
  Precision precision = Precision::kFp32;
  Capture capture = Capture::kAuto;
  bool gradient_checkpointing = false;
  std::string device = "auto";
  int64_t threads = 0;
  int64_t log_every = 50;
  int64_t preview_every = 1000;
  int64_t preview_images = 36;
  int64_t preview_steps = 50;
  int64_t checkpoint_every = 1000;
  int64_t keep_checkpoints = 3;
  int64_t max_nonfinite_in_a_row = 5;
  bool class_conditional = false;
  double class_dropout = 0.0;
  bool self_conditioning = false;
  int64_t super_resolution = 0;
  TimestepSampling timestep_sampling = TimestepSampling::kUniform;
  double log_sigma_mean = -1.2;
  double log_sigma_std = 1.2;
  double offset_noise = 0.0;
  double input_perturbation = 0.0;

  template <typename Visitor>
  void visit_fields(Visitor&& visit) {
    visit("steps", steps, "optimizer steps of the whole run", at_least(1));
    visit("batch_size", batch_size, "images an optimizer step sees", at_least(1));
    visit("accumulation", accumulation, "parts the batch is computed in; divides batch_size",
          at_least(1));
    visit("seed", seed, "of weights, order, timesteps, noise and previews", at_least(0));
    visit("precision", precision,
          "of the network; masters, optimizer and EMA stay fp32. auto: bf16 where it is "
          "faster on the device");
    visit("capture", capture,
          "auto: on a GPU the whole step is replayed as one CUDA graph, with the same bits; off: "
          "never");
    visit("gradient_checkpointing", gradient_checkpointing,
          "unet2d, classifier: compute the insides of blocks again in the backward pass, for less "
          "memory; with dropout a GPU's step is not captured then");
    visit("device", device, "auto, cpu, cuda or cuda:N");
    visit("threads", threads, "CPU threads; 0: one a core, beside a GPU at most four", at_least(0));
    visit("log_every", log_every, "steps between metrics", at_least(1));
    visit("preview_every", preview_every,
          "steps between sample grids; 0 never; a classifier draws none", at_least(0));
    visit("preview_images", preview_images, "images of a sample grid", between(1, 4096));
    visit("preview_steps", preview_steps, "DDIM steps of a sample grid", at_least(1));
    visit("checkpoint_every", checkpoint_every, "steps between checkpoints; 0: at the end only",
          at_least(0));
    visit("keep_checkpoints", keep_checkpoints, "older ones are removed; 0 keeps all", at_least(0));
    visit("max_nonfinite_in_a_row", max_nonfinite_in_a_row,
          "steps of non-finite loss in a row that stop the run", at_least(1));
    visit("class_conditional", class_conditional, "give the network the class labels");
    visit("class_dropout", class_dropout,
          "share of the labels that become the null class, for classifier-free guidance",
          between(0, 1));
    visit("self_conditioning", self_conditioning,
          "the network sees its own last guess of x_0, half of the images in training");
    visit("super_resolution", super_resolution,
          "the network sees x_0 reduced by this factor and enlarged again, and learns to enlarge "
          "images; 0: off",
          between(0, 64));
    visit(
        "timestep_sampling", timestep_sampling,
        "uniform; one from each of batch_size equal parts; by the timesteps' last losses; or with "
        "a normal log(sigma), sigma^2 = 1 / SNR [EDM]");
    visit("log_sigma_mean", log_sigma_mean, "log_normal: mean of log(sigma)");
    visit("log_sigma_std", log_sigma_std, "log_normal: its standard deviation", at_least(0));
    visit("offset_noise", offset_noise,
          "standard deviation of noise that a channel's pixels share, added to the noise; 0 none",
          at_least(0));
    visit("input_perturbation", input_perturbation,
          "noise added to the noise in the network's input, not in its target; 0 none",
          at_least(0));
  }
};

}  // namespace ddpm
