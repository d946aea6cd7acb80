#include "ddpm/sampling/sampler_weights.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>

namespace ddpm {
namespace {

/// Simpson's rule in many pieces.
double integral(const std::function<double(double)>& f, double from, double to) {
  constexpr int kPieces = 2000;
  const double step = (to - from) / kPieces;
  double sum = 0;
  for (int i = 0; i < kPieces; ++i) {
    const double at = from + i * step;
    sum += step / 6 * (f(at) + 4 * f(at + step / 2) + f(at + step));
  }
  return sum;
}

TEST(SamplerWeightsTest, MomentsAreTheirIntegrals) {
  for (const double z : {-3.0, -1.0, -0.3, -1e-3, 1e-3, 0.3, 0.999, 1.001, 3.0, 20.0}) {
    for (int power = 0; power < 4; ++power) {
      const double exact =
          integral([&](double v) { return z * std::exp(z * (v - 1)) * std::pow(v, power); }, 0, 1);
      EXPECT_NEAR(exponential_moment(power, z) / exact, 1, 1e-8) << z << ", power " << power;
    }
  }
  EXPECT_EQ(exponential_moment(0, INFINITY), 1);
}

TEST(SamplerWeightsTest, WeightsIntegratePolynomialsExactly) {
  const std::vector<double> positions{0.0, -0.4, 1.3, -2.0};
  std::vector<double> moments;
  for (int j = 0; j < 4; ++j) moments.push_back(1.0 / (j + 1));  // of v^j over [0, 1]
  const auto weights = interpolation_weights(positions, moments);
  double sum = 0;
  const auto cubic = [](double v) { return 2 - v + 3 * v * v - 0.5 * v * v * v; };
  for (size_t k = 0; k < 4; ++k) sum += weights[k] * cubic(positions[k]);
  EXPECT_NEAR(sum, integral(cubic, 0, 1), 1e-12);
}

NoiseLevel level_of_lambda(double lambda) { return {0, alpha_bar_of_sigma(std::exp(-lambda))}; }

/// The row's value where slot k holds curve(nodes[k]) and the start's x is 0.7.
double value_of(const UpdateRow& row, const std::vector<double>& held) {
  double value = 0.7 * row.memory[4];
  for (size_t k = 0; k < held.size(); ++k) value += row.memory[k] * held[k];
  return value;
}

// Where x_0 (or eps) is a polynomial of lambda (or sigma), a step with enough nodes is the exact
// solution, whatever the spacing of its nodes.
TEST(SamplerWeightsTest, StepsAreExactForPolynomials) {
  const std::vector<double> lambdas{0.2, -0.3, -1.1, 0.35};
  const double end = 0.9;
  const NoiseLevel from = level_of_lambda(lambdas[0]);
  const NoiseLevel to = level_of_lambda(end);
  const double alpha_ratio = signal_scale(to) / signal_scale(from);
  for (size_t count = 1; count <= 4; ++count) {
    const auto curve = [&](double u) {
      double value = 0.4;
      for (size_t j = 1; j < count; ++j) value += (j % 2 == 0 ? 0.3 : -0.8) * std::pow(u, j);
      return value;
    };
    for (const UpdateForm form : {UpdateForm::kXStart, UpdateForm::kEps, UpdateForm::kSigma}) {
      std::vector<StepNode> nodes;
      std::vector<double> held;
      for (size_t k = 0; k < count; ++k) {
        nodes.push_back({level_of_lambda(lambdas[k]), static_cast<int>(k)});
        held.push_back(curve(form == UpdateForm::kSigma ? std::exp(-lambdas[k]) : lambdas[k]));
      }
      const UpdateRow row = interpolated_step({.form = form}, {from, 4}, to, nodes);
      double exact = 0;
      if (form == UpdateForm::kXStart) {
        exact = noise_scale(to) / noise_scale(from) * 0.7 +
                noise_scale(to) *
                    integral([&](double l) { return std::exp(l) * curve(l); }, lambdas[0], end);
      } else if (form == UpdateForm::kEps) {
        exact = alpha_ratio * 0.7 -
                signal_scale(to) *
                    integral([&](double l) { return std::exp(-l) * curve(l); }, lambdas[0], end);
      } else {
        exact = alpha_ratio * 0.7 +
                signal_scale(to) * integral(curve, std::exp(-lambdas[0]), std::exp(-end));
      }
      EXPECT_NEAR(value_of(row, held), exact, 1e-10)
          << "form " << static_cast<int>(form) << ", nodes " << count;
    }
  }
}

// With noise, the mean solves the same equation at 1 + eta times the rate, and the variance that of
// the marginals.
TEST(SamplerWeightsTest, NoisyStepsKeepTheMarginalsOfAKnownImage) {
  const NoiseLevel from = level_of_lambda(-0.4);
  const NoiseLevel to = level_of_lambda(0.8);
  for (const double eta : {0.0, 0.3, 1.0}) {
    const UpdateRow row = interpolated_step({.eta = eta}, {from}, to, {{from}});
    EXPECT_NEAR(row.x * signal_scale(from) + row.pred_x_start, signal_scale(to), 1e-12);
    EXPECT_NEAR(row.x * row.x * (1 - from.alpha_bar) + row.noise * row.noise, 1 - to.alpha_bar,
                1e-12);
  }
}

TEST(SamplerWeightsTest, SlopeRulesAgreeToSecondOrder) {
  for (const SlopeRule slope : {SlopeRule::kMidpoint, SlopeRule::kHalfSquare}) {
    const auto difference = [&](double h) {
      const NoiseLevel from = level_of_lambda(0);
      const std::vector<StepNode> nodes{{from, 0}, {level_of_lambda(-h), 1}};
      const auto row = interpolated_step({.slope = slope}, {from, 4}, level_of_lambda(h), nodes);
      const auto exact = interpolated_step({}, {from, 4}, level_of_lambda(h), nodes);
      return std::abs(row.memory[1] - exact.memory[1]);
    };
    EXPECT_NEAR(std::log2(difference(0.02) / difference(0.01)), 2, 0.05);
    EXPECT_GT(difference(0.02), 0);
  }
}

}  // namespace
}  // namespace ddpm
