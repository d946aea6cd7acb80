#pragma once

#include <atomic>
#include <functional>
#include <memory>

#include "ddpm/serving/api/edit_task.h"
#include "ddpm/serving/http/http_responder.h"
#include "ddpm/serving/http/http_workers.h"

namespace ddpm {

/// Makes edits one after the other, in a thread of its own: each takes hundreds of network calls,
/// between which the engine draws what others want. Few may wait. An edit ends at its next network
/// call where its client has left, its deadline passed, or the queue itself ends.
class EditQueue {
 public:
  /// @param service must outlive this.
  explicit EditQueue(Service& service);
  ~EditQueue();
  EditQueue(const EditQueue&) = delete;
  EditQueue& operator=(const EditQueue&) = delete;

  /// Takes an edit in, which answers when it is done.
  ///
  /// @throws HttpError 429 if too many wait, 503 if the server stops.
  void submit(EditTask task, const std::shared_ptr<const HttpRequest>& request,
              HttpResponder responder);

  static constexpr int kMaxWaiting = 4;

 private:
  struct Edit {
    EditTask task;
    std::string request_id;
    HttpResponder responder;
  };
  void make(const Edit& edit);
  HttpResponse draw(const Edit& edit);
  void count(EditKind kind, const char* outcome);

  Service& service_;
  MetricGauge& open_;
  MetricHistogram& seconds_;
  std::atomic<bool> stops_ = false;
  HttpWorkers thread_;  // last: its work uses the others
};

}  // namespace ddpm
