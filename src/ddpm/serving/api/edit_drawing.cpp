#include "ddpm/serving/api/edit_drawing.h"

#include <ATen/ATen.h>

#include <stdexcept>
#include <utility>

#include "ddpm/pipeline/network_denoise_fn.h"
#include "ddpm/sampling/guidance.h"
#include "ddpm/sampling/image_to_image.h"
#include "ddpm/sampling/interpolate.h"
#include "ddpm/sampling/levels.h"
#include "ddpm/sampling/linear_operator.h"
#include "ddpm/sampling/restore.h"
#include "ddpm/sampling/sampler_plan.h"

namespace ddpm {
namespace {

constexpr int64_t kMaxCalls = 20'000;

/// What a task means for a model on its device.
class EditDrawing {
 public:
  EditDrawing(const EditTask& task, EngineNetwork network, std::function<void()> on_call)
      : task_(task),
        sampler_(task.request.engine.sampler),
        device_(task.model->engine->device),
        schedule_(task.model->engine->schedule.to(device_)),
        network_(std::move(network)),
        on_call_(std::move(on_call)) {}

  Tensor draw() const {
    if (enlarges()) {
      const Denoiser model = denoiser(num_images());
      return sample(schedule_, model.prediction, model.denoise, sampler_, batch());
    }
    switch (task_.fields.kind) {
      case EditKind::kInpaint:
      case EditKind::kSuperres:
      case EditKind::kColorize:
        return restore(denoiser(num_images()), sampler_, measurement(), task_.fields.restore,
                       batch());
      case EditKind::kImg2img:
        return image_to_image(denoiser(num_images()), sampler_, source(0), task_.fields.strength,
                              batch());
      case EditKind::kInterpolate:
        return decode(denoiser(num_images()), sampler_, path());
    }
    throw std::logic_error("[draw_edit] not an EditKind");
  }

  void check() const {
    check_timesteps();
    const int64_t calls = count_calls();
    if (calls <= kMaxCalls) return;
    refuse_form("sampler.steps", "[sampler.steps] expected at most " + std::to_string(kMaxCalls) +
                                     " network calls in all, got " + std::to_string(calls));
  }

 private:
  /// Whether the network sees the image.
  bool enlarges() const { return task_.model->super_resolution > 0; }
  int64_t num_images() const { return task_.request.engine.num_images; }
  Tensor source(size_t i) const { return task_.sources.at(i).to(device_); }

  SampleRequest batch() const {
    return {.seed = task_.request.engine.seed,
            .num_images = num_images(),
            .image_shape = task_.model->image_shape,
            .device = device_};
  }

  /// Of one batch: it remembers the guesses of a self-conditioned network.
  DenoiseFn labelled(const Tensor& labels) const {
    const LabelledDenoiseFn answers = [network = network_, on_call = on_call_](
                                          const Tensor& x, const Tensor& t, const Tensor& of_rows) {
      if (on_call) on_call();
      return network(x, t, of_rows);
    };
    return network_denoise_fn(answers,
                              {.schedule = schedule_,
                               .prediction = task_.model->prediction,
                               .self_conditioning = task_.model->engine->self_conditioning,
                               .super_resolution = task_.model->super_resolution,
                               .low_resolution = enlarges() ? source(0) : Tensor()},
                              labels);
  }

  /// The network for the first `count` labels, guided by its null class.
  Denoiser denoiser(int64_t count) const {
    const auto& given = task_.request.engine.class_labels;
    const GuidanceOptions& guidance = task_.request.engine.guidance;
    Tensor labels;
    if (!given.empty()) {
      labels = at::tensor(given, at::kLong).narrow(/*dim=*/0, 0, count).to(device_);
    }
    const PredictionType prediction = task_.model->prediction;
    if (guidance.scale == 1) return {schedule_, prediction, labelled(labels)};
    const Tensor both = at::cat({labels, at::full_like(labels, task_.model->null_class)});
    const DenoiseFn denoise = labelled(both);
    return {schedule_, prediction, classifier_free_guidance(schedule_, guidance, denoise, denoise)};
  }

  LinearMeasurement measurement() const {
    switch (task_.fields.kind) {
      case EditKind::kInpaint:
        return kept_part(source(0), task_.mask.to(device_));
      case EditKind::kSuperres:
        return {box_reduction(task_.fields.factor), source(0)};
      case EditKind::kColorize: {
        const LinearOperator op = channel_mean(task_.model->image_shape.at(0));
        return {op, op.apply(source(0))};
      }
      case EditKind::kImg2img:
      case EditKind::kInterpolate:
        break;
    }
    throw std::logic_error("[measurement] not an EditKind that restores");
  }

  /// The noises from one end to the other.
  Tensor path() const {
    const auto& seeds = task_.fields.seeds;
    if (seeds.empty()) {
      return noise_path(denoiser(2), sampler_, at::cat({source(0), source(1)}), num_images());
    }
    const auto noise_of = [&](uint64_t seed) {
      return initial_noise(
          {.seed = seed, .image_shape = task_.model->image_shape, .device = device_});
    };
    return slerp_path(noise_of(seeds.at(0)), noise_of(seeds.at(1)), num_images());
  }

  int64_t count_calls() const {
    const Denoiser denoiser{schedule_, task_.model->prediction, {}};
    if (restores(task_)) {
      return count_restore_calls(denoiser, sampler_, task_.fields.restore,
                                 measurement().op.singular_value);
    }
    const bool is_path = task_.fields.kind == EditKind::kInterpolate;
    const bool is_whole = is_path || enlarges();
    const SamplerPlan plan =
        is_whole ? make_sampler_plan(schedule_, denoiser.prediction, sampler_)
                 : make_sampler_plan(schedule_, denoiser.prediction, sampler_,
                                     last_levels(schedule_, sampler_, task_.fields.strength));
    if (is_path) decode_takes_no_noise(plan);
    return static_cast<int64_t>(plan.calls.size());
  }

  void check_timesteps() const {
    if (!task_.model->engine->self_conditioning) return;
    const SamplerPlan plan = make_sampler_plan(schedule_, task_.model->prediction, sampler_);
    if (plan.whole_timesteps) return;
    refuse_form("sampler",
                "[sampler] expected one of whole timesteps for a self-conditioned model, "
                "got " +
                    std::string(enum_word(sampler_.kind)) + " with levels " +
                    std::string(enum_word(sampler_.levels)));
  }

  static void decode_takes_no_noise(const SamplerPlan& plan) {
    for (const SamplerCall& call : plan.calls) {
      if (call.next.noise == 0) continue;
      refuse_form("sampler.kind",
                  "[sampler.kind] interpolate: expected a sampler without noise in its steps");
    }
  }

  const EditTask& task_;
  const SamplerOptions& sampler_;
  const at::Device device_;
  const NoiseSchedule schedule_;
  const EngineNetwork network_;
  const std::function<void()> on_call_;
};

}  // namespace

Tensor draw_edit(const EditTask& task, const EngineNetwork& network,
                 const std::function<void()>& on_call) {
  return EditDrawing(task, network, on_call).draw().cpu();
}

void check_edit(const EditTask& task) {
  try {
    EditDrawing(task, {}, {}).check();
  } catch (const std::invalid_argument& error) {
    refuse_form("sampler", error.what());
  }
}

}  // namespace ddpm
