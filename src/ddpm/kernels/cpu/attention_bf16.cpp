#include "ddpm/kernels/cpu/attention_bf16.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/native/CPUBlas.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "ddpm/core/device.h"
#include "ddpm/kernels/cpu/softmax_rows.h"

namespace ddpm::cpu {
namespace {

using at::BFloat16;

constexpr int64_t kQueriesPerTask = 64;
constexpr int64_t kLongest = 4096;  // beyond, the scores of a task would fill the second cache

/// A sequence's heads, and where their keys and values lie in the order of the products: pairs of
/// rows, interleaved.
struct Heads {
  int64_t images, heads, length, width;
  const BFloat16* qkv;  ///< [images, length, 3, heads, width]
  BFloat16* keys;       ///< [images, heads, width / 2, length, 2]
  BFloat16* values;     ///< [images, heads, length / 2, width, 2]
  BFloat16* y;          ///< [images, length, heads, width]

  int64_t row() const { return 3 * heads * width; }  ///< of qkv
  /// A head's queries (part 0), keys (1) or values (2) at the first place of the sequence.
  const BFloat16* part(int64_t head, int64_t which) const {
    return qkv + head / heads * length * row() + (which * heads + head % heads) * width;
  }
  BFloat16* keys_of(int64_t head) const { return keys + head * length * width; }
  BFloat16* values_of(int64_t head) const { return values + head * length * width; }
};

/// Places `place` to place + 15 of one head, of which place is a multiple of 16.
void interleave(const Heads& h, int64_t head, int64_t place) {
  const BFloat16* const keys = h.part(head, 1) + place * h.row();
  BFloat16* const to_keys = h.keys_of(head) + 2 * place;
  for (int64_t c = 0; c < h.width; c += 2) {
    for (int64_t i = 0; i < 16; ++i) {
      to_keys[c * h.length + 2 * i] = keys[i * h.row() + c];
      to_keys[c * h.length + 2 * i + 1] = keys[i * h.row() + c + 1];
    }
  }
  const BFloat16* const values = h.part(head, 2) + place * h.row();
  BFloat16* const to_values = h.values_of(head) + place * h.width;
  for (int64_t i = 0; i < 16; i += 2) {
    for (int64_t c = 0; c < h.width; ++c) {
      to_values[i * h.width + 2 * c] = values[i * h.row() + c];
      to_values[i * h.width + 2 * c + 1] = values[(i + 1) * h.row() + c];
    }
  }
}

/// What a thread computes with.
struct Workspace {
  explicit Workspace(const Heads& h)
      : scores(static_cast<size_t>(kQueriesPerTask * std::max(h.length, h.width))),
        factors(static_cast<size_t>(kQueriesPerTask)),
        weights(static_cast<size_t>(kQueriesPerTask * h.length)) {}
  std::vector<float> scores, factors;
  std::vector<uint16_t> weights;
};

void attend(const Heads& h, int64_t head, int64_t first, Workspace& w) {
  const int64_t queries = std::min(kQueriesPerTask, h.length - first);
  at::native::cpublas::brgemm(queries, h.length, h.width, h.row(), h.length, h.length,
                              /*add_C=*/false, h.part(head, 0) + first * h.row(), h.keys_of(head),
                              w.scores.data());
  softmax_rows(w.scores.data(), queries, h.length, 1 / std::sqrt(static_cast<float>(h.width)),
               w.weights.data(), w.factors.data());
  at::native::cpublas::brgemm(queries, h.width, h.length, h.length, h.width, h.width,
                              /*add_C=*/false, reinterpret_cast<const BFloat16*>(w.weights.data()),
                              h.values_of(head), w.scores.data());
  const int64_t stride = h.heads * h.width;
  const int64_t place = (head / h.heads * h.length + first) * stride + head % h.heads * h.width;
  round_scaled_rows(w.scores.data(), w.factors.data(), queries, h.width,
                    reinterpret_cast<uint16_t*>(h.y + place), stride);
}

}  // namespace

bool attention_has_bf16_blocks(const Tensor& qkv, int64_t num_heads) {
#if defined(CPUBLAS_BRGEMM_BF16BF16F32) && defined(__x86_64__)
  const int64_t length = qkv.size(1);
  return qkv.is_cpu() && qkv.scalar_type() == at::kBFloat16 && length % 32 == 0 &&
         length <= kLongest && qkv.size(2) / (3 * num_heads) % 32 == 0 && cpu_computes_bf16() &&
         at::globalContext().userEnabledMkldnn();
#else
  static_cast<void>(qkv);
  static_cast<void>(num_heads);
  return false;
#endif
}

Tensor attend_bf16(const Tensor& qkv, int64_t num_heads) {
  const Tensor dense = qkv.contiguous();
  const int64_t channels = qkv.size(2) / 3;
  const Tensor interleaved = at::empty({2, qkv.size(0), qkv.size(1), channels}, qkv.options());
  const Tensor y = at::empty({qkv.size(0), qkv.size(1), channels}, qkv.options());
  const Heads h{.images = qkv.size(0),
                .heads = num_heads,
                .length = qkv.size(1),
                .width = channels / num_heads,
                .qkv = dense.const_data_ptr<BFloat16>(),
                .keys = interleaved[0].mutable_data_ptr<BFloat16>(),
                .values = interleaved[1].mutable_data_ptr<BFloat16>(),
                .y = y.mutable_data_ptr<BFloat16>()};
  const int64_t count = h.images * h.heads;
  const int64_t places = h.length / 16;
  at::parallel_for(0, count * places, /*grain_size=*/4, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) interleave(h, task / places, task % places * 16);
  });
  const int64_t tasks = (h.length + kQueriesPerTask - 1) / kQueriesPerTask;
  at::parallel_for(0, count * tasks, /*grain_size=*/1, [&](int64_t begin, int64_t end) {
    Workspace workspace(h);
    for (int64_t task = begin; task < end; ++task) {
      attend(h, task / tasks, task % tasks * kQueriesPerTask, workspace);
    }
    at::native::cpublas::brgemm_release();
  });
  return y;
}

}  // namespace ddpm::cpu
