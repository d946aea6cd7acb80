#include "ddpm/serving/http/http_responder.h"

#include <utility>

namespace ddpm {

HttpExchange::~HttpExchange() {
  if (deliver_) {
    deliver_(error_response(HttpError(500, "internal", "The request was not answered."), ""));
  }
}

void HttpExchange::send(HttpResponse response) {
  std::function<void(HttpResponse)> deliver;
  {
    const std::lock_guard lock(mutex_);
    deliver = std::exchange(deliver_, nullptr);
    on_gone_.clear();
  }
  if (deliver) deliver(std::move(response));
}

void HttpExchange::client_left() {
  std::vector<std::function<void()>> callbacks;
  {
    const std::lock_guard lock(mutex_);
    is_gone_ = true;
    callbacks = std::exchange(on_gone_, {});
  }
  for (const auto& callback : callbacks) callback();
}

bool HttpExchange::is_gone() const {
  const std::lock_guard lock(mutex_);
  return is_gone_;
}

void HttpExchange::on_gone(std::function<void()> callback) {
  {
    const std::lock_guard lock(mutex_);
    if (!is_gone_) {
      if (deliver_) on_gone_.push_back(std::move(callback));
      return;
    }
  }
  callback();
}

}  // namespace ddpm
