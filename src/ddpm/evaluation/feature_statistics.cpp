#include "ddpm/evaluation/feature_statistics.h"

#include <ATen/ATen.h>

#include "ddpm/core/check.h"

namespace ddpm {

void FeatureStatistics::add(const Tensor& features) {
  check_arg(features.dim() == 2 && features.size(0) > 0 && features.size(1) > 0,
            "[FeatureStatistics] features: expected [N, F] with N and F at least 1, got ",
            features.sizes());
  check_arg(count_ == 0 || features.size(1) == mean_.size(0),
            "[FeatureStatistics] width of features: expected ", count_ == 0 ? 0 : mean_.size(0),
            ", got ", features.size(1));
  const Tensor batch = features.to(at::kDouble);
  const int64_t added = batch.size(0);
  const Tensor batch_mean = batch.mean(/*dim=*/0);
  const Tensor centred = batch - batch_mean;
  const Tensor batch_scatter = centred.t().mm(centred);
  if (count_ == 0) {
    mean_ = batch_mean;
    scatter_ = batch_scatter;
  } else {
    const double share = static_cast<double>(added) / static_cast<double>(count_ + added);
    const Tensor shift = batch_mean - mean_;
    mean_ = mean_ + share * shift;
    scatter_ =
        scatter_ + batch_scatter + (share * static_cast<double>(count_)) * shift.outer(shift);
  }
  count_ += added;
}

FeatureMoments FeatureStatistics::moments() const {
  check_arg(count_ >= 2, "[FeatureStatistics] a covariance needs images: expected at least 2, got ",
            count_);
  return {.count = count_,
          .mean = mean_.cpu(),
          .covariance = (scatter_ / static_cast<double>(count_ - 1)).cpu()};
}

}  // namespace ddpm
