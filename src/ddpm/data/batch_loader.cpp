#include "ddpm/data/batch_loader.h"

#include <ATen/ATen.h>

#include <chrono>
#include <cstring>
#include <limits>

#include "ddpm/core/check.h"
#include "ddpm/core/philox.h"
#include "ddpm/data/permutation.h"

namespace ddpm {

BatchLoader::BatchLoader(const ImageSet& set, int64_t batch_size, uint64_t seed,
                         bool horizontal_flip, int64_t prefetch, int64_t first_batch)
    : images_(set.images),
      labels_(set.labels),
      batch_size_(batch_size),
      seed_(seed),
      horizontal_flip_(horizontal_flip),
      prefetch_(static_cast<size_t>(prefetch)) {
  check_arg(images_.defined() && images_.dim() == 4 && images_.scalar_type() == at::kByte &&
                images_.is_contiguous() && images_.is_cpu(),
            "[BatchLoader] images: expected a contiguous [N, C, H, W] uint8 tensor on the CPU");
  check_arg(images_.numel() > 0, "[BatchLoader] images: expected at least one, got none");
  check_arg(labels_.defined() && labels_.dim() == 1 && labels_.size(0) == images_.size(0) &&
                labels_.scalar_type() == at::kLong && labels_.is_contiguous() && labels_.is_cpu(),
            "[BatchLoader] labels: expected a contiguous [N] int64 tensor on the CPU, N = ",
            images_.size(0));
  check_arg(batch_size >= 1, "[BatchLoader] batch_size: expected at least 1, got ", batch_size);
  check_arg(prefetch >= 1, "[BatchLoader] prefetch: expected at least 1, got ", prefetch);
  check_arg(first_batch >= 0, "[BatchLoader] first_batch: expected at least 0, got ", first_batch);
  thread_ = std::thread([this, first_batch] { run(first_batch); });
}

BatchLoader::~BatchLoader() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

Batch BatchLoader::next() {
  std::unique_lock lock(mutex_);
  if (ready_.empty() && !failure_) {
    const auto start = std::chrono::steady_clock::now();
    changed_.wait(lock, [this] { return !ready_.empty() || failure_; });
    waited_seconds_ +=
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }
  if (ready_.empty()) std::rethrow_exception(failure_);
  Batch batch = std::move(ready_.front());
  ready_.pop_front();
  lock.unlock();
  changed_.notify_all();
  return batch;
}

double BatchLoader::waited_seconds() const {
  const std::lock_guard lock(mutex_);
  return waited_seconds_;
}

void BatchLoader::run(int64_t first_batch) {
  try {
    for (int64_t number = first_batch;; ++number) {
      {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [this] { return stopping_ || ready_.size() < prefetch_; });
        if (stopping_) return;
      }
      Batch batch = gather(number);
      {
        const std::lock_guard lock(mutex_);
        ready_.push_back(std::move(batch));
      }
      changed_.notify_all();
    }
  } catch (...) {
    const std::lock_guard lock(mutex_);
    failure_ = std::current_exception();
  }
  changed_.notify_all();
}

Batch BatchLoader::gather(int64_t number) const {
  constexpr int64_t kLastSample = std::numeric_limits<int64_t>::max();
  check_state(number < kLastSample / batch_size_,
              "[BatchLoader] end of the sequence: expected sample numbers below 2^63, got batch ",
              number, " of ", batch_size_);
  const int64_t count = images_.size(0);
  const int64_t image_bytes = images_.numel() / count;
  const auto* images = images_.const_data_ptr<uint8_t>();
  const auto* labels = labels_.const_data_ptr<int64_t>();
  Batch batch{.images = at::empty({batch_size_, images_.size(1), images_.size(2), images_.size(3)},
                                  images_.options()),
              .labels = at::empty({batch_size_}, labels_.options()),
              .flip = at::empty({batch_size_}, at::kBool),
              .first_sample = number * batch_size_};
  auto* out_images = batch.images.mutable_data_ptr<uint8_t>();
  auto* out_labels = batch.labels.mutable_data_ptr<int64_t>();
  auto* out_flip = batch.flip.mutable_data_ptr<bool>();
  const RandomKey flip_key{.seed = seed_, .stream = RandomStream::kFlip};
  for (int64_t i = 0; i < batch_size_; ++i) {
    const int64_t sample = batch.first_sample + i;
    const int64_t index =
        permuted_index(seed_, static_cast<uint64_t>(sample / count), sample % count, count);
    std::memcpy(out_images + i * image_bytes, images + index * image_bytes,
                static_cast<size_t>(image_bytes));
    out_labels[i] = labels[index];
    out_flip[i] =
        horizontal_flip_ && (random_bits(flip_key, static_cast<uint64_t>(sample), 0) & 1) != 0;
  }
  return batch;
}

}  // namespace ddpm
