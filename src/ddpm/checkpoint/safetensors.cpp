#include "ddpm/checkpoint/safetensors.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <memory>
#include <tuple>
#include <unordered_set>

#include "ddpm/checkpoint/safetensors_header.h"
#include "ddpm/checkpoint/safetensors_types.h"
#include "ddpm/core/check.h"
#include "ddpm/core/file.h"

namespace ddpm {
namespace {

static_assert(std::endian::native == std::endian::little, "the format's numbers are little-endian");

/// A bool of another value than 0 and 1 has no meaning in C++.
void check_bools(std::span<const std::uint8_t> bytes, const TensorEntry& entry,
                 const std::string& file) {
  if (entry.dtype != at::kBool) return;
  const auto wrong =
      std::find_if(bytes.begin(), bytes.end(), [](std::uint8_t byte) { return byte > 1; });
  check_state(wrong == bytes.end(), "[read_safetensors] tensor '", entry.name, "' in '", file,
              "': expected BOOL bytes 0 or 1, got ", wrong == bytes.end() ? 0 : int{*wrong});
}

Tensor copied_tensor(std::span<const std::uint8_t> bytes, const TensorEntry& entry) {
  Tensor tensor = at::empty(entry.shape, at::TensorOptions().dtype(entry.dtype));
  if (!bytes.empty()) std::memcpy(tensor.data_ptr(), bytes.data(), bytes.size());
  return tensor;
}

bool is_aligned(const std::uint8_t* data, at::ScalarType dtype) {
  return reinterpret_cast<std::uintptr_t>(data) % c10::elementSize(dtype) == 0;
}

SafetensorsFile make_tensors(std::span<const std::uint8_t> file, const std::string& name,
                             const std::shared_ptr<MappedFile>& map) {
  SafetensorsHeader header = parse_safetensors_header(file, name);
  SafetensorsFile result;
  result.metadata = std::move(header.metadata);
  result.tensors.reserve(header.tensors.size());
  for (const auto& entry : header.tensors) {
    const auto bytes = file.subspan(header.data_start + entry.begin, entry.end - entry.begin);
    check_bools(bytes, entry, name);
    Tensor tensor;
    if (map && !bytes.empty() && is_aligned(bytes.data(), entry.dtype)) {
      // from_blob takes no const: readers of mapped tensors are told not to write.
      tensor = at::from_blob(
          const_cast<std::uint8_t*>(bytes.data()), entry.shape,
          [map](void*) { static_cast<void>(map); }, at::TensorOptions().dtype(entry.dtype));
    } else {
      tensor = copied_tensor(bytes, entry);
    }
    result.tensors.emplace_back(entry.name, std::move(tensor));
  }
  return result;
}

struct TensorToWrite {
  TensorEntry entry;
  Tensor tensor;
};

/// Checked, in the file's order, with the offsets that follow from it.
std::vector<TensorToWrite> lay_out(const NamedTensors& tensors) {
  std::vector<TensorToWrite> result;
  std::unordered_set<std::string> names;
  for (const auto& [name, tensor] : tensors) {
    check_arg(!name.empty() && name != "__metadata__",
              "[write_safetensors] name of a tensor: expected neither '' nor '__metadata__', got '",
              name, "'");
    check_arg(names.insert(name).second, "[write_safetensors] names: expected each once, got '",
              name, "' twice");
    check_arg(tensor.defined() && tensor.layout() == at::kStrided, "[write_safetensors] tensor '",
              name, "': expected a dense tensor, got ",
              tensor.defined() ? "another layout" : "an undefined one");
    static_cast<void>(safetensors_type_rank(tensor.scalar_type(), name));
    result.push_back({.entry = {.name = name,
                                .dtype = tensor.scalar_type(),
                                .shape = tensor.sizes().vec(),
                                .begin = 0,
                                .end = tensor.nbytes()},
                      .tensor = tensor});
  }
  std::sort(result.begin(), result.end(), [](const TensorToWrite& a, const TensorToWrite& b) {
    const int rank_a = safetensors_type_rank(a.entry.dtype, a.entry.name);
    const int rank_b = safetensors_type_rank(b.entry.dtype, b.entry.name);
    return std::tie(rank_a, a.entry.name) < std::tie(rank_b, b.entry.name);
  });
  std::uint64_t offset = 0;
  for (auto& [entry, tensor] : result) {
    entry.begin = offset;
    offset += entry.end;
    entry.end = offset;
  }
  return result;
}

}  // namespace

SafetensorsFile read_safetensors(const std::filesystem::path& path, TensorStorage storage) {
  auto map = std::make_shared<MappedFile>(path);
  const auto bytes = map->bytes();
  return make_tensors(bytes, path.string(), storage == TensorStorage::kMapped ? map : nullptr);
}

SafetensorsFile parse_safetensors(std::span<const std::uint8_t> bytes, const std::string& name) {
  return make_tensors(bytes, name, nullptr);
}

void write_safetensors(const std::filesystem::path& path, const NamedTensors& tensors,
                       const std::map<std::string, std::string>& metadata) {
  const auto laid_out = lay_out(tensors);
  std::vector<TensorEntry> entries;
  entries.reserve(laid_out.size());
  for (const auto& [entry, tensor] : laid_out) entries.push_back(entry);
  const std::string header = format_safetensors_header(entries, metadata);

  AtomicFile file(path);
  file.write({reinterpret_cast<const std::uint8_t*>(header.data()), header.size()});
  for (const auto& [entry, tensor] : laid_out) {
    const Tensor on_cpu = tensor.detach().to(at::kCPU).contiguous();
    if (on_cpu.nbytes() == 0) continue;
    file.write({static_cast<const std::uint8_t*>(on_cpu.const_data_ptr()), on_cpu.nbytes()});
  }
  file.commit();
}

}  // namespace ddpm
