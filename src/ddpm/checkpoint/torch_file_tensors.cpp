#include "ddpm/checkpoint/torch_file_tensors.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "ddpm/core/check.h"
#include "ddpm/core/one_line.h"

namespace ddpm {
namespace {

using Bytes = std::span<const std::uint8_t>;

constexpr std::uint64_t kBytesFloor = std::uint64_t{16} << 20;
constexpr std::uint64_t kBytesFactor = 4;

bool is_contiguous(const TorchTensor& tensor) {
  std::int64_t expected = 1;
  for (std::size_t i = tensor.sizes.size(); i-- > 0;) {
    if (tensor.sizes[i] == 1) continue;
    if (tensor.strides[i] != expected) return false;
    expected *= tensor.sizes[i];
  }
  return true;
}

/// Copies element by element, the last dimension fastest. The elements may lie at any address:
/// the first layout does not align its storages.
void gather(Bytes storage, const TorchTensor& tensor, std::size_t element_bytes,
            std::span<std::uint8_t> target) {
  std::vector<std::int64_t> index(tensor.sizes.size(), 0);
  std::int64_t element = tensor.offset;
  for (std::size_t done = 0; done < target.size(); done += element_bytes) {
    const std::uint8_t* from = storage.data() + static_cast<std::size_t>(element) * element_bytes;
    std::memcpy(target.data() + done, from, element_bytes);
    for (std::size_t dim = index.size(); dim-- > 0;) {
      if (tensor.sizes[dim] == 1) continue;  // its stride may be any number
      element += tensor.strides[dim];
      if (++index[dim] < tensor.sizes[dim]) break;
      element -= tensor.strides[dim] * tensor.sizes[dim];
      index[dim] = 0;
    }
  }
}

}  // namespace

TorchTensorCopier::TorchTensorCopier(const TorchFileLayout& layout, std::uint64_t file_bytes)
    : layout_(layout),
      max_bytes_(kBytesFloor + kBytesFactor * file_bytes),
      bytes_left_(max_bytes_) {}

Tensor TorchTensorCopier::copy(const PickleValue& tensor, const std::string& name) {
  const TorchTensor& view = layout_.objects.tensors()[tensor.number];
  const TorchStorage& storage = layout_.objects.storages()[view.storage];
  const std::string shown = one_line(name);
  const std::size_t element_bytes = c10::elementSize(storage.dtype);
  std::uint64_t size_bytes = element_bytes;  // under 2^63: rebuild_tensor has checked
  for (const std::int64_t size : view.sizes) size_bytes *= static_cast<std::uint64_t>(size);
  check_state(size_bytes <= bytes_left_, "[read_torch_file] '", layout_.objects.heap().name(),
              "' tensor '", shown, "': expected at most ", max_bytes_,
              " bytes of tensors in a file of this size, got more");
  bytes_left_ -= size_bytes;
  const auto found = storages_.find(view.storage);
  const Bytes bytes =
      found != storages_.end()
          ? found->second
          : storages_.emplace(view.storage, layout_.storage_bytes(storage)).first->second;
  Tensor copied = at::empty(view.sizes, at::TensorOptions().dtype(storage.dtype));
  if (size_bytes == 0) return copied;
  const std::span<std::uint8_t> target(static_cast<std::uint8_t*>(copied.data_ptr()), size_bytes);
  if (is_contiguous(view)) {
    const std::size_t first = static_cast<std::size_t>(view.offset) * element_bytes;
    std::memcpy(target.data(), bytes.data() + first, size_bytes);
  } else {
    gather(bytes, view, element_bytes, target);
  }
  const auto wrong =
      std::find_if(target.begin(), target.end(), [](std::uint8_t byte) { return byte > 1; });
  check_state(storage.dtype != at::kBool || wrong == target.end(), "[read_torch_file] '",
              layout_.objects.heap().name(), "' tensor '", shown,
              "': expected bool bytes 0 or 1, got ", wrong == target.end() ? 0 : int{*wrong});
  return copied;
}

}  // namespace ddpm
