#include "ddpm/serving/engine/engine_batch.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <utility>

#include "ddpm/core/send_to_device.h"
#include "ddpm/sampling/guidance.h"
#include "ddpm/serving/engine/engine_input.h"

namespace ddpm {
namespace {

/// The network's answer for the images, guided.
Tensor guided_answer(const EngineModel& model, const std::vector<BatchImage>& images,
                     const Tensor& output, int64_t channels) {
  const auto count = static_cast<int64_t>(images.size());
  const Tensor strong = output.narrow(/*dim=*/0, 0, count);
  std::vector<const GuidanceOptions*> options;
  std::vector<int64_t> guided;
  for (size_t i = 0; i < images.size(); ++i) {
    if (images[i].guidance == nullptr) continue;
    options.push_back(images[i].guidance);
    guided.push_back(static_cast<int64_t>(i));
  }
  if (guided.empty()) return strong;
  const auto num_guided = static_cast<int64_t>(guided.size());
  const Tensor weak = output.narrow(/*dim=*/0, count, num_guided);
  if (num_guided == count) return guide_each(options, strong, weak, channels);
  const Tensor index = send_to_device(at::tensor(guided, at::kLong), model.device);
  const Tensor answers = guide_each(options, strong.index_select(/*dim=*/0, index), weak, channels);
  return strong.index_copy(/*dim=*/0, index, answers);
}

bool clips_alike(const SamplerOptions& a, const SamplerOptions& b) {
  return a.clip == b.clip && a.clip_range == b.clip_range && a.dynamic_ratio == b.dynamic_ratio &&
         a.dynamic_max == b.dynamic_max;
}

SamplerState part_of(const SamplerState& state, int64_t first, int64_t count) {
  SamplerState part{.x = state.x.narrow(/*dim=*/0, first, count)};
  for (size_t k = 0; k < kMemorySlots; ++k) {
    const Tensor& memory = state.memory[k];
    if (memory.defined()) part.memory[k] = memory.narrow(/*dim=*/0, first, count);
  }
  return part;
}

/// Parts that were advanced apart, in one; a memory that some parts lack is 0 there.
AdvanceResult join(const std::vector<AdvanceResult>& parts) {
  AdvanceResult joined;
  std::vector<Tensor> x;
  std::vector<Tensor> pred_x_start;
  for (const AdvanceResult& part : parts) {
    x.push_back(part.state.x);
    pred_x_start.push_back(part.pred_x_start);
  }
  joined.state.x = at::cat(x);
  joined.pred_x_start = at::cat(pred_x_start);
  for (size_t k = 0; k < kMemorySlots; ++k) {
    std::vector<Tensor> memory;
    bool any = false;
    for (const AdvanceResult& part : parts) {
      any = any || part.state.memory[k].defined();
      memory.push_back(part.state.memory[k]);
    }
    if (!any) continue;
    for (size_t i = 0; i < parts.size(); ++i) {
      if (!memory[i].defined()) memory[i] = at::zeros_like(x[i]);
    }
    joined.state.memory[k] = at::cat(memory);
  }
  return joined;
}

/// advance_each takes one way of clipping: a call for each run of images that clip alike.
AdvanceResult advance_runs(const std::vector<BatchImage>& images, const SamplerState& state,
                           const Tensor& output, const Tensor& noise) {
  std::vector<const SamplerCall*> calls;
  for (const BatchImage& image : images) calls.push_back(image.call);
  std::vector<AdvanceResult> parts;
  for (size_t first = 0; first < images.size();) {
    const SamplerOptions& sampler = *images[first].sampler;
    size_t end = first + 1;
    while (end < images.size() && clips_alike(*images[end].sampler, sampler)) ++end;
    if (first == 0 && end == images.size()) {
      return advance_each(calls, sampler, state, output, noise);
    }
    const auto begin = static_cast<int64_t>(first);
    const auto count = static_cast<int64_t>(end - first);
    parts.push_back(advance_each(at::ArrayRef(calls).slice(first, end - first), sampler,
                                 part_of(state, begin, count),
                                 output.narrow(/*dim=*/0, begin, count),
                                 noise.defined() ? noise.narrow(/*dim=*/0, begin, count) : noise));
    first = end;
  }
  return join(parts);
}

/// On the CPU, pinned for a GPU: row i by fill(image i, row), in parallel.
template <typename Fill>
Tensor noise_rows(const EngineModel& model, size_t count, const Fill& fill) {
  std::vector<int64_t> shape{static_cast<int64_t>(count)};
  shape.insert(shape.end(), model.image_shape.begin(), model.image_shape.end());
  const Tensor noise =
      at::zeros(shape, at::TensorOptions(at::kFloat).pinned_memory(model.device.is_cuda()));
  const int64_t elements = noise.numel() / shape.front();
  float* const out = noise.mutable_data_ptr<float>();
  at::parallel_for(0, shape.front(), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      fill(static_cast<size_t>(i), out + i * elements, elements);
  });
  return noise;
}

}  // namespace

int64_t count_rows(const std::vector<BatchImage>& images) {
  return static_cast<int64_t>(images.size()) +
         std::count_if(images.begin(), images.end(),
                       [](const BatchImage& image) { return image.guidance != nullptr; });
}

Tensor initial_noise(const EngineModel& model, const std::vector<BatchImage>& images) {
  return noise_rows(model, images.size(), [&](size_t i, float* out, int64_t elements) {
    fill_normal({images[i].seed, RandomStream::kInitialNoise}, images[i].number, /*step=*/0, out,
                elements);
  });
}

Tensor step_noise(const EngineModel& model, const std::vector<BatchImage>& images) {
  const auto fill = [&](size_t i, float* out, int64_t elements) {
    const SamplerCall& call = *images[i].call;
    if (call.next.noise == 0) return;
    fill_normal({images[i].seed, RandomStream::kStepNoise}, images[i].number, call.noise_step, out,
                elements);
  };
  return noise_rows(model, images.size(), fill).to(model.device, /*non_blocking=*/true);
}

AdvanceResult advance_batch(const EngineModel& model, const EngineNetwork& network,
                            const std::vector<BatchImage>& images, const CallInput& input,
                            const SamplerState& state) {
  const Tensor output = network(input.x, input.t, input.class_labels);
  const bool takes_noise = std::any_of(images.begin(), images.end(), [](const BatchImage& image) {
    return image.call->next.noise != 0;
  });
  return advance_runs(images, state, guided_answer(model, images, output, input.x.size(1)),
                      takes_noise ? step_noise(model, images) : Tensor());
}

}  // namespace ddpm
