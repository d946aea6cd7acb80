#include "ddpm/serving/engine/engine_loader.h"

#include <utility>

#include "ddpm/core/device.h"

namespace ddpm {

EngineLoader::EngineLoader() : thread_([this] { loop(); }) {}

EngineLoader::~EngineLoader() {
  {
    const std::lock_guard lock(mutex_);
    stops_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void EngineLoader::run(std::function<void()> task) {
  {
    const std::lock_guard lock(mutex_);
    tasks_.push_back(std::move(task));
  }
  changed_.notify_all();
}

void EngineLoader::loop() {
  compute_in_this_thread_alone();
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return stops_ || !tasks_.empty(); });
    if (stops_) return;
    const std::function<void()> task = std::move(tasks_.front());
    tasks_.pop_front();
    lock.unlock();
    task();
    lock.lock();
  }
}

}  // namespace ddpm
