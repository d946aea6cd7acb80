#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "ddpm/checkpoint/checkpoint_folder.h"
#include "ddpm/config/run_config.h"
#include "ddpm/core/file_lock.h"
#include "ddpm/data/batch_loader.h"
#include "ddpm/data/image_set.h"
#include "ddpm/model/network.h"
#include "ddpm/training/metrics_writer.h"
#include "ddpm/training/train_step.h"
#include "ddpm/training/window_clock.h"

namespace ddpm {

enum class StopRequest { kNone, kSaveNow, kStop };
enum class EndReason { kFinished, kStopped };

/// How a run tells its caller what happens, and asks whether to go on. Any of them may be empty.
struct TrainerHooks {
  std::function<StopRequest()> poll = {};          ///< asked after each step
  std::function<void(int64_t step)> on_step = {};  ///< that many steps are done
  std::function<void(int64_t step, const MetricRow&)> on_metrics = {};
  std::function<void(int64_t step, const std::string& path)> on_preview = {};
  std::function<void(int64_t step, const std::string& path)> on_checkpoint = {};
  /// One sentence: something could not be written (disk full), and training goes on without it.
  std::function<void(const std::string& message)> on_warning = {};
};

struct TrainResult {
  EndReason reason = EndReason::kFinished;
  int64_t step = 0;  ///< steps done
};

/// The file of a run folder that the process which writes there holds as a FileLock.
std::filesystem::path run_lock_path(const std::filesystem::path& run_folder);

/// Trains a network [DDPM Alg. 1] and keeps the run folder:
///
///     lock                        held by the one process that trains here
///     recipe.toml                 the resolved recipe
///     metrics.jsonl, metrics.csv, tensorboard/
///     samples/step-00001000.png   a grid of the EMA's samples, from the same noise each time
///     checkpoints/step-00001000/  everything needed to go on, bit for bit
///     model/                      the EMA as a model folder, renewed with each checkpoint
///     ema/                        files of the averages of ema.power_stds (ema_snapshots.h)
///
/// A step whose loss or gradient is not finite changes nothing; train.max_nonfinite_in_a_row of
/// them end the run.
class Trainer {
 public:
  /// @param config     resolved and valid; the device is chosen from train.device.
  /// @param network    initialised; it is moved to the device and trained in place.
  /// @param images     [N, C, H, W] uint8; shared, not copied.
  /// @param run_folder created if absent.
  /// @param lock       the run folder's, of a caller that holds it already; else run() takes it.
  Trainer(const RunConfig& config, std::shared_ptr<NetworkImpl> network, const ImageSet& images,
          std::filesystem::path run_folder, TrainerHooks hooks = {},
          std::optional<FileLock> lock = std::nullopt);

  /// Goes on from a checkpoint of a run with the same seed, batch size and number of images. Call
  /// it before run().
  /// @throws std::invalid_argument that names what does not fit.
  void resume(const CheckpointContents& contents);

  /// Trains until config.train.steps steps are done or poll() answers kStop; saves a checkpoint at
  /// the end of either. The run folder stays locked until the Trainer is gone; where the file
  /// system can't lock, on_warning says so.
  ///
  /// A checkpoint, picture or metrics row that can't be written is reported to on_warning, and the
  /// run goes on; the next one is tried at its time.
  ///
  /// @throws std::invalid_argument, naming it, if another process trains into the run folder.
  /// @throws std::runtime_error if too many steps in a row were not finite (it names step, loss,
  ///         gradient norm and learning rate; nothing is saved), or the last checkpoint can't be
  ///         written.
  TrainResult run();

  /// Everything needed to go on from here, copied.
  CheckpointContents checkpoint_contents();

  int64_t step() const { return step_; }  ///< steps done

 private:
  void start();
  void lock_run_folder();
  void train_one_step();
  void check_finite();
  void keep_records();
  TrainResult end(EndReason reason);
  MetricRow metric_row();
  void write_metrics();
  bool draws_previews() const;
  void write_preview();
  void write_snapshots();
  void save();
  void try_to(const std::string& what, const std::function<void()>& write);
  void warn(const std::string& message);

  RunConfig config_;
  ImageSet images_;
  std::filesystem::path run_folder_;
  TrainerHooks hooks_;
  std::optional<FileLock> lock_;
  at::Device device_;
  std::shared_ptr<NetworkImpl> network_;
  TrainStep train_step_;
  std::unique_ptr<BatchLoader> loader_;
  std::unique_ptr<MetricsWriter> metrics_;
  WindowClock clock_;
  int64_t step_ = 0;
  int64_t window_step_ = 0;   ///< where the clock's window began
  double window_waited_ = 0;  ///< seconds that were spent waiting for data before it
  int64_t preview_step_ = -1;
  int64_t saved_step_ = -1;
};

}  // namespace ddpm
