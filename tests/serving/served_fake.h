#pragma once

#include <memory>
#include <string>
#include <vector>

#include "ddpm/serving/api/served_model.h"
#include "serving/fake_model.h"

namespace ddpm::testing {

struct ServedFakeOptions {
  std::string id = "fake";
  int64_t num_classes = 0;  ///< Up to 3: boot, shirt, coat; with a null class beside them.
  int64_t channels = 1;
  bool self_conditioning = false;
  int64_t super_resolution = 0;
  std::shared_ptr<FakeCalls> calls = std::make_shared<FakeCalls>();
};

/// A model of 8x8 images with T = 1000 and the closed form of fake_model(), whose files ask for
/// dpmpp_2m.
inline ServedModel served_fake(const ServedFakeOptions& options = {}) {
  const std::vector<std::string> names{"boot", "shirt", "coat"};
  auto engine = fake_model(options.calls, {.id = options.id,
                                           .num_classes = options.num_classes,
                                           .self_conditioning = options.self_conditioning,
                                           .super_resolution = options.super_resolution});
  engine->image_shape = {options.channels, 8, 8};
  return {.id = options.id,
          .hash = std::string(64, 'a'),
          .image_shape = engine->image_shape,
          .num_classes = options.num_classes,
          .class_names = {names.begin(), names.begin() + options.num_classes},
          .null_class = engine->null_class,
          .super_resolution = options.super_resolution,
          .num_timesteps = 1000,
          .prediction = engine->prediction,
          .default_sampler = {.kind = SamplerKind::kDpmpp2m},
          .created_s = 1'700'000'000,
          .fingerprint = options.id,
          .engine = engine};
}

}  // namespace ddpm::testing
