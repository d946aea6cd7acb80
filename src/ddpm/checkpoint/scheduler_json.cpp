#include "ddpm/checkpoint/scheduler_json.h"

#include <array>
#include <stdexcept>

#include "ddpm/checkpoint/diffusers_json.h"
#include "ddpm/config/json_config.h"
#include "ddpm/config/sample_config.h"
#include "ddpm/core/check.h"

namespace ddpm {
namespace {
enum class BetaSchedule { kLinear, kScaledLinear, kSquaredCos, kSigmoid };
}  // namespace

template <>
struct EnumNames<BetaSchedule> {
  static constexpr std::array names{"linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid"};
};

namespace {

using Json = nlohmann::json;

constexpr const char* kDdpmClass = "DDPMScheduler";
constexpr const char* kDdimClass = "DDIMScheduler";

/// diffusers' options, under its names and with its defaults.
struct SchedulerKeys {
  int64_t num_train_timesteps = 1000;
  double beta_start = 1e-4;
  double beta_end = 0.02;
  BetaSchedule beta_schedule = BetaSchedule::kLinear;
  std::vector<double> trained_betas;
  VarianceType variance_type = VarianceType::kFixedSmall;
  bool clip_sample = true;
  double clip_sample_range = 1.0;
  PredictionType prediction_type = PredictionType::kEpsilon;
  bool thresholding = false;
  double dynamic_thresholding_ratio = 0.995;
  double sample_max_value = 1.0;
  TimestepSpacing timestep_spacing = TimestepSpacing::kLeading;
  bool rescale_betas_zero_snr = false;

  template <typename Visitor>
  void visit_fields(Visitor&& visit) {
    visit("num_train_timesteps", num_train_timesteps, "T", between(1, 1'000'000));
    visit("beta_start", beta_start, "first beta", between(0, 1));
    visit("beta_end", beta_end, "last beta", between(0, 1));
    visit("beta_schedule", beta_schedule, "noise schedule");
    visit("trained_betas", trained_betas, "every beta, instead of a schedule");
    visit("variance_type", variance_type, "variance of ancestral sampling");
    visit("clip_sample", clip_sample, "clip the predicted x_0");
    visit("clip_sample_range", clip_sample_range, "to plus and minus this", at_least(0));
    visit("prediction_type", prediction_type, "what the network predicts");
    visit("thresholding", thresholding, "dynamic thresholding of the predicted x_0");
    visit("dynamic_thresholding_ratio", dynamic_thresholding_ratio, "its quantile", between(0, 1));
    visit("sample_max_value", sample_max_value, "its largest threshold", at_least(1));
    visit("timestep_spacing", timestep_spacing, "which timesteps a shorter list visits");
    visit("rescale_betas_zero_snr", rescale_betas_zero_snr, "rescale to zero terminal SNR");
  }
};

ScheduleKind schedule_kind(BetaSchedule schedule) {
  switch (schedule) {
    case BetaSchedule::kLinear:
      return ScheduleKind::kLinear;
    case BetaSchedule::kScaledLinear:
      return ScheduleKind::kQuad;
    case BetaSchedule::kSquaredCos:
      return ScheduleKind::kCosine;
    case BetaSchedule::kSigmoid:
      return ScheduleKind::kSigmoidBeta;
  }
  throw std::logic_error("[schedule_kind] not a BetaSchedule");
}

void use_betas(SchedulerKeys& keys, const std::vector<double>& betas) {
  check_arg(static_cast<int64_t>(betas.size()) == keys.num_train_timesteps,
            "[scheduler_to_json] betas, which this schedule is written as: expected ",
            keys.num_train_timesteps, ", got ", betas.size());
  keys.trained_betas = betas;
}

void set_schedule(SchedulerKeys& keys, const DiffusionConfig& config,
                  const std::vector<double>& betas) {
  switch (config.schedule) {
    case ScheduleKind::kLinear:
      keys.beta_schedule = BetaSchedule::kLinear;
      return;
    case ScheduleKind::kLinearScaled: {
      const double scale = 1000.0 / static_cast<double>(config.num_timesteps);
      keys.beta_schedule = BetaSchedule::kLinear;
      keys.beta_start = config.beta_start * scale;
      keys.beta_end = config.beta_end * scale;
      return;
    }
    case ScheduleKind::kQuad:
      keys.beta_schedule = BetaSchedule::kScaledLinear;
      return;
    case ScheduleKind::kCosine:
      keys.beta_schedule = BetaSchedule::kSquaredCos;
      return;
    case ScheduleKind::kSigmoidBeta:
      keys.beta_schedule = BetaSchedule::kSigmoid;
      return;
    case ScheduleKind::kCustom:
      use_betas(keys, config.betas);
      return;
    case ScheduleKind::kSigmoidAlphaBar:
    case ScheduleKind::kConst:
    case ScheduleKind::kJsd:
      use_betas(keys, betas);
      return;
  }
  throw std::logic_error("[set_schedule] not a ScheduleKind");
}

/// Options of diffusers that this project has at one value only, and those of its first versions.
void take_other_keys(Json& values, const std::string& class_name, const std::string& where) {
  take_fixed(values, "steps_offset", 0, where);
  if (class_name == kDdimClass) take_fixed(values, "set_alpha_to_one", true, where);
  values.erase("set_alpha_to_one");  // means nothing to DDPMScheduler
  values.erase("tensor_format");     // "pt" or "np"
  take_fixed(values, "timestep_values", nullptr, where);
  if (values.value("trained_betas", Json()).is_null()) values.erase("trained_betas");
  const auto predict_epsilon = values.find("predict_epsilon");
  if (predict_epsilon == values.end()) return;
  check_arg(predict_epsilon->is_boolean(), "[", where,
            "] predict_epsilon: expected true or false, got ", predict_epsilon->dump());
  const char* prediction = predict_epsilon->get<bool>() ? "epsilon" : "sample";
  if (!values.contains("prediction_type")) values["prediction_type"] = prediction;
  values.erase("predict_epsilon");
}

}  // namespace

Json scheduler_to_json(const SchedulerFile& file, const std::vector<double>& betas) {
  SchedulerKeys keys{.num_train_timesteps = file.diffusion.num_timesteps,
                     .beta_start = file.diffusion.beta_start,
                     .beta_end = file.diffusion.beta_end,
                     .trained_betas = {},
                     .variance_type = file.diffusion.variance,
                     .clip_sample = file.options.clip_sample,
                     .prediction_type = file.diffusion.prediction,
                     .thresholding = file.options.thresholding,
                     .dynamic_thresholding_ratio = file.options.dynamic_thresholding_ratio,
                     .sample_max_value = file.options.sample_max_value,
                     .rescale_betas_zero_snr = file.diffusion.zero_terminal_snr};
  set_schedule(keys, file.diffusion, betas);
  Json json = config_to_json(keys);
  json["timestep_spacing"] = enum_word(file.options.timestep_spacing);
  if (keys.trained_betas.empty()) json["trained_betas"] = nullptr;
  json["steps_offset"] = 0;
  json["_class_name"] = kDdpmClass;
  json["_diffusers_version"] = kDiffusersVersion;
  return json;
}

SchedulerFile scheduler_from_json(const Json& json, const std::string& where) {
  const std::string class_name = class_name_of(json, kDdpmClass, where);
  check_arg(class_name == kDdpmClass || class_name == kDdimClass, "[", where,
            "] _class_name: expected ", kDdpmClass, " or ", kDdimClass, ", got '", class_name, "'");
  Json values = without_private_keys(json);
  take_other_keys(values, class_name, where);
  const auto keys = config_from_json<SchedulerKeys>(values, where);
  const bool clips_elsewhere =
      keys.clip_sample && !keys.thresholding && keys.clip_sample_range != 1.0;
  check_arg(!clips_elsewhere, "[", where,
            "] clip_sample_range: expected 1, the one that is supported, got ",
            keys.clip_sample_range);
  const auto num_betas = static_cast<int64_t>(keys.trained_betas.size());
  check_arg(num_betas == 0 || num_betas == keys.num_train_timesteps, "[", where,
            "] trained_betas: expected ", keys.num_train_timesteps,
            ", as num_train_timesteps says, got ", num_betas);

  SchedulerFile file;
  file.diffusion = {
      .schedule = num_betas > 0 ? ScheduleKind::kCustom : schedule_kind(keys.beta_schedule),
      .num_timesteps = keys.num_train_timesteps,
      .beta_start = keys.beta_start,
      .beta_end = keys.beta_end,
      .betas = keys.trained_betas,
      .zero_terminal_snr = keys.rescale_betas_zero_snr,
      .prediction = keys.prediction_type,
      .variance = keys.variance_type};
  file.options = {.clip_sample = keys.clip_sample,
                  .thresholding = keys.thresholding,
                  .dynamic_thresholding_ratio = keys.dynamic_thresholding_ratio,
                  .sample_max_value = keys.sample_max_value,
                  .timestep_spacing = keys.timestep_spacing};
  return file;
}

}  // namespace ddpm
