#include "ddpm/loss/cross_entropy.h"

#include <ATen/ATen.h>

#include "ddpm/core/check.h"

namespace ddpm {

Tensor cross_entropy(const Tensor& logits, const Tensor& labels) {
  check_arg(logits.dim() == 2 && labels.dim() == 1 && labels.size(0) == logits.size(0),
            "[cross_entropy] logits and labels must be [N, K] and [N]: expected one label an "
            "image, got ",
            logits.sizes(), " and ", labels.sizes());
  const Tensor log_probability = logits.to(at::kFloat).log_softmax(/*dim=*/1);
  return -log_probability.gather(/*dim=*/1, labels.unsqueeze(1)).squeeze(1);
}

Tensor is_top_class(const Tensor& logits, const Tensor& labels) {
  return logits.argmax(/*dim=*/1) == labels;
}

}  // namespace ddpm
