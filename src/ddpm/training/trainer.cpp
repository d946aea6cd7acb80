#include "ddpm/training/trainer.h"

#include <ATen/ATen.h>
#include <ATen/DeviceAccelerator.h>

#include <exception>
#include <utility>

#include "ddpm/config/json_config.h"
#include "ddpm/config/toml_config.h"
#include "ddpm/core/check.h"
#include "ddpm/core/device.h"
#include "ddpm/core/file.h"
#include "ddpm/core/log.h"
#include "ddpm/data/image_codec.h"
#include "ddpm/pipeline/network_denoise_fn.h"
#include "ddpm/pipeline/precision.h"
#include "ddpm/training/ema_snapshots.h"
#include "ddpm/training/learning_rate.h"
#include "ddpm/training/model_export.h"
#include "ddpm/training/preview.h"

namespace ddpm {
namespace {

// On a GPU, reading a counter waits for the steps that were queued.
constexpr int64_t kGpuFiniteCheckEvery = 128;

std::shared_ptr<NetworkImpl> on_device(std::shared_ptr<NetworkImpl> network, at::Device device) {
  network->to(device);
  return network;
}

double memory_mib(at::Device device) {
  constexpr double kMib = 1024.0 * 1024.0;
  if (device.is_cpu()) return static_cast<double>(resident_memory_bytes()) / kMib;
  const auto stats = at::accelerator::getDeviceStats(device.index());
  return static_cast<double>(stats.reserved_bytes[0].peak) / kMib;
}

/// The network computes with the EMA while it lives.
class EmaInUse {
 public:
  explicit EmaInUse(TrainStep& train_step) : train_step_(train_step) { train_step_.use_ema(); }
  ~EmaInUse() { train_step_.use_trained(); }
  EmaInUse(const EmaInUse&) = delete;
  EmaInUse& operator=(const EmaInUse&) = delete;

 private:
  TrainStep& train_step_;
};

bool is_due(int64_t step, int64_t every) { return every > 0 && step % every == 0; }

RunConfig with_precision(RunConfig config) {
  config.train.precision = resolve_precision(config.train);
  return config;
}

void check_same(const nlohmann::json& state, const char* name, uint64_t expected) {
  check_arg(state.contains(name) && state[name].is_number_integer(),
            "[Trainer] the checkpoint's state must hold an integer '", name, "'");
  check_arg(state[name].get<uint64_t>() == expected, "[Trainer] an exact resume needs the ", name,
            " of the checkpoint: expected ", state[name].get<uint64_t>(), ", got ", expected);
}

}  // namespace

std::filesystem::path run_lock_path(const std::filesystem::path& run_folder) {
  return run_folder / "lock";
}

Trainer::Trainer(const RunConfig& config, std::shared_ptr<NetworkImpl> network,
                 const ImageSet& images, std::filesystem::path run_folder, TrainerHooks hooks,
                 std::optional<FileLock> lock)
    : config_(with_precision(config)),
      images_(images),
      run_folder_(std::move(run_folder)),
      hooks_(std::move(hooks)),
      lock_(std::move(lock)),
      device_(select_device(config.train.device)),
      network_(on_device(std::move(network), device_)),
      train_step_(config_, network_, device_) {}

CheckpointContents Trainer::checkpoint_contents() {
  CheckpointContents contents;
  contents.weights = train_step_.weights_state();
  contents.ema = train_step_.ema_state();
  contents.optimizer = train_step_.optimizer_state();
  contents.state = {{"step", step_},
                    {"seed", config_.train.seed},
                    {"batch_size", config_.train.batch_size},
                    {"num_images", images_.images.size(0)},
                    {"image_size", images_.images.size(2)},
                    {"class_names", images_.class_names},
                    {"data_name", images_.name}};
  contents.recipe = config_to_json(config_);
  return contents;
}

void Trainer::resume(const CheckpointContents& contents) {
  const auto& state = contents.state;
  check_arg(state.contains("step") && state["step"].is_number_integer() && state["step"] >= 0,
            "[Trainer] the checkpoint's state must hold an integer 'step' of at least 0");
  check_same(state, "seed", config_.train.seed);
  check_same(state, "batch_size", static_cast<uint64_t>(config_.train.batch_size));
  check_same(state, "num_images", static_cast<uint64_t>(images_.images.size(0)));
  train_step_.load(contents.weights, contents.ema, contents.optimizer);
  step_ = state["step"].get<int64_t>();
  saved_step_ = step_;
}

void Trainer::lock_run_folder() {
  if (!lock_) lock_.emplace(run_lock_path(run_folder_));
  if (lock_->is_held()) return;
  warn("[Trainer] the file system of '" + run_folder_.string() +
       "' can't lock files: nothing stops a second process from training there");
}

void Trainer::start() {
  std::error_code error;
  std::filesystem::create_directories(run_folder_ / "samples", error);
  check_state(!error, "[Trainer] can't create '", (run_folder_ / "samples").string(),
              "': ", error.message());
  lock_run_folder();
  write_file_atomic(run_folder_ / "recipe.toml", std::string_view(to_toml(config_)));
  metrics_ = std::make_unique<MetricsWriter>(run_folder_.string(), step_);
  loader_ = std::make_unique<BatchLoader>(images_, config_.train.batch_size, config_.train.seed,
                                          config_.data.horizontal_flip,
                                          config_.data.prefetch_batches, /*first_batch=*/step_);
  window_step_ = step_;
  window_waited_ = 0;
  clock_.restart();
}

TrainResult Trainer::run() {
  start();
  while (step_ < config_.train.steps) {
    train_one_step();
    keep_records();
    const StopRequest request = hooks_.poll ? hooks_.poll() : StopRequest::kNone;
    if (request == StopRequest::kStop && step_ < config_.train.steps) {
      return end(EndReason::kStopped);
    }
    if (request == StopRequest::kSaveNow) {
      check_finite();
      try_to("save a checkpoint", [&] { save(); });
    }
  }
  return end(EndReason::kFinished);
}

void Trainer::train_one_step() {
  train_step_.prepare(loader_->next(), step_);
  train_step_.run();
  ++step_;
  if (device_.is_cpu() || is_due(step_, kGpuFiniteCheckEvery)) check_finite();
  if (hooks_.on_step) hooks_.on_step(step_);
}

void Trainer::check_finite() {
  const StepStatistics& statistics = train_step_.statistics();
  const int64_t limit = config_.train.max_nonfinite_in_a_row;
  const auto longest = statistics.longest_nonfinite_row.item<int64_t>();
  if (longest < limit) return;
  const Tensor last = statistics.last_nonfinite.cpu();
  const auto* value = last.const_data_ptr<double>();
  const auto step = static_cast<int64_t>(value[0]);
  check_state(false, "[Trainer] loss and gradients must be finite: expected fewer than ", limit,
              " bad steps in a row, got ", longest, ", the last at step ", step + 1, " (loss ",
              value[1], ", gradient norm ", value[2], ", learning rate ",
              learning_rate(config_.optimizer, step, config_.train.steps),
              "); the weights took none of them in");
}

void Trainer::keep_records() {
  const TrainConfig& train = config_.train;
  if (is_due(step_, train.log_every)) {
    check_finite();
    write_metrics();
  }
  if (draws_previews() && is_due(step_, train.preview_every)) write_preview();
  if (is_due(step_, train.checkpoint_every) && step_ < train.steps) {
    check_finite();
    try_to("save a checkpoint", [&] { save(); });
  }
  if (is_due(step_, config_.ema.snapshot_every)) {
    try_to("write the averages' files", [&] { write_snapshots(); });
  }
}

void Trainer::write_snapshots() {
  if (config_.ema.power_stds.empty()) return;
  check_finite();
  const WindowClock::Pause pause(clock_);
  for (size_t i = 0; i < config_.ema.power_stds.size(); ++i) {
    write_ema_snapshot(run_folder_, step_, config_.ema.power_stds[i],
                       train_step_.power_ema_state(i));
  }
}

TrainResult Trainer::end(EndReason reason) {
  check_finite();
  if (reason == EndReason::kFinished && window_step_ < step_) write_metrics();
  if (reason == EndReason::kFinished && draws_previews()) write_preview();
  save();
  return {.reason = reason, .step = step_};
}

MetricRow Trainer::metric_row() {
  const StepMeans means = read_means(train_step_.statistics());
  MetricRow row{{"loss", means.loss}};
  for (size_t i = 0; i < means.quarter_loss.size(); ++i) {
    row.emplace_back("loss_q" + std::to_string(i + 1), means.quarter_loss[i]);
  }
  if (means.accuracy) row.emplace_back("accuracy", *means.accuracy);
  const double seconds = clock_.seconds();
  const auto steps = static_cast<double>(step_ - window_step_);
  const double waited = loader_->waited_seconds();
  row.insert(
      row.end(),
      {{"grad_norm", means.grad_norm},
       {"lr", train_step_.lr()},
       {"ema_decay", train_step_.ema_decay()},
       {"img_per_s", steps * static_cast<double>(config_.train.batch_size) / seconds},
       {"step_ms", 1000 * seconds / steps},
       {"data_wait", (waited - window_waited_) / seconds},
       {"nonfinite", static_cast<double>(train_step_.optimizer().nonfinite_total.item<int64_t>())},
       {"memory_mib", memory_mib(device_)}});
  window_waited_ = waited;
  return row;
}

void Trainer::write_metrics() {
  const MetricRow row = metric_row();
  clear_sums(train_step_.statistics());
  try_to("write the metrics", [&] { metrics_->write(step_, row); });
  if (hooks_.on_metrics) hooks_.on_metrics(step_, row);
  window_step_ = step_;
  clock_.restart();
}

bool Trainer::draws_previews() const {
  return config_.train.preview_every > 0 && config_.model.kind != ModelKind::kClassifier;
}

void Trainer::write_preview() {
  if (preview_step_ == step_) return;
  preview_step_ = step_;
  const WindowClock::Pause pause(clock_);
  const std::string path = (run_folder_ / "samples" / (step_name(step_) + ".png")).string();
  try_to("write '" + path + "'", [&] {
    const EmaInUse ema_in_use(train_step_);
    const PreviewInputs given = preview_inputs(config_, images_, device_);
    const NetworkView view{.schedule = train_step_.schedule(),
                           .prediction = config_.diffusion.prediction,
                           .self_conditioning = config_.train.self_conditioning,
                           .super_resolution = config_.train.super_resolution,
                           .low_resolution = given.low_resolution};
    const DenoiseFn denoise =
        network_denoise_fn(network_, view, dtype_of(config_.train.precision), given.class_labels);
    const Image grid = draw_preview(config_, train_step_.schedule(), denoise,
                                    images_.images.sizes().slice(1).vec(), device_);
    const TextChunks text{{"step", std::to_string(step_)},
                          {"seed", std::to_string(config_.train.seed)}};
    const std::vector<uint8_t> png = encode_png(grid, text);
    write_file_atomic(path, std::span<const uint8_t>(png));
    metrics_->write_image(step_, "samples", {grid.width, grid.height, grid.channels, png});
    if (hooks_.on_preview) hooks_.on_preview(step_, path);
  });
}

void Trainer::save() {
  if (saved_step_ == step_) return;
  const WindowClock::Pause pause(clock_);
  const CheckpointContents contents = checkpoint_contents();
  const std::filesystem::path folder = write_checkpoint(run_folder_, step_, contents);
  prune_checkpoints(run_folder_, config_.train.keep_checkpoints);
  export_model_folder(run_folder_ / "model", config_, contents.ema, images_, step_);
  saved_step_ = step_;
  if (hooks_.on_checkpoint) hooks_.on_checkpoint(step_, folder.string());
}

void Trainer::try_to(const std::string& what, const std::function<void()>& write) {
  try {
    write();
  } catch (const std::exception& error) {
    warn("[Trainer] can't " + what + " at step " + std::to_string(step_) +
         ", training goes on: " + error.what());
  }
}

void Trainer::warn(const std::string& message) {
  if (hooks_.on_warning) {
    hooks_.on_warning(message);
  } else {
    log_warn(message);
  }
}

}  // namespace ddpm
