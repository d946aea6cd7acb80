// The server's engine without its HTTP: clients that each want one image after another, of mixed
// step counts, of the CIFAR-10 recipe's network with drawn weights.
//   engine_benchmark --benchmark_filter='^serve/32/bf16'
// Names: serve, clients, precision. A step is as many finished images as there are clients;
// items_per_second counts steps of images. --profile=FOLDER as step_benchmark has it.
#include <benchmark/benchmark.h>

#include <condition_variable>
#include <filesystem>
#include <memory>
#include <mutex>
#include <string>
#include <unistd.h>
#include <vector>

#include "ddpm/config/toml_config.h"
#include "ddpm/core/device.h"
#include "ddpm/model/network.h"
#include "ddpm/model/state_dict.h"
#include "ddpm/pipeline/pipeline.h"
#include "ddpm/serving/engine/engine.h"
#include "ddpm/training/profile.h"
#include "measure.h"

namespace ddpm {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kImageSize = 32;
constexpr int64_t kFewestSteps = 10, kMostSteps = 100;

/// A model folder that is there as long as this is.
class ServedFolder {
 public:
  ServedFolder()
      : path_(fs::temp_directory_path() / ("ddpm-engine-benchmark-" + std::to_string(::getpid()))) {
    const RunConfig config = resolve_run_config(
        load_recipe(fs::path(DDPM_SOURCE_DIR) / "recipes" / "cifar10_ddpm.toml", {}),
        /*channels=*/3, kImageSize, /*num_classes=*/0);
    auto network = make_network(config.model);
    initialize(*network, /*seed=*/0);
    ModelFolder folder = model_of_recipe(config);
    folder.extras.image_size = kImageSize;
    folder.weights = state_dict(*network);
    write_model_folder(path_, folder, /*overwrite=*/true);
  }
  ~ServedFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  ServedFolder(const ServedFolder&) = delete;
  ServedFolder& operator=(const ServedFolder&) = delete;

  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

/// An engine, and clients that ask again as soon as they have their image.
class Clients {
 public:
  Clients(int64_t count, Precision precision)
      : engine_({std::make_shared<const EngineModel>(
                    engine_model("m", folder_.path(), {.device = "auto", .precision = precision}))},
                {.batch_sizes = default_batch_sizes(!select_device("auto").is_cpu())}) {
    for (int64_t client = 0; client < count; ++client) ask();
  }
  ~Clients() { engine_.drain(EngineClock::now()); }
  Clients(const Clients&) = delete;
  Clients& operator=(const Clients&) = delete;

  /// Waits for as many images.
  /// @return the steps that they took.
  int64_t take(int64_t images) {
    int64_t steps = 0;
    for (int64_t i = 0; i < images; ++i) {
      steps += next_drawn();
      ask();
    }
    return steps;
  }

 private:
  void ask() {
    const auto number = static_cast<int64_t>(num_asked_++);
    const int64_t steps = kFewestSteps + number * 37 % (kMostSteps - kFewestSteps + 1);
    EngineEvents events;
    events.end = [this, steps](const RequestEnd&) {
      const std::lock_guard lock(mutex_);
      drawn_.push_back(steps);
      came_.notify_one();
    };
    engine_.submit({.model = "m",
                    .seed = static_cast<uint64_t>(number),
                    .sampler = {.kind = SamplerKind::kDdim, .steps = steps}},
                   events);
  }

  int64_t next_drawn() {
    std::unique_lock lock(mutex_);
    came_.wait(lock, [this] { return !drawn_.empty(); });
    const int64_t steps = drawn_.back();
    drawn_.pop_back();
    return steps;
  }

  ServedFolder folder_;
  std::mutex mutex_;
  std::condition_variable came_;
  std::vector<int64_t> drawn_;
  uint64_t num_asked_ = 0;
  Engine engine_;  // last: its events use the others
};

void serve(benchmark::State& state, int64_t num_clients, Precision precision,
           const fs::path& profile) {
  Clients clients(num_clients, precision);
  clients.take(8 * num_clients);  // graphs of all batch sizes
  int64_t steps = 0;
  for ([[maybe_unused]] const auto& iteration : state) steps += clients.take(num_clients);
  state.SetItemsProcessed(steps);
  if (profile.empty()) return;
  fs::create_directories(profile);
  profile_steps([&] { clients.take(num_clients); },
                {.device = select_device("auto"),
                 .warm_up_steps = 1,
                 .steps = 1,
                 .trace = profile / ("serve-" + std::to_string(num_clients) + "-" +
                                     std::string(enum_word(precision)) + ".json")});
}

}  // namespace
}  // namespace ddpm

int main(int argc, char** argv) {
  using namespace ddpm;
  constexpr std::string_view kProfile = "--profile=";
  fs::path profile;
  int kept = 1;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument.starts_with(kProfile)) {
      profile = argument.substr(kProfile.size());
    } else {
      argv[kept++] = argv[i];
    }
  }
  for (const Precision precision : {Precision::kFp32, Precision::kBf16}) {
    for (const int64_t clients : {1, 8, 32, 64}) {
      const std::string name =
          "serve/" + std::to_string(clients) + "/" + std::string(enum_word(precision));
      benchmark::RegisterBenchmark(
          name.c_str(), [=](benchmark::State& state) { serve(state, clients, precision, profile); })
          ->Unit(benchmark::kMillisecond)
          ->UseRealTime();
    }
  }
  return run_benchmarks(kept, argv);
}
