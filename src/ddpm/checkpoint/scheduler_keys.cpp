#include "ddpm/checkpoint/scheduler_keys.h"

#include <set>
#include <utility>

#include "ddpm/checkpoint/diffusers_json.h"
#include "ddpm/config/json_config.h"
#include "ddpm/core/check.h"

namespace ddpm {
namespace {

using Json = nlohmann::json;

/// Keys that are supported at one value only, which does nothing or is the class's only one.
std::vector<std::pair<const char*, Json>> fixed_keys(SchedulerClass scheduler) {
  std::vector<std::pair<const char*, Json>> keys;
  const auto add = [&](const char* key, const Json& value) { keys.emplace_back(key, value); };
  if (has_keys(scheduler, SchedulerKeyGroup::kSigmas)) add("use_beta_sigmas", false);
  if (has_keys(scheduler, SchedulerKeyGroup::kOrder)) {
    add("use_flow_sigmas", false);
    add("flow_shift", 1.0);
    add("use_dynamic_shifting", false);
    add("time_shift_type", "exponential");
  }
  if (has_keys(scheduler, SchedulerKeyGroup::kDpmSolver)) add("lambda_min_clipped", kMinusInfinity);
  if (scheduler == SchedulerClass::kDeis) {
    add("algorithm_type", "deis");
    add("solver_type", "logrho");
  }
  if (scheduler == SchedulerClass::kUnipc) {
    add("predict_x0", true);
    add("disable_corrector", Json::array());
    add("solver_p", nullptr);
    add("shift_terminal", nullptr);
  }
  if (scheduler == SchedulerClass::kEuler) {
    add("interpolation_type", "linear");
    add("timestep_type", "discrete");
  }
  return keys;
}

/// Keys where null stands for our default.
constexpr std::array kNullable{"trained_betas", "sigma_min", "sigma_max", "variance_type"};

bool is_null_variance(const SchedulerKeys& keys) {
  return keys.options.scheduler != SchedulerClass::kDdpm &&
         keys.variance_type == VarianceType::kFixedSmall;
}

void erase_nulls(Json& values, SchedulerClass scheduler) {
  for (const char* key : kNullable) {
    const bool takes_null =
        std::string_view(key) != "variance_type" || scheduler != SchedulerClass::kDdpm;
    if (takes_null && values.contains(key) && values[key].is_null()) values.erase(key);
  }
}

/// Keys of diffusers' first versions.
void take_old_keys(Json& values, const std::string& where) {
  values.erase("tensor_format");  // "pt" or "np"
  take_fixed(values, "timestep_values", nullptr, where);
  const auto predict_epsilon = values.find("predict_epsilon");
  if (predict_epsilon == values.end()) return;
  check_arg(predict_epsilon->is_boolean(), "[", where,
            "] predict_epsilon: expected true or false, got ", predict_epsilon->dump());
  const char* prediction = predict_epsilon->get<bool>() ? "epsilon" : "sample";
  if (!values.contains("prediction_type")) values["prediction_type"] = prediction;
  values.erase("predict_epsilon");
}

std::set<std::string> keys_of_class(SchedulerClass scheduler) {
  SchedulerKeys keys{.options = {.scheduler = scheduler}};
  std::set<std::string> names;
  for (const Field& field : list_fields(keys)) names.insert(field.key);
  for (const auto& [key, value] : fixed_keys(scheduler)) names.insert(key);
  return names;
}

std::set<std::string> keys_of_every_class() {
  std::set<std::string> names;
  for (size_t i = 0; i < EnumNames<SchedulerClass>::names.size(); ++i) {
    names.merge(keys_of_class(static_cast<SchedulerClass>(i)));
  }
  return names;
}

std::vector<std::string> take_unused_keys(Json& values, SchedulerClass scheduler) {
  const std::set<std::string> own = keys_of_class(scheduler);
  std::vector<std::string> unused;
  for (const std::string& key : keys_of_every_class()) {
    if (!own.contains(key) && values.erase(key) > 0) unused.push_back(key);
  }
  return unused;
}

LevelSpacing level_spacing(const SchedulerKeys& keys, const std::string& where) {
  const int chosen = (keys.use_karras_sigmas ? 1 : 0) + (keys.use_exponential_sigmas ? 1 : 0) +
                     (keys.use_lu_lambdas ? 1 : 0);
  check_arg(chosen <= 1, "[", where,
            "] use_karras_sigmas, use_exponential_sigmas, use_lu_lambdas: expected at most one of "
            "them, got ",
            chosen);
  if (keys.use_karras_sigmas) return LevelSpacing::kKarras;
  if (keys.use_exponential_sigmas) return LevelSpacing::kExponential;
  return keys.use_lu_lambdas ? LevelSpacing::kUniformLambda : LevelSpacing::kTimesteps;
}

/// Pairs of values that no sampler of this project has, or that diffusers can't run.
void check_solver(const SchedulerOptions& options, const std::string& where) {
  using enum SchedulerClass;
  const bool to_image = options.final_sigma == FinalSigma::kZero;
  if (options.scheduler == kDpmSolverMultistep) {
    check_arg(options.algorithm != SolverAlgorithm::kDpmSolver, "[", where,
              "] algorithm_type: expected dpmsolver++ or sde-dpmsolver++, got dpmsolver");
    check_arg(!options.euler_at_final || to_image || options.solver_order == 1, "[", where,
              "] euler_at_final: expected final_sigmas_type zero or solver_order 1 with it, got "
              "true without them");
  }
  if (options.scheduler == kDpmSolverSinglestep) {
    check_arg(options.algorithm != SolverAlgorithm::kSdeDpmSolverPlusPlus, "[", where,
              "] algorithm_type: expected dpmsolver++ or dpmsolver, got sde-dpmsolver++");
    check_arg(options.algorithm != SolverAlgorithm::kDpmSolver || !to_image, "[", where,
              "] final_sigmas_type: expected sigma_min with algorithm_type dpmsolver, got zero");
    check_arg(options.solver_order < 3 || options.solver_type == SolverType::kHeun, "[", where,
              "] solver_type: expected heun with solver_order 3, got midpoint");
  }
  if (options.scheduler == kUnipc) {
    check_arg(options.lower_order_final || !to_image, "[", where,
              "] lower_order_final: expected true with final_sigmas_type zero, got false");
    check_arg(options.sigmas == LevelSpacing::kTimesteps || to_image, "[", where,
              "] final_sigmas_type: expected zero with use_karras_sigmas or "
              "use_exponential_sigmas, got sigma_min");
  }
}

}  // namespace

SchedulerKeys default_scheduler_keys(SchedulerClass scheduler) {
  SchedulerKeys keys{.options = default_scheduler(scheduler)};
  if (scheduler == SchedulerClass::kHeun) {
    keys.beta_start = 0.00085;
    keys.beta_end = 0.012;
  }
  keys.set_alpha_to_one = keys.options.final_sigma == FinalSigma::kZero;
  return keys;
}

SchedulerKeys read_scheduler_keys(SchedulerClass scheduler, Json values, const std::string& where,
                                  std::vector<std::string>& unused_keys) {
  take_old_keys(values, where);
  unused_keys = take_unused_keys(values, scheduler);
  for (const auto& [key, only] : fixed_keys(scheduler)) take_fixed(values, key, only, where);
  erase_nulls(values, scheduler);
  SchedulerKeys keys = default_scheduler_keys(scheduler);
  assign_fields(list_fields(keys), {.values = values, .name = where, .origins = {}});
  keys.options.sigmas = level_spacing(keys, where);
  if (has_keys(scheduler, SchedulerKeyGroup::kAlphaToOne)) {
    keys.options.final_sigma = keys.set_alpha_to_one ? FinalSigma::kZero : FinalSigma::kSigmaMin;
  }
  check_arg(scheduler == SchedulerClass::kDdpm || keys.beta_schedule != BetaSchedule::kSigmoid, "[",
            where, "] beta_schedule: expected one that ", enum_word(scheduler),
            " has: linear, scaled_linear or squaredcos_cap_v2, got sigmoid");
  check_solver(keys.options, where);
  return keys;
}

Json scheduler_keys_to_json(SchedulerKeys keys) {
  const SchedulerOptions& options = keys.options;
  keys.set_alpha_to_one = options.final_sigma == FinalSigma::kZero;
  keys.use_karras_sigmas = options.sigmas == LevelSpacing::kKarras;
  keys.use_exponential_sigmas = options.sigmas == LevelSpacing::kExponential;
  keys.use_lu_lambdas = options.sigmas == LevelSpacing::kUniformLambda;
  Json json = config_to_json(keys);
  const auto set_null = [&](const char* key, bool is_null) {
    if (is_null && json.contains(key)) json[key] = nullptr;
  };
  set_null("trained_betas", keys.trained_betas.empty());
  set_null("sigma_min", options.sigma_min == 0);
  set_null("sigma_max", options.sigma_max == 0);
  set_null("variance_type", is_null_variance(keys));
  for (const auto& [key, value] : fixed_keys(options.scheduler)) json[key] = value;
  return json;
}

}  // namespace ddpm
