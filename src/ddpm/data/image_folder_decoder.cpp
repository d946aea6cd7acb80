#include "ddpm/data/image_folder_decoder.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <exception>
#include <functional>
#include <mutex>
#include <stdexcept>
#include <thread>

#include "ddpm/core/check.h"
#include "ddpm/data/fit.h"
#include "ddpm/data/image_codec.h"

namespace ddpm {
namespace {

/// Calls work(i) for i in [0, count), each index once, taken in order. After an exception no index
/// is started; the exception of the lowest index is rethrown: every run fails in the same way.
void run_in_threads(int64_t count, const std::function<void(int64_t)>& work) {
  std::atomic<int64_t> next{0};
  std::atomic<bool> failed{false};
  std::mutex mutex;
  int64_t failed_index = count;
  std::exception_ptr failure;
  const auto run = [&] {
    while (!failed) {
      const int64_t i = next++;
      if (i >= count) return;
      try {
        work(i);
      } catch (...) {
        const std::lock_guard lock(mutex);
        failed = true;
        if (i < failed_index) {
          failed_index = i;
          failure = std::current_exception();
        }
      }
    }
  };
  const int64_t processors = std::max(1U, std::thread::hardware_concurrency());
  std::vector<std::thread> threads;
  for (int64_t t = 1; t < std::min(processors, count); ++t) threads.emplace_back(run);
  run();
  for (std::thread& thread : threads) thread.join();
  if (failure) std::rethrow_exception(failure);
}

/// HWC to CHW.
void store_planes(const Image& image, uint8_t* out) {
  const int64_t plane = image.width * image.height;
  for (int64_t c = 0; c < image.channels; ++c) {
    const uint8_t* in = image.pixels.data() + c;
    for (int64_t i = 0; i < plane; ++i) out[c * plane + i] = in[i * image.channels];
  }
}

/// Moves the images of undamaged files together, in place, and cuts the rest off.
void leave_out_damaged(const std::vector<std::string>& reasons, DecodedFiles& decoded) {
  const int64_t image_bytes = decoded.images[0].numel();
  auto* pixels = decoded.images.mutable_data_ptr<uint8_t>();
  auto* labels = decoded.labels.mutable_data_ptr<int64_t>();
  int64_t kept = 0;
  for (size_t i = 0; i < reasons.size(); ++i) {
    if (!reasons[i].empty()) {
      decoded.skipped.push_back(reasons[i]);
      continue;
    }
    const auto from = static_cast<int64_t>(i);
    if (kept != from) {
      std::memcpy(pixels + kept * image_bytes, pixels + from * image_bytes,
                  static_cast<size_t>(image_bytes));
      labels[kept] = labels[from];
    }
    ++kept;
  }
  decoded.images = decoded.images.narrow(0, 0, kept);
  decoded.labels = decoded.labels.narrow(0, 0, kept);
}

}  // namespace

DecodedFiles decode_files(const ImageFolderFiles& files, int64_t first, int64_t count,
                          const DataConfig& config) {
  DecodedFiles decoded{
      .images =
          at::empty({count, config.channels, config.image_size, config.image_size}, at::kByte),
      .labels = at::empty({count}, at::kLong)};
  std::copy_n(files.labels.begin() + first, count, decoded.labels.mutable_data_ptr<int64_t>());
  const int64_t image_bytes = decoded.images[0].numel();
  auto* pixels = decoded.images.mutable_data_ptr<uint8_t>();
  std::vector<std::string> reasons(static_cast<size_t>(count));
  run_in_threads(count, [&](int64_t i) {
    const std::string path = files.paths[static_cast<size_t>(first + i)].string();
    Image image;
    try {
      image = read_image(path, config.max_pixels);
    } catch (const std::runtime_error& error) {
      if (config.on_damaged == DamagedPolicy::kFail) throw;
      reasons[static_cast<size_t>(i)] = path + ": " + error.what();
      return;
    }
    image = fit_square(convert_channels(image, config.channels), config.image_size, config.fit,
                       config.filter);
    store_planes(image, pixels + i * image_bytes);
  });
  leave_out_damaged(reasons, decoded);
  return decoded;
}

}  // namespace ddpm
