#include "ddpm/sampling/sampler_options.h"

#include <stdexcept>

namespace ddpm {
namespace {

/// What a sampler reads beside its levels and its clipping.
std::vector<std::string> own_options(SamplerKind kind) {
  switch (kind) {
    case SamplerKind::kDdpm:
      return {"variance"};
    case SamplerKind::kDdim:
      return {"eta"};
    case SamplerKind::kEuler:
    case SamplerKind::kHeun:
      return {"s_churn", "s_tmin", "s_tmax", "s_noise"};
    case SamplerKind::kEulerAncestral:
      return {"ancestral_eta"};
    case SamplerKind::kDpmpp2s:
    case SamplerKind::kDpmpp2m:
    case SamplerKind::kDpmpp3m:
    case SamplerKind::kDpm2s:
      return {"lower_order_final", "solver_type"};
    case SamplerKind::kDpmpp2mSde:
    case SamplerKind::kDpmpp3mSde:
      return {"ancestral_eta", "lower_order_final", "solver_type"};
    case SamplerKind::kDpmpp3s:
    case SamplerKind::kDpm3s:
      return {"lower_order_final"};
    case SamplerKind::kUnipc:
      return {"order", "lower_order_final", "unipc"};
    case SamplerKind::kDeis:
      return {"order", "lower_order_final"};
    case SamplerKind::kLms:
      return {"order"};
    case SamplerKind::kPndm:
    case SamplerKind::kPlms:
      return {};
  }
  throw std::logic_error("[own_options] not a SamplerKind");
}

}  // namespace

SamplerOptions options_for_sampler(const SamplerOptions& options, SamplerKind kind) {
  if (kind == options.kind) return options;
  return {.kind = kind,
          .spacing = options.spacing,
          .steps_offset = options.steps_offset,
          .clip = options.clip,
          .clip_range = options.clip_range,
          .dynamic_ratio = options.dynamic_ratio,
          .dynamic_max = options.dynamic_max};
}

std::vector<std::string> options_read_by(SamplerKind kind) {
  std::vector<std::string> options{"steps",       "spacing", "drop_last",  "steps_offset",
                                   "levels",      "rho",     "sigma_min",  "sigma_max",
                                   "final_sigma", "clip",    "clip_range", "dynamic_ratio",
                                   "dynamic_max"};
  const std::vector<std::string> own = own_options(kind);
  options.insert(options.end(), own.begin(), own.end());
  return options;
}

}  // namespace ddpm
