#include "ddpm/checkpoint/scheduler_json.h"

#include <algorithm>
#include <stdexcept>
#include <string_view>

#include "ddpm/checkpoint/diffusers_json.h"
#include "ddpm/checkpoint/json_file.h"
#include "ddpm/checkpoint/scheduler_keys.h"
#include "ddpm/core/check.h"
#include "ddpm/core/file.h"

namespace ddpm {
namespace {

using Json = nlohmann::json;

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
      if (keys.options.scheduler != SchedulerClass::kDdpm) {  // the one class that has it
        use_betas(keys, betas);
        return;
      }
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

void check_place_for(const DiffusionConfig& diffusion, SchedulerClass scheduler) {
  const char* name = enum_word(scheduler);
  check_arg(!diffusion.zero_terminal_snr || has_keys(scheduler, SchedulerKeyGroup::kZeroSnr),
            "[scheduler_to_json] ", name,
            " has no place for zero_terminal_snr: expected a model without it, got one with it");
  check_arg(diffusion.variance != VarianceType::kLearnedRange ||
                has_keys(scheduler, SchedulerKeyGroup::kVariance),
            "[scheduler_to_json] ", name,
            " has no place for a learned variance: expected fixed_small or fixed_large, got "
            "learned_range");
}

SchedulerClass class_of(const Json& json, const std::string& where) {
  constexpr auto& kNames = EnumNames<SchedulerClass>::names;
  const std::string name = class_name_of(json, kNames.front(), where);
  const auto found = std::find(kNames.begin(), kNames.end(), name);
  std::string expected;
  for (const char* each : kNames) expected += (expected.empty() ? "" : ", ") + std::string(each);
  check_arg(found != kNames.end(), "[", where, "] _class_name: expected one of ", expected,
            ", got '", name, "'");
  return static_cast<SchedulerClass>(found - kNames.begin());
}

/// Puts quotes around each -Infinity that stands outside of strings.
std::string quote_minus_infinity(std::string_view text) {
  std::string quoted;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    if (!in_string && text.substr(i).starts_with(kMinusInfinity)) {
      quoted += c10::str('"', kMinusInfinity, '"');
      i += std::string_view(kMinusInfinity).size() - 1;
      continue;
    }
    quoted += text[i];
    if (in_string && text[i] == '\\' && i + 1 < text.size()) {
      quoted += text[++i];
    } else if (text[i] == '"') {
      in_string = !in_string;
    }
  }
  return quoted;
}

}  // namespace

Json scheduler_to_json(const SchedulerFile& file, const std::vector<double>& betas) {
  check_place_for(file.diffusion, file.options.scheduler);
  SchedulerKeys keys{.options = file.options,
                     .num_train_timesteps = file.diffusion.num_timesteps,
                     .beta_start = file.diffusion.beta_start,
                     .beta_end = file.diffusion.beta_end,
                     .prediction_type = file.diffusion.prediction,
                     .variance_type = file.diffusion.variance,
                     .rescale_betas_zero_snr = file.diffusion.zero_terminal_snr};
  set_schedule(keys, file.diffusion, betas);
  Json json = scheduler_keys_to_json(keys);
  json["_class_name"] = enum_word(file.options.scheduler);
  json["_diffusers_version"] = kDiffusersVersion;
  return json;
}

SchedulerFile scheduler_from_json(const Json& json, const std::string& where) {
  const SchedulerClass scheduler = class_of(json, where);
  SchedulerFile file;
  const SchedulerKeys keys =
      read_scheduler_keys(scheduler, without_private_keys(json), where, file.unused_keys);
  const auto num_betas = static_cast<int64_t>(keys.trained_betas.size());
  check_arg(num_betas == 0 || num_betas == keys.num_train_timesteps, "[", where,
            "] trained_betas: expected ", keys.num_train_timesteps,
            ", as num_train_timesteps says, got ", num_betas);
  file.diffusion = {
      .schedule = num_betas > 0 ? ScheduleKind::kCustom : schedule_kind(keys.beta_schedule),
      .num_timesteps = keys.num_train_timesteps,
      .beta_start = keys.beta_start,
      .beta_end = keys.beta_end,
      .betas = keys.trained_betas,
      .zero_terminal_snr = keys.rescale_betas_zero_snr,
      .prediction = keys.prediction_type,
      .variance = keys.variance_type};
  file.options = keys.options;
  return file;
}

SchedulerFile read_scheduler_file(const std::filesystem::path& path) {
  const std::string text = quote_minus_infinity(read_text_file(path));
  return scheduler_from_json(parse_json(text, path.string()), path.string());
}

void write_scheduler_file(const std::filesystem::path& path, const SchedulerFile& file,
                          const std::vector<double>& betas) {
  std::string text = scheduler_to_json(file, betas).dump(/*indent=*/2) + "\n";
  const std::string quoted = c10::str('"', kMinusInfinity, '"');
  const size_t found = text.find(quoted);
  if (found != std::string::npos) text.replace(found, quoted.size(), kMinusInfinity);
  write_file_atomic(path, std::string_view(text));
}

}  // namespace ddpm
