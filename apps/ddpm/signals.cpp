#include "signals.h"

#include <atomic>
#include <signal.h>
#include <unistd.h>

namespace ddpm::app {
namespace {

std::atomic<int> stop_requested{0};
std::atomic<bool> save_requested{false};
static_assert(std::atomic<int>::is_always_lock_free);

extern "C" void handle_signal(int signal) {
  if (signal == SIGUSR1) {
    save_requested = true;
    return;
  }
  if (stop_requested.exchange(signal) != 0) _exit(128 + signal);
}

}  // namespace

void install_signal_handlers() {
  struct sigaction action = {};
  action.sa_handler = handle_signal;
  action.sa_flags = SA_RESTART;
  for (const int signal : {SIGINT, SIGTERM, SIGUSR1}) sigaction(signal, &action, nullptr);
}

int stop_signal() { return stop_requested; }

bool take_save_request() { return save_requested.exchange(false); }

}  // namespace ddpm::app
