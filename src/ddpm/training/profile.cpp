#include "ddpm/training/profile.h"

#include <ATen/ATen.h>
#include <ATen/DeviceAccelerator.h>
#include <torch/csrc/autograd/profiler_kineto.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <set>
#include <sstream>
#include <unordered_map>

#include "ddpm/core/check.h"

namespace ddpm {
namespace {

using torch::autograd::profiler::KinetoEvent;
using torch::profiler::impl::ActivityType;

constexpr double kNsPerMs = 1e6;
constexpr const char* kOfGraph = "(graph)";

// libkineto's number for a range that a program named, which it repeats among the GPU's work; its
// header is not in LibTorch's wheels.
constexpr uint8_t kGpuUserAnnotation = 2;

/// Kernels, copies and fills of a GPU.
bool is_gpu_work(const KinetoEvent& event) {
  return event.deviceType() != at::kCPU && event.activityType() != kGpuUserAnnotation;
}

/// An operator, not a call of the GPU's runtime (which is linked to its operator).
bool is_operator(const KinetoEvent& event) {
  return event.deviceType() == at::kCPU && event.linkedCorrelationId() == 0;
}

/// "aten::convolution [8, 128, 32, 32] [128, 128, 3, 3]"
std::string layer_name(const KinetoEvent& event) {
  std::ostringstream name;
  name << event.name();
  for (const auto& shape : event.shapes()) {
    if (!shape.empty()) name << ' ' << at::IntArrayRef(shape);
  }
  return name.str();
}

/// Adds up what has one name.
class ProfileTable {
 public:
  void add(const std::string& name, uint64_t duration_ns) {
    ProfileRow& row = rows_[name];
    row.name = name;
    ++row.count;
    row.total_ms += static_cast<double>(duration_ns) / kNsPerMs;
  }

  std::vector<ProfileRow> rows() const {
    std::vector<ProfileRow> sorted;
    double sum = 0;
    for (const auto& [name, row] : rows_) {
      sorted.push_back(row);
      sum += row.total_ms;
    }
    for (ProfileRow& row : sorted) row.share = sum > 0 ? row.total_ms / sum : 0;
    std::stable_sort(sorted.begin(), sorted.end(),
                     [](const auto& a, const auto& b) { return a.total_ms > b.total_ms; });
    return sorted;
  }

 private:
  std::map<std::string, ProfileRow> rows_;
};

struct Tables {
  ProfileTable kernels;
  ProfileTable layers;
};

Tables tables_of_gpu(const std::vector<KinetoEvent>& events) {
  std::unordered_map<uint64_t, const KinetoEvent*> operators;
  for (const KinetoEvent& event : events) {
    if (is_operator(event)) operators[event.correlationId()] = &event;
  }
  Tables tables;
  for (const KinetoEvent& event : events) {
    if (!is_gpu_work(event)) continue;
    tables.kernels.add(event.name(), event.durationNs());
    const auto asked = operators.find(event.linkedCorrelationId());
    tables.layers.add(asked == operators.end() ? kOfGraph : layer_name(*asked->second),
                      event.durationNs());
  }
  return tables;
}

/// The events of each thread nest; an operator's own time is its duration without its children's.
Tables tables_of_cpu(const std::vector<KinetoEvent>& events) {
  std::map<uint64_t, std::vector<const KinetoEvent*>> threads;
  for (const KinetoEvent& event : events) threads[event.startThreadId()].push_back(&event);
  Tables tables;
  for (auto& [thread, nested] : threads) {
    std::stable_sort(nested.begin(), nested.end(), [](const auto* a, const auto* b) {
      return a->startNs() != b->startNs() ? a->startNs() < b->startNs() : a->endNs() > b->endNs();
    });
    struct Open {
      const KinetoEvent* event;
      uint64_t children_ns = 0;
    };
    std::vector<Open> open;
    const auto close = [&] {
      const KinetoEvent& event = *open.back().event;
      const uint64_t own_ns =
          event.durationNs() - std::min(event.durationNs(), open.back().children_ns);
      open.pop_back();
      if (!open.empty()) open.back().children_ns += event.durationNs();
      tables.kernels.add(event.name(), own_ns);
      tables.layers.add(layer_name(event), own_ns);
    };
    for (const KinetoEvent* event : nested) {
      while (!open.empty() && open.back().event->endNs() <= event->startNs()) close();
      open.push_back({event});
    }
    while (!open.empty()) close();
  }
  return tables;
}

void synchronize(at::Device device) {
  if (!device.is_cpu()) at::accelerator::synchronizeDevice(device.index());
}

void run_steps(const std::function<void()>& step, int64_t count, at::Device device) {
  for (int64_t i = 0; i < count; ++i) step();
  synchronize(device);
}

}  // namespace

StepProfile profile_steps(const std::function<void()>& step, const ProfileOptions& options) {
  check_arg(options.warm_up_steps >= 0, "[profile_steps] warm_up_steps: expected 0 or more, got ",
            options.warm_up_steps);
  check_arg(options.steps >= 1, "[profile_steps] steps: expected 1 or more, got ", options.steps);
  run_steps(step, options.warm_up_steps, options.device);

  std::set<ActivityType> activities{ActivityType::CPU};
  if (options.device.is_cuda()) activities.insert(ActivityType::CUDA);
  const torch::profiler::impl::ProfilerConfig config(torch::profiler::impl::ProfilerState::KINETO,
                                                     /*report_input_shapes=*/true);
  torch::autograd::profiler::prepareProfiler(config, activities);
  torch::autograd::profiler::enableProfiler(config, activities);
  const auto begin = std::chrono::steady_clock::now();
  run_steps(step, options.steps, options.device);
  const std::chrono::duration<double, std::milli> elapsed =
      std::chrono::steady_clock::now() - begin;
  const auto result = torch::autograd::profiler::disableProfiler();

  result->save(options.trace.string());
  std::error_code error;
  check_state(std::filesystem::file_size(options.trace, error) > 0 && !error,
              "[profile_steps] can't write the trace '", options.trace.string(), "'");
  const Tables tables =
      options.device.is_cpu() ? tables_of_cpu(result->events()) : tables_of_gpu(result->events());
  return {.step_ms = elapsed.count() / static_cast<double>(options.steps),
          .kernels = tables.kernels.rows(),
          .layers = tables.layers.rows()};
}

std::string profile_csv(const StepProfile& profile) {
  std::ostringstream csv;
  csv << "kind,name,count,total_ms,share\n";
  const auto add = [&](const char* kind, const std::vector<ProfileRow>& rows) {
    for (const ProfileRow& row : rows) {
      std::string name = row.name;
      std::replace(name.begin(), name.end(), '"', '\'');
      csv << kind << ",\"" << name << "\"," << row.count << ',' << row.total_ms << ',' << row.share
          << '\n';
    }
  };
  add("kernel", profile.kernels);
  add("layer", profile.layers);
  return csv.str();
}

}  // namespace ddpm
