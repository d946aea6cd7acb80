#include "ddpm/training/flat_parameters.h"

#include <gtest/gtest.h>

#include <functional>

#include "ddpm/model/state_dict.h"
#include "support/tensor_matchers.h"
#include "training/training_fixtures.h"

namespace ddpm {
namespace {

using testing::BatchNormNetwork;
using testing::tensors_near;

std::vector<std::string> names_of(const NamedTensors& tensors) {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : tensors) names.push_back(name);
  return names;
}

NamedTensors copies(const NamedTensors& tensors) {
  NamedTensors result;
  for (const auto& [name, tensor] : tensors) result.emplace_back(name, tensor.detach().clone());
  return result;
}

void expect_equal(const NamedTensors& got, const NamedTensors& expected) {
  ASSERT_EQ(names_of(got), names_of(expected));
  for (size_t i = 0; i < got.size(); ++i) {
    EXPECT_TRUE(at::equal(got[i].second, expected[i].second)) << got[i].first;
  }
}

Tensor output_of(BatchNormNetwork& network, at::ScalarType dtype = at::kFloat) {
  const at::NoGradGuard no_grad;
  network.eval();
  const Tensor x = at::linspace(-1, 1, 64, dtype).view({1, 1, 8, 8});
  return network.forward(x, at::zeros({1}, at::kLong), {}).to(at::kFloat);
}

TEST(FlatParametersTest, BindingChangesNoValueAndKeepsTheStateDictsOrder) {
  const auto network = std::make_shared<BatchNormNetwork>();
  const NamedTensors before = copies(state_dict(*network));
  const Tensor output = output_of(*network);
  const FlatParameters parameters(network, Precision::kFp32);
  expect_equal(parameters.named_state(parameters.master(), parameters.buffers()), before);
  // Strides may change, and with them the order in which a convolution adds.
  EXPECT_TRUE(tensors_near(output_of(*network), output, 1e-6));
  EXPECT_EQ(names_of(parameters.named_parameters(parameters.master())),
            (std::vector<std::string>{"first.weight", "first.bias", "norm.weight", "norm.bias",
                                      "last.weight", "last.bias"}));
}

TEST(FlatParametersTest, TheNetworkComputesWithTheFlatBuffer) {
  const auto network = std::make_shared<BatchNormNetwork>();
  const FlatParameters parameters(network, Precision::kFp32);
  const Tensor weight = network->named_parameters()["last.weight"];
  EXPECT_TRUE(weight.is_contiguous(at::MemoryFormat::ChannelsLast));
  parameters.master().zero_();
  EXPECT_EQ(output_of(*network).abs().max().item<float>(), 0);
  EXPECT_EQ(weight.abs().max().item<float>(), 0);
}

/// A loss whose gradient differs from call to call.
void run_backward(BatchNormNetwork& network, at::ScalarType dtype, double scale) {
  network.train();
  at::manual_seed(1);
  const Tensor x = at::linspace(-scale, 1, 128, dtype).view({2, 1, 8, 8});
  network.forward(x, {}, {}).to(at::kFloat).square().mean().backward();
}

void expect_no_gradients(const BatchNormNetwork& network) {
  for (const auto& item : network.named_parameters()) {
    EXPECT_FALSE(item->grad().defined()) << item.key();
  }
}

// What autograd adds up in .grad by itself, weight by weight, in float32.
TEST(FlatParametersTest, GatheredGradientsHaveTheBitsOfAutogradsOwnSums) {
  for (const Precision precision : {Precision::kFp32, Precision::kBf16}) {
    const auto dtype = precision == Precision::kBf16 ? at::kBFloat16 : at::kFloat;
    const auto network = std::make_shared<BatchNormNetwork>();
    FlatParameters parameters(network, precision, /*accumulation=*/2);
    const auto expected_network = std::make_shared<BatchNormNetwork>();
    const FlatParameters bound(expected_network, precision);  // the same strides
    std::map<std::string, Tensor> expected;
    for (int round = 0; round < 2; ++round) {  // the second one begins anew
      expected.clear();
      for (int part = 0; part < 2; ++part) {
        const double scale = 1 + part + 2 * round;
        parameters.begin_gather(/*is_first=*/part == 0);
        run_backward(*network, dtype, scale);
        expect_no_gradients(*network);  // each is taken as it comes
        parameters.end_gather();
        run_backward(*expected_network, dtype, scale);
        for (auto& item : expected_network->named_parameters()) {
          const Tensor grad = item->grad().to(at::kFloat);
          const auto [sum, is_new] = expected.emplace(item.key(), grad.clone());
          if (!is_new) sum->second.add_(grad);
          item->mutable_grad() = Tensor();
        }
      }
    }
    EXPECT_EQ(parameters.grad().scalar_type(), at::kFloat);
    for (const auto& [name, grad] : parameters.named_parameters(parameters.grad())) {
      EXPECT_GT(grad.abs().max().item<float>(), 0) << name;
      EXPECT_TRUE(at::equal(grad, expected.at(name))) << name;
    }
  }
}

TEST(FlatParametersTest, AWeightThatTookNoPartHasNoGradient) {
  const auto network = std::make_shared<BatchNormNetwork>();
  FlatParameters parameters(network, Precision::kFp32);
  const auto gather_after = [&](const std::function<void()>& backward) {
    parameters.begin_gather(/*is_first=*/true);
    backward();
    parameters.end_gather();
    return parameters.grad().abs().sum().item<float>();
  };
  EXPECT_GT(gather_after([&] { run_backward(*network, at::kFloat, 1); }), 0);
  const Tensor weight = network->named_parameters()["first.weight"];
  EXPECT_EQ(gather_after([&] { weight.sum().backward(); }), 4 * 9);
  run_backward(*network, at::kFloat, 1);
  parameters.drop_grad();
  EXPECT_EQ(gather_after([] {}), 0);
}

TEST(FlatParametersTest, GradientsThatNobodyGathersStayInTheNetwork) {
  const auto network = std::make_shared<BatchNormNetwork>();
  FlatParameters parameters(network, Precision::kFp32);
  run_backward(*network, at::kFloat, 1);
  for (const auto& item : network->named_parameters()) EXPECT_TRUE(item->grad().defined());
  parameters.drop_grad();
  expect_no_gradients(*network);
  EXPECT_THROW(parameters.end_gather(), std::invalid_argument);
}

TEST(FlatParametersTest, SeveralOverOneNetworkInTurnGatherTheSameGradients) {
  const auto network = std::make_shared<BatchNormNetwork>();
  const auto gather = [&](FlatParameters& parameters) {
    parameters.use_trained();
    parameters.begin_gather(/*is_first=*/true);
    run_backward(*network, at::kFloat, 1);
    parameters.end_gather();
    expect_no_gradients(*network);
    return parameters.grad().clone();
  };
  FlatParameters first(network, Precision::kFp32);
  const Tensor expected = gather(first);
  {
    FlatParameters second(network, Precision::kFp32);
    EXPECT_TRUE(at::equal(gather(second), expected));
    first.grad().zero_();
    EXPECT_TRUE(at::equal(gather(first), expected));  // of hooks that are the second's
    second.grad().zero_();
    EXPECT_TRUE(at::equal(gather(second), expected));
  }
  first.grad().zero_();
  EXPECT_TRUE(at::equal(gather(first), expected));  // of hooks that nobody has
}

TEST(FlatParametersTest, Bfloat16ComputesWithRoundedWeightsAndGathersGradients) {
  const auto network = std::make_shared<BatchNormNetwork>();
  const Tensor exact = output_of(*network);
  FlatParameters parameters(network, Precision::kBf16);
  EXPECT_EQ(network->named_parameters()["norm.weight"].scalar_type(), at::kBFloat16);
  EXPECT_EQ(network->named_buffers()["norm.running_var"].scalar_type(), at::kFloat);
  EXPECT_TRUE(at::equal(parameters.weights(), parameters.master().to(at::kBFloat16)));
  // bfloat16 keeps 8 bits: 0.4% of values near 1, through three layers.
  EXPECT_TRUE(tensors_near(output_of(*network, at::kBFloat16), exact, 0.02));

  parameters.begin_gather(/*is_first=*/true);
  run_backward(*network, at::kBFloat16, 1);
  parameters.end_gather();
  EXPECT_EQ(parameters.grad().scalar_type(), at::kBFloat16);  // nothing is added to it
  EXPECT_GT(parameters.grad().abs().max().item<float>(), 0);
}

TEST(FlatParametersTest, OtherValuesAreUsedAndGivenBack) {
  for (const Precision precision : {Precision::kFp32, Precision::kBf16}) {
    const auto network = std::make_shared<BatchNormNetwork>();
    FlatParameters parameters(network, precision);
    const auto dtype = precision == Precision::kBf16 ? at::kBFloat16 : at::kFloat;
    const Tensor before = output_of(*network, dtype);
    parameters.use(at::zeros_like(parameters.master()), parameters.buffers());
    EXPECT_EQ(output_of(*network, dtype).abs().max().item<float>(), 0);
    parameters.use_trained();
    EXPECT_TRUE(at::equal(output_of(*network, dtype), before));
  }
}

TEST(FlatParametersTest, AssignIsTheReverseOfNamed) {
  const auto network = std::make_shared<BatchNormNetwork>();
  FlatParameters parameters(network, Precision::kFp32);
  NamedTensors tensors = parameters.named_state(parameters.master(), parameters.buffers());
  for (auto& [name, tensor] : tensors) tensor.add_(3);
  parameters.assign_state(tensors, parameters.master(), parameters.buffers());
  expect_equal(copies(state_dict(*network)), tensors);
}

TEST(FlatParametersTest, AssignNamesTheTensorThatDoesNotFit) {
  const auto network = std::make_shared<BatchNormNetwork>();
  FlatParameters parameters(network, Precision::kFp32);
  const NamedTensors tensors = parameters.named_parameters(parameters.master());
  const auto message = [&](const NamedTensors& wrong) -> std::string {
    try {
      parameters.assign_parameters(wrong, parameters.master());
    } catch (const std::invalid_argument& error) {
      return error.what();
    }
    return "";
  };
  NamedTensors missing = tensors;
  missing.pop_back();
  EXPECT_EQ(message(missing), "[FlatParameters] tensor 'last.bias' is missing");
  NamedTensors unknown = tensors;
  unknown.emplace_back("extra", at::zeros({1}));
  EXPECT_EQ(message(unknown), "[FlatParameters] the network has no tensor 'extra'");
  NamedTensors reshaped = tensors;
  reshaped[1].second = at::zeros({5});
  EXPECT_NE(message(reshaped).find("'first.bias' must have the network's shape: expected [4], got "
                                   "[5]"),
            std::string::npos);
}

}  // namespace
}  // namespace ddpm
