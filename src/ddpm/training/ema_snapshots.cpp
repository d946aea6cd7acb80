#include "ddpm/training/ema_snapshots.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <charconv>
#include <string>
#include <string_view>
#include <system_error>
#include <tuple>

#include "ddpm/checkpoint/checkpoint_folder.h"
#include "ddpm/checkpoint/safetensors.h"
#include "ddpm/config/field_list.h"
#include "ddpm/core/check.h"
#include "ddpm/training/power_ema.h"

namespace ddpm {
namespace {

namespace fs = std::filesystem;

constexpr const char* kEmaFolder = "ema";

/// Reads a number at `text`'s begin and takes it away; false if there is none.
template <typename Number>
bool take_number(std::string_view& text, Number& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc()) return false;
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  return true;
}

bool take_word(std::string_view& text, std::string_view word) {
  if (!text.starts_with(word)) return false;
  text.remove_prefix(word.size());
  return true;
}

EmaSnapshot parse_snapshot(const fs::path& path) {
  const std::string name = path.filename().string();
  std::string_view rest = name;
  EmaSnapshot snapshot{.path = path};
  const bool fits = take_word(rest, "step-") && take_number(rest, snapshot.step) &&
                    snapshot.step >= 0 && take_word(rest, "-std-") &&
                    take_number(rest, snapshot.std) && rest == ".safetensors";
  check_arg(fits, "[list_ema_snapshots] '", path.string(),
            "': expected a name like step-00001000-std-0.05.safetensors");
  return snapshot;
}

/// sum += factor * addend, tensor by tensor.
void add_snapshot(NamedTensors& sum, const NamedTensors& addend, double factor,
                  const std::string& where) {
  check_arg(sum.size() == addend.size(), "[reconstruct_ema] '", where,
            "' must have the tensors of the other snapshots: expected ", sum.size(), ", got ",
            addend.size());
  for (size_t i = 0; i < sum.size(); ++i) {
    const auto& [name, tensor] = addend[i];
    check_arg(sum[i].first == name && sum[i].second.sizes() == tensor.sizes(),
              "[reconstruct_ema] '", where,
              "' must have the tensors of the other snapshots: ", "expected '", sum[i].first, "' ",
              sum[i].second.sizes(), ", got '", name, "' ", tensor.sizes());
    if (tensor.is_floating_point()) {
      sum[i].second.add_(tensor.to(at::kDouble), factor);
    } else {
      sum[i].second = tensor.clone();
    }
  }
}

}  // namespace

void write_ema_snapshot(const fs::path& run_folder, int64_t step, double std,
                        const NamedTensors& weights) {
  const fs::path folder = run_folder / kEmaFolder;
  std::error_code error;
  fs::create_directories(folder, error);
  check_state(!error, "[write_ema_snapshot] can't create '", folder.string(),
              "': ", error.message());
  const std::string name = step_name(step) + "-std-" + number_text(std) + ".safetensors";
  write_safetensors(folder / name, weights);
}

std::vector<EmaSnapshot> list_ema_snapshots(const fs::path& run_folder) {
  std::vector<EmaSnapshot> snapshots;
  const fs::path folder = run_folder / kEmaFolder;
  if (!fs::is_directory(folder)) return snapshots;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() == ".safetensors") {
      snapshots.push_back(parse_snapshot(entry.path()));
    }
  }
  std::sort(snapshots.begin(), snapshots.end(), [](const EmaSnapshot& a, const EmaSnapshot& b) {
    return std::tie(a.step, a.std) < std::tie(b.step, b.std);
  });
  return snapshots;
}

NamedTensors reconstruct_ema(const fs::path& run_folder, double std, int64_t step) {
  check_arg(step >= 1, "[reconstruct_ema] step: expected at least 1, got ", step);
  const std::vector<EmaSnapshot> snapshots = list_ema_snapshots(run_folder);
  check_arg(!snapshots.empty(), "[reconstruct_ema] '", run_folder.string(),
            "': expected a run with snapshots in ", kEmaFolder, "/, got none");
  std::vector<PowerEma> saved;
  for (const EmaSnapshot& each : snapshots) {
    saved.push_back({power_ema_gamma(each.std), static_cast<double>(each.step)});
  }
  const std::vector<double> factors =
      posthoc_weights(saved, {power_ema_gamma(std), static_cast<double>(step)});
  NamedTensors sum;
  for (size_t i = 0; i < snapshots.size(); ++i) {
    const NamedTensors tensors =
        read_safetensors(snapshots[i].path, TensorStorage::kMapped).tensors;
    if (i == 0) {
      for (const auto& [name, tensor] : tensors) {
        const bool averaged = tensor.is_floating_point();
        sum.emplace_back(name, averaged ? at::zeros_like(tensor, at::kDouble) : tensor.clone());
      }
    }
    add_snapshot(sum, tensors, factors[i], snapshots[i].path.string());
  }
  for (auto& [name, tensor] : sum) {
    if (tensor.is_floating_point()) tensor = tensor.to(at::kFloat);
  }
  return sum;
}

}  // namespace ddpm
