#pragma once

#include <ATen/ATen.h>

#include <string>
#include <vector>

#include "ddpm/config/diffusion_config.h"
#include "ddpm/core/tensor.h"

namespace ddpm::testing {

/// One configuration of every ScheduleKind with `num_timesteps` timesteps. The prediction is
/// sample, which every schedule allows.
inline std::vector<DiffusionConfig> every_schedule(int64_t num_timesteps) {
  std::vector<DiffusionConfig> configs;
  for (int kind = 0; kind <= static_cast<int>(ScheduleKind::kCustom); ++kind) {
    DiffusionConfig config;
    config.schedule = static_cast<ScheduleKind>(kind);
    config.num_timesteps = num_timesteps;
    config.prediction = PredictionType::kSample;
    if (config.schedule == ScheduleKind::kCustom) {
      for (int64_t t = 0; t < num_timesteps; ++t) {
        config.betas.push_back(t % 2 == 0 ? 0.003 : 0.011);
      }
    }
    configs.push_back(config);
  }
  return configs;
}

inline double at_index(const Tensor& table, int64_t t) { return table[t].item<double>(); }

inline std::string name_of(const DiffusionConfig& config) {
  return EnumNames<ScheduleKind>::names[static_cast<size_t>(config.schedule)];
}

}  // namespace ddpm::testing
