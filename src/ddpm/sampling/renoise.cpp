#include "ddpm/sampling/renoise.h"

#include <ATen/ATen.h>

#include <cmath>

#include "ddpm/core/check.h"

namespace ddpm {

Tensor renoise(const Tensor& x, const NoiseLevel& from, const NoiseLevel& to, const Tensor& noise) {
  const double kept = to.alpha_bar / from.alpha_bar;
  check_arg(kept <= 1, "[renoise] alpha_bar must not rise: expected at most ", from.alpha_bar,
            ", got ", to.alpha_bar);
  return x * std::sqrt(kept) + noise * std::sqrt(1 - kept);
}

Tensor source_of_each(const char* function, const Tensor& source, const SampleRequest& request) {
  const int64_t n = request.num_images;
  check_arg(source.dim() == 4 && source.sizes().slice(1) == at::IntArrayRef(request.image_shape) &&
                (source.size(0) == n || source.size(0) == 1),
            "[", function, "] source does not fit the images to draw: expected [", n, " or 1, ",
            at::IntArrayRef(request.image_shape), "], got ", source.sizes());
  return source.expand({n, -1, -1, -1});
}

}  // namespace ddpm
