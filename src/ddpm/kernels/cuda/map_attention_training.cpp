#include "ddpm/kernels/cuda/map_attention_training.h"

#include <ATen/ATen.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/csrc/autograd/custom_function.h>

#include "ddpm/kernels/cuda/conv2d_tiles.h"
#include "ddpm/kernels/cuda/group_norm_silu_gradients.h"
#include "ddpm/kernels/cuda/group_norm_silu_kernels.h"
#include "ddpm/kernels/cuda/map_attention_function.h"
#include "ddpm/kernels/cuda/map_attention_kernels.h"
#include "ddpm/kernels/cuda/map_sums.h"
#include "ddpm/kernels/cuda/side_stream.h"
#include "ddpm/kernels/group_norm_silu.h"
#include "ddpm/kernels/map_rows.h"
#include "ddpm/kernels/optional_tensor.h"

namespace ddpm::cuda {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

enum AttentionInput {
  kAttended,
  kAttentionNormWeight,
  kAttentionNormBias,
  kScoreWeight,
  kScoreBias,
  kOutWeight,
  kOutBias,
  kNumAttentionInputs
};
enum AttentionSaved {
  kNormedPixels = kNumAttentionInputs,
  kPairs,
  kLefts,
  kWeighted,
  kAttentionMean,
  kAttentionRstd
};

constexpr int64_t kLength = kMapPixels, kWidth = kMapChannels;

/// [N, L, C] as [N L, C].
Tensor rows_of_sequence(const Tensor& sequence) { return sequence.flatten(0, 1); }
Tensor turned_tiles(const Tensor& weight) { return turned_warpgroup_tiles(pixel_weight(weight)); }

/// Room for what the backward pass needs. Behind queries and probabilities it puts their
/// counterparts, so that one product of [2 L, L] and [2 L, C] sums what pixels are as keys and as
/// values.
struct AttentionRoom {
  Tensor normed, weighted;  // [N, L, C]
  Tensor pairs;             // [N, 2, L, L]: the scores' gradient, probabilities
  Tensor lefts;             // [N, 2, L, C]: queries, the gradient of what was weighted

  explicit AttentionRoom(const Tensor& x) {
    const int64_t images = x.size(0);
    const auto options = x.options().memory_format(std::nullopt);
    normed = at::empty({images, kLength, kWidth}, options);
    weighted = at::empty_like(normed);
    pairs = at::empty({images, 2, kLength, kLength}, options);
    lefts = at::empty({images, 2, kLength, kWidth}, options);
  }
};

void* second_of(const Tensor& twos) { return twos.select(/*dim=*/1, 1).mutable_data_ptr(); }

class TrainedMapAttention : public torch::autograd::Function<TrainedMapAttention> {
 public:
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Tensor& norm_weight,
                        const Tensor& norm_bias, const Tensor& score_weight,
                        const Tensor& score_bias, const Tensor& out_weight, const Tensor& out_bias,
                        int64_t groups, double eps, const FoldedAttention* weights) {
    const AttentionRoom room(x);
    const GroupNormSiluArgs norm{.x = x,
                                 .num_groups = groups,
                                 .weight = norm_weight,
                                 .bias = norm_bias,
                                 .eps = eps,
                                 .silu = false};
    NormStatistics statistics;
    const MapAttentionSaved saved{.normed = room.normed.mutable_data_ptr(),
                                  .queries = room.lefts.mutable_data_ptr(),
                                  .probabilities = second_of(room.pairs),
                                  .attended = room.weighted.mutable_data_ptr()};
    const Tensor y =
        run_map_attention({.x = x, .norm = &norm, .weights = weights}, saved, &statistics);
    ctx->save_for_backward({x, norm_weight, norm_bias, score_weight, score_bias, out_weight,
                            out_bias, room.normed, room.pairs, room.lefts, room.weighted,
                            statistics.mean, statistics.rstd});
    ctx->saved_data["groups"] = groups;
    ctx->saved_data["leaves"] = weights->of_leaves && are_leaves({norm_weight, norm_bias});
    return y;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& d_outputs) {
    const variable_list saved = ctx->get_saved_variables();
    const Tensor& x = saved[kAttended];
    const c10::cuda::CUDAGuard guard(x.device());
    const Tensor d_y = channels_last(d_outputs[0]);
    const Tensor d_queries = at::empty_like(saved[kNormedPixels]);
    const Tensor d_normed = at::empty_like(saved[kNormedPixels]);
    run_kernel(saved, d_y, d_queries, d_normed);
    const int64_t images = x.size(0);
    d_normed.baddbmm_(saved[kPairs].view({images, 2 * kLength, kLength}).transpose(1, 2),
                      saved[kLefts].view({images, 2 * kLength, kWidth}));
    variable_list d_inputs(kNumAttentionInputs + 3);  // the other arguments have none
    run_beside({d_queries, d_y, saved[kNormedPixels], saved[kWeighted]},
               [&] { differentiate_weights(ctx, saved, d_queries, d_y, d_inputs); });
    differentiate_norm(ctx, saved, d_normed, d_y, d_inputs);
    if (!ctx->saved_data["leaves"].toBool()) join_beside();
    return d_inputs;
  }

 private:
  static void run_kernel(const variable_list& saved, const Tensor& d_y, const Tensor& d_queries,
                         const Tensor& d_normed) {
    const Tensor score_tiles = turned_tiles(saved[kScoreWeight]);
    const Tensor out_tiles = turned_tiles(saved[kOutWeight]);
    C10_CUDA_CHECK(attend_map_backward({.images = static_cast<int>(d_y.size(0)),
                                        .d_out = d_y.const_data_ptr(),
                                        .normed = saved[kNormedPixels].const_data_ptr(),
                                        .probabilities = second_of(saved[kPairs]),
                                        .score_weight = score_tiles.const_data_ptr(),
                                        .out_weight = out_tiles.const_data_ptr(),
                                        .d_attended = second_of(saved[kLefts]),
                                        .d_scores = saved[kPairs].mutable_data_ptr(),
                                        .d_queries = d_queries.mutable_data_ptr(),
                                        .d_normed = d_normed.mutable_data_ptr()},
                                       c10::cuda::getCurrentCUDAStream()));
  }

  static void differentiate_weights(AutogradContext* ctx, const variable_list& saved,
                                    const Tensor& d_queries, const Tensor& d_y,
                                    variable_list& d_inputs) {
    if (ctx->needs_input_grad(kScoreWeight)) {
      d_inputs[kScoreWeight] =
          rows_of_sequence(d_queries).t().mm(rows_of_sequence(saved[kNormedPixels]));
    }
    if (ctx->needs_input_grad(kScoreBias)) {
      d_inputs[kScoreBias] = sum_of_pixels(map_of(d_queries, saved[kAttended]));
    }
    if (ctx->needs_input_grad(kOutWeight)) {
      d_inputs[kOutWeight] = rows_of(d_y).t().mm(rows_of_sequence(saved[kWeighted]));
    }
    if (ctx->needs_input_grad(kOutBias)) d_inputs[kOutBias] = sum_of_pixels(d_y);
  }

  /// @param d_y of the result, to which x is added.
  static void differentiate_norm(AutogradContext* ctx, const variable_list& saved,
                                 const Tensor& d_normed, const Tensor& d_y,
                                 variable_list& d_inputs) {
    const Tensor& x = saved[kAttended];
    d_inputs[kAttended] = at::empty_like(x);
    for (const size_t input : {kAttentionNormWeight, kAttentionNormBias}) {
      if (ctx->needs_input_grad(input)) d_inputs[input] = at::empty_like(saved[input]);
    }
    const GroupNormShape shape{.images = static_cast<int>(x.size(0)),
                               .pixels = kMapPixels,
                               .channels = kMapChannels,
                               .groups = static_cast<int>(ctx->saved_data["groups"].toInt()),
                               .silu = false,
                               .bf16 = true};
    run_norm_backward(shape,
                      {.x = x.const_data_ptr(),
                       .weight = saved[kAttentionNormWeight].const_data_ptr(),
                       .bias = saved[kAttentionNormBias].const_data_ptr(),
                       .mean = saved[kAttentionMean].mutable_data_ptr<float>(),
                       .rstd = saved[kAttentionRstd].mutable_data_ptr<float>(),
                       .random = {}},
                      {.d_y = d_normed.const_data_ptr(),
                       .d_weight = room_of(d_inputs[kAttentionNormWeight]),
                       .d_bias = room_of(d_inputs[kAttentionNormBias])},
                      {d_inputs[kAttended], /*x_rest_gradient=*/{}, {Tensor(), d_y, Tensor()}});
  }
};

}  // namespace

Tensor trained_map_attention(const MapAttentionArgs& args) {
  const FoldedAttention& weights = *args.weights;
  return TrainedMapAttention::apply(channels_last(args.x), args.norm->weight, args.norm->bias,
                                    weights.score_weight, weights.score_bias, weights.out_weight,
                                    weights.out_bias, args.norm->num_groups, args.norm->eps,
                                    args.weights);
}

}  // namespace ddpm::cuda
