#pragma once

#include <array>
#include <bitset>
#include <cstdint>
#include <vector>

#include "ddpm/core/tensor.h"
#include "ddpm/sampling/sampler_state.h"

namespace ddpm {

/// Which memories of a sampler an image has.
using MemoryMask = std::bitset<kMemorySlots>;

/// The states of a model's images in flight: a row of one tensor each, so that a batch is gathered
/// and put back by one operation a tensor. Memories take room from when some image writes them.
class EngineSlots {
 public:
  /// @param image_shape [C, H, W]
  /// @param capacity    images, 1 or more; the tensors grow up to it.
  EngineSlots(std::vector<int64_t> image_shape, at::Device device, int64_t capacity);

  int64_t num_free() const { return capacity_ - num_taken_; }
  int64_t capacity() const { return capacity_; }
  int64_t size_bytes() const;

  /// A free slot, whose row holds anything.
  ///
  /// @throws std::logic_error if there is none.
  int64_t take();
  void give_back(int64_t slot);

  /// The states of slots [N]; memories that are not in `memories` stay undefined.
  SamplerState gather(const std::vector<int64_t>& slots, MemoryMask memories) const;

  /// Puts states back: x, and the memories that `before`, which gather gave, does not hold.
  void scatter(const std::vector<int64_t>& slots, const SamplerState& before,
               const SamplerState& after);

  /// Sets x of slots [N] alone.
  void set_x(const std::vector<int64_t>& slots, const Tensor& x);

 private:
  void grow(int64_t rows);
  Tensor new_rows(int64_t rows) const;
  Tensor index(const std::vector<int64_t>& slots) const;

  std::vector<int64_t> image_shape_;
  at::Device device_;
  int64_t capacity_;
  int64_t num_taken_ = 0;
  std::vector<int64_t> free_;  ///< Rows that exist and are not taken.
  Tensor x_;
  std::array<Tensor, kMemorySlots> memory_;
};

/// Bytes that one image in flight may take, with every memory.
int64_t max_slot_bytes(const std::vector<int64_t>& image_shape);

}  // namespace ddpm
