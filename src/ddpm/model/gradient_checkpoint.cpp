#include "ddpm/model/gradient_checkpoint.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/custom_class.h>

#include <mutex>
#include <optional>
#include <utility>

namespace ddpm {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;
using Function = std::function<Tensor(const std::vector<Tensor>&)>;

/// Where the default generators of the CPU and of a device stand.
class GeneratorStates {
 public:
  explicit GeneratorStates(at::Device device) : device_(device) {
    cpu_ = state_of(at::kCPU);
    if (!device.is_cpu()) own_ = state_of(device);
  }
  void restore() const {
    set_state(at::kCPU, cpu_);
    if (own_.defined()) set_state(device_, own_);
  }

 private:
  static Tensor state_of(at::Device device) {
    at::Generator generator = at::globalContext().defaultGenerator(device);
    const std::lock_guard<std::mutex> lock(generator.mutex());
    return generator.get_state();
  }
  static void set_state(at::Device device, const Tensor& state) {
    at::Generator generator = at::globalContext().defaultGenerator(device);
    const std::lock_guard<std::mutex> lock(generator.mutex());
    generator.set_state(state);
  }

  at::Device device_;
  Tensor cpu_, own_;
};

/// What the backward pass needs besides the inputs.
struct Recipe : torch::CustomClassHolder {
  Recipe(Function function_given, std::optional<GeneratorStates> states_given)
      : function(std::move(function_given)), states(std::move(states_given)) {}
  Function function;
  std::optional<GeneratorStates> states;  ///< Before the first call, if it draws.
};

class Checkpoint : public torch::autograd::Function<Checkpoint> {
 public:
  static Tensor forward(AutogradContext* ctx, const c10::intrusive_ptr<Recipe>& recipe,
                        at::TensorList inputs) {
    ctx->save_for_backward(inputs.vec());
    ctx->saved_data["recipe"] = c10::IValue::make_capsule(recipe);
    const at::NoGradGuard no_grad;
    return recipe->function(inputs.vec());
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& d_outputs) {
    const auto holder = ctx->saved_data["recipe"].toCapsule();
    const auto& recipe = static_cast<const Recipe&>(*holder);
    std::vector<Tensor> inputs;
    for (const Tensor& input : ctx->get_saved_variables()) {
      inputs.push_back(input.detach().requires_grad_(input.requires_grad()));
    }
    std::optional<GeneratorStates> now;
    if (recipe.states) {
      now.emplace(inputs.front().device());
      recipe.states->restore();
    }
    {
      const at::AutoGradMode with_graph(true);
      torch::autograd::backward({recipe.function(inputs)}, {d_outputs[0]});
    }
    if (now) now->restore();
    variable_list d_inputs{Tensor()};  // the recipe has none
    for (const Tensor& input : inputs) d_inputs.push_back(input.grad());
    return d_inputs;
  }
};

}  // namespace

Tensor gradient_checkpoint(Function function, const std::vector<Tensor>& inputs, bool draws) {
  std::optional<GeneratorStates> states;
  if (draws) states.emplace(inputs.front().device());
  return Checkpoint::apply(c10::make_intrusive<Recipe>(std::move(function), std::move(states)),
                           at::TensorList(inputs));
}

bool CheckpointedModule::checkpoints(const torch::nn::Module& self) const {
  return checkpoints_ && self.is_training() && at::GradMode::is_enabled();
}

bool checkpoint_gradients(torch::nn::Module& network) {
  bool found = false;
  network.apply([&](torch::nn::Module& module) {
    if (auto* checkpointed = dynamic_cast<CheckpointedModule*>(&module)) {
      checkpointed->checkpoint_gradients(true);
      found = true;
    }
  });
  return found;
}

}  // namespace ddpm
