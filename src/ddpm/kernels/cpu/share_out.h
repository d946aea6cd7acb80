#pragma once

#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <cstdint>

namespace ddpm::cpu {

/// Runs work(state, index) for all indices, each thread with a state of its own by make_state().
/// Threads take one index after the other: cores that others share are not equally fast.
///
/// @param threads at most.
template <typename MakeState, typename Work>
void share_out(int64_t count, int64_t threads, const MakeState& make_state, const Work& work) {
  std::atomic<int64_t> next = 0;
  at::parallel_for(0, std::min(count, threads), 1, [&](int64_t, int64_t) {
    auto state = make_state();
    for (int64_t i = next++; i < count; i = next++) work(state, i);
  });
}

}  // namespace ddpm::cpu
