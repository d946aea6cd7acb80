// Whole steps, as `ddpm train` and `ddpm sample` run them, of two recipes' networks:
//   step_benchmark --benchmark_filter='^denoise/ddpm/8/bf16'
// Names: train, denoise or sample, network, batch, precision. scripts/bench sets PyTorch's times
// beside these. A sample is a batch drawn by DDIM in 50 steps. --profile=FOLDER also writes where
// each chosen step's time goes, as NAME.csv with '-' for
// '/'.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <unistd.h>

#include "ddpm/config/toml_config.h"
#include "ddpm/core/device.h"
#include "ddpm/core/file.h"
#include "ddpm/data/batch_loader.h"
#include "ddpm/data/shapes.h"
#include "ddpm/model/network.h"
#include "ddpm/model/state_dict.h"
#include "ddpm/pipeline/pipeline.h"
#include "ddpm/training/profile.h"
#include "ddpm/training/train_step.h"
#include "measure.h"

namespace ddpm {
namespace {

namespace fs = std::filesystem;
using Step = std::function<void()>;

struct BenchmarkedNetwork {
  const char* name;
  const char* recipe;
  int64_t image_size;
};

constexpr BenchmarkedNetwork kDdpm{"ddpm", "cifar10_ddpm", 32};
constexpr BenchmarkedNetwork kTalk{"talk", "cifar10_talk_simple_unet", 64};

struct Work {
  BenchmarkedNetwork network;
  int64_t batch_size;
  Precision precision;
};

/// The network's recipe, without dropout, which PyTorch's side lacks too.
RunConfig recipe_of(const Work& work) {
  const fs::path path =
      fs::path(DDPM_SOURCE_DIR) / "recipes" / (std::string(work.network.recipe) + ".toml");
  RunConfig config = load_recipe(path, {"model.unet2d.dropout=0"});
  config.train.batch_size = work.batch_size;
  config.train.precision = work.precision;
  return resolve_run_config(config, /*channels=*/3, work.network.image_size, /*num_classes=*/0);
}

std::shared_ptr<NetworkImpl> new_network(const RunConfig& config) {
  auto network = make_network(config.model);
  initialize(*network, /*seed=*/0);
  return network;
}

/// What Trainer does for a step: the next batch, prepare, run.
Step train_step(const Work& work, at::Device device) {
  const RunConfig config = recipe_of(work);
  auto network = new_network(config);
  network->to(device);
  auto step = std::make_shared<TrainStep>(config, network, device);
  const ImageSet set = make_shapes(/*count=*/512, work.network.image_size, /*channels=*/3,
                                   /*seed=*/0);
  auto loader = std::make_shared<BatchLoader>(set, work.batch_size, config.train.seed,
                                              config.data.horizontal_flip,
                                              config.data.prefetch_batches, /*first_batch=*/0);
  return [step, loader, number = int64_t{0}]() mutable {
    step->prepare(loader->next(), number++);
    step->run();
  };
}

/// A model folder of the recipe's network, opened as `ddpm sample` opens it.
Pipeline open_pipeline(const Work& work) {
  const RunConfig config = recipe_of(work);
  const fs::path path =
      fs::temp_directory_path() / ("ddpm-step-benchmark-" + std::to_string(::getpid()));
  ModelFolder folder = model_of_recipe(config);
  folder.extras.image_size = work.network.image_size;
  folder.weights = state_dict(*new_network(config));
  write_model_folder(path, folder, /*overwrite=*/true);
  Pipeline pipeline = load_pipeline(path, {.device = "auto", .precision = work.precision});
  fs::remove_all(path);
  return pipeline;
}

/// One call of the network as samplers see it.
Step denoise_step(const Work& work, at::Device device) {
  const at::NoGradGuard no_grad;
  auto pipeline = std::make_shared<Pipeline>(open_pipeline(work));
  const int64_t size = work.network.image_size;
  const Tensor x = at::randn({work.batch_size, 3, size, size}, device);
  const Tensor t = at::full({work.batch_size}, 100, at::device(device).dtype(at::kLong));
  return [pipeline, denoise = make_denoise_fn(*pipeline), x, t] {
    const at::NoGradGuard in_sampling;
    denoise(x, t);
  };
}

constexpr int64_t kSampleSteps = 50;

/// A batch of images, as `ddpm sample` draws it.
Step sample_batch(const Work& work, at::Device device) {
  static_cast<void>(device);  // the pipeline's
  auto pipeline = std::make_shared<Pipeline>(open_pipeline(work));
  const ImageRequest request{.num_images = work.batch_size, .batch_size = work.batch_size};
  return [pipeline, request] {
    sample_images(*pipeline, {.kind = SamplerKind::kDdim, .steps = kSampleSteps}, request,
                  [](const SampleTrace&) {});
  };
}

// Steps queued before the device is waited for; and steps before timing, for the searches of
// convolution plans and the captures of graphs.
int64_t group_size(at::Device device) { return device.is_cpu() ? 1 : 16; }
int64_t warm_up_steps(at::Device device) { return device.is_cpu() ? 2 : 20; }

using MakeStep = Step (*)(const Work& work, at::Device device);

/// The step that was timed last. Google Benchmark calls a benchmark several times, which all take
/// the same step.
class PreparedStep {
 public:
  /// The step of that name, warmed up.
  const Step& get(const std::string& name, MakeStep make, const Work& work, at::Device device) {
    if (name == name_) return step_;
    step_ = nullptr;  // its memory first
    step_ = make(work, device);
    name_ = name;
    run_group(device, step_, warm_up_steps(device));
    reset_peak_memory(device);
    run_group(device, step_, /*count=*/2);  // the memory that was given back comes again
    return step_;
  }

 private:
  std::string name_;
  Step step_;
};

/// What the command line asks for besides Google Benchmark's flags.
struct BenchmarkFlags {
  fs::path profile;  ///< Folder; empty: none.
};

/// Takes our own flags out of the arguments.
BenchmarkFlags take_flags(int& argc, char** argv) {
  constexpr std::string_view kProfile = "--profile=";
  BenchmarkFlags flags;
  int kept = 1;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument.starts_with(kProfile)) {
      flags.profile = argument.substr(kProfile.size());
    } else {
      argv[kept++] = argv[i];
    }
  }
  argc = kept;
  return flags;
}

void write_profile(const fs::path& folder, std::string name, const Step& step, at::Device device) {
  std::ranges::replace(name, '/', '-');
  fs::create_directories(folder);
  const StepProfile profile =
      profile_steps(step, {.device = device, .trace = folder / (name + ".json")});
  write_file_atomic(folder / (name + ".csv"), std::string_view(profile_csv(profile)));
}

void add(const std::string& kind, MakeStep make, const Work& work, PreparedStep& prepared,
         const BenchmarkFlags& flags) {
  const std::string name = kind + "/" + work.network.name + "/" + std::to_string(work.batch_size) +
                           "/" + enum_word(work.precision);
  const auto run = [=, &prepared](benchmark::State& state) {
    const at::Device device = select_device("auto");
    time_steps(state, device, prepared.get(name, make, work, device), group_size(device));
    state.SetItemsProcessed(state.iterations() * work.batch_size);
    state.counters["peak_mib"] = peak_memory_mib(device);
    if (flags.profile.empty()) return;
    write_profile(flags.profile, name, prepared.get(name, make, work, device), device);
  };
  benchmark::RegisterBenchmark(name.c_str(), run)->Unit(benchmark::kMillisecond)->UseRealTime();
}

void add_all(PreparedStep& prepared, const BenchmarkFlags& flags) {
  for (const Precision precision : {Precision::kFp32, Precision::kBf16}) {
    for (const BenchmarkedNetwork& network : {kDdpm, kTalk}) {
      for (const int64_t batch : {16, 128, 512}) {
        add("train", train_step, {network, batch, precision}, prepared, flags);
      }
      for (const int64_t batch : {1, 8, 16, 32, 64, 128, 512}) {
        add("denoise", denoise_step, {network, batch, precision}, prepared, flags);
        add("sample", sample_batch, {network, batch, precision}, prepared, flags);
      }
    }
  }
}

}  // namespace
}  // namespace ddpm

int main(int argc, char** argv) {
  const ddpm::BenchmarkFlags flags = ddpm::take_flags(argc, argv);
  ddpm::PreparedStep prepared;  // gone before LibTorch's own statics
  ddpm::add_all(prepared, flags);
  return ddpm::run_benchmarks(argc, argv);
}
