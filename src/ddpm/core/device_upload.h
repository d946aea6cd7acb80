#pragma once

#include <c10/core/Event.h>

#include <array>
#include <cstddef>
#include <optional>
#include <vector>

#include "ddpm/core/tensor.h"

namespace ddpm {

/// Brings values of the CPU into tensors of a GPU, while the GPU still computes with what these
/// held before.
///
/// All values of a send lie in one block of pinned memory. A stream of its own copies it into a
/// block of the GPU's, beside what the current stream computes; that stream waits for the copy and
/// takes the block into the tensors, which lie in one block as well, by a copy on the device. The
/// blocks on the way are there twice, so that a send need not wait for the one before it. On a CPU
/// the values are copied into the tensors.
class DeviceUpload {
 public:
  explicit DeviceUpload(at::Device device) : device_(device) {}

  /// Overwrites the tensors, after what the current stream holds and before what comes to it later.
  /// `values` may be changed as soon as it returns. The host waits at most for the copy of the
  /// values before the last ones.
  ///
  /// @param values on the CPU; their number, shapes and dtypes are those of the first send.
  /// @return       on the device, the same tensors at every send, one for each value. They keep the
  ///               strides that the first send's values had, if these were dense.
  /// @throws std::invalid_argument if the values don't fit the first send's, or are elsewhere.
  const std::vector<Tensor>& send(at::ArrayRef<Tensor> values);

 private:
  /// Where a value begins in every block, and its tensors there.
  struct Place {
    int64_t first_byte;
    at::ScalarType dtype;
    std::vector<int64_t> sizes, strides;
  };
  /// Blocks on the way to the device.
  struct Staging {
    Tensor host;               ///< [bytes] uint8, pinned
    std::vector<Tensor> into;  ///< its parts, one for each value
    Tensor device;             ///< [bytes] uint8
    c10::Event sent;           ///< host was copied
    c10::Event taken;          ///< device was copied into the tensors
  };

  void place(at::ArrayRef<Tensor> values);
  std::vector<Tensor> parts_of(const Tensor& block) const;
  Staging make_staging() const;
  void check_values(at::ArrayRef<Tensor> values) const;

  at::Device device_;
  std::vector<Place> places_;
  int64_t size_bytes_ = 0;
  Tensor block_;  ///< [size_bytes] uint8 on the device
  std::vector<Tensor> tensors_;
  std::array<std::optional<Staging>, 2> staging_;
  std::optional<c10::Stream> copy_stream_;
  size_t next_ = 0;
};

}  // namespace ddpm
