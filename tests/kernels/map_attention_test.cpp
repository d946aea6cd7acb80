#include "ddpm/kernels/map_attention.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <vector>

namespace ddpm {
namespace {

constexpr int64_t kChannels = 24;

AttentionWeights random_weights() {
  const auto weight = [] { return at::randn({kChannels, kChannels}, at::kDouble) / 4; };
  const auto bias = [] { return at::randn({kChannels}, at::kDouble); };
  return {.q = weight(),
          .k = weight(),
          .v = weight(),
          .out = weight(),
          .q_bias = bias(),
          .k_bias = bias(),
          .v_bias = bias(),
          .out_bias = bias()};
}

TEST(MapAttentionTest, FoldedWeightsGiveTheSameScoresAndResults) {
  at::manual_seed(5);
  const AttentionWeights w = random_weights();
  const FoldedAttention folded = pack_attention(w);
  const Tensor n = at::randn({20, kChannels}, at::kDouble);
  const Tensor scores = at::linear(n, w.q, w.q_bias).mm(at::linear(n, w.k, w.k_bias).t());
  const Tensor folded_scores = at::linear(n, folded.score_weight, folded.score_bias).mm(n.t());
  const Tensor p = at::softmax(scores, -1), folded_p = at::softmax(folded_scores, -1);
  EXPECT_LT((p - folded_p).abs().max().item<double>(), 1e-12);
  const Tensor y = at::linear(p.mm(at::linear(n, w.v, w.v_bias)), w.out, w.out_bias);
  const Tensor folded_y = at::linear(p.mm(n), folded.out_weight, folded.out_bias);
  EXPECT_LT(((y - folded_y).norm() / y.norm()).item<double>(), 1e-12);
  EXPECT_TRUE(folded.state.is_of(w.all()));
  w.v.mul_(2);
  EXPECT_FALSE(folded.state.is_of(w.all()));
}

TEST(MapAttentionTest, GradientsOfFoldedWeightsAreThoseOfTheWeights) {
  at::manual_seed(6);
  const AttentionWeights w = random_weights();
  for (const Tensor& weight : w.all()) weight.requires_grad_(true);
  const Tensor n = at::randn({20, kChannels}, at::kDouble);
  const Tensor d_y = at::randn({20, kChannels}, at::kDouble);
  const Tensor scores = at::linear(n, w.q, w.q_bias).mm(at::linear(n, w.k, w.k_bias).t());
  const Tensor attended = at::softmax(scores, -1).mm(at::linear(n, w.v, w.v_bias));
  at::linear(attended, w.out, w.out_bias).backward(d_y);
  std::vector<Tensor> expected;
  for (const Tensor& weight : w.all()) {
    expected.push_back(weight.grad());
    weight.mutable_grad() = Tensor();
  }
  const std::vector<FoldedAttention> ahead = pack_attentions({random_weights(), w});
  for (const FoldedAttention* folded_ahead :
       {static_cast<const FoldedAttention*>(nullptr), &ahead[1]}) {
    const FoldedAttention folded = fold_attention(w, folded_ahead);
    const Tensor folded_scores = at::linear(n, folded.score_weight, folded.score_bias).mm(n.t());
    at::linear(at::softmax(folded_scores, -1).mm(n), folded.out_weight, folded.out_bias)
        .backward(d_y);
    for (size_t i = 0; i < expected.size(); ++i) {
      const Tensor weight = w.all()[i];
      EXPECT_TRUE(at::allclose(weight.grad(), expected[i], 1e-9, 1e-10)) << "weight " << i;
      weight.mutable_grad() = Tensor();
    }
  }
  EXPECT_FALSE(ahead[1].score_weight.requires_grad());  // it is nobody's node
}

}  // namespace
}  // namespace ddpm
