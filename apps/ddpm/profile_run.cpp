#include "profile_run.h"

#include <cstdio>
#include <system_error>

#include "ddpm/core/check.h"
#include "ddpm/core/device.h"
#include "ddpm/core/file.h"
#include "ddpm/data/batch_loader.h"
#include "ddpm/model/network.h"
#include "ddpm/training/profile.h"
#include "ddpm/training/train_step.h"

namespace ddpm::app {
namespace {

constexpr size_t kPrintedRows = 25;
constexpr size_t kPrintedName = 70;

// Before the profiler starts: convolution plans are searched and graphs captured in the first
// steps.
int64_t warm_up_steps(at::Device device) { return device.is_cpu() ? 2 : 20; }

void print_rows(const char* title, const std::vector<ProfileRow>& rows, int64_t steps) {
  std::printf("\n%-*s %9s %10s %7s\n", static_cast<int>(kPrintedName), title, "a step", "ms a step",
              "share");
  double rest = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    const ProfileRow& row = rows[i];
    if (i >= kPrintedRows) {
      rest += row.share;
      continue;
    }
    const auto per_step = static_cast<double>(steps);
    std::printf("%-*s %9.1f %10.3f %6.1f%%\n", static_cast<int>(kPrintedName),
                row.name.substr(0, kPrintedName).c_str(), static_cast<double>(row.count) / per_step,
                row.total_ms / per_step, 100 * row.share);
  }
  if (rows.size() > kPrintedRows) {
    std::printf("%zu more %.1f%%\n", rows.size() - kPrintedRows, 100 * rest);
  }
}

StepProfile profile_of(const RunConfig& recipe, const ImageSet& set,
                       const std::filesystem::path& trace, int64_t steps) {
  const at::Device device = select_device(recipe.train.device);
  const auto network = make_network(recipe.model);
  initialize(*network, recipe.train.seed);
  network->to(device);
  TrainStep train_step(recipe, network, device);
  BatchLoader loader(set, recipe.train.batch_size, recipe.train.seed, recipe.data.horizontal_flip,
                     recipe.data.prefetch_batches, /*first_batch=*/0);
  int64_t number = 0;
  const auto step = [&] {
    train_step.prepare(loader.next(), number++);
    train_step.run();
  };
  return profile_steps(
      step,
      {.device = device, .warm_up_steps = warm_up_steps(device), .steps = steps, .trace = trace});
}

}  // namespace

void profile_run(const RunConfig& recipe, const ImageSet& set,
                 const std::filesystem::path& run_folder, int64_t steps) {
  const std::filesystem::path folder = run_folder / "profile";
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  check_state(!error, "[--profile] can't make '", folder.string(), "': ", error.message());
  const StepProfile profile = profile_of(recipe, set, folder / "trace.json", steps);
  write_file_atomic(folder / "kernels.csv", std::string_view(profile_csv(profile)));
  std::printf("%lld steps of %lld images: %.3f ms a step, with the profiler's own cost\n",
              static_cast<long long>(steps), static_cast<long long>(recipe.train.batch_size),
              profile.step_ms);
  print_rows("kernel", profile.kernels, steps);
  print_rows("layer", profile.layers, steps);
  std::printf("\nwrote %s\nwrote %s\n", (folder / "trace.json").c_str(),
              (folder / "kernels.csv").c_str());
}

}  // namespace ddpm::app
