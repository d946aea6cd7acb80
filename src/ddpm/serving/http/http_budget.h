#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

namespace ddpm {

/// An amount that all share. Thread-safe.
class HttpBudget {
 public:
  explicit HttpBudget(int64_t total) : left_(total) {}

  bool take(int64_t amount) {
    if (left_.fetch_sub(amount) >= amount) return true;
    left_.fetch_add(amount);
    return false;
  }
  void give_back(int64_t amount) { left_.fetch_add(amount); }

 private:
  std::atomic<int64_t> left_;
};

/// A share of a budget that grows, given back at its end.
class HttpBudgetShare {
 public:
  explicit HttpBudgetShare(std::shared_ptr<HttpBudget> budget) : budget_(std::move(budget)) {}
  ~HttpBudgetShare() { budget_->give_back(amount_); }
  HttpBudgetShare(const HttpBudgetShare&) = delete;
  HttpBudgetShare& operator=(const HttpBudgetShare&) = delete;

  /// Whether it is now at least `amount`.
  bool grow_to(int64_t amount) {
    if (amount <= amount_) return true;
    if (!budget_->take(amount - amount_)) return false;
    amount_ = amount;
    return true;
  }

 private:
  std::shared_ptr<HttpBudget> budget_;
  int64_t amount_ = 0;
};

/// How many connections there are, in all and from each address. Thread-safe.
class HttpConnectionCount {
 public:
  HttpConnectionCount(int max_total, int max_per_address)
      : max_total_(max_total), max_per_address_(max_per_address) {}

  bool enter(const std::string& address) {
    const std::lock_guard lock(mutex_);
    if (total_ >= max_total_) return false;
    int& count = by_address_[address];
    if (count >= max_per_address_) return false;
    ++count;
    ++total_;
    return true;
  }
  void leave(const std::string& address) {
    const std::lock_guard lock(mutex_);
    --total_;
    const auto found = by_address_.find(address);
    if (--found->second == 0) by_address_.erase(found);
  }
  int total() const {
    const std::lock_guard lock(mutex_);
    return total_;
  }

 private:
  const int max_total_;
  const int max_per_address_;
  mutable std::mutex mutex_;
  int total_ = 0;
  std::map<std::string, int> by_address_;
};

}  // namespace ddpm
