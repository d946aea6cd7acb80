#include "ddpm/diffusion/forward_process.h"

#include <ATen/ATen.h>

#include <vector>

#include "ddpm/core/check.h"

namespace ddpm {

void check_batch(const char* function, const Tensor& x, const Tensor& t, const Tensor& other,
                 const char* other_name) {
  check_arg(x.scalar_type() == at::kFloat || x.scalar_type() == at::kDouble, "[", function,
            "] half precision would lose the noise of early timesteps: expected Float or Double, "
            "got ",
            x.scalar_type());
  check_arg(other.sizes() == x.sizes(), "[", function, "] ", other_name,
            " must have the batch's shape: expected ", x.sizes(), ", got ", other.sizes());
  check_arg(x.dim() > 0 && t.dim() == 1 && t.size(0) == x.size(0) && t.scalar_type() == at::kLong,
            "[", function, "] t must hold one timestep per image of ", x.sizes(),
            ": expected [N] Long, got ", t.sizes(), " ", t.scalar_type());
}

Tensor gather_at(const Tensor& table, const Tensor& t, const Tensor& x) {
  std::vector<int64_t> shape(static_cast<size_t>(x.dim()), 1);
  shape[0] = t.size(0);
  return table.index_select(/*dim=*/0, t).to(x.scalar_type()).view(shape);
}

Tensor q_sample(const NoiseSchedule& schedule, const Tensor& x_start, const Tensor& t,
                const Tensor& noise) {
  check_batch("q_sample", x_start, t, noise, "noise");
  return gather_at(schedule.sqrt_alphas_cumprod, t, x_start) * x_start +
         gather_at(schedule.sqrt_one_minus_alphas_cumprod, t, x_start) * noise;
}

Tensor q_step(const NoiseSchedule& schedule, const Tensor& x_prev, const Tensor& t,
              const Tensor& noise) {
  check_batch("q_step", x_prev, t, noise, "noise");
  return gather_at(schedule.sqrt_alphas, t, x_prev) * x_prev +
         gather_at(schedule.sqrt_betas, t, x_prev) * noise;
}

}  // namespace ddpm
