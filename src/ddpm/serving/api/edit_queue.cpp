#include "ddpm/serving/api/edit_queue.h"

#include <chrono>
#include <exception>
#include <optional>
#include <stdexcept>
#include <utility>

#include "ddpm/core/device.h"
#include "ddpm/core/log.h"
#include "ddpm/serving/api/edit_answer.h"
#include "ddpm/serving/api/edit_drawing.h"

namespace ddpm {
namespace {

constexpr const char* kSecondsUntilRoom = "10";

/// Nobody waits for the edit any more.
struct EditAbandoned {};

HttpError retry_later(int status, const char* code, const char* message) {
  HttpError error(status, code, message);
  error.headers.emplace_back("Retry-After", kSecondsUntilRoom);
  return error;
}

HttpError error_of_loan(const EngineRejected& rejected) {
  switch (rejected.reason) {
    case RejectReason::kQueueFull:
      return retry_later(429, "queue_full", "There is no memory for the model now: try again.");
    case RejectReason::kDraining:
      return retry_later(503, "draining", "The server is shutting down.");
    case RejectReason::kUnknownModel:
      return {404, "unknown_model", "[model] expected a model that is served", "model"};
  }
  throw std::logic_error("[error_of_loan] not a RejectReason");
}

/// What an edit that failed answers, and the word that counts it.
std::pair<HttpError, const char*> error_of_edit(const std::exception_ptr& thrown) {
  try {
    std::rethrow_exception(thrown);
  } catch (const HttpError& error) {
    return {error, error.status < 500 ? "refused" : "failed"};
  } catch (const EngineRejected& rejected) {
    return {error_of_loan(rejected), "refused"};
  } catch (const std::invalid_argument& error) {
    return {HttpError(422, "invalid_request", error.what(), "sampler"), "refused"};
  } catch (const std::exception& error) {
    log_error("[edit] an edit failed: " + std::string(error.what()));
    return {HttpError(500, "internal", "The server failed to make the edit; its log says why."),
            "failed"};
  }
}

}  // namespace

EditQueue::EditQueue(Service& service)
    : service_(service),
      open_(service.metrics.gauge("ddpm_edits_open", "Edits that wait or are made.")),
      seconds_(service.metrics.histogram("ddpm_edit_seconds", "Seconds of edits that were made.",
                                         {0.1, 0.3, 1, 3, 10, 30, 100, 300})),
      thread_(/*num_threads=*/1, kMaxWaiting, compute_in_this_thread_alone) {}

EditQueue::~EditQueue() {
  stops_ = true;
  thread_.stop();
}

void EditQueue::count(EditKind kind, const char* outcome) {
  service_.metrics
      .counter("ddpm_edits_total", "Edits, by kind and how they ended.",
               {{"kind", enum_word(kind)}, {"outcome", outcome}})
      .add();
}

HttpResponse EditQueue::draw(const Edit& edit) {
  const auto gone = std::make_shared<std::atomic<bool>>(false);
  edit.responder.on_gone([gone] { *gone = true; });
  const auto deadline = edit.task.request.engine.deadline;
  const EngineNetwork network = service_.engine.lend_network(edit.task.model->engine);
  const Tensor images = draw_edit(edit.task, network, [&] {
    if (*gone || stops_) throw EditAbandoned();
    if (deadline && EngineClock::now() >= *deadline) {
      throw HttpError(504, "timeout", "The edit's deadline passed.", "deadline_ms");
    }
  });
  return edit_answer(edit.task, images);
}

void EditQueue::make(const Edit& edit) {
  const EditKind kind = edit.task.fields.kind;
  const auto start = std::chrono::steady_clock::now();
  const char* outcome = "done";
  std::optional<HttpResponse> answer;
  try {
    answer = draw(edit);
    seconds_.observe(
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  } catch (const EditAbandoned&) {
    outcome = "cancelled";
    answer = error_response(retry_later(503, "draining", "The server is shutting down."),
                            edit.request_id);
  } catch (...) {
    const auto [error, word] = error_of_edit(std::current_exception());
    outcome = word;
    answer = error_response(error, edit.request_id);
  }
  count(kind, outcome);  // first: who has the answer finds it counted
  open_.add(-1);
  edit.responder.send(std::move(*answer));
}

void EditQueue::submit(EditTask task, const std::shared_ptr<const HttpRequest>& request,
                       HttpResponder responder) {
  if (service_.is_draining) throw retry_later(503, "draining", "The server is shutting down.");
  const EditKind kind = task.fields.kind;
  const auto edit =
      std::make_shared<Edit>(Edit{std::move(task), request->request_id, std::move(responder)});
  open_.add(1);
  const bool is_taken = thread_.submit([this, edit] { make(*edit); });
  if (is_taken) return;
  open_.add(-1);
  count(kind, "rejected");
  throw retry_later(429, "queue_full", "Too many edits wait already: try again later.");
}

}  // namespace ddpm
