#include "ddpm/serving/engine/engine_slots.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "ddpm/core/send_to_device.h"

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

Tensor EngineSlots::index(const std::vector<int64_t>& slots) const {
  return send_to_device(at::tensor(slots, at::kLong), device_);
}

Tensor EngineSlots::index(const std::vector<GuessPlace>& places) const {
  std::vector<int64_t> rows;
  rows.reserve(places.size());
  for (const GuessPlace& place : places) {
    rows.push_back(place.slot * guesses_an_image_ + place.guess);
  }
  return index(rows);
}

SamplerState EngineSlots::gather(const std::vector<int64_t>& slots, MemoryMask memories) const {
  const Tensor rows = index(slots);
  SamplerState state{.x = x_.index_select(/*dim=*/0, rows)};
  for (std::size_t k = 0; k < kMemorySlots; ++k) {
    if (memories[k]) state.memory[k] = memory_[k].index_select(/*dim=*/0, rows);
  }
  return state;
}

void EngineSlots::scatter(const std::vector<int64_t>& slots, const SamplerState& before,
                          const SamplerState& after) {
  const Tensor rows = index(slots);
  x_.index_copy_(/*dim=*/0, rows, after.x);
  for (std::size_t k = 0; k < kMemorySlots; ++k) {
    const Tensor& memory = after.memory[k];
    if (!memory.defined() || memory.is_same(before.memory[k])) continue;
    if (!memory_[k].defined()) memory_[k] = new_rows(x_.size(0));
    memory_[k].index_copy_(/*dim=*/0, rows, memory);
  }
}

void EngineSlots::begin(const std::vector<int64_t>& slots, const Tensor& x) {
  x_.index_copy_(/*dim=*/0, index(slots), x);
  if (guesses_an_image_ == 0) return;
  std::vector<GuessPlace> places;
  for (const int64_t slot : slots) {
    for (int64_t guess = 0; guess < guesses_an_image_; ++guess) places.push_back({slot, guess});
  }
  guesses_.index_fill_(/*dim=*/0, index(places), 0);
}

Tensor EngineSlots::gather_guesses(const std::vector<GuessPlace>& places) const {
  return guesses_.index_select(/*dim=*/0, index(places));
}

void EngineSlots::scatter_guesses(const std::vector<GuessPlace>& places, const Tensor& guesses) {
  guesses_.index_copy_(/*dim=*/0, index(places), guesses);
}

int64_t max_slot_bytes(const std::vector<int64_t>& image_shape, int64_t guesses) {
  int64_t bytes =
      static_cast<int64_t>(sizeof(float)) * (1 + static_cast<int64_t>(kMemorySlots) + guesses);
  for (const int64_t size : image_shape) bytes *= size;
  return bytes;
}

}  // namespace ddpm
