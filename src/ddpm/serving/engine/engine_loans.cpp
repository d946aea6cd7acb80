#include "ddpm/serving/engine/engine_loans.h"

#include <c10/core/GradMode.h>

#include <algorithm>
#include <exception>
#include <stdexcept>
#include <string>

#include "ddpm/serving/engine/engine_admission.h"

namespace ddpm {
namespace {

template <typename Error>
void refuse(std::promise<Tensor>& answer, const Error& error) {
  answer.set_exception(std::make_exception_ptr(error));
}

EngineRejected stopping() {
  return {RejectReason::kDraining, "[engine] the server is shutting down"};
}

}  // namespace

Tensor EngineLoans::call(const std::shared_ptr<EngineLoan>& loan, const Tensor& x_t,
                         const Tensor& t, const Tensor& class_labels) {
  const auto call = std::make_shared<Call>(Call{
      .loan = loan, .x_t = x_t, .t = t, .class_labels = class_labels, .asked = EngineClock::now()});
  std::future<Tensor> answer = call->answer.get_future();
  {
    const std::lock_guard lock(mutex_);
    if (is_stopped_) throw stopping();
    calls_.push_back(call);
  }
  wake_();
  return answer.get();
}

EngineLoans::Found EngineLoans::find_network(Call& call, ModelPool& pool,
                                             EngineClock::time_point now) {
  if (call.loan->network != nullptr) return Found::kReady;
  FoundModel found = pool.find(call.loan->model);
  switch (found.state) {
    case ModelState::kReady:
      call.loan->network = std::move(found.network);
      return Found::kReady;
    case ModelState::kLoading:
      return Found::kNotYet;
    case ModelState::kNoRoom:
      if (now - call.asked < kPatience) return Found::kNotYet;
      refuse(call.answer, EngineRejected(RejectReason::kQueueFull,
                                         "[engine] no memory for the model became free",
                                         static_cast<double>(kPatience.count())));
      return Found::kRefused;
    case ModelState::kFailed:
      refuse(call.answer, std::runtime_error("[engine] model " + call.loan->model->id +
                                             " can't be read: " + found.message));
      return Found::kRefused;
  }
  throw std::logic_error("[find_network] not a ModelState");
}

void EngineLoans::remove(const CallPtr& call) {
  const std::lock_guard lock(mutex_);
  std::erase(calls_, call);
}

bool EngineLoans::serve(ModelPool& pool, EngineClock::time_point now) {
  std::deque<CallPtr> calls;
  {
    const std::lock_guard lock(mutex_);
    calls = calls_;
  }
  const c10::NoGradGuard no_grad;
  for (const CallPtr& call : calls) {
    const Found found = find_network(*call, pool, now);
    if (found != Found::kNotYet) remove(call);
    if (found != Found::kReady) continue;
    try {
      Tensor output = (*call->loan->network)(call->x_t, call->t, call->class_labels);
      {
        const std::lock_guard lock(mutex_);
        ++num_calls_;
      }
      call->answer.set_value(std::move(output));
    } catch (...) {
      call->answer.set_exception(std::current_exception());
    }
    return true;
  }
  return false;
}

void EngineLoans::stop() {
  std::deque<CallPtr> calls;
  {
    const std::lock_guard lock(mutex_);
    is_stopped_ = true;
    calls.swap(calls_);
  }
  for (const CallPtr& call : calls) refuse(call->answer, stopping());
}

bool EngineLoans::is_idle() const {
  const std::lock_guard lock(mutex_);
  return calls_.empty();
}

uint64_t EngineLoans::num_calls() const {
  const std::lock_guard lock(mutex_);
  return num_calls_;
}

}  // namespace ddpm
