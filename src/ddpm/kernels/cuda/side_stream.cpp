#include "ddpm/kernels/cuda/side_stream.h"

#include <ATen/ATen.h>
#include <c10/core/Event.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <utility>

namespace ddpm::cuda {
namespace {

using c10::cuda::CUDAStream;
using StreamKey = std::pair<c10::DeviceIndex, c10::StreamId>;

// Work that may be under way beside a stream, a layer's in two to five parts. More would keep maps
// alive longer, and gains nothing.
constexpr size_t kMostBeside = 3;

c10::Event event_of(const CUDAStream& stream) {
  c10::Event event(at::kCUDA);
  event.record(stream.unwrap());
  return event;
}

class SideStream {
 public:
  explicit SideStream(const CUDAStream& main) : main_(main), side_(other_than(main)) {}

  void run(std::vector<Tensor> touched, const std::function<void()>& work) {
    event_of(main_).block(side_.unwrap());
    try {
      const c10::cuda::CUDAStreamGuard guard(side_);
      work();
    } catch (...) {  // some of it may have been launched
      under_way_.push_back({event_of(side_), std::move(touched)});
      throw;
    }
    under_way_.push_back({event_of(side_), std::move(touched)});
    while (under_way_.size() > kMostBeside) wait_for_first();
  }

  void join() {
    while (!under_way_.empty()) wait_for_first();
  }
  /// As join() after an error, which may be the stream's own.
  void give_up() {
    try {
      join();
    } catch (const std::exception&) {
      under_way_.clear();
    }
  }

 private:
  struct UnderWay {
    c10::Event done;
    std::vector<Tensor> touched;
  };

  static CUDAStream other_than(const CUDAStream& main) {
    CUDAStream side = main;
    while (side == main) {
      side = c10::cuda::getStreamFromPool(/*isHighPriority=*/false, main.device_index());
    }
    return side;
  }

  void wait_for_first() {
    under_way_.front().done.block(main_.unwrap());
    under_way_.pop_front();
  }

  CUDAStream main_, side_;
  std::deque<UnderWay> under_way_;
};

/// By the stream that it is beside. A stream keeps its side stream, which cuBLAS keeps a workspace
/// for.
struct SideStreams {
  std::mutex mutex;
  std::map<StreamKey, std::unique_ptr<SideStream>> all;
  std::map<StreamKey, SideStream*> open;
};

SideStreams& side_streams() {
  static SideStreams streams;
  return streams;
}

StreamKey current_key() {
  const CUDAStream stream = c10::cuda::getCurrentCUDAStream();
  return {stream.device_index(), stream.id()};
}

/// Of the current stream; null if there is none.
SideStream* open_stream() {
  SideStreams& streams = side_streams();
  const std::lock_guard lock(streams.mutex);
  const auto found = streams.open.find(current_key());
  return found == streams.open.end() ? nullptr : found->second;
}

/// Null if it may have none, or has one already.
SideStream* open() {
  const CUDAStream main = c10::cuda::getCurrentCUDAStream();
  if (main == c10::cuda::getDefaultCUDAStream(main.device_index())) return nullptr;
  SideStreams& streams = side_streams();
  const std::lock_guard lock(streams.mutex);
  const auto key = current_key();
  if (streams.open.contains(key)) return nullptr;
  std::unique_ptr<SideStream>& side = streams.all[key];
  if (!side) side = std::make_unique<SideStream>(main);
  streams.open.emplace(key, side.get());
  return side.get();
}

void close() {
  SideStreams& streams = side_streams();
  const std::lock_guard lock(streams.mutex);
  streams.open.erase(current_key());
}

}  // namespace

void with_side_stream(at::Device device, const std::function<void()>& work) {
  const c10::cuda::CUDAGuard guard(device);
  SideStream* const side = open();
  if (side == nullptr) {
    work();
    return join_beside();  // of who has it open
  }
  try {
    work();
    side->join();
  } catch (...) {
    side->give_up();
    close();
    throw;
  }
  close();
}

void run_beside(std::vector<Tensor> touched, const std::function<void()>& work) {
  SideStream* const side = open_stream();
  side != nullptr ? side->run(std::move(touched), work) : work();
}

void join_beside() {
  if (SideStream* const side = open_stream()) side->join();
}

Tensor in_strides_of(const Tensor& leaf, const Tensor& gradient) {
  if (gradient.strides() == leaf.strides()) return gradient;
  return at::empty_like(leaf).copy_(gradient);
}

bool are_leaves(const std::vector<Tensor>& tensors) {
  return std::all_of(tensors.begin(), tensors.end(),
                     [](const Tensor& tensor) { return !tensor.defined() || tensor.is_leaf(); });
}

}  // namespace ddpm::cuda
