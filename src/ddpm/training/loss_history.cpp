#include "ddpm/training/loss_history.h"

#include <ATen/ATen.h>

#include <limits>

namespace ddpm {
namespace {

// Probabilities are counted in parts of this many, which a double holds exactly.
constexpr double kParts = 4503599627370496.0;  // 2^52

/// [T] float64, sums to 1, but for rounding.
Tensor probabilities(const LossHistory& history) {
  const auto num_timesteps = static_cast<double>(history.counts.numel());
  const Tensor full = (history.counts >= kHistoryLength).all();
  const Tensor root = history.losses.to(at::kDouble).square().mean(/*dim=*/1).sqrt();
  const Tensor by_loss = root / root.sum().clamp_min(std::numeric_limits<double>::min());
  const Tensor mixed = (1 - kUniformShare) * by_loss + kUniformShare / num_timesteps;
  return at::where(full, mixed, at::full_like(mixed, 1 / num_timesteps));
}

}  // namespace

LossHistory make_loss_history(int64_t num_timesteps, at::Device device) {
  const auto options = at::TensorOptions(device);
  return {.losses = at::zeros({num_timesteps, kHistoryLength}, options.dtype(at::kFloat)),
          .counts = at::zeros({num_timesteps}, options.dtype(at::kLong))};
}

WeightedTimesteps choose_timesteps(const LossHistory& history, const Tensor& draws) {
  const auto num_timesteps = static_cast<double>(history.counts.numel());
  const Tensor parts = (probabilities(history) * kParts).to(at::kLong).clamp_min(1);
  const Tensor upto = parts.cumsum(/*dim=*/0);
  const Tensor total = upto.slice(/*dim=*/0, -1);  // [1]
  const Tensor drawn = at::minimum((draws * total).to(at::kLong), total - 1);
  const Tensor t = at::searchsorted(upto, drawn, /*out_int32=*/false, /*right=*/true);
  const Tensor weights =
      total.to(at::kDouble) / (num_timesteps * parts.index_select(/*dim=*/0, t).to(at::kDouble));
  return {t, weights.to(at::kFloat)};
}

void add_to_history(LossHistory& history, const Tensor& t, const Tensor& losses,
                    const Tensor& counts) {
  // Images of one timestep take the ring's places in the batch's order. Where the ring goes round
  // within a batch the later loss stays: the earlier one is sent to a place that is thrown away.
  const Tensor same = (t.unsqueeze(1) == t.unsqueeze(0)).to(at::kLong);  // [N, N]
  const Tensor earlier = same.tril(/*diagonal=*/-1).sum(/*dim=*/1);
  const Tensor later = same.triu(/*diagonal=*/1).sum(/*dim=*/1);
  const Tensor place = (history.counts.index_select(/*dim=*/0, t) + earlier) % kHistoryLength;
  const Tensor ring = history.losses.flatten();
  const int64_t nowhere = ring.numel();
  const Tensor index =
      at::where(later < kHistoryLength, t * kHistoryLength + place, at::full_like(t, nowhere));
  const Tensor filled = at::cat({ring, at::zeros({1}, ring.options())})
                            .scatter(/*dim=*/0, index, losses)
                            .narrow(/*dim=*/0, 0, nowhere)
                            .view_as(history.losses);
  history.losses.copy_(at::where(counts, filled, history.losses));
  const Tensor seen = history.counts.scatter_add(/*dim=*/0, t, at::ones_like(t));
  history.counts.copy_(at::where(counts, seen, history.counts));
}

}  // namespace ddpm
