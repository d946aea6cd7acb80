#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <mutex>
#include <thread>

#include "ddpm/data/image_set.h"

namespace ddpm {

/// Samples first_sample .. first_sample + B - 1 of the endless sequence of training images.
struct Batch {
  Tensor images;             ///< [B, C, H, W] uint8, not flipped yet
  Tensor labels;             ///< [B] int64
  Tensor flip;               ///< [B] bool: mirror this image
  int64_t first_sample = 0;  ///< batch number * B
};

/// Serves the endless sequence of training images in batches, gathered ahead by a thread.
///
/// Sample k is image permuted_index(seed, k / N, k % N, N): epoch after epoch, each in an order of
/// its own, and a batch may span epochs (it may even be larger than the set). Whether it is flipped
/// is drawn from Philox (seed, RandomStream::kFlip, k). So batch b depends on (seed, batch_size, b)
/// only, and starting at first_batch = b resumes exactly.
class BatchLoader {
 public:
  /// @param set      at least one image; its tensors are shared, not copied.
  /// @param prefetch batches to hold ready, at least 1.
  /// @throws std::invalid_argument for an empty set, wrong dtypes or shapes, batch_size or prefetch
  ///         below 1, or a negative first_batch.
  BatchLoader(const ImageSet& set, int64_t batch_size, uint64_t seed, bool horizontal_flip,
              int64_t prefetch, int64_t first_batch);
  ~BatchLoader();
  BatchLoader(const BatchLoader&) = delete;
  BatchLoader& operator=(const BatchLoader&) = delete;

  /// The next batch; waits if it is not ready. Rethrows what stopped the thread, once the batches
  /// gathered before are used up.
  Batch next();

  /// Seconds that next() has waited in all: near 0 if loading keeps up.
  double waited_seconds() const;

 private:
  void run(int64_t first_batch);
  Batch gather(int64_t batch) const;

  const Tensor images_;
  const Tensor labels_;
  const int64_t batch_size_;
  const uint64_t seed_;
  const bool horizontal_flip_;
  const size_t prefetch_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Batch> ready_;
  std::exception_ptr failure_;
  bool stopping_ = false;
  double waited_seconds_ = 0;
  std::thread thread_;  // last: it uses everything above
};

}  // namespace ddpm
