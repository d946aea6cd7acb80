#include "ddpm/sampling/sampler_weights.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace ddpm {
namespace {

void add_x(UpdateRow& row, double weight, int slot) {
  if (slot == kCurrent) {
    row.x += weight;
  } else {
    row.memory[static_cast<size_t>(slot)] += weight;
  }
}

/// Adds weight times a node's x_0 or eps; the current call's eps is made of its x and x_0.
void add_node(UpdateRow& row, double weight, const StepNode& node, UpdateForm form) {
  if (node.slot != kCurrent) {
    row.memory[static_cast<size_t>(node.slot)] += weight;
    return;
  }
  const UpdateRow value = node_row(form, node.level);
  row.x += weight * value.x;
  row.pred_x_start += weight * value.pred_x_start;
}

/// The nodes that a step may interpolate.
std::vector<StepNode> usable_nodes(const StepRule& rule, const NoiseLevel& to,
                                   const std::vector<StepNode>& nodes) {
  const bool endless = rule.form != UpdateForm::kSigma && to.alpha_bar == 1;
  if (endless || nodes.front().level.alpha_bar == 0) return {nodes.front()};
  std::vector<StepNode> usable;
  std::copy_if(nodes.begin(), nodes.end(), std::back_inserter(usable),
               [](const StepNode& node) { return node.level.alpha_bar > 0; });
  return usable;
}

double first_moment(SlopeRule slope, double z) {
  switch (slope) {
    case SlopeRule::kExact:
      return exponential_moment(1, z);
    case SlopeRule::kMidpoint:
      return exponential_moment(0, z) / 2;
    case SlopeRule::kHalfSquare:
      return z / 2;
  }
  throw std::logic_error("[interpolated_step] not a SlopeRule");
}

/// Weights of the nodes, in units of the form's scale; z is the exponent over the whole step.
std::vector<double> node_weights(const StepRule& rule, double from, double step, double z,
                                 const std::vector<StepNode>& nodes) {
  std::vector<double> positions, moments;
  for (size_t j = 0; j < nodes.size(); ++j) {
    const double alpha_bar = nodes[j].level.alpha_bar;
    if (rule.form == UpdateForm::kSigma) {
      positions.push_back((edm_sigma(alpha_bar) - from) / step);
      moments.push_back(step / static_cast<double>(j + 1));
    } else {
      positions.push_back(j == 0 ? 0 : (lambda_of(alpha_bar) - from) / step);
      moments.push_back(exponential_moment(static_cast<int>(j), z));
    }
  }
  if (nodes.size() == 2 && rule.form != UpdateForm::kSigma)
    moments[1] = first_moment(rule.slope, z);
  return interpolation_weights(positions, moments);
}

}  // namespace

UpdateRow interpolated_step(const StepRule& rule, const StepNode& start, const NoiseLevel& to,
                            const std::vector<StepNode>& nodes) {
  const NoiseLevel& from = start.level;
  const std::vector<StepNode> usable = usable_nodes(rule, to, nodes);
  if (rule.form == UpdateForm::kEps && usable.size() == 1) {
    return eps_step(start, to, usable, {1.0});
  }
  UpdateRow row;
  if (rule.form == UpdateForm::kSigma) {
    if (from.alpha_bar == 0) return eps_step(start, to, usable, {1.0});
    const double sigma = edm_sigma(from.alpha_bar);
    const auto weights =
        node_weights(rule, sigma, edm_sigma(to.alpha_bar) - sigma, /*z=*/0, usable);
    add_x(row, signal_scale(to) / signal_scale(from), start.slot);
    for (size_t k = 0; k < usable.size(); ++k)
      add_node(row, signal_scale(to) * weights[k], usable[k], rule.form);
    return row;
  }
  const double lambda = lambda_of(from.alpha_bar);
  const double h = lambda_of(to.alpha_bar) - lambda;
  if (rule.form == UpdateForm::kEps) {
    const auto weights = node_weights(rule, lambda, h, -h, usable);
    add_x(row, signal_scale(to) / signal_scale(from), start.slot);
    for (size_t k = 0; k < usable.size(); ++k)
      add_node(row, noise_scale(to) * weights[k], usable[k], rule.form);
    return row;
  }
  const auto weights = node_weights(rule, lambda, h, (1 + rule.eta) * h, usable);
  const double decay = rule.eta > 0 ? std::exp(-rule.eta * h) : 1;
  add_x(row, noise_scale(to) / noise_scale(from) * decay, start.slot);
  for (size_t k = 0; k < usable.size(); ++k)
    add_node(row, signal_scale(to) * weights[k], usable[k], rule.form);
  if (rule.eta > 0) row.noise = noise_scale(to) * std::sqrt(-std::expm1(-2 * rule.eta * h));
  return row;
}

UpdateRow eps_step(const StepNode& start, const NoiseLevel& to, const std::vector<StepNode>& nodes,
                   at::ArrayRef<double> weights) {
  const NoiseLevel& from = start.level;
  UpdateRow row;
  if (from.alpha_bar == 0) {  // the two terms below are infinite, their sum is not
    row.x = noise_scale(to);
    row.pred_x_start = signal_scale(to);
    return row;
  }
  const double ratio = signal_scale(to) / signal_scale(from);
  add_x(row, ratio, start.slot);
  for (size_t k = 0; k < nodes.size(); ++k) {
    add_node(row, (noise_scale(to) - ratio * noise_scale(from)) * weights[k], nodes[k],
             UpdateForm::kEps);
  }
  return row;
}

UpdateRow node_row(UpdateForm form, const NoiseLevel& level) {
  if (form == UpdateForm::kXStart) return {.x = 0, .pred_x_start = 1};
  return {.x = 1 / noise_scale(level), .pred_x_start = -signal_scale(level) / noise_scale(level)};
}

double exponential_moment(int power, double z) {
  if (std::abs(z) < 1) {  // the recursion below would cancel
    double term = z;      // z j! / (j + 1)!, then each next one
    term /= power + 1;
    double sum = 0;
    for (int m = 1; m < 30; ++m) {
      sum += term;
      term *= -z / (power + m + 1);
    }
    return sum;
  }
  double moment = -std::expm1(-z);
  for (int j = 1; j <= power; ++j) moment = 1 - j / z * moment;
  return moment;
}

std::vector<double> interpolation_weights(const std::vector<double>& positions,
                                          const std::vector<double>& moments) {
  const size_t n = positions.size();
  std::vector<double> weights(n, 0.0);
  for (size_t k = 0; k < n; ++k) {
    // The k-th Lagrange polynomial, lowest power first.
    std::vector<double> polynomial{1.0};
    for (size_t other = 0; other < n; ++other) {
      if (other == k) continue;
      polynomial.push_back(0);
      for (size_t j = polynomial.size() - 1; j > 0; --j)
        polynomial[j] = polynomial[j - 1] - positions[other] * polynomial[j];
      polynomial[0] *= -positions[other];
      for (double& c : polynomial) c /= positions[k] - positions[other];
    }
    for (size_t j = 0; j < n; ++j) weights[k] += polynomial[j] * moments[j];
  }
  return weights;
}

}  // namespace ddpm
