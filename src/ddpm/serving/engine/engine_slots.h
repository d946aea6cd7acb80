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
  /// @param guesses     that an image has: 0 to 2.
  EngineSlots(std::vector<int64_t> image_shape, at::Device device, int64_t capacity,
              int64_t guesses = 0);

  int64_t num_free() const { return capacity_ - num_taken_; }
  int64_t capacity() const { return capacity_; }
  int64_t guesses_an_image() const { return guesses_an_image_; }
  int64_t size_bytes() const;

  /// A free slot, whose row holds anything.
  ///
  /// @throws std::logic_error if there is none.
  int64_t take();
  void give_back(int64_t slot);

  /// Of slots [N] int64 on the device: x, and memories; those not in `memories` are undefined.
  Tensor gather_x(const Tensor& slots) const { return x_.index_select(/*dim=*/0, slots); }
  std::array<Tensor, kMemorySlots> gather_memories(const Tensor& slots, MemoryMask memories) const;

  /// Puts states back: x, and the memories that `before`, as they were gathered, does not hold.
  void scatter(const Tensor& slots, const SamplerState& before, const SamplerState& after);

  /// Puts new images into slots: their x, and zeros for their guesses.
  ///
  /// @param x [N, C, H, W] on the CPU, pinned for a GPU.
  void begin(const std::vector<int64_t>& slots, const Tensor& x);

  /// Guesses of rows [N] int64 on the device: slot * guesses_an_image, for the image's class, and
  /// one more, for no class, as guidance asks. Without guesses they do nothing.
  Tensor gather_guesses(const Tensor& rows) const;
  /// @param guesses of the first rows.
  void scatter_guesses(const Tensor& rows, const Tensor& guesses);

 private:
  void grow(int64_t rows);
  Tensor new_rows(int64_t rows) const;

  std::vector<int64_t> image_shape_;
  at::Device device_;
  int64_t capacity_;
  int64_t guesses_an_image_;
  int64_t num_taken_ = 0;
  std::vector<int64_t> free_;  ///< Rows that exist and are not taken.
  Tensor x_;
  std::array<Tensor, kMemorySlots> memory_;
  Tensor guesses_;  ///< [slots * guesses_an_image_, C, H, W]; undefined without.
};

/// Bytes that one image in flight may take, with every memory and its guesses.
int64_t max_slot_bytes(const std::vector<int64_t>& image_shape, int64_t guesses = 0);

}  // namespace ddpm
