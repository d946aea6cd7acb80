#include "ddpm/serving/engine/engine_slots.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "ddpm/kernels/put_rows.h"

namespace ddpm {
namespace {

constexpr int64_t kFirstRows = 16;

}  // namespace

EngineSlots::EngineSlots(std::vector<int64_t> image_shape, at::Device device, int64_t capacity,
                         int64_t guesses)
    : image_shape_(std::move(image_shape)),
      device_(device),
      capacity_(capacity),
      guesses_an_image_(guesses) {}

Tensor EngineSlots::new_rows(int64_t rows) const {
  std::vector<int64_t> shape{rows};
  shape.insert(shape.end(), image_shape_.begin(), image_shape_.end());
  return at::zeros(shape, at::TensorOptions(at::kFloat).device(device_));
}

int64_t EngineSlots::size_bytes() const {
  auto bytes = x_.defined() ? static_cast<int64_t>(x_.nbytes()) : 0;
  for (const Tensor& memory : memory_) {
    if (memory.defined()) bytes += static_cast<int64_t>(memory.nbytes());
  }
  if (guesses_.defined()) bytes += static_cast<int64_t>(guesses_.nbytes());
  return bytes;
}

void EngineSlots::grow(int64_t rows) {
  const int64_t old_rows = x_.defined() ? x_.size(0) : 0;
  const Tensor more = new_rows(rows - old_rows);
  x_ = x_.defined() ? at::cat({x_, more}) : more;
  for (Tensor& memory : memory_) {
    if (memory.defined()) memory = at::cat({memory, more});
  }
  if (guesses_an_image_ > 0) {
    const Tensor new_guesses = new_rows((rows - old_rows) * guesses_an_image_);
    guesses_ = guesses_.defined() ? at::cat({guesses_, new_guesses}) : new_guesses;
  }
  for (int64_t row = rows - 1; row >= old_rows; --row) free_.push_back(row);
}

int64_t EngineSlots::take() {
  if (num_free() == 0) throw std::logic_error("[EngineSlots] every slot is taken");
  if (free_.empty()) grow(std::min(capacity_, std::max(kFirstRows, 2 * num_taken_)));
  const int64_t slot = free_.back();
  free_.pop_back();
  ++num_taken_;
  return slot;
}

void EngineSlots::give_back(int64_t slot) {
  free_.push_back(slot);
  --num_taken_;
}

std::array<Tensor, kMemorySlots> EngineSlots::gather_memories(const Tensor& slots,
                                                              MemoryMask memories) const {
  std::array<Tensor, kMemorySlots> gathered;
  for (std::size_t k = 0; k < kMemorySlots; ++k) {
    if (memories[k]) gathered[k] = memory_[k].index_select(/*dim=*/0, slots);
  }
  return gathered;
}

void EngineSlots::scatter(const Tensor& slots, const SamplerState& before,
                          const SamplerState& after) {
  put_rows(x_, slots, after.x);
  for (std::size_t k = 0; k < kMemorySlots; ++k) {
    const Tensor& memory = after.memory[k];
    if (!memory.defined() || memory.is_same(before.memory[k])) continue;
    if (!memory_[k].defined()) memory_[k] = new_rows(x_.size(0));
    put_rows(memory_[k], slots, memory);
  }
}

void EngineSlots::begin(const std::vector<int64_t>& slots, const Tensor& x) {
  for (std::size_t i = 0; i < slots.size(); ++i) {
    x_.select(/*dim=*/0, slots[i])
        .copy_(x.select(/*dim=*/0, static_cast<int64_t>(i)), /*non_blocking=*/true);
    if (guesses_an_image_ == 0) continue;
    guesses_.narrow(/*dim=*/0, slots[i] * guesses_an_image_, guesses_an_image_).zero_();
  }
}

Tensor EngineSlots::gather_guesses(const Tensor& rows) const {
  return guesses_an_image_ > 0 ? guesses_.index_select(/*dim=*/0, rows) : Tensor();
}

void EngineSlots::scatter_guesses(const Tensor& rows, const Tensor& guesses) {
  if (guesses_an_image_ == 0) return;
  put_rows(guesses_, rows.narrow(/*dim=*/0, 0, guesses.size(0)), guesses);
}

int64_t max_slot_bytes(const std::vector<int64_t>& image_shape, int64_t guesses) {
  int64_t bytes =
      static_cast<int64_t>(sizeof(float)) * (1 + static_cast<int64_t>(kMemorySlots) + guesses);
  for (const int64_t size : image_shape) bytes *= size;
  return bytes;
}

}  // namespace ddpm
